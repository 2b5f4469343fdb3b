"""The backend tests of the installed onnx: models, their inputs, and what must come out."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


@dataclass(frozen=True)
class BackendCase:
    """One test: a model, and sets of inputs and outputs."""

    kind: str
    name: str
    rtol: float
    atol: float
    _model: onnx.ModelProto | Path = field(repr=False)
    _sets: Any = field(repr=False, default=None)

    def model(self) -> onnx.ModelProto:
        """The model as it is in the file."""
        return onnx.load(self._model) if isinstance(self._model, Path) else self._model

    def data_sets(self, model: onnx.ModelProto) -> Iterator[tuple[list[Any], list[Any]]]:
        """Yield inputs and outputs of each set: arrays, lists of arrays, or None."""
        if not isinstance(self._model, Path):
            for inputs, outputs in self._sets:
                yield [_array(x) for x in inputs], [_array(y) for y in outputs]
            return
        for folder in sorted(self._model.parent.glob("test_data_set_*")):
            yield (
                [_read(folder / f"input_{i}.pb", v) for i, v in enumerate(model.graph.input)],
                [_read(folder / f"output_{i}.pb", v) for i, v in enumerate(model.graph.output)],
            )

    def __str__(self) -> str:
        return f"{self.kind}/{self.name.removeprefix('test_')}"


def all_cases() -> list[BackendCase]:
    """Return all tests, in alphabetical order of their kinds and names."""
    cases = []
    for kind in KINDS:
        for case in load_model_tests(kind=kind):
            model = case.model or Path(case.model_dir) / "model.onnx"
            cases.append(BackendCase(kind, case.name, case.rtol, case.atol, model, case.data_sets))
    return sorted(cases, key=str)


def cases_of_operators(*modules: str) -> list[BackendCase]:
    """Return the node tests of some modules of onnx; that takes less time than all of them."""
    for module in modules:
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    return sorted(
        (
            BackendCase("node", case.name, case.rtol, case.atol, case.model, case.data_sets)
            for case in node_cases._NodeTestCases
            if case.model.graph.node[0].op_type.lower() in {m.replace("_", "") for m in modules}
        ),
        key=str,
    )


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, (np.generic, float, int, bool)) else value


def _read(path: Path, value: onnx.ValueInfoProto) -> Any:
    if not path.exists():  # old models list constants as inputs, without a file
        return None
    content = path.read_bytes()
    kind = value.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def is_array(value: Any) -> bool:
    """Return whether a value is a tensor of numbers or booleans that numpy itself knows."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
