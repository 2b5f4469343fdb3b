"""``ConvWeightGradient(x, dy)``: a node of symbucket's own domain for the gradient of a weight.

It has the attributes of the convolution from x to dy. Until it is expanded, a pass can choose the
form that suits the target; in standard ONNX it is a product for each row of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    Windows,
    attr,
    dtype_of,
    expansion,
    input_of,
    no_gradient,
    shape_of,
    shape_rule,
    windows_of,
)

LEAST_COLUMNS = 32
"""Columns that a product needs to be fast."""

no_gradient("ConvWeightGradient", domain=OWN_DOMAIN, because="is itself part of a gradient")


def weight_gradient(x: Expr, dy: Expr, windows: Windows, group: int) -> Expr:
    """The gradient of the weight (out, in / group, ...) of a convolution from x to dy."""
    return x.own(
        "ConvWeightGradient",
        dy,
        kernel_shape=list(windows.kernel),
        strides=list(windows.strides),
        dilations=list(windows.dilations),
        pads=windows.pads,
        group=group,
    )


@shape_rule("ConvWeightGradient", domain=OWN_DOMAIN)
def _shape(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    x, dy = input_of(node, 0), input_of(node, 1)
    channels = shape_of(x)[1] // attr(node, "group")
    return [((shape_of(dy)[1], channels, *windows_of(node).kernel), dtype_of(x))]


@expansion("ConvWeightGradient")
def _expand(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    x, dy = Expr(g, input_of(node, 0)), Expr(g, input_of(node, 1))
    windows, group = windows_of(node), attr(node, "group")
    dw = _in_products(x, dy, windows) if group == 1 else _in_groups(x, dy, windows, group)
    return [dw.value]


def _in_products(x: Expr, dy: Expr, windows: Windows) -> Expr:
    """Products of the elements under the windows with dy, one for each row of the kernel.

    ``columns`` are what element after element of a kernel's row sees, stacked (Chellapilla, Puri
    and Simard 2006). Only a row at a time, which takes a fraction of the memory of all windows and
    costs no time: dy is far smaller than its windows.
    """
    rank = x.rank
    swap = [1, 0, *range(2, rank)]
    *row_axes, last = range(2, rank)
    channels, filters = x.shape[1], dy.shape[1]
    data = x.transpose(swap)
    if any(windows.pads):
        data = data.op("Pad", [0, 0, *windows.begins, 0, 0, *windows.ends])

    def seen(of: Expr, offset: Sequence[int], axes: Sequence[int]) -> Expr:
        """Return what the elements at ``offset`` of the kernel see, along ``axes``."""
        starts, stops, steps = [], [], []
        for position, axis in zip(offset, axes):
            start = position * windows.dilations[axis - 2]
            stride = windows.strides[axis - 2]
            starts.append(start)
            stops.append(start + (dy.shape[axis] - 1) * stride + 1)
            steps.append(stride)
        if not any(starts) and set(steps) <= {1} and stops == [of.shape[axis] for axis in axes]:
            return of
        return of.op("Slice", starts, stops, list(axes), *([steps] if set(steps) != {1} else []))

    def joined(parts: Sequence[Expr]) -> Expr:
        return parts[0].op("Concat", *parts[1:], axis=0) if len(parts) > 1 else parts[0]

    width, places = windows.kernel[-1], dy.size // filters
    stack = joined([seen(data, (i,), (last,)) for i in range(width)])
    flat = dy.transpose(swap).reshape((filters, places))
    rows = [seen(stack, offset, row_axes) for offset in np.ndindex(*windows.kernel[:-1])]
    if width * channels < LEAST_COLUMNS:
        rows = [joined(rows)]
    products = [
        row.reshape((row.size // places, places)).op("Gemm", flat, transB=1) for row in rows
    ]
    dw = joined(products).reshape((*windows.kernel, channels, filters))
    return dw.transpose([rank - 1, rank - 2, *range(rank - 2)])


def _in_groups(x: Expr, dy: Expr, windows: Windows, group: int) -> Expr:
    """A convolution in which samples take the place of channels, channels that of samples.

    dy takes that of the weight; strides and dilations change places.
    """
    batch, channels, *size = x.shape
    each, spatial = channels // group, list(range(2, x.rank))
    samples = x.reshape((batch, group, each, *size))
    samples = samples.transpose([2, 1, 0, *range(3, x.rank + 1)])
    samples = samples.reshape((each, group * batch, *size))
    dw = samples.op(
        "Conv",
        dy.transpose([1, 0, *spatial]),
        strides=list(windows.dilations),
        dilations=list(windows.strides),
        pads=windows.pads,
        group=group,
    )
    kernel = windows.kernel
    if dw.shape[2:] != kernel:  # what a stride leaves over at the end adds windows
        dw = dw.op("Slice", [0] * len(kernel), kernel, spatial)
    return dw.transpose([1, 0, *spatial])
