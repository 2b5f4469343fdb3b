"""The gradient of a convolution's weight as a convolution over blocks.

Samples take the place of channels, channels that of samples, and dy that of the weight. A block of
channels stays as it lies in memory, side by side along the last axis, and the filters step over it,
so that a row of the result has a block times as many elements: the kernel computes six at a time,
and reads the filters, which are as large as dy, again for the next six.

The kernel takes fewer channels than a block has as they are, so all but rows of x and samples of dy
stay where they are. Where there are more samples, several lie one below the other, in x once for
each row of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from symbucket.compiler.blocked.layouts import convolve, from_blocks, to_blocks
from symbucket.ir import Expr, Windows


def blocked_weight_gradient(x: Expr, dy: Expr, windows: Windows, block: int) -> Expr:
    """The gradient of the weight (out, in, h, w) of a convolution in two axes from x to dy.

    Filters fill whole blocks.
    """
    samples, channels, height, width = x.shape
    filters, *counts = dy.shape[1:]
    rows, columns = windows.kernel
    depth = max(n for n in range(1, block) if samples % n == 0)
    stacked = samples // depth
    blocks = windows.dilations[1] == 1 and channels % block == 0
    beside = block if blocks else 1
    data = to_blocks(x) if blocks else x

    # Elements of a row cost time at both ends, so they are padded; negative: they are cut off.
    below, end = _ends(windows, (height, width), counts)
    if blocks and end >= 0:
        # The kernel of a convolution of single elements pads on all threads.
        pads = [windows.begins[0], windows.begins[1], max(below, 0), end]
        ones = x.const(np.ones((channels, 1, 1, 1)))
        data = convolve(data, ones, pads=pads, group=channels)
        windows, height = replace(windows, begins=(0, 0)), data.shape[2]
        data = data.reshape((-1, data.shape[3], beside))
    else:
        data = data.reshape((-1, width, beside))
        data = data.op("Pad", [0, windows.begins[1], 0, 1, end, 0])
    numbers = _numbers_of_rows(windows, samples, channels // beside, height, counts[0], depth)
    data = data.op("Gather", numbers, axis=0)
    data = data.reshape((channels // beside, depth, -1, data.shape[1] * beside))

    filter_ = to_blocks(dy).reshape((samples, filters // block, counts[0] * counts[1] * block))
    dw = convolve(
        data,
        _moved(filter_, [1, 0, 2]).reshape((filters, depth, stacked * counts[0], counts[1])),
        strides=(stacked * counts[0], 1 if blocks else windows.dilations[1]),
        dilations=(1, windows.strides[1] * beside),
    )
    dw = dw.reshape((channels // beside, filters // block, rows, columns, beside, block))
    dw = _moved(dw, [1, 0, 4, 2, 3, 5])
    dw = from_blocks(dw.reshape((filters // block, block, channels * rows * columns, 1)))
    return dw.reshape((filters, channels, rows, columns))


def _numbers_of_rows(
    windows: Windows, samples: int, parts: int, height: int, count: int, depth: int
) -> list[int]:
    """Rows of (samples, parts, height) in the order (parts, depth, kernel, rest, count).

    One behind the last stands for those that are not there.
    """
    size = samples * parts * height
    numbers = np.arange(size).reshape(depth, -1, parts, height)
    places = np.arange(count) * windows.strides[0] - windows.begins[0]
    places = places + np.arange(windows.kernel[0])[:, None] * windows.dilations[0]
    inside = (places >= 0) & (places < height)
    rows = np.where(inside, numbers[..., np.where(inside, places, 0)], size)
    return [int(number) for number in rows.transpose(2, 0, 3, 1, 4).flat]


def _moved(x: Expr, order: Sequence[int]) -> Expr:
    """x with its axes in another order; if only axes of size 1 move, nothing is copied."""
    longer = [axis for axis in order if x.shape[axis] > 1]
    if longer == sorted(longer):
        return x.reshape([x.shape[axis] for axis in order])
    return x.transpose(order)


def depthwise_weight_gradient(x: Expr, dy: Expr, windows: Windows) -> Expr:
    """The gradient of the weight (channels, 1, h, w) of one convolution for each channel.

    Every channel of every sample is convolved with its own dy; then samples are summed.
    """
    samples, channels, *size = x.shape
    counts, all_channels = dy.shape[2:], samples * channels
    ends = _ends(windows, size, counts)
    if min(ends) < 0:
        x = x.op("Slice", [0, 0], [n + min(e, 0) for n, e in zip(size, ends)], [2, 3])
    data = to_blocks(x.reshape((1, all_channels, *x.shape[2:])))
    filters = to_blocks(dy.reshape((1, all_channels, *counts)))
    dw = convolve(
        data,
        filters.reshape((all_channels, 1, *counts)),
        pads=[*windows.begins, *(max(end, 0) for end in ends)],
        strides=windows.dilations,
        dilations=windows.strides,
        group=all_channels,
    )
    dw = from_blocks(dw).reshape((samples, channels, *windows.kernel))
    return dw.sum([0]).reshape((channels, 1, *windows.kernel))


def _ends(windows: Windows, size: Sequence[int], counts: Sequence[int]) -> list[int]:
    """The padding that windows need at the end; negative where a stride leaves elements over."""
    return [
        (k - 1) * d + (n - 1) * s + 1 - have - begin
        for k, d, n, s, have, begin in zip(
            windows.kernel, windows.dilations, counts, windows.strides, size, windows.begins
        )
    ]
