"""Boxes of detectors: overlaps, suppression of boxes that overlap, and matching of pairs."""

from __future__ import annotations

import math
from typing import Literal

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr
from symbucket.ir.expr import where
from symbucket.ops.box_geometry import (
    NEVER,
    by_score,
    centers,
    columns,
    constant,
    constants,
    corners,
    first_ones,
    joined,
    match_greedily,
    not_suppressed,
    overlap,
    take,
)
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Boxes"

Format = Literal["corner", "center"]


@operator("_contrib_box_iou")
class BoxIoU(Operator):
    """The area that each box of ``lhs`` shares with each of ``rhs``, over what both cover.

    A box is (left, top, right, bottom), or with ``format="center"`` (x, y, width, height).
    """

    formula = "y[i, j] = area(lhs[i] and rhs[j]) / area(lhs[i] or rhs[j])"
    example = "contrib.box_iou([[0, 0, 2, 2]], [[1, 1, 3, 3]]) -> [[0.1429]]"
    shapes = "(*m, 4), (*n, 4) -> (*m, *n)"
    no_gradient = ("lhs", "rhs")

    format: Format = "corner"

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        for name, shape in zip(self.arguments(), ins):
            if shape is not None and (not shape or shape[-1] not in (0, 4)):
                raise ShapeError(f"{name} of shape {shape} has no boxes of 4 numbers")
        lhs, rhs = ins
        if lhs is None or rhs is None:
            return ins, outs
        ends = (*lhs[:-1], 4), (*rhs[:-1], 4)
        return list(ends), [unify(outs[0], (*lhs[:-1], *rhs[:-1]))]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        a, b = constants(g, lhs, rhs)
        sides = [
            [corner.reshape(shape) for corner in corners(columns(x), self.format == "center")]
            for x, shape in ((a, (-1, 1)), (b, (1, -1)))
        ]
        result = overlap(sides[0], sides[1]).reshape(g.out_shapes[0])
        return g.cast(result.value, lhs.dtype or result.dtype)


@operator("_contrib_box_nms", "_contrib_box_non_maximum_suppression")
class BoxNMS(Operator):
    """Boxes by descending score, without those that a better one overlaps; the rest is -1.

    The numbers of a box are ``score_index``, four from ``coord_start`` on, its class ``id_index``,
    and others, which go with it. Boxes of scores up to ``valid_thresh`` and of the class
    ``background_id`` are left out, then all but the ``topk`` best, then those that overlap a better
    one of their class by more than ``overlap_thresh`` (of any class with ``force_suppress``, or
    without ``id_index``). The gradient flows to the boxes that are kept.
    """

    formula = "y[0], y[1], ... = boxes of x by score, unless a better one overlaps them"
    example = (
        "contrib.box_nms([[0, 0.5, 0, 0, 2, 2], [0, 0.9, 0, 0, 2, 3], [1, 0.7, 5, 5, 6, 6]]) -> "
        "[[0, 0.9, 0, 0, 2, 3], [1, 0.7, 5, 5, 6, 6], [-1, -1, -1, -1, -1, -1]]"
    )
    shapes = "(*d, n, k) -> (*d, n, k)"

    overlap_thresh: float = 0.5
    valid_thresh: float = 0.0
    topk: int = -1
    coord_start: int = 2
    score_index: int = 1
    id_index: int = -1
    background_id: int = -1
    force_suppress: bool = False
    in_format: Format = "corner"
    out_format: Format = "corner"

    def __post_init__(self) -> None:
        self.check(
            self.coord_start >= 0 and self.score_index >= 0,
            f"coord_start={self.coord_start} and score_index={self.score_index} are places of "
            "numbers in a box, 0 or more",
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        if shape is not None:
            needed = max(self.coord_start + 4, self.score_index + 1, self.id_index + 1)
            if len(shape) < 2 or 0 < shape[-1] < needed:
                raise ShapeError(
                    f"data must be (..., boxes, numbers of a box) with {needed} numbers or more, "
                    f"found {shape}"
                )
        return [shape], [shape]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        *leading, n, width = x.shape
        rows = x.reshape((math.prod(leading), n, width))
        numbers = columns(constant(g, rows.value))
        scores = numbers[self.score_index]
        kinds = numbers[self.id_index] if self.id_index >= 0 else None
        valid = scores > self.valid_thresh
        if kinds is not None:
            valid = valid & (kinds != float(self.background_id))
        count = min(self.topk, n) if self.topk > 0 else n
        order = by_score(where(valid, scores, NEVER), count)
        sides = corners(
            [take(c, order) for c in numbers[self.coord_start : self.coord_start + 4]],
            self.in_format == "center",
        )
        by_kind = kinds is not None and not self.force_suppress
        remains = not_suppressed(
            g,
            sides,
            take(valid.cast(ir.DataType.INT32), order) > 0,
            self.overlap_thresh,
            take(kinds, order) if kinds is not None and by_kind else None,
        )
        front = first_ones(remains)
        chosen = self._converted(take(rows, take(order, front)))
        there = (take(remains.cast(ir.DataType.INT32), front) > 0).reshape((-1, count, 1))
        result = where(there, chosen, -1.0)
        if count < n:
            rest = result.filled(-1.0, (rows.shape[0], n - count, width))
            result = result.op("Concat", rest, axis=1)
        return result.reshape(x.shape).value

    def _converted(self, rows: Expr) -> Expr:
        """Return rows whose boxes have the format of the output."""
        if self.in_format == self.out_format:
            return rows
        start = self.coord_start
        numbers = columns(rows)
        convert = centers if self.out_format == "center" else (lambda box: corners(box, True))
        numbers[start : start + 4] = convert(numbers[start : start + 4])
        return joined(numbers)


@operator("_contrib_bipartite_matching")
class BipartiteMatching(Operator):
    """Pairs of rows and columns: the best score first, then the best among what is left, ...

    The best is the highest score (the lowest with ``is_ascend``); scores that do not exceed
    ``threshold`` (do not lie below it) make no pairs, nor more than ``topk`` if that is positive.
    The first output holds the column of each row, the second the row of each column, -1 for none.
    """

    formula = "output0[i] = j and output1[j] = i, where x[i, j] is the best of what is left"
    example = (
        "contrib.bipartite_matching([[0.5, 0.6], [0.1, 0.2], [0.3, 0.4]], threshold=0.01) -> "
        "[1, -1, 0], [2, 0]"
    )
    shapes = "(*d, m, n) -> (*d, m), (*d, n)"
    no_gradient = ("data",)

    is_ascend: bool = False
    threshold: float
    topk: int = -1

    def outputs(self) -> tuple[str, ...]:
        return ("output0", "output1")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        if len(data) < 2:
            raise ShapeError(f"data must be (..., rows, columns), found {data}")
        results = data[:-1], (*data[:-2], data[-1])
        return ins, [unify(out, shape) for out, shape in zip(outs, results)]

    def emit(self, g: Emitter, data: ir.Value) -> list[ir.Value]:
        x = constant(g, data)
        *leading, m, n = x.shape
        scores = (-x if self.is_ascend else x).reshape((math.prod(leading), m, n))
        least = -self.threshold if self.is_ascend else self.threshold
        count = min(m, n) if self.topk <= 0 else min(m, n, self.topk)
        of_row, of_column = match_greedily(g, scores, least, count)
        pairs = zip((of_row, of_column), g.out_shapes)
        dtype = data.dtype or x.dtype
        return [g.cast(matches.reshape(shape).value, dtype) for matches, shape in pairs]
