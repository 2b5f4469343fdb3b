"""Boxes as offsets from anchors, and back: what a detector learns and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr
from symbucket.ir.expr import exp, log, minimum, where
from symbucket.ops.box_geometry import centers, columns, constants, corners, joined, take
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Detection"


@operator("_contrib_box_encode")
class BoxEncode(Operator):
    """Offsets of matched boxes from their anchors, and which of them count.

    ``matches`` (b, n) says which of the boxes ``refs`` (b, m, 4) each anchor has; those with a
    sample above 0.5 count. Boxes are (left, top, right, bottom). What does not count is 0.
    """

    formula = (
        "output0 = (((x - x_a) / w_a, (y - y_a) / h_a, log(w / w_a), log(h / h_a)) - means) / stds"
        " of centres and sizes"
    )
    example = (
        "contrib.box_encode([[1]], [[0]], [[[0, 0, 2, 2]]], [[[1, 0, 3, 2]]], [0, 0, 0, 0], "
        "[1, 1, 1, 1]) -> [[[0.5, 0, 0, 0]]], [[[1, 1, 1, 1]]]"
    )
    shapes = "(b, n), (b, n), (b, n, 4), (b, m, 4), (4), (4) -> (b, n, 4), (b, n, 4)"
    no_gradient = ("samples", "matches", "anchors", "refs", "means", "stds")

    def arguments(self) -> tuple[str, ...]:
        return ("samples", "matches", "anchors", "refs", "means", "stds")

    def outputs(self) -> tuple[str, ...]:
        return ("output0", "output1")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        samples, matches, anchors, refs, means, stds = ins
        frame = unify(samples, matches)
        for boxes in (anchors, *outs):
            frame = unify(frame, None if boxes is None else boxes[:2])
        if frame is None:
            return ins, outs
        if len(frame) != 2:
            raise ShapeError(f"samples and matches must be (b, n); their shape is {frame}")
        full = unify(anchors, (*frame, 4))
        refs = unify(refs, (frame[0], 0, 4))
        inputs = [frame, frame, full, refs, unify(means, (4,)), unify(stds, (4,))]
        return inputs, [unify(out, full) for out in outs]

    def emit(
        self,
        g: Emitter,
        samples: ir.Value,
        matches: ir.Value,
        anchors: ir.Value,
        refs: ir.Value,
        means: ir.Value,
        stds: ir.Value,
    ) -> Sequence[ir.Value]:
        picks, near, numbers, mean, std, chosen = constants(
            g, samples, anchors, refs, means, stds, matches
        )
        index = chosen.cast(ir.DataType.INT64)
        x, y, w, h = centers(columns(take(numbers, index)))
        xa, ya, wa, ha = centers(columns(near))
        offsets = ((x - xa) / wa, (y - ya) / ha, log(w / wa), log(h / ha))
        code = joined(offsets)
        counts = (picks > 0.5).reshape((*picks.shape, 1))
        zero = code.filled(0.0)
        values = where(counts, (code - mean) / std, zero)
        dtypes = [ir.DataType.from_numpy(dtype) for dtype in g.out_dtypes]
        masks = where(counts, code.filled(1.0), zero)
        return [v.cast(dtype).value for v, dtype in zip((values, masks), dtypes)]


@operator("_contrib_box_decode")
class BoxDecode(Operator):
    """Boxes (left, top, right, bottom) of offsets from anchors: what ``box_encode`` made, undone.

    ``format`` says what anchors are: "center" (x, y, width, height) or "corner". Logarithms of
    sizes, times their factors, are at most ``clip`` if that is positive.
    """

    formula = "centre (x std0 w_a + x_a, y std1 h_a + y_a), size (exp(w std2) w_a, exp(h std3) h_a)"
    example = (
        "contrib.box_decode([[[0.5, 0, 0, 0]]], [[[0, 0, 2, 2]]], format='corner') -> "
        "[[[1, 0, 3, 2]]]"
    )
    shapes = "(b, n, 4), (1, n, 4) -> (b, n, 4)"

    std0: float = 1.0
    std1: float = 1.0
    std2: float = 1.0
    std3: float = 1.0
    clip: float = -1.0
    format: Literal["center", "corner"] = "center"

    def arguments(self) -> tuple[str, ...]:
        return ("data", "anchors")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = unify(unify(ins[0], outs[0]), (0, 0, 4))
        assert data is not None
        anchors = unify(ins[1], (1, data[1], 4))
        assert anchors is not None
        data = unify(data, (0, anchors[1], 4))
        return [data, anchors], [data]

    def emit(self, g: Emitter, data: ir.Value, anchors: ir.Value) -> ir.Value:
        codes, near = columns(Expr(g, data)), columns(Expr(g, anchors))
        xa, ya, wa, ha = near if self.format == "center" else centers(near)
        x = codes[0] * self.std0 * wa + xa
        y = codes[1] * self.std1 * ha + ya
        sizes = [codes[2] * self.std2, codes[3] * self.std3]
        if self.clip > 0:
            sizes = [minimum(size, self.clip) for size in sizes]
        width, height = exp(sizes[0]) * wa, exp(sizes[1]) * ha
        return joined(corners((x, y, width, height), is_center=True)).value
