"""Gradients of operators that read elements at other places: columns, resized images, samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import Expr, attributes_of, gradient, no_gradient
from symbucket.ir.gradient_rules import Parts
from symbucket.ir.resize import AxisMatrix, axis_matrices, is_repetition
from symbucket.ir.windows import resolve_windows

no_gradient("Col2Im", inputs=[1, 2], because="is a shape")
no_gradient("Resize", inputs=[1, 2, 3], because="holds a region, scales or sizes")


@gradient("Resize")
def resize(
    dy: Expr,
    node: ir.Node,
    x: Expr,
    roi: Expr | None = None,
    scales: Expr | None = None,
    sizes: Expr | None = None,
) -> Parts:
    """dy times the weights with which each element of x went into y, axis by axis."""
    settings = [None if setting is None else setting.constant for setting in (roi, scales, sizes)]
    if settings[1] is None and settings[2] is None:
        raise UnsupportedError(f"{node.name}: the gradient of Resize needs constant sizes")
    for part in axis_matrices(x.shape, dy.shape, attributes_of(node), *settings):
        dy = _weighted(dy, part)
    return dy


def _weighted(dy: Expr, part: AxisMatrix) -> Expr:
    """The sums of dy along an axis with the columns of its matrix."""
    shape, axis = dy.shape, part.axis
    times = is_repetition(part.weights)
    if times:
        pairs = (*shape[:axis], shape[axis] // times, times, *shape[axis + 1 :])
        return dy.reshape(pairs).sum(axis + 1)
    return part.times(dy, part.weights)


@gradient("Col2Im")
def col2im(
    dy: Expr,
    x: Expr,
    size: Expr,
    kernel: Expr,
    *,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Parts:
    """The elements of dy under each window."""
    assert kernel.constant is not None
    block = tuple(int(k) for k in kernel.constant)
    windows = resolve_windows(block, dy.shape[2:], strides, dilations, pads, "NOTSET")
    index = Expr(dy.g, dy.g.const(windows.places(dy.shape[2:])))
    if any(windows.pads):
        dy = dy.op("Pad", [0, 0, *windows.begins, 0, 0, *windows.ends])
    flat = dy.reshape((*dy.shape[:2], math.prod(dy.shape[2:])))
    return flat.op("Gather", index, axis=2).reshape(x.shape)
