"""Operators on single images and batches with the channels last, as ``mx.image`` prepares them."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, dtype_of, shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.pictures import INTERPOLATIONS, size_by_short_edge, weights
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Images"


def _check_rank(shape: PartialShape, text: str) -> None:
    if shape is not None and len(shape) not in (3, 4):
        raise ShapeError(f"data must be {text}, or a batch of them; it has shape {shape}")


@operator("_image_normalize")
class Normalize(Operator):
    """``(data - mean) / std`` of images with the channels first; one number a channel, or one."""

    formula = "y[c] = (x[c] - mean[c]) / std[c]"
    example = "image.normalize([[[1, 2]]], mean=(1,), std=(2,)) -> [[[0, 0.5]]]"
    shapes = "(c, h, w) -> (c, h, w) or (n, c, h, w) -> (n, c, h, w)"

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        self.check(min(self.std, default=0.0) > 0, f"std={self.std} must be positive")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        _check_rank(shape, "(c, h, w)")
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if shape is not None and shape[-3] and count not in (1, shape[-3]):
                raise ShapeError(f"{name} has {count} numbers for {shape[-3]} channels")
        return [shape], [shape]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        mean, std = (np.array(values).reshape(-1, 1, 1) for values in (self.mean, self.std))
        return ((x - mean) / std).value


@operator("_image_to_tensor")
class ToTensor(Operator):
    """Pixels (0 to 255) with the channels last, as float32 (0 to 1) with the channels first."""

    formula = "y[c, i, j] = x[i, j, c] / 255"
    example = "image.to_tensor([[[0], [255]]]) -> [[[0, 1]]]"
    shapes = "(h, w, c) -> (c, h, w) or (n, h, w, c) -> (n, c, h, w)"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        _check_rank(data, "(h, w, c)")
        if data is None:
            return ins, outs
        return ins, [unify(outs[0], (*data[:-3], data[-1], *data[-3:-1]))]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(np.float32)]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, g.cast(data, ir.DataType.FLOAT)) * (1.0 / 255.0)
        rank = len(shape_of(data))
        return x.transpose([*range(rank - 3), rank - 1, rank - 3, rank - 2]).value


class _Flip(Operator):
    axis_from_end = 2

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        _check_rank(shape, "(h, w, c)")
        return [shape], [shape]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        axis = len(shape) - self.axis_from_end
        size = shape[axis]
        ends = (g.ints(size - 1), g.ints(-size - 1), g.ints(axis), g.ints(-1))
        return g.op("Slice", data, *ends)


@operator("_image_flip_left_right")
class FlipLeftRight(_Flip):
    """Images with the channels last, mirrored at the vertical axis."""

    formula = "y[i, j] = x[i, width - 1 - j]"
    example = "image.flip_left_right([[[1], [2]]]) -> [[[2], [1]]]"


@operator("_image_flip_top_bottom")
class FlipTopBottom(_Flip):
    """Images with the channels last, mirrored at the horizontal axis."""

    formula = "y[i, j] = x[height - 1 - i, j]"
    example = "image.flip_top_bottom([[[1]], [[2]]]) -> [[[2]], [[1]]]"
    axis_from_end = 3


@operator("_image_crop")
class ImageCrop(Operator):
    """``height`` rows from ``y`` and ``width`` columns from ``x`` of images with channels last."""

    formula = "y = x[y0:y0 + height, x0:x0 + width] of the rows and columns"
    example = "image.crop([[[1], [2]], [[3], [4]]], x=1, y=0, width=1, height=2) -> [[[2]], [[4]]]"
    shapes = "(*d, h, w, c) -> (*d, height, width, c)"

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        self.check(min(self.x, self.y) >= 0, f"x={self.x} and y={self.y} must be 0 or more")
        self.check(
            min(self.width, self.height) > 0,
            f"width={self.width} and height={self.height} must be positive",
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        _check_rank(data, "(h, w, c)")
        if data is None:
            return ins, outs
        h, w = data[-3:-1]
        if (h and self.y + self.height > h) or (w and self.x + self.width > w):
            raise ShapeError(
                f"{self.height} rows from {self.y} and {self.width} columns from {self.x} do not "
                f"lie within {data}"
            )
        return ins, [unify(outs[0], (*data[:-3], self.height, self.width, data[-1]))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        rank = len(shape_of(data))
        starts = g.ints(self.y, self.x)
        ends = g.ints(self.y + self.height, self.x + self.width)
        return g.op("Slice", data, starts, ends, g.ints(rank - 3, rank - 2))


@operator("_image_resize")
class ImageResize(Operator):
    """Images with the channels last in another size: (width, height), or one number for both.

    With ``keep_ratio`` one number is the shorter edge. ``interp``: 0 nearest, 1 linear, 2 cubic, 3
    area, 4 Lanczos. Integers are rounded, and may differ from OpenCV's by 1.
    """

    formula = "y = R x C^T for each channel, with OpenCV's weights R and C"
    example = "image.resize([[[0], [4]]], size=(4, 1)) -> [[[0], [1], [3], [4]]]"
    shapes = "(*d, h, w, c) -> (*d, y, x, c)"

    size: tuple[int, ...] = ()
    keep_ratio: bool = False
    interp: int = 1

    def __post_init__(self) -> None:
        self.check(
            len(self.size) in (1, 2) and min(self.size) > 0,
            f"size={self.size} must be (width, height), or one number",
        )
        self.check(
            0 <= self.interp < len(INTERPOLATIONS),
            f"interp={self.interp} must be from 0 to {len(INTERPOLATIONS) - 1}",
        )

    def _target(self, rows: int, columns: int) -> tuple[int, int]:
        """Return rows and columns of the result."""
        width, height = self.size if len(self.size) == 2 else self.size * 2
        if self.keep_ratio and len(self.size) == 1:
            width, height = size_by_short_edge(rows, columns, width)
        return height, width

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        _check_rank(data, "(h, w, c)")
        if data is None or not all(data[-3:-1]):
            return ins, outs
        return ins, [unify(outs[0], (*data[:-3], *self._target(*data[-3:-1]), data[-1]))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        *leading, rows, columns, channels = shape_of(data)
        height, width = self._target(rows, columns)
        kind, shrinks = INTERPOLATIONS[self.interp], rows >= height and columns >= width
        is_float = dtype_of(data) in (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)
        x = Expr(g, data if is_float else g.cast(data, ir.DataType.FLOAT))
        count = math.prod(leading)
        x = x.const(weights(rows, height, kind, shrinks)) @ x.reshape(
            (count, rows, columns * channels)
        )
        x = x.reshape((count * height, columns, channels))
        y = (x.const(weights(columns, width, kind, shrinks)) @ x).reshape(g.out_shapes[0])
        if is_float:
            return y.value
        info = np.iinfo(g.out_dtypes[0])
        low, high = y.const(float(info.min)), y.const(float(info.max))
        return y.op("Round").op("Clip", low, high).cast(dtype_of(data)).value
