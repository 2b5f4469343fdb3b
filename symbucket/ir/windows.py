"""Sliding windows: what convolutions and poolings share, and their shape rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import onnx_ir as ir

from symbucket.ir.builder import attr, dtype_of, shape_of
from symbucket.ir.registry import TensorType, shape_rule
from symbucket.ir.shapes import ask_onnx
from symbucket.types import Array, Ints


@dataclass(frozen=True)
class Windows:
    """Windows over the spatial axes of (n, c, d1, ...), one entry an axis.

    ``begins`` and ``ends`` are the padding before and after the data.
    """

    kernel: Ints
    strides: Ints
    dilations: Ints
    begins: Ints
    ends: Ints

    @property
    def pads(self) -> list[int]:
        """The padding as ONNX writes it: all begins, then all ends."""
        return [*self.begins, *self.ends]

    @property
    def extents(self) -> Ints:
        """Distance from the first to the last element under a window, plus one."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations))

    def spare(self, size: Sequence[int]) -> Ints:
        """Padded elements beyond the first window; negative if not even that one fits."""
        extra = zip(size, self.begins, self.ends, self.extents)
        return tuple(n + b + e - x for n, b, e, x in extra)

    def counts(self, size: Sequence[int]) -> Ints:
        """Number of windows on every axis."""
        return tuple(r // s + 1 for r, s in zip(self.spare(size), self.strides))

    def left_over(self, size: Sequence[int]) -> Ints:
        """Padded elements after the last window."""
        return tuple(r % s for r, s in zip(self.spare(size), self.strides))

    def cover_once(self, size: Sequence[int]) -> bool:
        """Return whether every element is under exactly one window, and no padding is."""
        plain = set(self.dilations) <= {1} and not any(self.pads)
        whole = all(n % k == 0 for n, k in zip(size, self.kernel))
        return plain and whole and self.strides == self.kernel

    def places(self, size: Sequence[int]) -> Array:
        """Return the elements under each window, as numbers of the flattened padded data.

        The shape is (elements of a window, windows).
        """
        rank = len(size)
        padded = [n + b + e for n, b, e in zip(size, self.begins, self.ends)]
        numbers = np.arange(math.prod(padded)).reshape(padded)
        for axis, count in enumerate(self.counts(size)):
            inside = np.arange(self.kernel[axis]) * self.dilations[axis]
            starts = np.arange(count) * self.strides[axis]
            # (..., elements, windows) of this axis stand last, those of earlier axes before them.
            numbers = np.moveaxis(numbers, 0, -1)[..., np.add.outer(inside, starts)]
        order = [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)]
        return numbers.transpose(order).reshape(math.prod(self.kernel), -1)


def finds_maxima_by_value(windows: Windows, size: Sequence[int], dtype: ir.DataType) -> bool:
    """Return whether the gradient of a MaxPool finds the maxima by comparing, without positions."""
    return windows.cover_once(size) and dtype == ir.DataType.FLOAT


def windows_of(node: ir.Node) -> Windows:
    """The windows of a Conv, MaxPool or AveragePool node, automatic padding resolved."""
    x = node.inputs[0]
    assert x is not None
    size = shape_of(x)[2:]
    return _windows(node, size, str(attr(node, "auto_pad", "NOTSET")))


def transposed_windows_of(node: ir.Node) -> Windows:
    """The windows of a ConvTranspose node with explicit padding."""
    return _windows(node, (), "NOTSET")


def _kernel(node: ir.Node) -> Ints:
    kernel = attr(node, "kernel_shape")
    if kernel is None:
        weight = node.inputs[1]
        assert weight is not None
        kernel = shape_of(weight)[2:]
    return tuple(kernel)


def _windows(node: ir.Node, size: Ints, auto_pad: str) -> Windows:
    attributes = {name: attr(node, name) for name in ("strides", "dilations", "pads")}
    return resolve_windows(_kernel(node), size, auto_pad=auto_pad, **attributes)


