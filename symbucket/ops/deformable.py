"""Convolutions that read the image where offsets say (Dai et al., 2017; Zhu et al., 2019)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr
from symbucket.ir.windows import Windows
from symbucket.ops.convolution import check_rank, counts_of, spread_windows
from symbucket.ops.interpolation import sample
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import Array, InferredShapes, Ints, PartialShape

FAMILY = "Images"


class _Deformable(Operator):
    """``kernel`` points of the image in each window, moved by the numbers of ``offset``."""

    kernel: tuple[int, ...]
    num_filter: int
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    num_group: int = 1
    num_deformable_group: int = 1
    no_bias: bool = False

    masked: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.check(
            len(self.kernel) == 2 and min(self.kernel) > 0,
            f"kernel={self.kernel} must be (height, width)",
        )
        for name, low in (("stride", 1), ("dilate", 1), ("pad", 0)):
            numbers = getattr(self, name)
            self.check(
                len(numbers) in (0, 2) and min(numbers, default=low) >= low,
                f"{name}={numbers} must be two numbers, {low} or more",
            )
        for name in ("num_filter", "num_group", "num_deformable_group"):
            self.check(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")
        self.check(
            self.num_filter % self.num_group == 0,
            f"num_filter={self.num_filter} is no multiple of num_group={self.num_group}",
        )

    def arguments(self) -> tuple[str, ...]:
        names = ("data", "offset", *(("mask",) if self.masked else ()), "weight")
        return names if self.no_bias else (*names, "bias")

    def _counts(self, data: Ints) -> Ints:
        check_rank(data, self.kernel)
        windows = spread_windows(self.kernel, self.stride, self.dilate, self.pad)
        return counts_of(windows, data[2:])

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None or 0 in data[1:]:
            return ins, outs
        for name in ("num_group", "num_deformable_group"):
            if data[1] % getattr(self, name):
                raise ShapeError(f"{data[1]} channels are no multiple of {name}")
        counts, points = self._counts(data), math.prod(self.kernel) * self.num_deformable_group
        expected: list[PartialShape] = [data, (data[0], 2 * points, *counts)]
        if self.masked:
            expected.append((data[0], points, *counts))
        expected += [(self.num_filter, data[1] // self.num_group, *self.kernel), (self.num_filter,)]
        completed = [unify(shape, other) for shape, other in zip(ins, expected)]
        return completed, [unify(outs[0], (data[0], self.num_filter, *counts))]

    def convolved(
        self,
        g: Emitter,
        data: ir.Value,
        offset: ir.Value,
        mask: ir.Value | None,
        kernels: ir.Value,
        bias: ir.Value | None,
    ) -> ir.Value:
        """Return the output; without a mask all points count alike."""
        x = Expr(g, data)
        moves, weight = (Expr(g, value).cast(x.dtype) for value in (offset, kernels))
        height, width = x.shape[2:]
        windows = spread_windows(self.kernel, self.stride, self.dilate, self.pad)

        def inside(y: Expr, at: Expr) -> Expr:
            within = (y >= 0.0) & (y < float(height)) & (at >= 0.0) & (at < float(width))
            return within.cast(x.dtype)

        result = convolve_deformed(
            x,
            moves,
            weight,
            windows,
            groups=self.num_group,
            offset_groups=self.num_deformable_group,
            factor=inside if mask is None else Expr(g, mask).cast(x.dtype),
            padding="border" if mask is None else "zeros",
        )
        if bias is not None:
            result = result + Expr(g, bias).cast(x.dtype).reshape((1, self.num_filter, 1, 1))
        return result.value


def convolve_deformed(
    x: Expr,
    offset: Expr,
    weight: Expr,
    windows: Windows,
    *,
    groups: int,
    offset_groups: int,
    factor: Expr | Callable[[Expr, Expr], Expr] | None,
    padding: str,
) -> Expr:
    """Return the convolution of x (n, c, h, w) whose points ``offset`` (n, 2 points, ...) moves.

    ``offset_groups`` groups of channels have points of their own, each a vertical and a horizontal
    move. ``factor``: how much each point counts, or what computes it of the rows and the columns
    that are read (n * offset_groups, points * places). ``padding``: what is read outside of x.
    """
    n, c, *size = x.shape
    out = offset.shape[2:]
    points, places = math.prod(windows.kernel), math.prod(out)
    each = offset.reshape((n * offset_groups, points, 2, places))
    y, at = (
        (move.reshape((n * offset_groups, points, places)) + x.const(regular)).reshape(
            (n * offset_groups, points * places)
        )
        for move, regular in zip(
            each.ops("Split", [1, 1], axis=2, outputs=2), _regular(windows, out)
        )
    )
    image = x.reshape((n * offset_groups, c // offset_groups, *size))
    values = sample(image, (y, at), "linear", padding)
    if callable(factor):
        factor = factor(y, at)
    if factor is not None:
        values = values * factor.reshape((n * offset_groups, 1, points * places))
    rows = values.reshape((n, groups, c // groups * points, places))
    filters = weight.reshape((1, groups, weight.shape[0] // groups, -1))
    return (filters @ rows).reshape((n, weight.shape[0], *out))


def _regular(windows: Windows, out: Ints) -> tuple[Array, Array]:
    """Return the rows and the columns (points, places) that windows read if nothing moves them."""
    axes = []
    for axis in range(2):
        start = np.arange(out[axis]) * windows.strides[axis] - windows.begins[axis]
        step = np.arange(windows.kernel[axis]) * windows.dilations[axis]
        axes.append(step[:, None] + start[None])  # (kernel, out)
    rows, columns = axes
    shape = (*windows.kernel, *out)
    y = np.broadcast_to(rows[:, None, :, None], shape).reshape(math.prod(windows.kernel), -1)
    x = np.broadcast_to(columns[None, :, None, :], shape).reshape(y.shape)
    return y, x


@operator("_contrib_DeformableConvolution")
class DeformableConvolution(_Deformable):
    """Convolution whose window reads each of its points where ``offset`` moves it (2017).

    ``offset`` holds for each output the vertical and the horizontal move of every point, in pixels;
    ``num_deformable_group`` groups of channels have moves of their own. Between pixels the image is
    interpolated, outside of it there is 0.
    """

    formula = "y[p] = sum over k of w[k] x[p + k + offset[k, p]] + b, x interpolated"
    example = (
        "contrib.DeformableConvolution([[[[1, 3]]]], [[[[0, 0]], [[0.5, 0]]]], [[[[2]]]], "
        "kernel=(1, 1), num_filter=1, no_bias=True) -> [[[[4, 6]]]]"
    )
    shapes = (
        "(n, c, h, w), (n, a, y, x), (num_filter, d, *kernel), (num_filter,) -> "
        "(n, num_filter, y, x)"
    )
    implicit = ("weight", "bias")

    kernel: tuple[int, ...]
    num_filter: int
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    num_group: int = 1
    num_deformable_group: int = 1
    no_bias: bool = False

    def emit(
        self,
        g: Emitter,
        data: ir.Value,
        offset: ir.Value,
        weight: ir.Value,
        bias: ir.Value | None = None,
    ) -> ir.Value:
        return self.convolved(g, data, offset, None, weight, bias)


@operator("_contrib_ModulatedDeformableConvolution")
class ModulatedDeformableConvolution(_Deformable):
    """``DeformableConvolution`` whose points count as much as ``mask`` says (2019)."""

    formula = "y[p] = sum over k of w[k] mask[k, p] x[p + k + offset[k, p]] + b, x interpolated"
    example = (
        "contrib.ModulatedDeformableConvolution([[[[1, 3]]]], [[[[0, 0]], [[0.5, 0]]]], "
        "[[[[1, 0.5]]]], [[[[2]]]], kernel=(1, 1), num_filter=1, no_bias=True) -> [[[[4, 3]]]]"
    )
    shapes = (
        "(n, c, h, w), (n, a, y, x), (n, b, y, x), (num_filter, d, *kernel), (num_filter,) -> "
        "(n, num_filter, y, x)"
    )
    implicit = ("weight", "bias")
    masked: ClassVar[bool] = True

    kernel: tuple[int, ...]
    num_filter: int
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    num_group: int = 1
    num_deformable_group: int = 1
    no_bias: bool = False
    im2col_step: int = 64

    def emit(
        self,
        g: Emitter,
        data: ir.Value,
        offset: ir.Value,
        mask: ir.Value,
        weight: ir.Value,
        bias: ir.Value | None = None,
    ) -> ir.Value:
        return self.convolved(g, data, offset, mask, weight, bias)
