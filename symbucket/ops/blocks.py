"""Operators on images: blocks of pixels and channels exchanged, larger and cropped images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.convolution import Deconvolution
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape, Shape

FAMILY = "Images"


def check_image(shape: PartialShape, name: str = "data") -> None:
    """Raise ShapeError unless a known shape is (n, c, h, w)."""
    if shape is not None and len(shape) != 4:
        raise ShapeError(f"{name} must be (n, c, h, w), it has shape {shape}")


class _Blocks(Operator):
    block_size: int

    def __post_init__(self) -> None:
        self.check(self.block_size > 0, f"block_size={self.block_size} must be positive")


@operator("depth_to_space", method="depth_to_space")
class DepthToSpace(_Blocks):
    """Channels moved into blocks of ``block_size`` times ``block_size`` pixels."""

    formula = (
        "y[n, c, h b + i, w b + j] = x[n, (i b + j) C + c, h, w], b = block_size, C channels of y"
    )
    example = "depth_to_space([[[[1]], [[2]], [[3]], [[4]]]], block_size=2) -> [[[[1, 2], [3, 4]]]]"
    shapes = "(n, c, h, w) -> (n, c / block_size^2, h * block_size, w * block_size)"
    moves_only = True

    block_size: int

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, b = ins[0], self.block_size
        check_image(data)
        if data is None:
            return ins, outs
        n, c, h, w = data
        if c % (b * b):
            raise ShapeError(f"{c} channels cannot be divided by block_size^2 = {b * b}")
        return ins, [unify(outs[0], (n, c // (b * b), h * b, w * b))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        (n, c, h, w), b = shape_of(data), self.block_size
        x = g.reshape(data, (n, b, b, c // (b * b), h, w))
        return g.reshape(g.transpose(x, [0, 3, 4, 1, 5, 2]), g.out_shapes[0])


@operator("space_to_depth", method="space_to_depth")
class SpaceToDepth(_Blocks):
    """Blocks of ``block_size`` times ``block_size`` pixels moved into channels."""

    formula = (
        "y[n, (i b + j) C + c, h, w] = x[n, c, h b + i, w b + j], b = block_size, C channels of x"
    )
    example = "space_to_depth([[[[1, 2], [3, 4]]]], block_size=2) -> [[[[1]], [[2]], [[3]], [[4]]]]"
    shapes = "(n, c, h, w) -> (n, c * block_size^2, h / block_size, w / block_size)"
    moves_only = True

    block_size: int

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, b = ins[0], self.block_size
        check_image(data)
        if data is None:
            return ins, outs
        n, c, h, w = data
        if h % b or w % b:
            raise ShapeError(f"{h} times {w} pixels cannot be divided into blocks of {b}")
        return ins, [unify(outs[0], (n, c * b * b, h // b, w // b))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        (n, c, h, w), b = shape_of(data), self.block_size
        x = g.reshape(data, (n, c, h // b, b, w // b, b))
        return g.reshape(g.transpose(x, [0, 3, 5, 1, 2, 4]), g.out_shapes[0])


@operator("UpSampling")
class UpSampling(Operator):
    """Images enlarged ``scale`` times.

    "nearest" repeats pixels; several images, smaller by whole factors, are enlarged to one size and
    joined along the channels or added (``multi_input_mode``). "bilinear" is a Deconvolution by
    ``weight``, one kernel a channel, which the initializer ``Bilinear`` fills; it may be trained.
    """

    formula = "nearest: y[i, j] = x[i // scale, j // scale]; bilinear: interpolated"
    example = (
        'UpSampling([[[[1, 2]]]], scale=2, sample_type="nearest") -> [[[[1, 1, 2, 2], [1, 1, 2, '
        "2]]]]"
    )
    shapes = "(n, c, h, w), ... -> (n, c, h * scale, w * scale)"
    variadic = True

    scale: int
    sample_type: Literal["nearest", "bilinear"]
    num_filter: int = 0
    multi_input_mode: Literal["concat", "sum"] = "concat"
    num_args: int = 1
    workspace: int = 512

    def __post_init__(self) -> None:
        self.check(self.scale > 0, f"scale={self.scale} must be positive")
        if self.sample_type == "bilinear":
            self.check(self.num_filter > 0, "bilinear needs num_filter, the number of channels")
            self.check(
                self.num_args <= 2, f"bilinear takes data and weight, not {self.num_args} inputs"
            )

    def arguments(self) -> tuple[str, ...]:
        if self.sample_type == "bilinear":
            return ("data", "weight")
        if self.num_args == 1:
            return ("data",)
        return tuple(f"arg{i}" for i in range(self.num_args))

    def _deconvolution(self) -> Deconvolution:
        size = 2 * self.scale - self.scale % 2
        pad = math.ceil((self.scale - 1) / 2)
        return Deconvolution(
            kernel=(size, size),
            stride=(self.scale, self.scale),
            pad=(pad, pad),
            num_filter=self.num_filter,
            num_group=self.num_filter,
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        for shape in ins if self.sample_type == "nearest" else ins[:1]:
            check_image(shape)
        if self.sample_type == "bilinear":
            return self._deconvolution().infer_shape(ins, outs)
        first = ins[0]
        if first is None or any(shape is None for shape in ins):
            return ins, outs
        n, c, h, w = first
        size = (h * self.scale, w * self.scale)
        channels = [shape[1] for shape in ins if shape is not None]
        for shape in ins[1:]:
            assert shape is not None
            self._factor(shape, size)
            if self.multi_input_mode == "sum" and shape[1] and c and shape[1] != c:
                raise ShapeError(f"images with {c} and {shape[1]} channels cannot be added")
        if self.multi_input_mode == "concat":
            c = 0 if 0 in channels else sum(channels)
        return ins, [unify(outs[0], (n, c, *size))]

    def _factor(self, shape: Shape, size: tuple[int, int]) -> int:
        """Return how many times an image of ``shape`` is enlarged to ``size``."""
        pairs = [(whole, part) for whole, part in zip(size, shape[2:]) if whole and part]
        factors = {whole // part for whole, part in pairs}
        if len(factors) > 1 or any(whole % part for whole, part in pairs):
            raise ShapeError(f"images of {shape[2:]} pixels cannot be enlarged to {size}")
        return factors.pop() if factors else 0

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        if self.sample_type == "bilinear":
            return self._deconvolution().emit(g, *inputs)
        h, w = g.out_shapes[0][2:]
        large = [_repeat(g, x, self._factor(shape_of(x), (h, w))) for x in inputs]
        if len(large) == 1:
            return large[0]
        return g.op("Sum", *large) if self.multi_input_mode == "sum" else _joined(g, large)


def _repeat(g: Emitter, x: ir.Value, times: int) -> ir.Value:
    n, c, h, w = shape_of(x)
    x = g.op("Expand", g.reshape(x, (n, c, h, 1, w, 1)), g.ints(n, c, h, times, w, times))
    return g.reshape(x, (n, c, h * times, w * times))


def _joined(g: Emitter, images: Sequence[ir.Value]) -> ir.Value:
    return g.op("Concat", *images, axis=1)


@operator("Crop")
class Crop(Operator):
    """A part of images: of the size ``h_w``, or of that of a second input.

    It begins at ``offset`` (y, x), or lies in the middle with ``center_crop``.
    """

    formula = "y = x[:, :, top:top + h, left:left + w], (top, left) = offset"
    example = "Crop([[[[1, 2, 3], [4, 5, 6]]]], h_w=(1, 2), offset=(1, 1)) -> [[[[5, 6]]]]"
    shapes = "(n, c, h, w), ... -> (n, c, y, x)"
    variadic = True

    num_args: int = 1
    offset: tuple[int, ...] = (0, 0)
    h_w: tuple[int, ...] = (0, 0)
    center_crop: bool = False

    def __post_init__(self) -> None:
        self.check(self.num_args in (1, 2), f"it takes one or two inputs, not {self.num_args}")
        for name in ("offset", "h_w"):
            pair = getattr(self, name)
            self.check(len(pair) == 2 and min(pair) >= 0, f"{name}={pair} must be two numbers >= 0")
        self.check(self.num_args == 2 or min(self.h_w) > 0, f"h_w={self.h_w} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "crop_like")[: self.num_args]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        for name, shape in zip(self.arguments(), ins):
            check_image(shape, name)
        data = ins[0]
        size = self.h_w
        if self.num_args == 2:
            size = (0, 0) if ins[1] is None else ins[1][2:]
        if data is None:
            return ins, outs
        for axis, (whole, part) in enumerate(zip(data[2:], size)):
            begin = 0 if self.center_crop else self.offset[axis]
            if whole and part and begin + part > whole:
                raise ShapeError(
                    f"{part} pixels from {begin} on are not within the {whole} of axis {axis + 2}"
                )
        return ins, [unify(outs[0], (*data[:2], *size))]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        whole, part = shape_of(inputs[0])[2:], g.out_shapes[0][2:]
        begin = self.offset
        if self.center_crop:
            begin = tuple((w - p) // 2 for w, p in zip(whole, part))
        ends = [b + p for b, p in zip(begin, part)]
        return g.op("Slice", inputs[0], g.ints(*begin), g.ints(*ends), g.ints(2, 3))
