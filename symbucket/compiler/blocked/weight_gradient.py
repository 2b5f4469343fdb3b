"""The gradient of a convolution's weight as a convolution over blocks.

Samples take the place of channels, channels that of samples, and dy that of the weight. ``beside``
channels lie side by side along the last axis, and the filters step over them, so that a row of the
result has ``beside`` times as many elements: the kernel computes six of them at a time, and reads
the filters, which are as large as dy, again for the next six.
"""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.compiler.blocked.layouts import convolve, from_blocks, to_blocks
from symbucket.ir import Expr, Windows

_AT_A_TIME = 6
"""Elements of a row that the kernel computes together."""

_MOST_BESIDE = 16


def blocked_weight_gradient(x: Expr, dy: Expr, windows: Windows, block: int) -> Expr:
    """The gradient of the weight (out, in, h, w) of a convolution in two axes from x to dy.

    Samples fill whole blocks, or are fewer than one block has; filters fill whole blocks.
    """
    samples, channels, height, width = x.shape
    filters, counts = dy.shape[1], dy.shape[2:]
    rows, columns = windows.kernel
    whole = samples >= block
    narrow = windows.dilations[1] == 1 and whole
    beside = _beside(channels, columns) if narrow else 1
    ends = _ends(windows, (height, width), counts)
    if whole:
        data = to_blocks(x.reshape((1, samples, channels * height, width)))
        data = data.reshape((samples // block, channels // beside, beside, height * width, block))
        data = data.transpose([1, 0, 3, 2, 4])
    else:
        data = x.transpose([1, 0, 2, 3])
    # Rows that are not there are skipped by the kernel; elements of a row cost time at both ends.
    pads = [0, 0, 0, windows.begins[1], 0, 0, 0, min(ends[0], 0), ends[1], 0]
    depth = (samples // block, beside * block) if whole else (samples, 1)
    data = data.reshape((channels // beside, depth[0], height, width, depth[1]))
    if any(pads):
        data = data.op("Pad", pads)
    data = data.reshape((channels // beside, samples, data.shape[2], data.shape[3] * beside))

    places = counts[0] * counts[1]
    filter_ = to_blocks(dy)
    if whole:
        filter_ = filter_.reshape((samples // block, block, filters // block, places, block))
        filter_ = filter_.transpose([2, 0, 3, 1, 4])
    else:
        filter_ = filter_.reshape((samples, filters // block, places, block))
        filter_ = filter_.transpose([1, 0, 2, 3])
    dw = convolve(
        data,
        filter_.reshape((filters, samples, *counts)),
        pads=[windows.begins[0], 0, max(ends[0], 0), 0],
        strides=(windows.dilations[0], 1 if beside > 1 else windows.dilations[1]),
        dilations=(windows.strides[0], windows.strides[1] * beside),
    )
    dw = dw.reshape((channels // beside, filters // block, rows, columns, beside, block))
    dw = dw.transpose([1, 0, 4, 2, 3, 5])
    dw = from_blocks(dw.reshape((filters // block, block, channels * rows * columns, 1)))
    return dw.reshape((filters, channels, rows, columns))


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


def _beside(channels: int, columns: int) -> int:
    """How many channels to put side by side: the fewest with which the kernel's rows are filled."""

    def filled(number: int) -> float:
        size = number * columns
        return size / -(-size // _AT_A_TIME) / _AT_A_TIME

    most = min(channels, _MOST_BESIDE)
    return max((n for n in range(1, most + 1) if channels % n == 0), key=filled)
