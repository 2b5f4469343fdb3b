"""Values and weights in blocks of channels, by the cheapest nodes that reorder them.

The kernel of ReorderInput turns (n, c, h, w) into (n, c / block, h, w, block): a transposition by
vectors of a block. A general Transpose, which moves single elements, takes about ten times as long.
So what has to be reordered here is seen as such a value, by a Reshape, or else moved by whole
blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.ir import BLOCKED_DOMAIN, Expr


def to_blocks(x: Expr) -> Expr:
    """(n, c, h, w) with its channels in blocks."""
    return x.op("ReorderInput", domain=BLOCKED_DOMAIN)


def from_blocks(x: Expr) -> Expr:
    """(n, c, h, w) as ONNX has it."""
    return x.op("ReorderOutput", domain=BLOCKED_DOMAIN, channels=x.shape[1])


def blocked_weight(weight: Expr, block: int) -> Expr:
    """(out, in, h, w) as (out / block, in / block, h, w, in of block, out of block).

    With fewer input channels than a block has: (out / block, in, h, w, out of block).
    """
    filters, channels, *kernel = weight.shape
    places = math.prod(kernel)
    blocks = weight
    if channels >= block and places > 1:
        blocks = to_blocks(weight.reshape((filters, channels, places, 1)))
    blocks = to_blocks(blocks.reshape((1, filters, channels * places, 1)))
    return blocks.reshape(weight.shape)


def blocked_weight_turned(weight: Expr, block: int) -> Expr:
    """The weight with which a convolution of stride 1 computes the transposed one.

    Filters and channels change places, and the kernel is turned by 180 degrees. A block of filters
    by channels is transposed by itself, then the blocks are put into their new order.
    """
    filters, channels, *kernel = weight.shape
    rows, columns, places = filters // block, channels // block, math.prod(kernel)
    blocks = blocked_weight(weight, block).reshape((rows * columns * places, block, block, 1))
    blocks = from_blocks(blocks).reshape((rows * columns * places, block * block))
    numbers = np.arange(rows * columns * places).reshape(rows, columns, places)
    order = [int(number) for number in numbers[:, :, ::-1].transpose(1, 0, 2).flat]
    if order != sorted(order):
        blocks = blocks.op("Gather", order, axis=0)
    return blocks.reshape((channels, filters, *kernel))


def blocked_depthwise_weight(weight: Expr, block: int, *, turned: bool = False) -> Expr:
    """(channels, 1, h, w) as (channels / block, h, w, block), turned by 180 degrees if asked."""
    channels, _, *kernel = weight.shape
    places = math.prod(kernel)
    blocks = to_blocks(weight.reshape((1, channels, places, 1)))
    if turned and places > 1:
        blocks = blocks.reshape((channels // block, places, block))
        blocks = blocks.op("Gather", list(range(places))[::-1], axis=1)
    return blocks.reshape(weight.shape)


def convolve(
    x: Expr,
    weight: Expr,
    bias: Expr | None = None,
    *,
    pads: Sequence[int] = (0, 0, 0, 0),
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    added: Expr | None = None,
    **activation: Any,
) -> Expr:
    """The convolution of values in blocks; with fewer channels than a block, of (n, c, h, w).

    With as many groups as channels, the weight is ``blocked_depthwise_weight``. The kernel also
    adds a value of the result's shape, and applies a function that attributes name.
    """
    return x.op(
        "Conv",
        weight,
        bias,
        added,
        domain=BLOCKED_DOMAIN,
        kernel_shape=list(weight.shape[2:]),
        pads=list(pads),
        strides=list(strides),
        dilations=list(dilations),
        group=group,
        **activation,
    )
