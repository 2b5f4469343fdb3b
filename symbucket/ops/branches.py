"""The two branches of an If, as operators write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import append_if, dtype_of, input_of_body, new_body, output_of_body, shape_of
from symbucket.ops.loop_body import type_text
from symbucket.ops.record import Emitter

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
        then: the branch for true.
        otherwise: the branch for false.
    """
    flag = g.cast(g.reshape(condition, (1,)), ir.DataType.BOOL)
    graphs = [_graph(g, operator, inputs, branch) for branch in (then, otherwise)]
    for i, (a, b) in enumerate(zip(*(graph.outputs for graph in graphs))):
        if (shape_of(a), dtype_of(a)) != (shape_of(b), dtype_of(b)):
            raise ShapeError(
                f"{operator}: output {i} is {type_text(a)} in one branch and {type_text(b)} in the "
                "other; both must be of one shape and dtype"
            )
    return append_if(g, flag, inputs, *graphs)


def _graph(g: Emitter, operator: str, inputs: Sequence[ir.Value], branch: Branch) -> ir.Graph:
    graph = new_body(g.root, g.unique(f"{g.scope}/branch"))
    for value in inputs:
        input_of_body(g, graph, f"{value.name}/inside", value)
    with g.inside(graph), _inside_branch(g, operator):
        for value in branch(list(graph.inputs)):
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
