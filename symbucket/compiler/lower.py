"""Symbol and shapes -> forward ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from symbucket.compiler.loops.group import Grouped, group_steps
from symbucket.compiler.lower_nodes import lower_nodes
from symbucket.errors import SymbucketError
from symbucket.ir import new_graph
from symbucket.ops.record import Emitter
from symbucket.symbol.infer import infer_shapes, infer_types
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.symbol import Symbol
from symbucket.types import Shape


@dataclass
class Lowered:
    """A forward graph with its values by the user's names.

    ``variables`` are the graph's inputs (arguments and auxiliary states), ``outputs`` the values
    of the symbol's outputs in order, ``aux_updates`` the new values of auxiliary states. ``loops``
    names the loops, ``unrolled`` says of recurrences that stay unrolled why.
    """

    graph: ir.Graph
    variables: dict[str, ir.Value]
    outputs: list[ir.Value]
    aux_updates: dict[str, ir.Value]
    emitter: Emitter
    loops: tuple[str, ...] = ()
    unrolled: tuple[str, ...] = ()


def lower(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any],
    training: bool,
    name: str,
    loops: bool = False,
) -> Lowered:
    """The forward graph of ``symbol`` for fully known argument shapes.

    Nodes are of standard ONNX and of our own domain; their names start with the name of the
    symbol's node that they came from. With ``loops`` equal steps are one Scan. Raises ShapeError
    if shapes do not fit.
    """
    symbol.variables()  # refuses two variables of one name
    nodes = symbol.nodes()
    steps = group_steps(nodes, symbol.heads) if loops else Grouped(nodes, symbol.heads)
    if steps.loops:
        try:
            return _lower(nodes, steps, shapes, dtypes, training, name)
        except SymbucketError:
            pass  # said once more by the steps as the user wrote them
    return _lower(nodes, Grouped(nodes, symbol.heads), shapes, dtypes, training, name)


def _lower(
    written: Sequence[Node],
    steps: Grouped,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any],
    training: bool,
    name: str,
) -> Lowered:
    nodes = steps.nodes
    table = infer_shapes(nodes, shapes)
    table.require_complete(steps.heads)
    types = infer_types(nodes, dtypes)

    emitter = Emitter(new_graph(name), training)
    values: dict[Entry, ir.Value] = {}
    variables: dict[str, ir.Value] = {}

    def shape(entry: Entry) -> Shape:
        found = table.shape_of(entry)
        assert found is not None
        return found

    for node in written:  # first, so that no constant or inner value takes the name of an input
        if node.op is None:
            dtype = ir.DataType.from_numpy(types[node, 0])
            value = emitter.input(node.name, shape((node, 0)), dtype)
            values[node, 0] = variables[node.name] = value

    first_draw = _first_draws(written, training)
    emitter.first_draw = first_draw

    def draw_numbers(node: Node) -> tuple[int, ...]:
        return (first_draw[steps.written.get(node, node)],)

    lower_nodes(emitter, nodes, values, table.shape_of, types, draw_numbers)
    return Lowered(
        emitter.graph,
        variables,
        [values[head] for head in steps.heads],
        {_name(k): v for k, v in emitter.aux_updates.items()},
        emitter,
        steps.loops,
        steps.unrolled,
    )


def _name(value: ir.Value) -> str:
    assert value.name is not None
    return value.name


def _first_draws(nodes: Sequence[Node], training: bool) -> dict[Node, int]:
    """Return the number of each random node's first draw, counted as the user wrote the nodes."""
    numbers: dict[Node, int] = {}
    count = 0
    for node in nodes:
        if node.op is not None and node.op.random:
            numbers[node] = count
            count += node.op.draws(training)
    return numbers
