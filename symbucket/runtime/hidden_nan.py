"""Inputs whose NaN the runtime would hide.

The kernels of ONNX's LSTM, GRU and RNN add biases and limit the sums in one step, in which NaN
becomes a number (see docs/runtimes.md). Results would look like any other.
"""

from __future__ import annotations

import numpy as np
import onnx

from symbucket.errors import DataError
from symbucket.runtime.finite import looks_finite
from symbucket.types import Array

_RECURRENCES = frozenset({"LSTM", "GRU", "RNN"})
_STOPS = frozenset({"Clip", "Equal", "Greater", "IsNaN", "Less", "Max", "Min", "Shape", "Where"})
"""Operators that a network may replace NaN with."""


def inputs_hiding_nan(graph: onnx.GraphProto) -> frozenset[str]:
    """Return the inputs whose elements reach the sequence of a recurrence as they are."""
    reached = {node.input[0] for node in graph.node if node.op_type in _RECURRENCES}
    if not reached:
        return frozenset()
    for node in reversed(graph.node):
        if node.op_type in _STOPS or reached.isdisjoint(node.output):
            continue
        reached.update(node.input[:1] if node.op_type == "Gather" else node.input)
    return frozenset(value.name for value in graph.input if value.name in reached)


def refuse_nan(array: Array, name: str, where: str) -> None:
    """Raise DataError if an input whose NaN would be hidden has any."""
    if looks_finite(array) or not (missing := np.isnan(array)).any():
        return
    place = [int(i) for i in np.argwhere(missing)[0]]
    raise DataError(
        f"{where}: {name}{place or ''} is NaN, from which the runtime's LSTM, GRU and RNN compute "
        "numbers as from any other. Put a number there, such as 0, or let the network do it "
        "(sym.where), and tell it by a mask what is missing."
    )
