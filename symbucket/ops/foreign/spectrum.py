"""Fourier transforms as products with matrices of cosines and sines, which have a gradient.

The number of products grows with the square of the length. A longer one than ``LONGEST`` is left to
the runtime's operator.
"""

from __future__ import annotations

import math

import numpy as np

from symbucket.ir import Expr, const_of
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter
from symbucket.types import Array

LONGEST = 4096


@translation("DFT")
def _dft(g: Emitter, call: Call) -> Results:
    x = Expr(g, call.input(0))
    axis = _axis(call) % x.rank
    call.refuse(axis == x.rank - 1, "a transform along the axis of real and imaginary parts")
    inverse, onesided = bool(call.attr("inverse", 0)), bool(call.attr("onesided", 0))
    back = inverse and onesided  # half of the frequencies become real numbers
    length = _length(call, 1)
    if length is None:
        length = 2 * (x.shape[axis] - 1) if back else x.shape[axis]
    if length > LONGEST:
        size, along = g.const(np.int64(length)), g.const(np.int64(axis))
        return [x.op("DFT", size, along, inverse=int(inverse), onesided=int(onesided)).value]
    x = _with_length(x, axis, length // 2 + 1 if back else length)
    order = [*(i for i in range(x.rank - 1) if i != axis), axis, x.rank - 1]
    x = x.transpose(order)
    y = _inverse_of_half(x, length) if back else _transform(x, length, inverse, onesided)
    return [y.transpose([order.index(i) for i in range(y.rank)]).value]


@translation("STFT")
def _stft(g: Emitter, call: Call) -> Results:
    signal, window = Expr(g, call.input(0)), call.optional(2)
    step, length = _length(call, 1), _length(call, 3)
    if length is None and window is not None:
        length = Expr(g, window).size
    call.refuse(step is None or length is None, "a length or step that the graph computes")
    assert step is not None
    assert length is not None
    call.refuse(length > LONGEST, f"a frame of more than {LONGEST} samples")
    if signal.rank == 2:
        signal = signal.reshape((*signal.shape, 1))
    count = (signal.shape[1] - length) // step + 1
    places = step * np.arange(count)[:, None] + np.arange(length)
    frames = signal.op("Gather", g.const(places), axis=1)  # batch, frames, length, parts
    if window is not None:
        frames = frames * Expr(g, window).reshape((length, 1))
    return [_transform(frames, length, False, bool(call.attr("onesided", 1))).value]


def _axis(call: Call) -> int:
    if call.opset < 20:
        return int(call.attr("axis", 1))
    axis = const_of(call.optional(2))
    call.refuse(call.optional(2) is not None and axis is None, "an axis that the graph computes")
    return -2 if axis is None else int(axis.reshape(-1)[0])


def _length(call: Call, i: int) -> int | None:
    value = const_of(call.optional(i))
    call.refuse(call.optional(i) is not None and value is None, "a length that the graph computes")
    return None if value is None else int(value.reshape(-1)[0])


def _with_length(x: Expr, axis: int, length: int) -> Expr:
    """x, cut or filled with zeros to a length."""
    more = length - x.shape[axis]
    if more < 0:
        return x.op("Slice", [0], [length], [axis])
    ends = [more if i == axis else 0 for i in range(x.rank)]
    return x if more == 0 else x.op("Pad", [*[0] * x.rank, *ends])


def _angles(rows: int, columns: int, length: int) -> Array:
    # The product modulo the length: a large angle would lose digits.
    steps = np.outer(np.arange(rows), np.arange(columns)) % length
    return steps * (2 * math.pi / length)


def _transform(x: Expr, length: int, inverse: bool, onesided: bool) -> Expr:
    """Transform the last axis but one of (..., length, 1 or 2)."""
    bins = length // 2 + 1 if onesided else length
    angles = _angles(length, bins, length)
    scale = 1.0 / length if inverse else 1.0
    cosine, sine = np.cos(angles) * scale, np.sin(angles) * (scale if inverse else -scale)
    parts = x.shape[-1]
    rows = x.reshape((math.prod(x.shape[:-2]), length * parts))
    # One matrix: from (length, parts) to (bins, real and imaginary part).
    matrix = np.zeros((length, parts, bins, 2))
    matrix[:, 0, :, 0], matrix[:, 0, :, 1] = cosine, sine
    if parts == 2:
        matrix[:, 1, :, 0], matrix[:, 1, :, 1] = -sine, cosine
    y = rows @ x.const(matrix.reshape((length * parts, bins * 2)))
    return y.reshape((*x.shape[:-2], bins, 2))


def _inverse_of_half(x: Expr, length: int) -> Expr:
    """The real numbers of which (..., length // 2 + 1, 2) is half of the transform."""
    bins = length // 2 + 1
    angles = _angles(bins, length, length)
    weights = np.full((bins, 1), 2.0 / length)
    weights[0] = 1.0 / length
    if length % 2 == 0:
        weights[-1] = 1.0 / length
    matrix = np.stack([np.cos(angles) * weights, -np.sin(angles) * weights], axis=1)
    rows = x.reshape((math.prod(x.shape[:-2]), bins * 2))
    y = rows @ x.const(matrix.reshape((bins * 2, length)))
    return y.reshape((*x.shape[:-2], length, 1))
