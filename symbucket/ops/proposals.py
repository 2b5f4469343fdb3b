"""Proposal: the regions of a region proposal network (Ren et al., 2015)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ir.expr import clip, exp, maximum, minimum, where
from symbucket.ops.box_geometry import (
    by_score,
    columns,
    constants,
    first_ones,
    not_suppressed,
    take,
)
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import Array, InferredShapes, PartialShape

FAMILY = "Boxes"


@operator("_contrib_MultiProposal")
class MultiProposal(Operator):
    """The regions in which a region proposal network sees objects, for each image of a batch.

    ``cls_prob`` holds the scores of background and object of boxes of all ``scales`` and
    ``ratios`` around each pixel, ``bbox_pred`` how they are moved, ``im_info`` (height, width,
    scale) of the images. Of the ``rpn_pre_nms_top_n`` best boxes those that a better one overlaps
    by more than ``threshold`` are left out; the ``rpn_post_nms_top_n`` best of the rest (over
    again, if there are fewer) come out as (image, left, top, right, bottom), with
    ``output_score`` their scores, too. Boxes below ``rpn_min_size`` (times the scale) score -1.
    """

    formula = "y[r] = (image, left, top, right, bottom) of its best boxes that are not suppressed"
    example = (
        "contrib.MultiProposal([[[[0.1]], [[0.9]]]], [[[[0]], [[0]], [[0]], [[0]]]], "
        "[[16, 16, 1]], rpn_post_nms_top_n=1, scales=(0.5,), ratios=(1,), rpn_min_size=1) -> "
        "[[0, 4, 4, 11, 11]]"
    )
    shapes = "(n, b, h, w), (n, a, h, w), (n, 3) -> (r, 5), (r, 1)"
    no_gradient = ("cls_prob", "bbox_pred", "im_info")

    rpn_pre_nms_top_n: int = 6000
    rpn_post_nms_top_n: int = 300
    threshold: float = 0.7
    rpn_min_size: int = 16
    scales: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    feature_stride: int = 16
    output_score: bool = False
    iou_loss: bool = False

    def __post_init__(self) -> None:
        for name in ("rpn_post_nms_top_n", "feature_stride"):
            self.check(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")
        for name in ("scales", "ratios"):
            value = getattr(self, name)
            self.check(min(value, default=0) > 0, f"{name}={value} must be positive numbers")

    def arguments(self) -> tuple[str, ...]:
        return ("cls_prob", "bbox_pred", "im_info")

    def outputs(self) -> tuple[str, ...]:
        return ("output", "score") if self.output_score else ("output",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        kinds = len(self.scales) * len(self.ratios)
        scores = unify(ins[0], (0, 2 * kinds, 0, 0))
        assert scores is not None
        moves = unify(ins[1], (scores[0], 4 * kinds, *scores[2:]))
        assert moves is not None
        scores = unify(scores, (moves[0], 0, *moves[2:]))
        assert scores is not None
        info = unify(ins[2], (scores[0], 3))
        assert info is not None
        n = scores[0] or info[0]
        self.check_batch(n)
        rows = n * self.rpn_post_nms_top_n
        sizes = [(rows, 5), (rows, 1)]
        return [scores, moves, info], [unify(out, size) for out, size in zip(outs, sizes)]

    def check_batch(self, n: int) -> None:
        """Raise InvalidArgumentError if there are too many images."""

    def _anchors(self) -> Array:
        """Return the boxes (k, 4) around the first pixel: all scales of the first ratio, ..."""
        size, boxes = self.feature_stride, []
        middle = 0.5 * (size - 1)
        for ratio in self.ratios:
            width = np.floor(np.sqrt(np.floor(size * size / ratio)) + 0.5)
            height = np.floor(width * ratio + 0.5)
            for scale in self.scales:
                x, y = 0.5 * (width * scale - 1), 0.5 * (height * scale - 1)
                boxes.append([middle - x, middle - y, middle + x, middle + y])
        return np.array(boxes)

    def emit(
        self, g: Emitter, cls_prob: ir.Value, bbox_pred: ir.Value, im_info: ir.Value
    ) -> list[ir.Value]:
        scores, moves, info = constants(g, cls_prob, bbox_pred, im_info)
        n, channels, h, w = scores.shape
        kinds = channels // 2
        count = h * w * kinds
        score = scores.op("Slice", [kinds], [channels], [1]).transpose([0, 2, 3, 1])
        score = score.reshape((n, count))
        by_box = moves.reshape((n, kinds, 4, h, w)).transpose([0, 3, 4, 1, 2])
        height, width, scale = (c.reshape((n, 1)) for c in columns(info))
        sides = self._moved(columns(by_box.reshape((n, count, 4))), h, w, width, height)
        row, column = (
            score.const(numbers.reshape(1, h, w, 1).repeat(kinds, axis=3).reshape(1, count))
            for numbers in np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
        )
        stride = float(self.feature_stride)
        inside = (row < (height / stride).op("Floor")) & (column < (width / stride).op("Floor"))
        least = scale * float(self.rpn_min_size)
        left, top, right, bottom = sides
        small = (right - left + 1.0 < least) | (bottom - top + 1.0 < least)
        more = where(small, least * 0.5, left.filled(0.0, (n, count)))
        sides = [left - more, top - more, right + more, bottom + more]
        score = where(inside & ~small, score, -1.0)

        best = min(self.rpn_pre_nms_top_n, count) if self.rpn_pre_nms_top_n > 0 else count
        order = by_score(score, best)
        score, *sides = (take(x, order) for x in (score, *sides))
        remains = not_suppressed(g, sides, score > -2.0, self.threshold, pixel=1.0)
        front = first_ones(remains)
        rows = self.rpn_post_nms_top_n
        most = minimum(remains.cast(score.dtype).sum(1, keepdims=True), float(min(rows, best)))
        number = score.const(np.arange(rows, dtype=np.float64)[None])
        place = number - ((number + 0.5) / most).op("Floor") * most  # over again at the end
        index = take(front, clip(place, 0.0, best - 1.0).cast(ir.DataType.INT64))
        image = score.const(np.arange(n).repeat(rows).reshape(-1, 1).astype(np.float64))
        regions = image.op("Concat", *(take(s, index).reshape((-1, 1)) for s in sides), axis=1)
        results = [regions, take(score, index).reshape((-1, 1))]
        dtype = cls_prob.dtype or score.dtype
        return [g.cast(x.value, dtype) for x, _ in zip(results, self.outputs())]

    def _moved(self, moves: list[Expr], h: int, w: int, width: Expr, height: Expr) -> list[Expr]:
        """Return the sides of the boxes where the network moves them, inside of the image."""
        ys, xs = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
        shift = np.stack([xs, ys, xs, ys], axis=-1)[:, :, None] * self.feature_stride
        boxes = (self._anchors()[None, None] + shift).reshape(-1, 4)
        left, top, right, bottom = (moves[0].const(boxes[None, :, i]) for i in range(4))
        if self.iou_loss:
            sides = [side + move for side, move in zip((left, top, right, bottom), moves)]
        else:
            old = right - left + 1.0, bottom - top + 1.0
            x = moves[0] * old[0] + left + (old[0] - 1.0) * 0.5
            y = moves[1] * old[1] + top + (old[1] - 1.0) * 0.5
            half = [(exp(move) * size - 1.0) * 0.5 for move, size in zip(moves[2:], old)]
            sides = [x - half[0], y - half[1], x + half[0], y + half[1]]
        ends = width - 1.0, height - 1.0
        return [maximum(minimum(side, ends[i % 2]), 0.0) for i, side in enumerate(sides)]


@operator("_contrib_Proposal")
class Proposal(MultiProposal):
    """``MultiProposal`` for a single image."""

    formula = "y[r] = (0, left, top, right, bottom) of the best boxes that are not suppressed"
    example = (
        "contrib.Proposal([[[[0.1]], [[0.9]]]], [[[[0]], [[0]], [[0]], [[0]]]], [[16, 16, 1]], "
        "rpn_post_nms_top_n=1, scales=(0.5,), ratios=(1,), rpn_min_size=1) -> [[0, 4, 4, 11, 11]]"
    )
    shapes = "(1, b, h, w), (1, a, h, w), (1, 3) -> (r, 5), (r, 1)"

    def check_batch(self, n: int) -> None:
        self.check(n in (0, 1), f"data has {n} images; _contrib_MultiProposal takes several")
