"""Reductions of foreign graphs over no axes, and over axes without elements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.ir import const_of, dtype_of, shape_of
from symbucket.ops.foreign.call import Call
from symbucket.ops.record import Emitter

_NAN = float("nan")
_LOWEST, _HIGHEST = float("-inf"), float("inf")
REDUCTIONS = {
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare"), 0.0),
    **dict.fromkeys(("ReduceLogSum", "ReduceLogSumExp", "ReduceMax"), _LOWEST),
    "ReduceMin": _HIGHEST,
    "ReduceProd": 1.0,
    "ReduceMean": _NAN,
}
"""What a reduction of no elements is; of integers the lowest or highest one."""


def axes_as_input(g: Emitter, call: Call) -> Call:
    """Return a node as it is from opset 18 on; reductions had their axes as an attribute before."""
    if "axes" not in call.attrs:
        return call
    rest = {k: v for k, v in call.attrs.items() if k != "axes"}
    return replace(call, attrs=rest, inputs=[call.input(0), g.ints(*call.attr("axes"))])


def special_reduction(g: Emitter, call: Call) -> ir.Value | None:
    """Return the result of a reduction over no axes or no elements; None for any other.

    The runtimes differ: onnxruntime 1.19 returns elements as they are if there are no axes, and
    refuses to take the largest of none.
    """
    x = call.input(0)
    shape = shape_of(x)
    constant = const_of(call.optional(1))
    if call.optional(1) is not None and constant is None:
        return None
    axes = [] if constant is None else [int(axis) for axis in constant]
    if not axes and call.attr("noop_with_empty_axes", 0):
        return _each_by_itself(g, call)
    reduced = {axis % len(shape) for axis in axes} if axes else set(range(len(shape)))
    if all(shape[axis] for axis in reduced):
        return None
    keep = call.attr("keepdims", 1)
    rest = [1 if i in reduced else d for i, d in enumerate(shape) if keep or i not in reduced]
    return g.const(np.full(rest, _of_nothing(call.op_type, dtype_of(x).numpy())), like=x)


def _of_nothing(op_type: str, dtype: np.dtype[Any]) -> float | int | bool:
    value = REDUCTIONS[op_type]
    if dtype.kind in "iu" and np.isinf(value):
        limits = np.iinfo(dtype)
        return int(limits.max if value > 0 else limits.min)
    return bool(value > 0) if dtype.kind == "b" else value


def _each_by_itself(g: Emitter, call: Call) -> ir.Value:
    x = call.input(0)
    if call.op_type in ("ReduceL1", "ReduceL2"):
        return g.op("Abs", x)
    if call.op_type == "ReduceSumSquare":
        return g.op("Mul", x, x)
    return g.op("Log", x) if call.op_type == "ReduceLogSum" else g.op("Identity", x)
