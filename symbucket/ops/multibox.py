"""The boxes of SSD (Liu et al., 2016): priors, targets for training, detections."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, shape_of
from symbucket.ir.expr import clip, exp, log, maximum, where
from symbucket.ops.blocks import check_image
from symbucket.ops.box_geometry import (
    NEVER,
    by_score,
    centers,
    columns,
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
from symbucket.types import Array, InferredShapes, PartialShape

FAMILY = "Boxes"

_VARIANCES = (0.1, 0.1, 0.2, 0.2)


@operator("_contrib_MultiBoxPrior")
class MultiBoxPrior(Operator):
    """Boxes around every pixel of an image, in parts of its size; the pixels do not matter.

    Of each pixel there are boxes of all ``sizes`` with the first of ``ratios`` (width to height),
    then of the first size with the other ratios. ``steps`` (vertical, horizontal) lie between the
    pixels (-1: they fill the image), ``offsets`` say where in its step a pixel lies.
    """

    formula = "y[0, box] = center -+ size * (height / width * sqrt(ratio), 1 / sqrt(ratio)) / 2"
    example = "contrib.MultiBoxPrior([[[[0]]]], sizes=(0.5,)) -> [[[0.25, 0.25, 0.75, 0.75]]]"
    shapes = "(n, c, h, w) -> (1, k, 4)"
    no_gradient = ("data",)

    sizes: tuple[float, ...] = (1.0,)
    ratios: tuple[float, ...] = (1.0,)
    clip: bool = False
    steps: tuple[float, ...] = (-1.0, -1.0)
    offsets: tuple[float, ...] = (0.5, 0.5)

    def __post_init__(self) -> None:
        self.check(min(self.sizes, default=0) > 0, f"sizes={self.sizes} must be positive numbers")
        self.check(min(self.ratios, default=0) > 0, f"ratios={self.ratios} must be positive")
        for name in ("steps", "offsets"):
            value = getattr(self, name)
            self.check(len(value) == 2, f"{name}={value} must be two numbers, vertical first")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        check_image(data)
        if data is None or not (data[2] and data[3]):
            return ins, [unify(outs[0], (1, 0, 4))]
        boxes = data[2] * data[3] * (len(self.sizes) + len(self.ratios) - 1)
        return ins, [unify(outs[0], (1, boxes, 4))]

    def _boxes(self, h: int, w: int) -> Array:
        step_y, step_x = (s if s > 0 else 1.0 / n for s, n in zip(self.steps, (h, w)))
        ys, xs = np.meshgrid(
            (np.arange(h) + self.offsets[0]) * step_y,
            (np.arange(w) + self.offsets[1]) * step_x,
            indexing="ij",
        )
        kinds = [(size, self.ratios[0]) for size in self.sizes]
        kinds += [(self.sizes[0], ratio) for ratio in self.ratios[1:]]
        half = [(s * h / w * r**0.5 / 2, s / r**0.5 / 2) for s, r in kinds]
        boxes = [(xs - x, ys - y, xs + x, ys + y) for x, y in half]
        joined = np.stack([np.stack(box, axis=-1) for box in boxes], axis=2).reshape(1, -1, 4)
        return np.clip(joined, 0.0, 1.0) if self.clip else joined

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.const(self._boxes(*shape_of(data)[2:]), like=data)


@operator("_contrib_MultiBoxTarget")
class MultiBoxTarget(Operator):
    """What SSD is to say of each of its boxes: how far it is from an object, and its class.

    ``label`` holds the objects of a sample, (class, left, top, right, bottom, ...) each, up to the
    first of class -1. Each object takes the box that overlaps it most; further boxes take the
    object that they overlap most, if by more than ``overlap_threshold``. Outputs: four distances
    of every box, 1 where they count, and the class plus 1, 0 for the background. With
    ``negative_mining_ratio`` only so many boxes for each with an object are background: those that
    ``cls_pred`` is least sure of, among those that overlap nothing by
    ``negative_mining_thresh``; the others get ``ignore_label``, and so do samples without objects.
    """

    formula = (
        "loc_target = (distance of centers / size, log of sizes) / variances, "
        "cls_target = class + 1"
    )
    example = (
        "contrib.MultiBoxTarget([[[0, 0, 1, 1]]], [[[2, 0, 0, 1, 0.5]]], [[[0], [1]]]) -> "
        "[[0, -2.5, 0, -3.466]], [[1, 1, 1, 1]], [[3]]"
    )
    shapes = "(1, a, 4), (n, l, k), (n, c, a) -> (n, b), (n, b), (n, a)"
    no_gradient = ("anchor", "label", "cls_pred")

    overlap_threshold: float = 0.5
    ignore_label: float = -1.0
    negative_mining_ratio: float = -1.0
    negative_mining_thresh: float = 0.5
    minimum_negative_samples: int = 0
    variances: tuple[float, ...] = _VARIANCES

    def __post_init__(self) -> None:
        self.check(len(self.variances) == 4, f"variances={self.variances} must be four numbers")

    def arguments(self) -> tuple[str, ...]:
        return ("anchor", "label", "cls_pred")

    def outputs(self) -> tuple[str, ...]:
        return ("loc_target", "loc_mask", "cls_target")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        anchor, label, scores = unify(ins[0], (1, 0, 4)), ins[1], ins[2]
        assert anchor is not None
        for name, shape in (("label", label), ("cls_pred", scores)):
            if shape is not None and len(shape) != 3:
                raise ShapeError(f"{name} must have three axes, found {shape}")
        if label is not None and 0 < label[2] < 5:
            raise ShapeError(f"label must hold (class, 4 sides) of each object, found {label}")
        n = next((s[0] for s in (label, scores) if s is not None), 0)
        label = None if label is None else unify(label, (n, 0, 0))
        scores = unify(scores, (n, 0, anchor[1])) if scores is not None else None
        count = anchor[1]
        results = (n, count * 4), (n, count * 4), (n, count)
        return [anchor, label, scores], [unify(o, shape) for o, shape in zip(outs, results)]

    def emit(
        self, g: Emitter, anchor: ir.Value, label: ir.Value, cls_pred: ir.Value
    ) -> list[ir.Value]:
        boxes, objects, scores = constants(g, anchor, label, cls_pred)
        n, count, _ = objects.shape
        a = boxes.shape[1]
        sides = columns(boxes)
        kind, *rest = columns(objects)
        object_sides = rest[:4]
        last = Expr(g, g.const(np.int64(1)))
        ended = (kind == -1.0).cast(kind.dtype).op("CumSum", last)
        there = ended == 0.0
        shared = overlap(
            [s.reshape((1, a, 1)) for s in sides], [s.reshape((n, 1, count)) for s in object_sides]
        )
        shared = where(there.reshape((n, 1, count)), shared, -1.0)
        best_object = shared.op("ArgMax", axis=2, keepdims=0)
        best = shared.op("ReduceMax", [2], keepdims=0)
        matched, _ = match_greedily(g, shared, 1e-6, min(a, count))
        positive = matched >= 0.0
        if self.overlap_threshold > 0:
            further = ~positive & (best > self.overlap_threshold)
            matched = where(further, best_object.cast(matched.dtype), matched)
            positive = positive | further
        some = there.cast(kind.dtype).sum(1, keepdims=True) > 0.0
        index = clip(matched, 0.0).cast(ir.DataType.INT64)
        own = [take(s, index) for s in object_sides]
        negative = ~positive & some
        if self.negative_mining_ratio > 0:
            negative = negative & self._mined(positive, best, scores)
        ignored = kind.filled(self.ignore_label, (n, a))
        cls_target = where(positive, take(kind, index) + 1.0, where(negative, 0.0, ignored))
        distances = _encoded(own, sides, self.variances)
        mask = positive.reshape((n, a, 1))
        location = joined([where(positive, d, 0.0) for d in distances]).reshape((n, a * 4))
        loc_mask = mask.expand((n, a, 4)).reshape((n, a * 4)).cast(kind.dtype)
        return [g.cast(v.value, anchor.dtype or v.dtype) for v in (location, loc_mask, cls_target)]

    def _mined(self, positive: Expr, best: Expr, scores: Expr) -> Expr:
        """Return which boxes (n, a) are those of the background that are hardest to tell."""
        a = positive.shape[1]
        log_softmax = scores.op("LogSoftmax", axis=1)
        sure = log_softmax.op("Slice", [0], [1], [1]).reshape(positive.shape)
        candidate = ~positive & (best < self.negative_mining_thresh)
        order = by_score(where(candidate, -sure, NEVER), a)
        rank = by_score(-order.cast(sure.dtype), a)  # the inverse permutation
        count = positive.cast(sure.dtype).sum(1, keepdims=True)
        limit = (count * self.negative_mining_ratio).op("Floor")
        limit = maximum(limit, float(self.minimum_negative_samples))
        return candidate & (rank.cast(sure.dtype) < limit)


def _encoded(own: list[Expr], sides: list[Expr], variances: tuple[float, ...]) -> list[Expr]:
    """Return how far objects are from boxes: parts of its size, and logarithms of sizes."""
    x, y, width, height = centers(sides)
    object_x, object_y, object_width, object_height = centers(own)
    return [
        (object_x - x) / width / variances[0],
        (object_y - y) / height / variances[1],
        log(maximum(object_width, 1e-12) / width) / variances[2],
        log(maximum(object_height, 1e-12) / height) / variances[3],
    ]


@operator("_contrib_MultiBoxDetection")
class MultiBoxDetection(Operator):
    """What SSD has found: (class, score, left, top, right, bottom) of each box, best first.

    ``loc_pred`` are distances from the boxes of ``anchor``, as MultiBoxTarget has them. A box that
    is background, or below ``threshold``, is -1 all over. Of class -1 are boxes that a better one
    of their class (of any class with ``force_suppress``) overlaps by ``nms_threshold``, and all
    after the ``nms_topk`` best.
    """

    formula = "y[n, i] = (class, score, center -+ size / 2), by score, class -1 if suppressed"
    example = (
        "contrib.MultiBoxDetection([[[0.1], [0.9]]], [[0, 0, 0, 0]], [[[0, 0, 1, 0.5]]]) -> "
        "[[[0, 0.9, 0, 0, 1, 0.5]]]"
    )
    shapes = "(n, c, a), (n, b), (1, a, 4) -> (n, a, 6)"
    no_gradient = ("cls_prob", "loc_pred", "anchor")

    clip: bool = True
    threshold: float = 0.01
    background_id: int = 0
    nms_threshold: float = 0.5
    force_suppress: bool = False
    variances: tuple[float, ...] = _VARIANCES
    nms_topk: int = -1

    def __post_init__(self) -> None:
        self.check(len(self.variances) == 4, f"variances={self.variances} must be four numbers")
        self.check(
            self.background_id == 0,
            f"background_id={self.background_id} is not available; the background is class 0",
        )

    def arguments(self) -> tuple[str, ...]:
        return ("cls_prob", "loc_pred", "anchor")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        scores, location, anchor = unify(ins[0], (0, 0, 0)), ins[1], unify(ins[2], (1, 0, 4))
        assert scores is not None
        assert anchor is not None
        n, classes, count = scores
        if classes == 1:
            raise ShapeError(f"cls_prob {scores} has no class but the background")
        anchor = unify(anchor, (1, count, 4))
        assert anchor is not None
        count = anchor[1]
        location = unify(location, (n, count * 4))
        return [unify(scores, (n, classes, count)), location, anchor], [
            unify(outs[0], (n, count, 6))
        ]

    def emit(
        self, g: Emitter, cls_prob: ir.Value, loc_pred: ir.Value, anchor: ir.Value
    ) -> ir.Value:
        scores, distances, boxes = constants(g, cls_prob, loc_pred, anchor)
        n, classes, a = scores.shape
        objects = scores.op("Slice", [1], [classes], [1])
        kind = objects.op("ArgMax", axis=1, keepdims=0).cast(scores.dtype)
        score = objects.op("ReduceMax", [1], keepdims=0)
        valid = score >= self.threshold
        decoded = self._decoded(columns(distances.reshape((n, a, 4))), columns(boxes))
        suppresses = 0.0 < self.nms_threshold <= 1.0
        order = by_score(where(valid, score, NEVER), a) if suppresses else first_ones(valid)
        kind, score, *sides = (take(x, order) for x in (kind, score, *decoded))
        valid = take(valid.cast(ir.DataType.INT32), order) > 0
        remains = valid
        if suppresses:
            kinds = None if self.force_suppress else kind
            count = min(self.nms_topk, a) if self.nms_topk > 0 else a
            first = [x.op("Slice", [0], [count], [1]) for x in sides]
            best = not_suppressed(
                g,
                first,
                valid.op("Slice", [0], [count], [1]),
                self.nms_threshold,
                None if kinds is None else kinds.op("Slice", [0], [count], [1]),
                includes=True,
            )
            remains = best
            if count < a:
                none = score.filled(0.0, (n, a - count)) > 1.0
                remains = best.op("Concat", none, axis=1)
        kind = where(remains, kind, -1.0)
        result = joined([where(valid, x, -1.0) for x in (kind, score, *sides)])
        return g.cast(result.value, cls_prob.dtype or result.dtype)

    def _decoded(self, distances: list[Expr], boxes: list[Expr]) -> list[Expr]:
        x, y, width, height = centers(boxes)
        moved = [d * v for d, v in zip(distances, self.variances)]
        center = moved[0] * width + x, moved[1] * height + y
        size = exp(moved[2]) * width, exp(moved[3]) * height
        sides = corners([*center, *size], is_center=True)
        return [clip(side, 0.0, 1.0) for side in sides] if self.clip else sides
