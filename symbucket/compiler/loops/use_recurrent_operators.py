"""A Scan whose body is the step of an LSTM, a GRU or a plain cell becomes ONNX's operator for it.

Every runtime has these operators. They return the outputs and the last states, but no gates, so
this is for inference. Here the kernel of the LSTM takes two thirds of the time of a Scan with
layers of 200 units, half of it with 64; with layers of 650 the products take all the time.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.loops.recurrence import recurrence_of
from symbucket.compiler.rewrite.base import PassContext, Property, graph_pass
from symbucket.ir import Builder, body_of, clear_body

MAX_UNITS = 512
"""Of a layer that is faster as an operator than as a Scan, on the CPU."""


@graph_pass("final", introduces=("LSTM", "GRU", "RNN"), requires=(Property.STANDARD_ONNX,))
def use_recurrent_operators(graph: ir.Graph, context: PassContext) -> int:
    """Rewrite every Scan that is a recurrent operator; returns their number."""
    always = not context.target.supports_scan
    return sum(
        _rewrite(graph, scan, body, always) for scan in list(graph) if (body := body_of(scan))
    )


def _rewrite(graph: ir.Graph, scan: ir.Node, body: ir.Graph, always: bool) -> bool:
    recurrence = recurrence_of(scan, body)
    if recurrence is None or not recurrence.returns_outputs_only():
        return False
    if not always and (recurrence.op_type != "LSTM" or recurrence.units > MAX_UNITS):
        return False
    g = Builder(graph, anchor=scan)
    with g.beside(scan):
        finals, stack = recurrence.append(g)
    for i, old in enumerate(scan.outputs):
        new = finals[i] if i < len(finals) else stack
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(scan, safe=True)
    clear_body(scan)
    return True
