"""Gradients of convolutions and poolings, written as convolutions (Dumoulin and Visin 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
import onnx_ir as ir

from symbucket.compiler.autodiff.rules.common import Grads, Wanted, inp, only
from symbucket.errors import UnsupportedError
from symbucket.ir import (
    Builder,
    Windows,
    attr,
    covered,
    dtype_of,
    gradient,
    shape_of,
    transposed_windows_of,
    windows_of,
)


def _spread(
    g: Builder,
    dy: ir.Value,
    weight: ir.Value,
    windows: Windows,
    size: Sequence[int],
    *,
    groups: int,
) -> ir.Value:
    """The gradient of the data of a convolution whose data has spatial ``size``."""
    return g.op(
        "ConvTranspose",
        dy,
        weight,
        strides=list(windows.strides),
        dilations=list(windows.dilations),
        pads=windows.pads,
        output_padding=list(windows.left_over(size)),
        group=groups,
    )


def _weight(
    g: Builder, x: ir.Value, dy: ir.Value, windows: Windows, weight: ir.Value, *, groups: int
) -> ir.Value:
    """The gradient of the weight (out, in / groups, ...) of a convolution from ``x`` to ``dy``.

    A convolution in which samples take the place of channels, channels that of samples, dy that
    of the weight; strides and dilations change places.
    """
    shape, out = shape_of(x), shape_of(weight)
    rank = len(shape)
    batch, each = shape[0], shape[1] // groups
    parts = g.reshape(x, (batch, groups, each, *shape[2:]))
    parts = g.transpose(parts, [2, 1, 0, *range(3, rank + 1)])
    parts = g.reshape(parts, (each, groups * batch, *shape[2:]))
    rest = list(range(2, rank))
    dw = g.op(
        "Conv",
        parts,
        g.transpose(dy, [1, 0, *rest]),
        strides=list(windows.dilations),
        dilations=list(windows.strides),
        pads=windows.pads,
        group=groups,
    )
    have = shape_of(dw)[2:]
    if have != out[2:]:  # what a stride leaves over at the end gives windows too many
        dw = g.op("Slice", dw, g.ints(*[0] * len(have)), g.ints(*out[2:]), g.ints(*rest))
    return g.transpose(dw, [1, 0, *rest])


def _bias(g: Builder, dy: ir.Value) -> ir.Value:
    axes = [i for i in range(len(shape_of(dy))) if i != 1]
    return g.reduce_sum(dy, axes, keepdims=False)


@gradient("Conv")
def _conv(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, x, w = only(grads), inp(node), inp(node, 1)
    windows, groups = windows_of(node), attr(node, "group", 1)
    dx = _spread(g, dy, w, windows, shape_of(x)[2:], groups=groups) if wanted[0] else None
    dw = _weight(g, x, dy, windows, w, groups=groups) if wanted[1] else None
    bias = [_bias(g, dy) if flag else None for flag in wanted[2:]]
    return [dx, dw, *bias]


@gradient("ConvTranspose")
def _conv_transpose(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    if attr(node, "auto_pad", "NOTSET") != "NOTSET" or attr(node, "output_shape") is not None:
        raise UnsupportedError(
            f"{node.name}: the gradient of ConvTranspose needs explicit pads, without auto_pad and "
            "output_shape"
        )
    dy, x, w = only(grads), inp(node), inp(node, 1)
    windows, groups = transposed_windows_of(node), attr(node, "group", 1)
    dx = None
    if wanted[0]:
        dx = g.op(
            "Conv",
            dy,
            w,
            strides=list(windows.strides),
            dilations=list(windows.dilations),
            pads=windows.pads,
            group=groups,
        )
    dw = _weight(g, dy, x, windows, w, groups=groups) if wanted[1] else None
    bias = [_bias(g, dy) if flag else None for flag in wanted[2:]]
    return [dx, dw, *bias]


@gradient("MaxPool")
def _max_pool(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    # The first largest element of every window takes its gradient; windows may overlap.
    dy, x = only(grads), inp(node)
    if len(node.outputs) > 1:
        places = node.outputs[1]
    else:
        attributes = {name: a.value for name, a in node.attributes.items()}
        places = g.ops("MaxPool", x, outputs=2, **attributes)[1]
    count, size = math.prod(shape_of(dy)), math.prod(shape_of(x))
    zeros = g.filled((size,), 0.0, dtype_of(x))
    added = g.op(
        "ScatterElements",
        zeros,
        g.reshape(places, (count,)),
        g.reshape(dy, (count,)),
        axis=0,
        reduction="add",
    )
    return [g.reshape(added, shape_of(x))]


@gradient("AveragePool")
def _average_pool(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    if attr(node, "ceil_mode", 0):
        raise UnsupportedError(
            f"{node.name}: the gradient of AveragePool needs ceil_mode=0; pad the data instead"
        )
    dy, shape = only(grads), shape_of(inp(node))
    windows, out = windows_of(node), shape_of(dy)
    if attr(node, "count_include_pad", 0) or not any(windows.pads):
        share = np.full(windows.kernel, 1.0 / math.prod(windows.kernel))
    else:
        counts = covered(windows, shape[2:], out[2:], pad=False)
        area = reduce(np.multiply.outer, [np.array(c, dtype=np.float64) for c in counts])
        dy = g.op("Mul", dy, g.const(1.0 / area, like=dy))
        share = np.ones(windows.kernel)
    # One channel at a time, each as a sample of its own.
    rows = g.reshape(dy, (out[0] * out[1], 1, *out[2:]))
    weight = g.const(share.reshape(1, 1, *windows.kernel), like=dy)
    return [g.reshape(_spread(g, rows, weight, windows, shape[2:], groups=1), shape)]


@gradient("GlobalAveragePool")
def _global_average_pool(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, shape = only(grads), shape_of(inp(node))
    share = g.op("Mul", dy, g.const(1.0 / math.prod(shape[2:]), like=dy))
    return [g.op("Expand", share, g.ints(*shape))]
