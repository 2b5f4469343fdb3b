"""Images read at computed places: grids, bilinear sampling, spatial transformers, resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, shape_of
from symbucket.ir.expr import where
from symbucket.ops.blocks import check_image
from symbucket.ops.interpolation import sample
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import Array, InferredShapes, PartialShape

FAMILY = "Images"


def _affine_grid(matrices: Expr, size: Sequence[int]) -> Expr:
    """The places (n, 2, h, w) that matrices (n, 6) move a regular grid to."""
    h, w = size
    ys, xs = np.meshgrid(*(np.linspace(-1.0, 1.0, k) for k in size), indexing="ij")
    regular = matrices.const(np.stack([xs, ys, np.ones_like(xs)]).reshape(3, h * w))
    n = matrices.shape[0]
    return (matrices.reshape((n * 2, 3)) @ regular).reshape((n, 2, h, w))


def _sampled(image: Expr, grid: Expr) -> Expr:
    """An image at the places of a grid (n, 2, h, w): x and y from -1 to 1."""
    n, c, h, w = image.shape
    size = grid.shape[2:]
    x, y = (
        part.reshape((n, math.prod(size))) for part in grid.ops("Split", [1, 1], axis=1, outputs=2)
    )
    places = (y + 1.0) * ((h - 1) / 2.0), (x + 1.0) * ((w - 1) / 2.0)
    return sample(image, places, "linear", "zeros").reshape((n, c, *size))


class _WithTarget(Operator):
    target_shape: tuple[int, ...] = (0, 0)

    def check_target(self, needed: bool) -> None:
        """Raise InvalidArgumentError unless ``target_shape`` is (height, width)."""
        size = self.target_shape
        least = 1 if needed else 0
        self.check(
            len(size) == 2 and min(size) >= least,
            f"target_shape={size} must be (height, width)",
        )


@operator("GridGenerator")
class GridGenerator(_WithTarget):
    """Places at which BilinearSampler reads an image: x and y, from -1 to 1.

    "affine": the places that a matrix of two rows and three columns (six numbers a sample) moves a
    regular grid of ``target_shape`` to. "warp": a regular grid, moved by the data (in pixels).
    """

    formula = "affine: y = A (u, v, 1), A = data[n] as 2 x 3; warp: y = (u, v), moved by data"
    example = (
        'GridGenerator([[1, 0, 0, 0, 1, 0]], transform_type="affine", target_shape=(2, 2)) -> '
        "[[[[-1, 1], [-1, 1]], [[-1, -1], [1, 1]]]]"
    )
    shapes = "(n, 6) -> (n, 2, h, w) or (n, 2, h, w) -> (n, 2, h, w)"

    transform_type: Literal["affine", "warp"]
    target_shape: tuple[int, ...] = (0, 0)

    def __post_init__(self) -> None:
        self.check_target(needed=self.transform_type == "affine")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if self.transform_type == "warp":
            shape = unify(unify(data, out), (0, 2, 0, 0))
            return [shape], [shape]
        data = unify(data, (0, 6))
        assert data is not None
        return [data], [unify(out, (data[0], 2, *self.target_shape))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        if self.transform_type == "affine":
            return _affine_grid(x, self.target_shape).value
        h, w = x.shape[2:]
        ys, xs = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
        half = np.maximum(np.array([w - 1, h - 1]).reshape(1, 2, 1, 1) / 2.0, 0.5)
        return ((x + np.stack([xs, ys])[None]) / half - 1.0).value


@operator("BilinearSampler")
class BilinearSampler(Operator):
    """``data`` at the places of ``grid`` (x and y, from -1 to 1), interpolated; 0 outside."""

    formula = "y[c, i, j] = data[c] at (w - 1, h - 1) (grid[:, i, j] + 1) / 2, interpolated"
    example = "BilinearSampler([[[[1, 3]]]], [[[[-1, 0, 1]], [[0, 0, 0]]]]) -> [[[[1, 2, 3]]]]"
    shapes = "(n, c, h, w), (n, 2, y, x) -> (n, c, y, x)"

    cudnn_off: bool = False

    def arguments(self) -> tuple[str, ...]:
        return ("data", "grid")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, grid = ins
        check_image(data)
        if data is None:
            return ins, outs
        grid = unify(grid, (data[0], 2, 0, 0))
        assert grid is not None
        return [data, grid], [unify(outs[0], (*data[:2], *grid[2:]))]

    def emit(self, g: Emitter, data: ir.Value, grid: ir.Value) -> ir.Value:
        return _sampled(Expr(g, data), Expr(g, grid)).value


@operator("SpatialTransformer")
class SpatialTransformer(_WithTarget):
    """``data`` moved by the affine matrices ``loc``: GridGenerator and BilinearSampler in one."""

    formula = "BilinearSampler(data, GridGenerator(loc))"
    example = (
        'SpatialTransformer([[[[1, 2], [3, 4]]]], [[-1, 0, 0, 0, 1, 0]], transform_type="affine", '
        'sampler_type="bilinear", target_shape=(2, 2)) -> [[[[2, 1], [4, 3]]]]'
    )
    shapes = "(n, c, h, w), (n, 6) -> (n, c, y, x)"

    target_shape: tuple[int, ...] = (0, 0)
    transform_type: Literal["affine"]
    sampler_type: Literal["bilinear"]
    cudnn_off: bool = False

    def __post_init__(self) -> None:
        self.check_target(needed=True)

    def arguments(self) -> tuple[str, ...]:
        return ("data", "loc")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, loc = ins
        check_image(data)
        if data is None:
            return ins, outs
        return [data, unify(loc, (data[0], 6))], [unify(outs[0], (*data[:2], *self.target_shape))]

    def emit(self, g: Emitter, data: ir.Value, loc: ir.Value) -> ir.Value:
        return _sampled(Expr(g, data), _affine_grid(Expr(g, loc), self.target_shape)).value


class _Separable(Operator):
    """An image times a matrix for its rows and one for its columns."""

    def matrices(self, size: Sequence[int], target: Sequence[int]) -> list[Array]:
        """Return the weights (target, size) for each axis."""
        raise NotImplementedError

    def multiplied(self, g: Emitter, data: ir.Value) -> ir.Value:
        """Return the data with the weights of both axes."""
        x = Expr(g, data)
        n, c, h, w = x.shape
        rows, columns = self.matrices((h, w), g.out_shapes[0][2:])
        y = x.reshape((n * c * h, w)) @ x.const(columns.T)
        y = x.const(rows) @ y.reshape((n * c, h, columns.shape[0]))
        return y.reshape(g.out_shapes[0]).value


@operator("_contrib_AdaptiveAvgPooling2D")
class AdaptiveAvgPooling2D(_Separable):
    """The average of as many areas as ``output_size`` says: (height, width), or one for both.

    Without ``output_size`` the average of the whole image.
    """

    formula = "y[i] = mean of x[floor(i h / k)], ..., x[ceil((i + 1) h / k) - 1], k = output_size"
    example = "contrib.AdaptiveAvgPooling2D([[[[1, 2], [3, 6]]]], output_size=1) -> [[[[3]]]]"
    shapes = "(n, c, h, w) -> (n, c, y, x)"

    output_size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.check(
            len(self.output_size) <= 2 and min(self.output_size, default=1) > 0,
            f"output_size={self.output_size} must be (height, width), or one number",
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        check_image(data)
        size = self.output_size or (1,)
        size = size * 2 if len(size) == 1 else size
        return ins, outs if data is None else [unify(outs[0], (*data[:2], *size))]

    def matrices(self, size: Sequence[int], target: Sequence[int]) -> list[Array]:
        weights = []
        for whole, count in zip(size, target):
            matrix = np.zeros((count, whole))
            for i in range(count):
                area = slice(i * whole // count, -(-(i + 1) * whole // count))
                matrix[i, area] = 1.0 / (area.stop - area.start)
            weights.append(matrix)
        return weights

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return self.multiplied(g, data)


@operator("_contrib_BilinearResize2D")
class BilinearResize2D(_Separable):
    """Images of another size, interpolated.

    The size is (``height``, ``width``), or the old one times ``scale_height`` and ``scale_width``
    (mode "size"), or that of the input ``like`` (mode "like"), or the next even or odd one
    ("to_even_down", "to_odd_up", ...). ``align_corners`` keeps the outermost pixels in place.
    """

    formula = "y[i, j] = x interpolated at i (h - 1) / (height - 1), j (w - 1) / (width - 1)"
    example = "contrib.BilinearResize2D([[[[1, 3]]]], height=1, width=3) -> [[[[1, 2, 3]]]]"
    shapes = "(n, c, h, w), (*d) -> (n, c, y, x)"
    no_gradient = ("like",)

    height: int = 1
    width: int = 1
    scale_height: float | None = None
    scale_width: float | None = None
    mode: Literal[
        "size", "odd_scale", "like", "to_even_down", "to_even_up", "to_odd_down", "to_odd_up"
    ] = "size"
    align_corners: bool = True

    def __post_init__(self) -> None:
        self.check(min(self.height, self.width) > 0, f"{self.height} times {self.width} is no size")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "like") if self.mode == "like" else ("data",)

    def _size(self, old: int, size: int, scale: float | None) -> int:
        """The new size of an axis, 0 if the old one is unknown."""
        if not old:
            return 0 if scale is not None or self.mode != "size" else size
        if self.mode == "odd_scale":
            factor = 1.0 if scale is None else scale
            return int(old * factor) if old % 2 == 0 else int((old - 1) * factor) + 1
        if self.mode == "size":
            return size if scale is None else int(old * scale)
        is_even = old % 2 == 0
        step = 1 if self.mode.endswith("up") else -1
        return old if is_even == ("even" in self.mode) else old + step

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        for name, shape in zip(self.arguments(), ins):
            check_image(shape, name)
        if data is None:
            return ins, outs
        if self.mode == "like":
            size = (0, 0) if ins[1] is None else ins[1][2:]
        else:
            size = (
                self._size(data[2], self.height, self.scale_height),
                self._size(data[3], self.width, self.scale_width),
            )
        if min(size) < 0:
            raise ShapeError(f"nothing of {data} would be left")
        return ins, [unify(outs[0], (*data[:2], *size))]

    def matrices(self, size: Sequence[int], target: Sequence[int]) -> list[Array]:
        weights = []
        for whole, count in zip(size, target):
            if self.align_corners:
                at = np.linspace(0.0, whole - 1.0, count)
            else:
                at = np.maximum((np.arange(count) + 0.5) * (whole / count) - 0.5, 0.0)
            low = np.minimum(at.astype(np.int64), whole - 1)
            high = np.minimum(low + 1, whole - 1)
            matrix = np.zeros((count, whole))
            np.add.at(matrix, (np.arange(count), low), 1.0 - (at - low))
            np.add.at(matrix, (np.arange(count), high), at - low)
            weights.append(matrix)
        return weights

    def emit(self, g: Emitter, data: ir.Value, like: ir.Value | None = None) -> ir.Value:
        return self.multiplied(g, data)


def _distance(first: Expr, second: Expr) -> Expr:
    """Return the absolute difference; where there is none, its gradient is that of the first."""
    return where(first >= second, first - second, second - first)


@operator("Correlation")
class Correlation(Operator):
    """Products (or absolute differences) of two images at many displacements (FlowNet, 2015).

    Each output channel is one displacement of ``data2``, up to ``max_displacement`` in steps of
    ``stride2``; each output pixel the mean over the channels and a window of ``kernel_size``, every
    ``stride1`` pixels of images with ``pad_size`` zeros around them.
    """

    formula = "y[displacement, i] = mean of data1[:, i] data2[:, i + displacement]"
    example = "Correlation([[[[1, 2]]]], [[[[3, 4]]]], max_displacement=0) -> [[[[3, 8]]]]"
    shapes = "(n, c, h, w), (n, c, h, w) -> (n, k, y, x)"

    kernel_size: int = 1
    max_displacement: int = 1
    stride1: int = 1
    stride2: int = 1
    pad_size: int = 0
    is_multiply: bool = True

    def __post_init__(self) -> None:
        self.check(self.kernel_size % 2 == 1, f"kernel_size={self.kernel_size} must be odd")
        for name in ("stride1", "stride2"):
            self.check(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ("data1", "data2")

    def _steps(self) -> range:
        radius = self.max_displacement // self.stride2
        return range(-radius * self.stride2, radius * self.stride2 + 1, self.stride2)

    def _counts(self, size: Sequence[int]) -> tuple[int, ...]:
        border = self.max_displacement + self.kernel_size // 2
        room = [n + 2 * self.pad_size - 2 * border for n in size]
        return tuple(-(-r // self.stride1) for r in room)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = unify(*ins)
        check_image(data)
        if data is None or 0 in data[2:]:
            return [data, data], outs
        counts = self._counts(data[2:])
        if min(counts) < 1:
            raise ShapeError(
                f"no window of {self.kernel_size} at displacements up to {self.max_displacement} "
                f"fits into {data[2:]} with pad_size={self.pad_size}"
            )
        return [data, data], [unify(outs[0], (data[0], len(self._steps()) ** 2, *counts))]

    def emit(self, g: Emitter, data1: ir.Value, data2: ir.Value) -> ir.Value:
        pad = [0, 0, self.pad_size, self.pad_size] * 2
        a, b = (Expr(g, x).op("Pad", pad) if self.pad_size else Expr(g, x) for x in (data1, data2))
        counts = self._counts(shape_of(data1)[2:])
        spans = [(n - 1) * self.stride1 + self.kernel_size for n in counts]
        start = self.max_displacement

        def window(image: Expr, dy: int, dx: int) -> Expr:
            begins = [start + dy, start + dx]
            ends = [begin + span for begin, span in zip(begins, spans)]
            return image.op("Slice", begins, ends, [2, 3])

        first = window(a, 0, 0)
        channels = []
        for dy in self._steps():
            for dx in self._steps():
                second = window(b, dy, dx)
                both = first * second if self.is_multiply else _distance(first, second)
                channels.append(both.mean(1, keepdims=True))
        joined = channels[0]
        if len(channels) > 1:
            joined = joined.op("Concat", *channels[1:], axis=1)
        size = self.kernel_size
        if size == 1 and self.stride1 == 1:
            return joined.value
        return joined.op(
            "AveragePool", kernel_shape=[size, size], strides=[self.stride1, self.stride1]
        ).value
