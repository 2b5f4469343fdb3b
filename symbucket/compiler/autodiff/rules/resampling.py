"""Gradients of operators that read elements at other places: columns, resized images, samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

from symbucket.ir import Expr, gradient, no_gradient
from symbucket.ir.gradient_rules import Parts
from symbucket.ir.windows import resolve_windows

no_gradient("Col2Im", inputs=[1, 2], because="is a shape")


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
