"""A small LSTM in training: ONNX's operator runs its steps, and the gates are computed once more.

The operator returns outputs and last states, but gradients read the gates of every step. If all
outputs are known, so is what each step begins with, and the gates of all steps are one product.
What is left of the loop is its second state, ``c' = f c + i g``: four nodes of fourteen. The
product is made twice, so this is for layers that spend their time on nodes.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.loops.recurrence import Recurrence, recurrence_of
from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import (
    Builder,
    body_of,
    input_of,
    read_directions,
    replace_scan,
    shape_of,
    stack_directions,
    states_of,
    steps_of,
)

MAX_UNITS = 32
"""Of a layer for which the second product costs less than the nodes."""

LEAST_STEPS = 12
"""Of a loop whose nodes take more time than those that are added outside of it."""

_STATES = 2


@graph_pass("final", introduces=("LSTM", "Scan"), requires=(Property.STANDARD_ONNX,))
def recompute_gates(graph: ir.Graph) -> int:
    """Rewrite every Scan that is a small LSTM and returns more than outputs; return their number.

    What its body computes from outputs alone leaves it with ``hoist_products``, which comes later.
    """
    return sum(
        _rewrite(graph, scan, body)
        for scan in list(graph)
        if (body := body_of(scan)) is not None and _is_small(scan)
    )


def _is_small(scan: ir.Node) -> bool:
    """Return whether a Scan has the two states of a small LSTM, and stacks."""
    shapes = [shape_of(out) for out in scan.outputs[:_STATES]]
    return (
        states_of(scan) == _STATES < len(scan.outputs)
        and steps_of(scan) >= LEAST_STEPS
        and all(len(shape) == 2 and shape[1] <= MAX_UNITS for shape in shapes)
    )


def _rewrite(graph: ir.Graph, scan: ir.Node, body: ir.Graph) -> bool:
    recurrence = recurrence_of(scan, body)
    if recurrence is None or recurrence.op_type != "LSTM":
        return False
    g = Builder(graph, anchor=scan)
    with g.beside(scan):
        finals, stack = recurrence.append(g)
        previous = _previous(g, scan, recurrence, stack)
    hidden = recurrence.hidden
    scan.outputs[hidden].replace_all_uses_with(finals[hidden], replace_graph_outputs=True)
    live = [1 - hidden]
    for i in range(_STATES, len(scan.outputs)):
        if recurrence.is_output(body.outputs[i]):
            scan.outputs[i].replace_all_uses_with(stack, replace_graph_outputs=True)
        else:
            live.append(i)
    _read_outputs(scan, body, recurrence, previous, live)
    return True


def _previous(g: Builder, scan: ir.Node, recurrence: Recurrence, stack: ir.Value) -> ir.Value:
    """Return the outputs that each step begins with: the initial one, and all but the last."""
    steps, *shape = shape_of(stack)
    first = g.reshape(input_of(scan, recurrence.hidden), (1, *shape))
    backwards = read_directions(scan)[0]
    begin, end = (1, steps) if backwards else (0, steps - 1)
    rest = g.op("Slice", stack, g.ints(begin), g.ints(end), g.ints(0))
    return g.op("Concat", *((rest, first) if backwards else (first, rest)), axis=0)


def _read_outputs(
    scan: ir.Node, body: ir.Graph, recurrence: Recurrence, previous: ir.Value, live: list[int]
) -> None:
    """Let the body read the outputs before its step as a sequence; they are no state any more."""
    hidden = recurrence.hidden
    inputs, results = list(body.inputs), list(body.outputs)
    directions, stacked = read_directions(scan), stack_directions(scan)
    body.inputs.clear()
    body.inputs.extend([inputs[1 - hidden], *inputs[_STATES:], inputs[hidden]])
    body.outputs.clear()
    body.outputs.extend([results[i] for i in live])
    replace_scan(
        scan,
        [scan.inputs[1 - hidden], *scan.inputs[_STATES:], previous],
        [*directions, directions[0]],
        live,
        [stacked[i - _STATES] for i in live[1:]],
    )
    remove_dead_nodes(body)
