"""One backend test, tried: does it pass, or how does it fail?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import symbucket as sb
from symbucket.checks import one_line
from symbucket.errors import SymbucketError
from tests.conformance.onnx_backend.cases import BackendCase, is_array

_OF_SIZES = frozenset(
    {"BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "Range", "Loop"}
)
"""Operators all of whose inputs are sizes, in files constants."""

RANDOM = frozenset({"Bernoulli", "RandomUniformLike"})


class Verdict(Enum):
    """What became of a case."""

    PASSED = "passed"
    REFUSED = "refused"
    WRONG = "wrong"
    UNCLEAR = "unclear"
    RAW = "raw error"


class Gradient(Enum):
    """Whether training goes through a case."""

    NONE = "none"
    YES = "yes"
    REFUSED = "refused"


@dataclass(frozen=True)
class Result:
    """What became of a case, the words that say why, and how many inputs were constants."""

    verdict: Verdict
    words: str = ""
    constants: int = 0
    gradient: Gradient = Gradient.NONE

    @property
    def is_fault(self) -> bool:
        """Whether it should not be so, whatever a case asks for."""
        return self.verdict in (Verdict.WRONG, Verdict.RAW)


def attempt(case: BackendCase, gradient: bool = False) -> Result:
    """Run a case as it is; then with integer inputs, then with all but the first as constants.

    ``gradient``: whether to see if training goes through it.

    Sizes come from the data here, so inputs that are sizes must be constants, as in real files.
    """
    model = case.model()
    results = []
    for positions in _forms(model):
        form = _with_constants(case, model, positions)
        results.append(_attempt(case, form, positions))
        if results[-1].verdict is Verdict.PASSED and not any(r.is_fault for r in results):
            if gradient:
                return replace(results[-1], gradient=_gradient(case, form))
            return results[-1]
    return next((r for r in results if r.is_fault), results[-1])


def _forms(model: onnx.ModelProto) -> Iterator[Sequence[int]]:
    """Yield the positions of the inputs that are made constants.

    All of them only if the model makes something out of sizes alone.
    """
    inputs = model.graph.input
    floats = (1, 10, 11, 16)
    whole = [
        i
        for i, v in enumerate(inputs)
        if v.type.WhichOneof("value") == "tensor_type"
        and v.type.tensor_type.elem_type not in floats
    ]
    yield ()
    if whole and len(whole) < len(inputs):
        yield whole
    rest = list(range(1, len(inputs)))
    if rest and rest != whole:
        yield rest
    types = {node.op_type for node in model.graph.node}
    if types & _OF_SIZES:
        yield list(range(len(inputs)))


def _with_constants(
    case: BackendCase, model: onnx.ModelProto, positions: Sequence[int]
) -> onnx.ModelProto:
    if not positions:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inputs, _ = next(case.data_sets(model))
    held = {t.name for t in copy.graph.initializer}
    for i in positions:
        name = model.graph.input[i].name
        if isinstance(inputs[i], np.ndarray) and name not in held:
            copy.graph.initializer.append(numpy_helper.from_array(inputs[i], name))
    return copy


def _attempt(case: BackendCase, model: onnx.ModelProto, constants: Sequence[int]) -> Result:
    try:
        for inputs, outputs in case.data_sets(model):
            held = {t.name for t in model.graph.initializer}
            feed = {
                v.name: array for v, array in zip(model.graph.input, inputs) if v.name not in held
            }
            empty = [name for name, value in feed.items() if value is None]
            if empty:
                words = f"{empty[0]!r} is an optional without a value, which no network takes"
                return Result(Verdict.REFUSED, words, len(constants))
            results = run(model, feed)
            fault = _difference(case, results, outputs, _is_random(model))
            if fault:
                return Result(Verdict.WRONG, fault, len(constants))
    except SymbucketError as error:
        words = one_line(error)
        clear = _is_clear(str(error), model)
        return Result(Verdict.REFUSED if clear else Verdict.UNCLEAR, words, len(constants))
    except Exception as error:
        return Result(Verdict.RAW, f"{type(error).__name__}: {one_line(error)}", len(constants))
    return Result(Verdict.PASSED, "", len(constants))


def _gradient(case: BackendCase, model: onnx.ModelProto) -> Gradient:
    inputs, _ = next(case.data_sets(model))
    held = {t.name for t in model.graph.initializer}
    feed = {v.name: x for v, x in zip(model.graph.input, inputs) if v.name not in held}
    symbol = sb.sym.from_onnx(model, params=[], name="case")
    values = {n: sb.nd.array(x, dtype=x.dtype) for n, x in map(_readable, feed.items())}
    arguments = {name: values[name] for name in symbol.list_arguments()}
    states = {name: _state(model, name, values) for name in symbol.list_auxiliary_states()}
    grads = {n: sb.nd.zeros(a.shape, dtype=a.dtype) for n, a in arguments.items()}
    grads = {n: a for n, a in grads.items() if a.dtype.kind == "f"}
    if not grads:
        return Gradient.NONE
    try:
        executor = symbol.bind(sb.cpu(), arguments, grads, "write", states)
        outputs = executor.forward(is_train=True)
        if not any(out.dtype.kind == "f" for out in outputs):
            return Gradient.NONE
        executor.backward([np.ones(out.shape, out.dtype) for out in outputs])
    except SymbucketError:
        return Gradient.REFUSED
    moves = any(bool(np.any(executor.grad_dict[n].asnumpy())) for n in grads)
    return Gradient.YES if moves else Gradient.NONE


def run(model: onnx.ModelProto, feed: dict[str, Any]) -> list[np.ndarray]:
    """Return the outputs for some inputs, as an inference, or a training step if it asks for it."""
    symbol = sb.sym.from_onnx(model, params=[], name="case")
    values = {n: sb.nd.array(x, dtype=x.dtype) for n, x in map(_readable, feed.items())}
    arguments = {name: values[name] for name in symbol.list_arguments()}
    states = {name: _state(model, name, values) for name in symbol.list_auxiliary_states()}
    executor = symbol.bind(sb.cpu(), arguments, None, "null", states)
    outputs = executor.forward(is_train=_trains(model))
    return [out.asnumpy() for out in outputs]


def _readable(item: tuple[str, Any]) -> tuple[str, np.ndarray]:
    """Return an input with bfloat16 as float32."""
    name, value = item
    value = np.asarray(value)
    return name, value.astype(np.float32) if value.dtype.name == "bfloat16" else value


def _state(model: onnx.ModelProto, name: str, values: dict[str, Any]) -> np.ndarray:
    if name in values:
        return values[name]
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    return numpy_helper.to_array(tensor)


def _trains(model: onnx.ModelProto) -> bool:
    return any(
        a.name == "training_mode" and a.i for node in model.graph.node for a in node.attribute
    )


def _is_random(model: onnx.ModelProto) -> bool:
    types = {node.op_type for node in model.graph.node}
    names = {value.name for value in model.graph.input}
    # Dropout draws if the file says so; "t" is then its training mode.
    return bool(types & RANDOM) or ("Dropout" in types and bool(names & {"t", "training_mode"}))


def _difference(
    case: BackendCase, results: list[np.ndarray], expected: list[Any], random: bool
) -> str:
    """Return in what outputs differ from what must come out; "" if they do not."""
    if len(results) != len(expected):
        return f"{len(results)} outputs, not {len(expected)}"
    for i, (result, right) in enumerate(zip(results, expected)):
        rtol, atol = case.rtol, 0.0
        if getattr(right, "dtype", None) is not None and right.dtype.name == "bfloat16":
            right = right.astype(np.float32)
            rtol, atol = 2.0**-6, 2.0**-7 * float(np.abs(right).max(initial=0))
        if not is_array(right):
            return f"output {i} is not a tensor of numbers"
        if result.dtype != right.dtype or result.shape != right.shape:
            return f"output {i}: {result.dtype}{result.shape}, not {right.dtype}{right.shape}"
        if random:
            continue
        if not np.allclose(result, right, rtol, max(atol, _atol(case, right)), equal_nan=True):
            return f"output {i} differs by {np.nanmax(np.abs(result.astype('d') - right))}"
    return ""


def _atol(case: BackendCase, right: np.ndarray) -> float:
    """The tolerance of the case, and that of a sum in float32 whose terms are as the largest."""
    sizes = np.abs(right[np.isfinite(right)]) if right.dtype.kind == "f" else np.zeros(0)
    return max(case.atol, 1e-6, 4 * 1.2e-7 * float(sizes.max(initial=0)))


def _is_clear(message: str, model: onnx.ModelProto) -> bool:
    """Return whether a message names a value of the model, or a node, its operator and version."""
    values = (*model.graph.input, *model.graph.output, *model.graph.initializer)
    if any(f"{v.name!r}" in message for v in values):
        return True
    names = [n for n in model.graph.node if n.op_type in message]
    return bool(names) and (" of opset " in message or "onnxruntime" in message)
