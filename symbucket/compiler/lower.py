"""Symbol and shapes -> forward ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from symbucket.errors import ShapeError, SymbucketError
from symbucket.ir import new_graph, shape_of
from symbucket.ops.record import Emitter
from symbucket.symbol.infer import infer_shapes, infer_types
from symbucket.symbol.node import Entry
from symbucket.symbol.symbol import Symbol
from symbucket.types import Shape


@dataclass
class Lowered:
    """A forward graph with its values by the user's names.

    ``variables`` are the graph's inputs (arguments and auxiliary states), ``outputs`` the values
    of the symbol's outputs in order, ``aux_updates`` the new values of auxiliary states.
    """

    graph: ir.Graph
    variables: dict[str, ir.Value]
    outputs: list[ir.Value]
    aux_updates: dict[str, ir.Value]
    emitter: Emitter


def lower(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any],
    training: bool,
    name: str,
) -> Lowered:
    """The forward graph of ``symbol`` for fully known argument shapes.

    Nodes are of standard ONNX and of our own domain; their names start with the name of the
    symbol's node that they came from. Raises ShapeError where shapes do not fit.
    """
    symbol.variables()  # refuses two variables of one name
    nodes = symbol.nodes()
    table = infer_shapes(nodes, shapes)
    table.require_complete(symbol.heads)
    types = infer_types(nodes, dtypes)

    emitter = Emitter(new_graph(name), training)
    values: dict[Entry, ir.Value] = {}
    variables: dict[str, ir.Value] = {}

    def shape(entry: Entry) -> Shape:
        found = table.shape_of(entry)
        assert found is not None
        return found

    for node in nodes:  # first, so that no constant or inner value takes the name of an input
        if node.op is None:
            dtype = ir.DataType.from_numpy(types[node, 0])
            value = emitter.input(node.name, shape((node, 0)), dtype)
            values[node, 0] = variables[node.name] = value

    for node in nodes:
        if node.op is None:
            continue
        outputs = [(node, i) for i in range(node.num_outputs)]
        emitter.out_shapes = [shape(e) for e in outputs]
        emitter.out_dtypes = [types[e] for e in outputs]
        try:
            with emitter.scoped(node.name):
                made = node.op.emit(emitter, *(values[e] for e in node.inputs))
        except ShapeError:
            raise
        except SymbucketError as error:
            raise type(error)(f"Node {node.name!r} ({node.op.op_name}): {error}") from error
        made = [made] if isinstance(made, ir.Value) else list(made)
        for entry, value, wanted in zip(outputs, made, emitter.out_shapes):
            if shape_of(value) != tuple(wanted):
                raise ShapeError(
                    f"Node {node.name!r} ({node.op.op_name}): its expansion has shape "
                    f"{shape_of(value)}, its shape rule says {wanted}. This is an error of the "
                    "operator's record."
                )
            values[entry] = value
    return Lowered(
        emitter.graph,
        variables,
        [values[head] for head in symbol.heads],
        {_name(k): v for k, v in emitter.aux_updates.items()},
        emitter,
    )


def _name(value: ir.Value) -> str:
    assert value.name is not None
    return value.name
