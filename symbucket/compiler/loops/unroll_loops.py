"""Write a loop out step by step, for targets without Scan.

The network was compiled as a loop, so what does not wait for the step before is computed for all
steps at once; only what is left of a step is repeated. Recurrent operators are no Scans any more.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import PassContext, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import (
    Builder,
    body_of,
    clear_body,
    input_of,
    place_copies,
    read_directions,
    shape_of,
    stack_directions,
    states_of,
    steps_of,
)


@graph_pass("final", required=True)
def unroll_loops(graph: ir.Graph, context: PassContext) -> int:
    """Unroll every loop; returns their number."""
    if context.target.supports_scan:
        return 0
    loops = [node for node in graph if body_of(node) is not None]
    for scan in loops:
        _unroll(graph, scan)
    return len(loops)


def _unroll(graph: ir.Graph, scan: ir.Node) -> None:
    body = body_of(scan)
    assert body is not None
    carried, steps = states_of(scan), steps_of(scan)
    g = Builder(graph, anchor=scan)
    g.scope = scan.name or ""
    slices = [
        _slices(g, input_of(scan, i), backwards=bool(way))
        for i, way in enumerate(read_directions(scan), carried)
    ]
    states = [input_of(scan, i) for i in range(carried)]
    stacked: list[list[ir.Value]] = [[] for _ in body.outputs[carried:]]
    for step in range(steps):
        inputs: list[ir.Value | None] = [*states, *(parts[step] for parts in slices)]
        values = dict(zip(body.inputs, inputs))
        results = place_copies(g, body, values, suffix=f"/step{step}")
        states = results[:carried]
        for stack, value in zip(stacked, results[carried:]):
            stack.append(g.reshape(value, (1, *shape_of(value))))
    stacks = [
        g.op("Concat", *(parts[::-1] if way else parts), axis=0)
        for parts, way in zip(stacked, stack_directions(scan))
    ]
    for old, new in zip(scan.outputs, [*states, *stacks]):
        substitute(g, old, new)
    graph.remove(scan, safe=True)
    clear_body(scan)


def _slices(g: Builder, stack: ir.Value, backwards: bool) -> list[ir.Value]:
    """Return what each step reads of a sequence."""
    steps, *shape = shape_of(stack)
    parts = [stack]
    if steps > 1:
        parts = g.ops("Split", stack, g.ints(*[1] * steps), axis=0, outputs=steps)
    pieces = [g.reshape(part, tuple(shape)) for part in parts]
    return pieces[::-1] if backwards else pieces
