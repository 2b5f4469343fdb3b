"""Regions of images in a fixed size: ROIPooling and ROIAlign."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ir.expr import clip, maximum, where
from symbucket.ops.blocks import check_image
from symbucket.ops.interpolation import sample
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import Array, InferredShapes, PartialShape

FAMILY = "Images"


class _Regions(Operator):
    """Rectangles (number of the image, left, top, right, bottom), in pixels over spatial_scale."""

    pooled_size: tuple[int, ...]
    spatial_scale: float

    def __post_init__(self) -> None:
        size = self.pooled_size
        self.check(len(size) == 2 and min(size) > 0, f"pooled_size={size} must be (height, width)")
        self.check(self.spatial_scale > 0, f"spatial_scale={self.spatial_scale} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "rois")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        check_image(data)
        rois = unify(ins[1], (0, 5))
        assert rois is not None
        if data is None:
            return [data, rois], outs
        return [data, rois], [unify(outs[0], (rois[0], data[1], *self.pooled_size))]

    def columns(self, rois: Expr) -> list[Expr]:
        """Return the image's number and the four sides, each (k,)."""
        parts = rois.ops("Split", [1] * 5, axis=1, outputs=5)
        return [part.reshape((rois.shape[0],)) for part in parts]


@operator("ROIPooling")
class ROIPooling(_Regions):
    """The largest element in each of ``pooled_size`` parts of every region.

    A part of a region without elements gives 0. Training takes memory for regions times channels,
    height, width of the image, and the width of ``pooled_size``.
    """

    formula = (
        "y[r, c, i, j] = max of x[c] in part (i, j) of the region rois[r] = (sample, left, top, "
        "right, bottom)"
    )
    example = (
        "ROIPooling([[[[1, 2], [3, 4]]]], [[0, 0, 0, 1, 1]], pooled_size=(1, 2), spatial_scale=1) "
        "-> [[[[3, 4]]]]"
    )
    shapes = "(n, c, h, w), (k, 5) -> (k, c, y, x)"
    no_gradient = ("rois",)

    pooled_size: tuple[int, ...]
    spatial_scale: float

    def emit(self, g: Emitter, data: ir.Value, rois: ir.Value) -> ir.Value:
        image = Expr(g, data)
        number, left, top, right, bottom = self.columns(Expr(g, g.own("BlockGrad", rois)))
        index = clip(number.cast(ir.DataType.INT64), 0, image.shape[0] - 1)
        chosen = image.op("Gather", index, axis=0)
        by_column = self._largest(chosen, left, right, axis=3)
        largest = self._largest(by_column.transpose([0, 1, 3, 2]), top, bottom, axis=2)
        return largest.transpose([0, 1, 3, 2]).value

    def _largest(self, x: Expr, begin: Expr, end: Expr, axis: int) -> Expr:
        """The largest elements along the last axis of x (k, c, a, b), in each part of a region."""
        k, c, other, size = x.shape
        parts = self.pooled_size[axis - 2]
        low, high = (_rounded(side * self.spatial_scale) for side in (begin, end))
        step = maximum(high - low + 1.0, 1.0).reshape((k, 1)) * (1.0 / parts)
        numbers = low.const(np.arange(parts))
        start = (step * numbers).op("Floor") + low.reshape((k, 1))
        stop = (step * (numbers + 1.0)).op("Ceil") + low.reshape((k, 1))
        place = low.const(np.arange(size))
        inside = (place >= start.reshape((k, parts, 1))) & (place < stop.reshape((k, parts, 1)))
        inside = inside.reshape((k, 1, 1, parts, size))
        lowest = float(np.finfo(x.dtype.numpy()).min)  # never chosen; 0 where nothing is inside
        masked = where(inside, x.reshape((k, c, other, 1, size)), lowest)
        # The gradient is that of one element, the first of those that are the largest.
        first = masked.op("ArgMax", axis=4, keepdims=1)
        largest = masked.op("GatherElements", first, axis=4).reshape((k, c, other, parts))
        return where(largest > lowest, largest, 0.0)


