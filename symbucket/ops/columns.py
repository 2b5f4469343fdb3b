"""im2col and col2im: the elements under each window as columns, and their sum back in place."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Windows, shape_of
from symbucket.ops.convolution import check_rank, counts_of, spread_windows
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Convolution and pooling"


class _Columns(Operator):
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, low in (("kernel", 1), ("stride", 1), ("dilate", 1), ("pad", 0)):
            values = getattr(self, name)
            self.check(
                (not values and name != "kernel") or len(values) == len(self.kernel) > 0,
                f"{name}={values} must have one number for each axis of kernel={self.kernel}",
            )
            self.check(min(values, default=low) >= low, f"{name}={values} must be {low} or more")

    def windows(self) -> Windows:
        """The windows."""
        return spread_windows(self.kernel, self.stride, self.dilate, self.pad)


@operator("im2col")
class Im2Col(_Columns):
    """The elements under each window as one column: the matrix that a convolution multiplies."""

    formula = "y[k, m] = x[place of element k in window m]"
    example = "im2col([[[[1, 2, 3]]]], kernel=(1, 2)) -> [[[1, 2], [2, 3]]]"
    shapes = "(n, c, *d) -> (n, k, m)"

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        check_rank(data, self.kernel)
        counts = counts_of(self.windows(), data[2:])
        return ins, [unify(outs[0], (data[0], data[1] * math.prod(self.kernel), math.prod(counts)))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape, windows = shape_of(data), self.windows()
        if any(windows.pads):
            pads = [0, 0, *windows.begins, 0, 0, *windows.ends]
            data = g.op("Pad", data, g.ints(*pads))
        flat = g.reshape(data, (*shape[:2], math.prod(shape_of(data)[2:])))
        index = windows.places(shape[2:])
        return g.reshape(g.op("Gather", flat, g.const(index), axis=2), g.out_shapes[0])


@operator("col2im")
class Col2Im(_Columns):
    """Columns added up at the places of their windows, the transpose of im2col."""

    formula = "x[place of element k in window m] += y[k, m]"
    example = "col2im([[[1, 2], [3, 4]]], output_size=(1, 3), kernel=(1, 2)) -> [[[[1, 5, 4]]]]"
    shapes = "(n, k, m) -> (n, c, *output_size)"

    output_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        counts = counts_of(self.windows(), self.output_size)
        area = math.prod(self.kernel)
        if len(data) != 3 or data[1] % area or (data[2] and data[2] != math.prod(counts)):
            raise ShapeError(
                f"data must be (n, c * {area}, {math.prod(counts)}): kernel={self.kernel} has "
                f"{area} elements and {math.prod(counts)} places in output_size="
                f"{self.output_size}; it has shape {data}"
            )
        return ins, [unify(outs[0], (data[0], data[1] // area, *self.output_size))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        windows = self.windows()
        return g.op(
            "Col2Im",
            data,
            g.ints(*self.output_size),
            g.ints(*self.kernel),
            dilations=list(windows.dilations),
            pads=windows.pads,
            strides=list(windows.strides),
        )
