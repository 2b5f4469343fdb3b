"""Operators that run Python code: ``sym.Custom``, after ``mx.operator.register``.

Their nodes are part of no model. Networks are cut there (``symbucket/engine/cut.py``), and Python
runs between the models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from symbucket.checks import did_you_mean
from symbucket.errors import InvalidArgumentError, ShapeError, UnsupportedError
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import is_known, unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Operators in Python"

_PROPERTIES: dict[str, Callable[..., Any]] = {}


def register_properties(name: str, properties: Callable[..., Any]) -> None:
    """Make the properties of a custom operator known: a class with a CustomOpProp's methods."""
    _PROPERTIES[name] = properties


def registered_properties() -> list[str]:
    """Return the names of the custom operators, sorted."""
    return sorted(_PROPERTIES)


@operator("Custom")
class Custom(Operator):
    """An operator of your own, in Python; ``op_type`` is the name that it was registered under.

    Inputs, outputs and shapes are what its properties (``CustomOpProp``) say. Further keyword
    arguments go to the class of the properties, as strings; ``params`` holds them as JSON. Networks
    with such nodes are trained and run, but not exported.
    """

    runs_python: ClassVar[bool] = True

    op_type: str
    params: str = "{}"

    @classmethod
    def make(cls, raw: Mapping[str, Any]) -> Operator:
        """Return a new instance: each node has properties of its own."""
        return cls._make(raw)

    @classmethod
    def _make(cls, raw: Mapping[str, Any]) -> Operator:
        attributes = {name: value for name, value in raw.items() if name != "op_type"}
        packed = attributes.pop("params", "{}")
        params = {**json.loads(packed), **{n: str(v) for n, v in attributes.items()}}
        if not isinstance(raw.get("op_type"), str):
            raise InvalidArgumentError(
                "Custom: op_type is missing; it must be the name under which the operator is "
                "registered"
            )
        return cls(op_type=raw["op_type"], params=json.dumps(params, sort_keys=True))

    def __post_init__(self) -> None:
        if self.op_type not in _PROPERTIES:
            names = registered_properties()
            raise InvalidArgumentError(
                f"Custom: no operator {self.op_type!r} is registered"
                f"{did_you_mean(self.op_type, names) or '.'} Registered are "
                f"{', '.join(names) or 'none'}; decorate the class of its properties with "
                f"@operator.register({self.op_type!r})"
            )
        _ = self.properties

    @classmethod
    def takes(cls, name: str) -> bool:
        return not (name.startswith("__") and name.endswith("__"))

    @classmethod
    def ignored_attributes(cls) -> frozenset[str]:
        return frozenset()

    def attributes(self) -> dict[str, Any]:
        return {"op_type": self.op_type, **json.loads(self.params)}

    @cached_property
    def properties(self) -> Any:
        """The instance of the class that was registered."""
        return _PROPERTIES[self.op_type](**json.loads(self.params))

    @property
    def ignores_head(self) -> bool:
        """Whether its gradient needs no head gradient, as a loss."""
        return not getattr(self.properties, "need_top_grad_", True)

    def arguments(self) -> tuple[str, ...]:
        return tuple(self.properties.list_arguments())

    def auxiliary(self) -> tuple[str, ...]:
        return tuple(self.properties.list_auxiliary_states())

    def initial_values(self) -> Mapping[str, float]:
        return dict.fromkeys(self.auxiliary(), 0.0)

    def outputs(self) -> tuple[str, ...]:
        return tuple(self.properties.list_outputs())

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        count = len(self.arguments())
        arguments = ins[:count]
        if arguments and not is_known(arguments[0]):
            return ins, outs
        try:
            inferred = self.properties.infer_shape([list(s or ()) for s in arguments])
        except Exception as error:
            if all(is_known(shape) for shape in arguments):
                raise ShapeError(
                    f"infer_shape of custom operator {self.op_type!r} failed for {arguments}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            return ins, outs  # it may need a shape that is not known yet
        new_ins, new_outs, states = self._three("infer_shape", inferred)
        shapes = [_shape(s) for s in (*new_ins, *states)]
        return (
            [unify(a, b) if b else a for a, b in zip(ins, shapes)],
            [unify(a, _shape(b)) for a, b in zip(outs, new_outs)],
        )

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        arguments = ins[: len(self.arguments())]
        if arguments and arguments[0] is None:
            return ins, outs
        types = [(t or arguments[0] or np.dtype(np.float32)).type for t in arguments]
        inferred = self._three("infer_type", self.properties.infer_type(types))
        new_ins, new_outs, states = ([np.dtype(t) for t in group] for group in inferred)
        return [*new_ins, *states], new_outs

    def _three(self, method: str, result: Any) -> tuple[Any, Any, Any]:
        """Return what the properties inferred of arguments, outputs and states, checked."""
        parts = [list(part) for part in result]
        if len(parts) == 2:
            parts.append([])
        counts = [len(self.arguments()), len(self.outputs()), len(self.auxiliary())]
        if [len(part) for part in parts] != counts:
            raise ShapeError(
                f"{method} of custom operator {self.op_type!r} returned lists of "
                f"{[len(part) for part in parts]} entries; there are {counts[0]} arguments, "
                f"{counts[1]} outputs and {counts[2]} auxiliary states"
            )
        return parts[0], parts[1], parts[2]

    def emit(self, g: Emitter, *inputs: ir.Value) -> Sequence[ir.Value]:
        raise UnsupportedError(
            f"{self.op_type!r} runs Python code and cannot be part of a model. Modules and "
            "executors run networks with it; exporting, planning and serving them, RecurrentModule "
            "and sums of metrics in the graph need an operator record in its place."
        )


def _shape(shape: Any) -> Shape:
    return tuple(int(size) for size in shape)