def _rounded(x: Expr) -> Expr:
    return (x + 0.5).op("Floor")


@operator("_contrib_ROIAlign")
class ROIAlign(_Regions):
    """The average of ``sample_ratio`` x ``sample_ratio`` points in each part of every region.

    Points between pixels are interpolated. Without ``sample_ratio`` the size of the region says how
    many there are, and there is no gradient. ``aligned`` shifts regions by half a pixel.
    """

    formula = (
        "y[r, c, i, j] = mean of x[c], interpolated at points of part (i, j) of the region rois[r]"
    )
    example = (
        "contrib.ROIAlign([[[[1, 2], [3, 4]]]], [[0, 0, 0, 1, 1]], pooled_size=(1, 1), "
        "spatial_scale=1, sample_ratio=1) -> [[[[2.5]]]]"
    )
    shapes = "(n, c, h, w), (k, 5) -> (k, c, y, x)"
    no_gradient = ("rois",)

    pooled_size: tuple[int, ...]
    spatial_scale: float
    sample_ratio: int = -1
    position_sensitive: bool = False
    aligned: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check(not self.position_sensitive, "position_sensitive=True is not available")

    def emit(self, g: Emitter, data: ir.Value, rois: ir.Value) -> ir.Value:
        single = ir.DataType.FLOAT if data.dtype == ir.DataType.FLOAT16 else data.dtype
        assert single is not None
        image = Expr(g, data).cast(single)  # places in float16 would be pixels apart
        number, *sides = self.columns(Expr(g, g.own("BlockGrad", rois)).cast(single))
        index = clip(number.cast(ir.DataType.INT64), 0, image.shape[0] - 1)
        if self.sample_ratio <= 0:
            boxes = (
                sides[0]
                .reshape((-1, 1))
                .op("Concat", *(side.reshape((-1, 1)) for side in sides[1:]), axis=1)
            )
            whole = image.op(
                "RoiAlign",
                boxes,
                index,
                mode="avg",
                output_height=self.pooled_size[0],
                output_width=self.pooled_size[1],
                sampling_ratio=0,
                spatial_scale=self.spatial_scale,
                coordinate_transformation_mode=(
                    "half_pixel" if self.aligned else "output_half_pixel"
                ),
            )
            return whole.cast(Expr(g, data).dtype).value
        offset = 0.5 if self.aligned else 0.0
        left, top, right, bottom = (side * self.spatial_scale - offset for side in sides)
        ys = self._points(top, bottom, self.pooled_size[0])
        xs = self._points(left, right, self.pooled_size[1])
        k, rows = ys.shape
        columns = xs.shape[1]
        y = ys.reshape((k, rows, 1)).expand((k, rows, columns)).reshape((k, rows * columns))
        x = xs.reshape((k, 1, columns)).expand((k, rows, columns)).reshape((k, rows * columns))
        h, w = image.shape[2:]
        inside = (y >= -1.0) & (y <= float(h)) & (x >= -1.0) & (x <= float(w))
        chosen = image.op("Gather", index, axis=0)
        points = sample(chosen, (y, x), "linear", "border")
        points = points * inside.cast(points.dtype).reshape((k, 1, rows * columns))
        ratio = self.sample_ratio
        height, width = self.pooled_size
        parts = points.reshape((k, image.shape[1], height, ratio, width, ratio))
        return parts.mean([3, 5]).cast(Expr(g, data).dtype).value

    def _points(self, begin: Expr, end: Expr, parts: int) -> Expr:
        """The places (k, parts * sample_ratio) of the points along one axis."""
        length = end - begin
        if not self.aligned:
            length = maximum(length, 1.0)
        count = parts * self.sample_ratio
        places = (np.arange(count) + 0.5) / count
        return begin.reshape((-1, 1)) + length.reshape((-1, 1)) * begin.const(places)


