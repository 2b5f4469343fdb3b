"""Gradients of convolutions and poolings, written as convolutions (Dumoulin and Visin 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.compiler.autodiff.rules.convolution_weight import weight_gradient
from symbucket.errors import UnsupportedError
from symbucket.ir import (
    Expr,
    Windows,
    covered,
    finds_maxima_by_value,
    gradient,
    transposed_windows_of,
    windows_of,
)
from symbucket.ir.expr import maximum
from symbucket.ir.gradient_rules import Parts


def _by_data(dy: Expr, weight: Expr, windows: Windows, size: Sequence[int], *, group: int) -> Expr:
    """The gradient of the data of a convolution whose data has spatial ``size``."""
    return dy.op(
        "ConvTranspose",
        weight,
        strides=list(windows.strides),
        dilations=list(windows.dilations),
        pads=windows.pads,
        output_padding=list(windows.left_over(size)),
        group=group,
    )


def _by_weight(x: Expr, dy: Expr, windows: Windows, weight: Expr, *, group: int) -> Expr:
    """The gradient of the weight (out, in / group, ...) of a convolution from ``x`` to ``dy``."""
    if group == 1:
        return weight_gradient(x, dy, windows)
    return _by_weight_in_groups(x, dy, windows, weight, group=group)


def _by_weight_in_groups(x: Expr, dy: Expr, windows: Windows, weight: Expr, *, group: int) -> Expr:
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
    kernel = weight.shape[2:]
    if dw.shape[2:] != kernel:  # what a stride leaves over at the end adds windows
        dw = dw.op("Slice", [0] * len(kernel), kernel, spatial)
    return dw.transpose([1, 0, *spatial])


def _by_bias(dy: Expr) -> Expr:
    return dy.sum([axis for axis in range(dy.rank) if axis != 1])


@gradient("Conv")
def conv(x: Expr, weight: Expr, dy: Expr, node: ir.Node, *, group: int = 1) -> Parts:
    """The transposed convolution of dy, and the convolution of x with dy."""
    windows = windows_of(node)
    return (
        lambda: _by_data(dy, weight, windows, x.shape[2:], group=group),
        lambda: _by_weight(x, dy, windows, weight, group=group),
        lambda: _by_bias(dy),
    )


@gradient("ConvTranspose")
def conv_transpose(
    x: Expr,
    weight: Expr,
    dy: Expr,
    node: ir.Node,
    *,
    group: int = 1,
    auto_pad: str = "NOTSET",
    output_shape: Sequence[int] | None = None,
) -> Parts:
    """The convolution of dy, and the convolution of dy with x."""
    if auto_pad != "NOTSET" or output_shape is not None:
        raise UnsupportedError(
            f"{node.name}: the gradient of ConvTranspose needs explicit pads, without auto_pad and "
            "output_shape"
        )
    windows = transposed_windows_of(node)
    return (
        lambda: dy.op(
            "Conv",
            weight,
            strides=list(windows.strides),
            dilations=list(windows.dilations),
            pads=windows.pads,
            group=group,
        ),
        lambda: _by_weight(dy, x, windows, weight, group=group),
        lambda: _by_bias(dy),
    )


@gradient("MaxPool")
def max_pool(x: Expr, outputs: list[Expr], dy: Expr, node: ir.Node, **attributes: Any) -> Parts:
    """dy for the first largest element of every window; windows may overlap.

    A window without a number above the lowest one, masked whole with minus infinity, has none:
    onnxruntime 1.19 returns the lowest number for it, and a position outside of the window.
    """
    y, windows = outputs[0], windows_of(node)
    lowest = float(np.finfo(x.dtype.numpy()).min)
    # A product, not Where, which takes ten times as long.
    dy = dy * (~(y <= lowest)).cast(dy.dtype)
    if finds_maxima_by_value(windows, x.shape[2:], x.dtype):
        return _to_first_maximum(x, y, dy, windows)
    if len(outputs) > 1 and not attributes.get("storage_order"):
        places = outputs[1]
    else:  # positions in a tensor stored row by row, as it is here
        places = x.ops("MaxPool", outputs=2, **{**attributes, "storage_order": None})[1]
    places = maximum(places, np.array(0))
    zeros = x.filled(0.0, (x.size,))
    flat = (dy.size,)
    added = zeros.op(
        "ScatterElements", places.reshape(flat), dy.reshape(flat), axis=0, reduction="add"
    )
    return added.reshape(x.shape)


def _to_first_maximum(x: Expr, y: Expr, dy: Expr, windows: Windows) -> Expr:
    """dy for the first element that equals y of windows that cover x without overlap.

    The kernel that returns positions beside the maxima takes 15 times as long as the one that
    returns maxima alone. So every element that equals its window's maximum gets a number, the
    larger the earlier it stands, and the element with the largest number of its window gets dy.
    """
    size, kernel = x.shape[2:], windows.kernel
    scales = x.g.const(np.array([1, 1, *kernel], dtype=np.float32))

    def spread(value: Expr) -> Expr:
        """The value of each window for all of its elements."""
        return value.op(
            "Resize",
            None,
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    ranks = np.arange(math.prod(kernel), 0, -1).reshape(kernel)
    numbers = np.tile(ranks, [n // k for n, k in zip(size, kernel)])
    candidates = (x == spread(y)).cast(x.dtype) * numbers.reshape(1, 1, *size)
    first = candidates.op("MaxPool", kernel_shape=kernel, strides=kernel)
    # 1 for the first, at most 0 for the others; a comparison and a cast would take twice as long.
    chosen = (candidates - spread(first - 1.0)).op("Relu")
    return chosen * spread(dy)


@gradient("AveragePool")
def average_pool(
    x: Expr, dy: Expr, node: ir.Node, *, ceil_mode: int = 0, count_include_pad: int = 0
) -> Parts:
    """The convolution with equal weights, transposed."""
    if ceil_mode:
        raise UnsupportedError(
            f"{node.name}: the gradient of AveragePool needs ceil_mode=0; pad the data instead"
        )
    windows, size = windows_of(node), x.shape[2:]
    batch, channels, *positions = dy.shape
    if count_include_pad or not any(windows.pads):
        share = np.full(windows.kernel, 1.0 / math.prod(windows.kernel))
    else:
        counts = covered(windows, size, positions, pad=False)
        area = reduce(np.multiply.outer, [np.array(c, dtype=np.float64) for c in counts])
        dy = dy * (1.0 / area)
        share = np.ones(windows.kernel)
    # One channel at a time, each as its own sample.
    samples = dy.reshape((batch * channels, 1, *positions))
    weight = dy.const(share.reshape(1, 1, *windows.kernel))
    return _by_data(samples, weight, windows, size, group=1).reshape(x.shape)


@gradient("GlobalAveragePool")
def global_average_pool(x: Expr, dy: Expr) -> Parts:
    """An equal share of dy for every position."""
    share = dy * (1.0 / math.prod(x.shape[2:]))
    return share.op("Expand", x.shape)
