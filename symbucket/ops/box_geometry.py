"""Boxes as columns of numbers: their overlaps, and which of them others suppress."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ir.expr import maximum, minimum, where
from symbucket.ops.loop_body import Values, repeat
from symbucket.ops.record import Emitter

Sides = Sequence[Expr]
"""Left, top, right and bottom of boxes, each of one shape."""

NEVER = -1e30  # a score below all others


def constant(g: Emitter, value: ir.Value) -> Expr:
    """Return a value that no gradient flows to, with kernels for all that is done to boxes."""
    x = Expr(g, g.own("BlockGrad", value))
    return x.cast(ir.DataType.FLOAT) if x.dtype == ir.DataType.FLOAT16 else x


def constants(g: Emitter, *values: ir.Value) -> list[Expr]:
    """Return values as ``constant`` does, of one dtype: float64 if all are, else float32."""
    parts = [constant(g, value) for value in values]
    is_wide = all(part.dtype == ir.DataType.DOUBLE for part in parts)
    return [part.cast(ir.DataType.DOUBLE if is_wide else ir.DataType.FLOAT) for part in parts]


def columns(boxes: Expr) -> list[Expr]:
    """Return the numbers of boxes (..., k) as k values (...)."""
    *leading, width = boxes.shape
    parts = boxes.ops("Split", [1] * width, axis=len(leading), outputs=width)
    return [part.reshape(leading) for part in parts]


def joined(numbers: Sequence[Expr]) -> Expr:
    """Return k values (...) as boxes (..., k): what ``columns`` undoes."""
    first, *others = (x.reshape((*x.shape, 1)) for x in numbers)
    return first.op("Concat", *others, axis=len(numbers[0].shape))


def corners(numbers: Sequence[Expr], is_center: bool) -> list[Expr]:
    """Return the sides of boxes that are (x, y, width, height), or sides already."""
    if not is_center:
        return list(numbers)
    x, y, width, height = numbers
    return [x - width * 0.5, y - height * 0.5, x + width * 0.5, y + height * 0.5]


def centers(sides: Sides) -> list[Expr]:
    """Return (x, y, width, height) of boxes."""
    left, top, right, bottom = sides
    return [(left + right) * 0.5, (top + bottom) * 0.5, right - left, bottom - top]


def area(sides: Sides, pixel: float = 0.0) -> Expr:
    """Return width times height; ``pixel``: how much longer than its ends' distance a side is."""
    left, top, right, bottom = sides
    return (right - left + pixel) * (bottom - top + pixel)


def overlap(a: Sides, b: Sides, areas: tuple[Expr, Expr] | None = None, pixel: float = 0.0) -> Expr:
    """Return the area that boxes share over the area that they cover together."""
    of_a, of_b = areas or (area(a, pixel), area(b, pixel))
    width = minimum(a[2], b[2]) - maximum(a[0], b[0]) + pixel
    height = minimum(a[3], b[3]) - maximum(a[1], b[1]) + pixel
    shared = maximum(width, 0.0) * maximum(height, 0.0)
    return where(shared > 0.0, shared / maximum(of_a + of_b - shared, 1e-30), 0.0)


def by_score(scores: Expr, count: int) -> Expr:
    """Return the positions of the ``count`` highest of scores (b, n), highest first, in int64."""
    return scores.ops("TopK", [count], axis=1, largest=1, outputs=2)[1]


def take(rows: Expr, index: Expr) -> Expr:
    """Return rows (b, n, ...) at positions (b, k): (b, k, ...)."""
    b, k = index.shape
    rest = rows.shape[2:]
    spread = index.reshape((b, k, *(1 for _ in rest))).expand((b, k, *rest))
    return rows.op("GatherElements", spread, axis=1)


def not_suppressed(
    g: Emitter,
    sides: Sides,
    valid: Expr,
    threshold: float,
    kinds: Expr | None = None,
    includes: bool = False,
    pixel: float = 0.0,
) -> Expr:
    """Return which boxes (b, k), best first, no better one that is kept overlaps too much.

    A loop over the boxes, each of which is compared with all others at once.

    Args:
        g: where the loop is written.
        sides: of the boxes.
        valid: (b, k), which boxes there are.
        threshold: an overlap above it suppresses; ``includes``: one that is equal, too.
        kinds: boxes of other kinds are left alone; None: all boxes are of one kind.
        pixel: as of ``area``.
    """
    b, k = valid.shape
    dtype = sides[0].dtype
    areas = area(sides, pixel)
    compared = [*sides, areas] if kinds is None else [*sides, areas, kinds]
    numbers = Expr(g, g.const(np.arange(k, dtype=np.int64)))
    position = numbers.reshape((1, k))

    def step(states: Values, slices: Values, _: Sequence[int]) -> tuple[Values, Values]:
        remains, own, number = Expr(g, states[0]), [Expr(g, v) for v in slices[:-1]], slices[-1]
        index = Expr(g, number)
        is_kept = remains.op("Gather", index, axis=1).reshape((b, 1)) > 0.0
        shared = overlap(own[:4], sides, (own[4], areas), pixel)
        loses = (shared >= threshold) if includes else (shared > threshold)
        loses = loses & (position > index) & is_kept
        if kinds is not None:
            loses = loses & (own[5] == kinds)
        return [where(loses, 0.0, remains).value], []

    stacks = [x.transpose([1, 0]).reshape((k, b, 1)).value for x in compared]
    first = valid.cast(dtype).value
    (remains,), _ = repeat(g, k, [first], [*stacks, numbers.value], step)
    return Expr(g, remains) > 0.0


def first_ones(chosen: Expr) -> Expr:
    """Return positions (b, k) of the boxes that are ``chosen``, in their order, then the others."""
    k = chosen.shape[1]
    numbers = np.arange(k, dtype=np.float32)[None]
    place = chosen.cast(ir.DataType.FLOAT) * float(k) - numbers
    return by_score(place, k)


def match_greedily(g: Emitter, scores: Expr, least: float, count: int) -> tuple[Expr, Expr]:
    """Return the column of each row (b, m) and the row of each column (b, n), -1 for none.

    Of ``scores`` (b, m, n) the highest makes a pair, then the highest of the rows and columns that
    are left, at most ``count`` times and only if it exceeds ``least``.
    """
    b, m, n = scores.shape
    rows, cols = (Expr(g, g.const(np.arange(k, dtype=np.int64)[None])) for k in (m, n))

    def step(states: Values, _: Values, __: object) -> tuple[Values, Values]:
        left, of_row, of_column = (Expr(g, v) for v in states)
        flat = left.reshape((b, m * n))
        best = flat.op("ArgMax", axis=1, keepdims=1)
        fits = flat.op("GatherElements", best, axis=1) > least
        row = best / best.filled(n, ())
        column = best - row * n
        used_row, used_column = fits & (rows == row), fits & (cols == column)
        used = used_row.reshape((b, m, 1)) | used_column.reshape((b, 1, n))
        left = where(used, NEVER, left)
        of_row = where(used_row, column.cast(of_row.dtype), of_row)
        of_column = where(used_column, row.cast(of_column.dtype), of_column)
        return [left.value, of_row.value, of_column.value], []

    none = [scores.filled(-1.0, (b, k)).value for k in (m, n)]
    (_, of_row, of_column), _ = repeat(g, count, [scores.value, *none], [], step)
    return Expr(g, of_row), Expr(g, of_column)
