"""Writing the two branches of an If."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir

from symbucket.ir import append_if, dtype_of, new_body, output_of_body, shape_of
from symbucket.ops.record import Emitter
from symbucket.symbol.subgraph import require_same

Branch = Callable[[Sequence[ir.Value]], Sequence[ir.Value]]
"""Appends what a branch computes from the values that it reads; returns its outputs."""


def choose(
    g: Emitter,
    operator: str,
    condition: ir.Value,
    inputs: Sequence[ir.Value],
    then: Branch,
    otherwise: Branch,
) -> list[ir.Value]:
    """Append an If that computes one of two branches, and return its outputs.

    Args:
        g: at the place of the If.
        operator: for messages.
        condition: one number; 0 is false.
        inputs: what the branches read.
        then: the branch for true. otherwise: the branch for false.
    """
    flag = g.cast(g.reshape(condition, (1,)), ir.DataType.BOOL)
    graphs = [_graph(g, operator, inputs, branch) for branch in (then, otherwise)]
    for i, pair in enumerate(zip(*(graph.outputs for graph in graphs))):
        require_same(f"{operator}: output {i}", *(f"{dtype_of(v).name}{shape_of(v)}" for v in pair))
    return append_if(g, flag, inputs, *graphs)


def _graph(g: Emitter, operator: str, inputs: Sequence[ir.Value], branch: Branch) -> ir.Graph:
    graph = new_body(g.root, g.unique(f"{g.scope}/branch"))
    for value in inputs:
        name = g.unique(f"{value.name}/inside")
        graph.inputs.append(ir.Value(name=name, shape=value.shape, type=value.type))
    with g.inside(graph), _inside_branch(g, operator):
        results = branch(list(graph.inputs))
        for value in results:
            graph.outputs.append(output_of_body(g, graph, value))
    return graph


@contextmanager
def _inside_branch(g: Emitter, operator: str) -> Iterator[None]:
    """Let operators write no loops, and draw no random numbers."""
    before = g.loops, g.branch
    g.loops, g.branch = False, operator
    try:
        yield
    finally:
        g.loops, g.branch = before