def resolve_windows(
    kernel: Ints,
    size: Ints,
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> Windows:
    """Return the windows that ONNX attributes describe, over spatial axes of ``size``.

    ``auto_pad`` "NOTSET" takes ``pads`` as they are; the other modes of ONNX compute them.
    """
    zeros, ones = (0,) * len(kernel), (1,) * len(kernel)
    explicit = tuple(pads or (0,) * 2 * len(kernel)) if auto_pad == "NOTSET" else zeros * 2
    windows = Windows(
        kernel,
        tuple(strides or ones),
        tuple(dilations or ones),
        explicit[: len(kernel)],
        explicit[len(kernel) :],
    )
    if auto_pad in ("NOTSET", "VALID"):
        return windows
    total = [
        max((-(-n // s) - 1) * s + x - n, 0)
        for n, s, x in zip(size, windows.strides, windows.extents)
    ]
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    begins, ends = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    return replace(windows, begins=begins, ends=ends)


@shape_rule("Conv")
def _conv(node: ir.Node) -> list[TensorType]:
    x, w = (v for v in node.inputs[:2])
    assert x is not None
    assert w is not None
    have, weight, groups = shape_of(x), shape_of(w), attr(node, "group", 1)
    if have[1] != weight[1] * groups:
        raise ValueError(f"{have[1]} channels, the weight takes {weight[1]} in {groups} groups")
    windows = windows_of(node)
    if min(windows.spare(have[2:])) < 0:
        raise ValueError(f"a window of {windows.extents} is larger than the padded data")
    return [((have[0], weight[0], *windows.counts(have[2:])), dtype_of(x))]


@shape_rule("ConvTranspose")
def _conv_transpose(node: ir.Node) -> Sequence[TensorType]:
    if attr(node, "auto_pad", "NOTSET") != "NOTSET" or attr(node, "output_shape") is not None:
        return ask_onnx(node)
    x, w = (v for v in node.inputs[:2])
    assert x is not None
    assert w is not None
    have, weight, windows = shape_of(x), shape_of(w), transposed_windows_of(node)
    if have[1] != weight[0]:
        raise ValueError(f"{have[1]} channels, the weight takes {weight[0]}")
    more = attr(node, "output_padding") or (0,) * len(windows.kernel)
    size = tuple(
        s * (n - 1) + m + x - b - e
        for s, n, m, x, b, e in zip(
            windows.strides, have[2:], more, windows.extents, windows.begins, windows.ends
        )
    )
    return [((have[0], weight[1] * attr(node, "group", 1), *size), dtype_of(x))]


@shape_rule("MaxPool", "AveragePool")
def _pool(node: ir.Node) -> Sequence[TensorType]:
    if attr(node, "ceil_mode", 0):
        return ask_onnx(node)
    x = node.inputs[0]
    assert x is not None
    have, windows = shape_of(x), windows_of(node)
    if min(windows.spare(have[2:])) < 0:
        raise ValueError(f"a window of {windows.extents} is larger than the padded data")
    out = (*have[:2], *windows.counts(have[2:]))
    types = [(out, dtype_of(x)), (out, ir.DataType.INT64)]
    return types[: len(node.outputs)]


def covered(windows: Windows, size: Sequence[int], counts: Sequence[int], pad: bool) -> list[Ints]:
    """Return the number of elements under each window, axis by axis.

    ``pad`` counts the padding too; what lies beyond it never counts.
    """
    per_axis = []
    for i, count in enumerate(counts):
        low = -windows.begins[i] if pad else 0
        high = size[i] + (windows.ends[i] if pad else 0)
        starts = [n * windows.strides[i] - windows.begins[i] for n in range(count)]
        steps = [range(s, s + windows.extents[i], windows.dilations[i]) for s in starts]
        per_axis.append(tuple(sum(low <= p < high for p in step) for step in steps))
    return per_axis


def areas(counts: Sequence[Ints]) -> Array:
    """Return the number of elements under each window, from those on each axis."""
    return reduce(np.multiply.outer, [np.array(c, dtype=np.float64) for c in counts])
