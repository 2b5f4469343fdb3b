"""Gradients of poolings."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.compiler.autodiff.rules.convolution import by_data
from symbucket.errors import UnsupportedError
from symbucket.ir import Expr, covered, finds_maxima_by_value, gradient, windows_of
from symbucket.ir.expr import maximum
from symbucket.ir.gradient_rules import Parts
from symbucket.ir.max_pool_gradient import max_pool_gradient
from symbucket.ir.minus_infinity import can_be_minus_infinity


@gradient("MaxPool")
def max_pool(x: Expr, outputs: list[Expr], dy: Expr, node: ir.Node, **attributes: Any) -> Parts:
    """dy for the first largest element of every window; windows may overlap.

    A window without a number above the lowest one, masked whole with minus infinity, has none:
    onnxruntime 1.19 returns the lowest number for it, and a position outside of the window.
    """
    y, windows = outputs[0], windows_of(node)
    if can_be_minus_infinity(x.value, unknown=True):
        lowest = float(np.finfo(x.dtype.numpy()).min)
        # A product, not Where, which takes ten times as long.
        dy = dy * (y > lowest).cast(dy.dtype)
    if finds_maxima_by_value(windows, x.shape[2:], x.dtype):
        return max_pool_gradient(x, y, dy, windows.kernel)
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
    return by_data(samples, weight, windows, size, group=1).reshape(x.shape)


@gradient("GlobalAveragePool")
def global_average_pool(x: Expr, dy: Expr) -> Parts:
    """An equal share of dy for every position."""
    share = dy * (1.0 / math.prod(x.shape[2:]))
    return share.op("Expand", x.shape)
