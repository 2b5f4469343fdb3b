"""Copies of an array with a slice of it replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.elements import as_element
from symbucket.ir import Expr, shape_of
from symbucket.ir.expr import where
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import is_known, unify
from symbucket.ops.slicing import slice_ranges
from symbucket.types import InferredShapes, PartialShape, Shape

FAMILY = "Slices and joins"


class _Assignment(Operator):
    """A copy of ``lhs`` with new values at ``[begin[0]:end[0]:step[0], ...]``."""

    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        self.check(len(self.begin) == len(self.end), "begin and end must be equally long")

    def ranges(self, shape: Shape) -> list[range]:
        """Return which elements along each of the first axes are replaced."""
        return slice_ranges(self.begin, self.end, self.step, shape)


def _inside(x: Expr, ranges: Sequence[range]) -> Expr | None:
    """Return which elements of ``x`` are in the slice, broadcastable; None: all of them."""
    result: Expr | None = None
    for axis, (span, size) in enumerate(zip(ranges, x.shape)):
        if len(span) == size:
            continue
        flags = np.zeros(size, np.bool_)
        flags[list(span)] = True
        each = Expr(x.g, x.g.const(flags.reshape(-1, *[1] * (x.rank - axis - 1))))
        result = each if result is None else result & each
    return result


@operator("_slice_assign", "_crop_assign")
class SliceAssign(_Assignment):
    """A copy of ``lhs`` with ``rhs`` at ``[begin[0]:end[0]:step[0], ...]``."""

    formula = "y = lhs, but y[begin:end] = rhs"
    example = "_slice_assign([1, 2, 3], [5, 6], begin=(1,), end=(3,)) -> [1, 5, 6]"
    shapes = "(*d), (*e) -> (*d)"

    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] | None = None

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        lhs = unify(ins[0], outs[0])
        if lhs is None or not is_known(lhs):
            return [lhs, ins[1]], [lhs]
        sizes = tuple(len(r) for r in self.ranges(lhs))
        return [lhs, unify(ins[1], (*sizes, *lhs[len(sizes) :]))], [lhs]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        x, y = Expr(g, lhs), Expr(g, rhs)
        ranges = self.ranges(shape_of(lhs))
        for axis, (span, size) in enumerate(zip(ranges, x.shape)):
            if span == range(size):
                continue
            # Each position of lhs takes its element of rhs; outside the slice, any.
            source = np.zeros(size, np.int64)
            source[list(span)] = np.arange(len(span))
            y = y.op("Gather", Expr(g, g.const(source)), axis=axis)
        inside = _inside(x, ranges)
        return (y if inside is None else where(inside, y, x)).value


@operator("_slice_assign_scalar", "_crop_assign_scalar")
class SliceAssignScalar(_Assignment):
    """A copy of ``data`` with ``scalar`` at ``[begin[0]:end[0]:step[0], ...]``."""

    formula = "y = data, but y[begin:end] = scalar"
    example = "_slice_assign_scalar([1, 2, 3], scalar=5, begin=(1,), end=(3,)) -> [1, 5, 5]"

    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] | None = None
    scalar: float = 0.0

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        inside = _inside(x, self.ranges(shape_of(data)))
        number: Any = self.scalar
        if x.dtype.is_integer():
            number = as_element(number, x.dtype.numpy()).item()
        filled = Expr(g, g.filled(shape_of(data), number, x.dtype))
        return (filled if inside is None else where(inside, filled, x)).value


@operator("_identity_with_attr_like_rhs")
class IdentityWithAttrLikeRHS(Operator):
    """``lhs`` itself, whose shape is declared to be that of ``rhs``: each tells the other's."""

    formula = "y = lhs"
    example = "_identity_with_attr_like_rhs([1, 2], [3, 4]) -> [1, 2]"
    shapes = "(*d), (*d) -> (*d)"
    no_gradient = ("rhs",)

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(unify(*ins), outs[0])
        return [shape, shape], [shape]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        return g.op("Identity", lhs)
