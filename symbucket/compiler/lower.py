"""Lower a symbol with shapes into a forward graph of ONNX."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from symbucket.compiler.loops.draw_numbers import first_draws
from symbucket.compiler.loops.grouped import Grouped
from symbucket.errors import SymbucketError
from symbucket.ir import body_of, new_graph, steps_of
from symbucket.ir.nodes import scope_of
from symbucket.ops.record import Emitter
from symbucket.symbol.brief import brief
from symbucket.symbol.infer import infer_shapes, infer_types
from symbucket.symbol.lower_nodes import lower_nodes
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.symbol import Symbol
from symbucket.types import Shape


@dataclass
class Lowered:
    """A forward graph with its values by the user's names.

    Attributes:
        graph: the graph; its outputs are not set.
        variables: its inputs by name: arguments and auxiliary states.
        outputs: the values of the symbol's outputs, in order.
        aux_updates: the next values of auxiliary states, by the state's name.
        emitter: the builder at the end of the graph.
        loops: the names of the loops.
        unrolled: for each recurrence that stays unrolled, why.
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
    network: Grouped | None = None,
    labels_in_range: bool = True,
) -> Lowered:
    """Return the forward graph of ``symbol`` for these shapes of its variables.

    Nodes are of standard ONNX and of our own domain; their names start with the name of the
    symbol's node that they came from. ``network``: the symbol with loops in it, each of which
    becomes a Scan; with it, operators may emit loops too. Labels are ``labels_in_range`` if the
    host refuses others. Raises ShapeError if shapes are missing or do not fit.
    """
    symbol.variables()  # refuses two variables of one name
    loops = network is not None
    reasons: tuple[str, ...] = ()
    if network is not None:
        try:
            return _lower(network, shapes, dtypes, training, name, loops, labels_in_range)
        except SymbucketError as error:  # raised again by the steps as the user wrote them
            if not network.loops:
                raise
            reasons = (*network.unrolled, str(error))
    nodes = symbol.nodes()
    steps = Grouped(nodes, symbol.heads, (), reasons, {}, nodes)
    return _lower(steps, shapes, dtypes, training, name, loops, labels_in_range)


def _lower(
    steps: Grouped,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any],
    training: bool,
    name: str,
    loops: bool,
    labels_in_range: bool,
) -> Lowered:
    nodes = steps.nodes
    table = infer_shapes(nodes, shapes)
    table.require_complete()
    types = infer_types(nodes, dtypes)

    emitter = Emitter(new_graph(name), training)
    emitter.loops, emitter.labels_in_range = loops, labels_in_range
    values: dict[Entry, ir.Value] = {}
    variables: dict[str, ir.Value] = {}

    def shape(entry: Entry) -> Shape:
        inferred = table.shape_of(entry)
        assert inferred is not None
        return inferred

    # First, so that no constant or inner value takes the name of an input.
    for node in steps.source:
        if node.op is None:
            dtype = ir.DataType.from_numpy(types[node, 0])
            value = emitter.input(node.name, shape((node, 0)), dtype)
            values[node, 0] = variables[node.name] = value

    emitter.first_draws = first_draws(steps, training)
    numbers = emitter.first_draws.__getitem__
    lower_nodes(emitter, nodes, values, table.shape_of, types, numbers)
    return Lowered(
        emitter.graph,
        variables,
        [values[head] for head in steps.heads],
        {state.name or "": value for state, value in emitter.aux_updates.items()},
        emitter,
        _loops_in(emitter.graph),
        steps.unrolled,
    )


def _loops_in(graph: ir.Graph) -> tuple[str, ...]:
    """Return the loops by the nodes of the symbol that they came from."""
    loops = [node for node in graph if body_of(node) is not None]
    names = (f"{scope_of(node)} ({steps_of(node)} steps)" for node in loops)
    return tuple(dict.fromkeys(names))


def outputs_that_depend(symbol: Symbol, names: Collection[str]) -> list[bool]:
    """Return for each output of a symbol whether it depends on one of the variables ``names``."""
    depending: set[Node] = set()
    network = brief(symbol)
    for node in network.nodes:
        if node.name in names if node.op is None else any(n in depending for n, _ in node.inputs):
            depending.add(node)
    return [node in depending for node, _ in network.heads]
