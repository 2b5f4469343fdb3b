"""Pooling of foreign graphs; windows that ``ceil_mode`` adds become explicit.

What comes out has explicit padding, no ``ceil_mode``, and no ``count_include_pad``: onnxruntime
1.21 to 1.24 compute AveragePool with that attribute wrongly at opset 19 and later, 1.19 and 1.20
together with ``ceil_mode`` (see docs/runtimes.md).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr, const_of, shape_of
from symbucket.ir.expr import sqrt, where
from symbucket.ir.windows import Windows, areas, covered, resolve_windows
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.lrn import normalize_by_neighbours
from symbucket.ops.record import Emitter


@translation("AveragePool")
def _average_pool(g: Emitter, call: Call) -> Results:
    return [
        average_pool(g, call.input(0), *_windows(call), bool(call.attr("count_include_pad", 0)))
    ]


@translation("MaxPool")
def _max_pool(g: Emitter, call: Call) -> Results:
    x = call.input(0)
    _, windows = _windows(call)
    outputs = max(call.outputs, 2 if g.training else 1)  # the gradient reads the positions
    order = {"storage_order": call.attr("storage_order", 0)} if call.outputs > 1 else {}
    values = g.ops("MaxPool", x, outputs=outputs, **_attributes(windows), **order)
    return values[: call.outputs]


def average_pool(
    g: Emitter, x: ir.Value, windows: Windows, emitted: Windows, count_padding: bool
) -> ir.Value:
    """Emit the average of the elements under each window.

    Args:
        windows: the windows with the padding that ``count_padding`` counts.
        emitted: the same with more padding at the ends, which never counts (see ``add_ends``).
        count_padding: whether a window is divided by its padding too.
    """
    size = shape_of(x)[2:]
    counts = emitted.counts(size)
    inside = covered(windows, size, counts, pad=False)
    if not count_padding or not any(emitted.pads):
        return g.op("AveragePool", x, **_attributes(emitted))
    if min(map(min, inside)) == 0:  # a window over padding alone: its average is 0, not 0 / 0
        padded = g.op("Pad", x, g.ints(0, 0, *windows.begins, 0, 0, *windows.ends))
        none = (0,) * len(size)
        ends = tuple(e - w for e, w in zip(emitted.ends, windows.ends))
        return g.op("AveragePool", padded, **_attributes(replace(emitted, begins=none, ends=ends)))
    y = g.op("AveragePool", x, **_attributes(emitted))
    share = areas(inside) / areas(covered(windows, size, counts, pad=True))
    return y if np.all(share == 1.0) else g.op("Mul", y, g.const(share, like=x))


def add_ends(windows: Windows, size: tuple[int, ...]) -> Windows:
    """Return windows with one more on each axis if elements are left over (``ceil_mode``).

    A window that would begin after the data and the padding before it is not added.
    """
    ends = []
    for axis, (rest, stride) in enumerate(zip(windows.left_over(size), windows.strides)):
        count = windows.counts(size)[axis]
        more = stride - rest if rest and count * stride < size[axis] + windows.begins[axis] else 0
        ends.append(windows.ends[axis] + more)
    return replace(windows, ends=tuple(ends))


def _windows(call: Call) -> tuple[Windows, Windows]:
    size = shape_of(call.input(0))[2:]
    kernel = tuple(call.attr("kernel_shape"))
    windows = resolve_windows(
        kernel,
        size,
        strides=call.attr("strides"),
        dilations=call.attr("dilations"),
        pads=call.attr("pads"),
        auto_pad=str(call.attr("auto_pad", "NOTSET")),
    )
    return windows, add_ends(windows, size) if call.attr("ceil_mode", 0) else windows


def _attributes(windows: Windows) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "kernel_shape": list(windows.kernel),
        "strides": list(windows.strides),
        "pads": windows.pads,
    }
    if math.prod(windows.dilations) > 1:
        attributes["dilations"] = list(windows.dilations)
    return attributes


@translation("LpPool", "GlobalLpPool")
def _lp_pool(g: Emitter, call: Call) -> Results:
    """The p-th root of the sum of p-th powers."""
    x, p = Expr(g, call.input(0)), float(call.attr("p", 2))
    powers = x * x if p == 2 else abs(x) if p == 1 else abs(x) ** p
    if call.op_type == "GlobalLpPool":
        sums = powers.sum(range(2, x.rank), keepdims=True)
    else:
        windows, emitted = _windows(call)
        padded = powers.op("Pad", [0, 0, *emitted.begins, 0, 0, *emitted.ends])
        none = (0,) * len(windows.kernel)
        inner = _attributes(replace(emitted, begins=none, ends=none))
        sums = padded.op("AveragePool", **inner) * float(math.prod(windows.kernel))
    if p == 1:
        return [sums.value]
    zero = sums == 0.0  # where the root has no slope; the gradient is 0 there
    roots = where(zero, 1.0, sums)
    roots = sqrt(roots) if p == 2 else roots ** (1.0 / p)
    return [where(zero, 0.0, roots).value]


@translation("MaxUnpool")
def _max_unpool(g: Emitter, call: Call) -> Results:
    """Put elements where MaxPool took them; positions count in the smallest image it may be."""
    x, positions = Expr(g, call.input(0)), Expr(g, call.input(1))
    kernel = call.attr("kernel_shape")
    strides = call.attr("strides") or [1] * len(kernel)
    pads = call.attr("pads") or [0] * 2 * len(kernel)
    sizes = [
        (count - 1) * stride + window - begin - end
        for count, stride, window, begin, end in zip(
            x.shape[2:], strides, kernel, pads, pads[len(kernel) :]
        )
    ]
    shape = (*x.shape[:2], *sizes)
    flat = x.filled(0.0, (math.prod(shape),))
    rows = positions.reshape((positions.size,))
    y = flat.op("ScatterElements", rows, x.reshape((x.size,)), axis=0).reshape(shape)
    output_shape = const_of(call.optional(2))
    computed = call.optional(2) is not None and output_shape is None
    call.refuse(computed, "a shape that the graph computes")
    if output_shape is not None:
        more = [int(size) - d for size, d in zip(output_shape, shape)]
        y = y.op("Pad", [*[0] * len(shape), *more])
    return [y.value]


@translation("LRN")
def _local_response(g: Emitter, call: Call) -> Results:
    """x / (bias + alpha / size * sum of squares of the neighbouring channels)^beta."""
    y = normalize_by_neighbours(
        Expr(g, call.input(0)),
        call.attr("size"),
        call.attr("alpha", 1e-4),
        call.attr("beta", 0.75),
        call.attr("bias", 1.0),
    )
    return [y.value]