@operator("_contrib_PSROIPooling")
class PSROIPooling(Operator):
    """The mean in each of ``pooled_size`` times ``pooled_size`` parts of every region (R-FCN).

    Each part reads channels of its own: the data have ``output_dim`` times ``group_size`` (that of
    the pooling, if 0) times ``group_size`` of them.
    """

    formula = "y[r, d, i, j] = mean of x[(d * group + i) * group + j] in part (i, j) of region r"
    example = (
        "contrib.PSROIPooling([[[[1, 2], [3, 4]]]], [[0, 0, 0, 1, 1]], spatial_scale=1, "
        "output_dim=1, pooled_size=1) -> [[[[2.5]]]]"
    )
    shapes = "(n, c, h, w), (k, 5) -> (k, output_dim, pooled_size, pooled_size)"
    no_gradient = ("rois",)

    spatial_scale: float
    output_dim: int
    pooled_size: int
    group_size: int = 0

    def __post_init__(self) -> None:
        for name in ("output_dim", "pooled_size", "spatial_scale"):
            self.check(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")
        self.check(self.group_size >= 0, f"group_size={self.group_size} must be 0 or more")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "rois")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        check_image(ins[0])
        group = self.group_size or self.pooled_size
        data = unify(ins[0], (0, self.output_dim * group * group, 0, 0))
        rois = unify(ins[1], (0, 5))
        assert rois is not None
        size = (rois[0], self.output_dim, self.pooled_size, self.pooled_size)
        return [data, rois], [unify(outs[0], size)]

    def emit(self, g: Emitter, data: ir.Value, rois: ir.Value) -> ir.Value:
        image, parts = Expr(g, data), self.pooled_size
        places = Expr(g, g.own("BlockGrad", rois)).cast(ir.DataType.FLOAT)
        number, *sides = (
            part.reshape((places.shape[0],))
            for part in places.ops("Split", [1] * 5, axis=1, outputs=5)
        )
        index = clip(number.cast(ir.DataType.INT64), 0, image.shape[0] - 1)
        chosen = image.op("Gather", index, axis=0)
        k, c, h, w = chosen.shape
        rows = self._shares(sides[1], sides[3], h).cast(image.dtype).reshape((k, 1, parts, h))
        columns = self._shares(sides[0], sides[2], w).cast(image.dtype).reshape((k, 1, parts, w))
        means = rows @ (chosen @ columns.transpose([0, 1, 3, 2]))  # of all channels, all parts
        flat = means.reshape((k, c * parts * parts))
        picked = flat.op("Gather", Expr(g, g.const(self._own_channels())), axis=1)
        return picked.reshape(g.out_shapes[0]).value

    def _shares(self, begin: Expr, end: Expr, size: int) -> Expr:
        """Return the weights (k, parts, size) of pixels in the mean of each part."""
        k, parts = begin.shape[0], self.pooled_size
        low = (_away_from_zero(begin) * self.spatial_scale).reshape((k, 1))
        high = ((_away_from_zero(end) + 1.0) * self.spatial_scale).reshape((k, 1))
        step = maximum(high - low, 0.1) * (1.0 / parts)
        numbers = begin.const(np.arange(parts)[None])
        start = clip((step * numbers + low).op("Floor"), 0.0, float(size)).reshape((k, parts, 1))
        stop = clip((step * (numbers + 1.0) + low).op("Ceil"), 0.0, float(size))
        stop = stop.reshape((k, parts, 1))
        pixel = begin.const(np.arange(size).reshape(1, 1, size))
        inside = ((pixel >= start) & (pixel < stop)).cast(begin.dtype)
        return inside / maximum(stop - start, 1.0)

    def _own_channels(self) -> Array:
        """Return, for each output, its place among the means of all channels and parts."""
        parts, group = self.pooled_size, self.group_size or self.pooled_size
        d, i, j = np.meshgrid(*map(np.arange, (self.output_dim, parts, parts)), indexing="ij")
        channel = (d * group + i * group // parts) * group + j * group // parts
        own: Array = ((channel * parts + i) * parts + j).reshape(-1).astype(np.int64)
        return own


def _away_from_zero(x: Expr) -> Expr:
    return x.op("Sign") * (abs(x) + 0.5).op("Floor")
