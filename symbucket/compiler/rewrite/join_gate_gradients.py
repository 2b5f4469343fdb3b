"""The gradients of a cell's gates, taken through their activations all at once.

The gates of a recurrent cell are slices of one matrix; backwards, each slice is multiplied by the
slope of its activation, and the results are joined. Joined first, the slopes are one expression,
``s(1 - s) = s - s^2`` and ``1 - t^2``, and one product serves all gates: six nodes a step in place
of thirteen. Only the last product waits for the next step. This is for steps that stay unrolled;
in a Scan, hoist-factors takes the slopes out of the step altogether.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.pattern import (
    Const,
    Either,
    Match,
    Op,
    match_each,
    replace_matches,
    variables,
)
from symbucket.ir import Builder, dtype_of, shape_of

grad, sigmoid, tanh = variables("grad", "sigmoid", "tanh")
SIGMOID_SLOPE = Op("Mul", sigmoid, Op("Sub", Const(1), sigmoid), users=1)
TANH_SLOPE = Op("Sub", Const(1), Op("Mul", tanh, tanh), users=1)
GATE = Op("Mul", grad, Either(SIGMOID_SLOPE, TANH_SLOPE), users=1)
JOIN = Op("Concat")


@graph_pass("final", requires=(Property.STANDARD_ONNX,))
def join_gate_gradients(graph: ir.Graph) -> int:
    """Rewrite every Concat along the last axis whose inputs are all gradients of gates."""
    ones: dict[tuple[int, ...], ir.Value] = {}

    def replace(g: Builder, match: Match) -> ir.Value | None:
        last = len(shape_of(match[JOIN])) - 1
        inputs = match.node(JOIN).inputs
        if len(inputs) < 2 or match.attribute(JOIN, "axis") not in (last, -1):
            return None
        gates = match_each(GATE, inputs)
        if gates is None or not all(map(_keeps_shape, gates)):
            return None
        return _joined(g, gates, last, ones)

    return replace_matches(graph, JOIN, replace)


def _keeps_shape(gate: Match) -> bool:
    return shape_of(gate[grad]) == shape_of(_activation(gate)) == shape_of(gate[GATE])


def _activation(gate: Match) -> ir.Value:
    return gate[sigmoid] if sigmoid in gate else gate[tanh]


def _joined(
    g: Builder, gates: Sequence[Match], axis: int, ones: dict[tuple[int, ...], ir.Value]
) -> ir.Value:
    """Return the gradients of all gates side by side: ``[grads] ([s or 1] - [s or t]^2)``."""
    values = g.op("Concat", *map(_activation, gates), axis=axis)
    square = g.op("Mul", values, values)
    if all(sigmoid in gate for gate in gates):
        minuend = values
    elif not any(sigmoid in gate for gate in gates):
        minuend = g.const(1.0, like=values)
    else:
        minuends = [gate.get(sigmoid) or _ones(g, gate[tanh], ones) for gate in gates]
        minuend = g.op("Concat", *minuends, axis=axis)
    slopes = g.op("Sub", minuend, square)
    return g.op("Mul", g.op("Concat", *(gate[grad] for gate in gates), axis=axis), slopes)


def _ones(g: Builder, like: ir.Value, ones: dict[tuple[int, ...], ir.Value]) -> ir.Value:
    """Return a constant of ones, the same one for all time steps."""
    shape = shape_of(like)
    if shape not in ones:
        ones[shape] = g.const(np.ones(shape, dtype=dtype_of(like).numpy()))
    return ones[shape]
