"""AveragePool and MaxPool of foreign graphs; windows that ``ceil_mode`` adds become explicit.

What comes out has explicit padding, no ``ceil_mode``, and no ``count_include_pad``: onnxruntime
1.21 to 1.24 compute AveragePool with that attribute wrongly at opset 19 and later, 1.19 and 1.20
together with ``ceil_mode`` (see docs/runtimes.md).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.ir import shape_of
from symbucket.ir.windows import Windows, covered, resolve_windows
from symbucket.ops.foreign.call import Call, Results, translation
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
    share = _product(inside) / _product(covered(windows, size, counts, pad=True))
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


def _product(counts: list[tuple[int, ...]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return reduce(np.multiply.outer, [np.array(c, dtype=np.float64) for c in counts])
