"""Reductions: over the batch's rows only sums, over other axes all."""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.compiler.shards.labels import SUM, Digit, Label, RefusedError
from symbucket.compiler.shards.rules.base import Operands, rule
from symbucket.ir import attribute_of, dtype_of

_ADDS = ("ReduceSum", "ReduceSumSquare", "ReduceL1")


@rule(
    *_ADDS,
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
)
def reduction(v: Operands) -> Sequence[Label]:
    """A sum over the rows is the sum of the shards' sums."""
    if not v.is_same(1):
        raise RefusedError("its axes are computed")
    if not v.is_rows(0):
        exact = dtype_of(v.node.outputs[0]).is_floating_point()  # a mean of integers is rounded
        if v.node.op_type == "ReduceSum" or (v.node.op_type == "ReduceMean" and exact):
            return [SUM]
        raise RefusedError("it takes a sum over the batch's rows and is not linear in it")
    rank, digit = len(v.shape(0)), v.digit(0)
    axes = v.ints(1) or attribute_of(v.node, "axes")
    if not axes:
        axes = [] if v.attribute("noop_with_empty_axes") else range(rank)
    reduced = {v.axis(axis, rank) for axis in axes}
    if digit.axis in reduced:
        if v.node.op_type not in _ADDS:
            raise RefusedError("it reduces over the batch's rows, and is no sum")
        return [SUM]
    axis = digit.axis
    if not v.attribute("keepdims"):
        axis -= sum(one < digit.axis for one in reduced)
    return [Digit(axis, digit.outer).label(v.out_shape())]
