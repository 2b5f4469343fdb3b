"""The diagram of a symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbucket.symbol import Symbol
from symbucket.symbol.infer import infer_shapes, infer_types
from symbucket.symbol.node import Entry, Node, auxiliary_states
from symbucket.visualization.diagram import (
    DATA,
    FORWARD,
    OUTPUT,
    PARAMETER,
    STATE,
    Box,
    Diagram,
    Edge,
    Value,
)
from symbucket.visualization.operations import operations

# Inputs of operators that are data; the others are learned.
_DATA_ARGUMENTS = frozenset(
    "data label lhs rhs indices index condition x y shape_like like".split()
)
# What only the variable of a parameter declares; a table of positions is added like data.
_DECLARED = frozenset(("__shape__", "__init__", "__lr_mult__", "__wd_mult__"))


def from_symbol(
    symbol: Symbol, shapes: Mapping[str, Sequence[int]] | None = None, title: str = ""
) -> Diagram:
    """Return the diagram of a symbol; with the shapes of its data, all edges have shapes.

    Raises ShapeError if the shapes contradict each other, InvalidArgumentError if one names no
    variable. Shapes that cannot be inferred stay unknown.
    """
    symbol.variables()  # refuses two variables of one name
    nodes = symbol.nodes()
    table = infer_shapes(nodes, shapes or {})
    types = infer_types(nodes, {})
    kinds = variable_kinds(nodes, shapes or {})
    number = {node: i for i, node in enumerate(nodes)}

    def value(node: Node, i: int, name: str) -> Value:
        shape = table.shape_of((node, i))
        dtype = str(types[node, i])
        return Value(name, dtype, None if shape is None else tuple(d or None for d in shape))

    boxes, edges = [], []
    for node in nodes:
        if node.op is None:
            kind = kinds[node.name]
            param = node.name if kind == PARAMETER else ""
            values = (value(node, 0, node.name),)
            boxes.append(Box(node.name, "", kind, node.name, values, dict(node.attrs), param))
            continue
        names = node.op.outputs()
        outputs = tuple(value(node, i, f"{node.name}_{n}") for i, n in enumerate(names))
        attributes = {k: str(v) for k, v in node.op.attributes().items()} | dict(node.attrs)
        inputs = [value(child, i, child.name) for child, i in node.inputs]
        count = operations(node.op.op_name, inputs, outputs, attributes)
        name, op = node.name, node.op.op_name
        boxes.append(Box(name, op, FORWARD, name, outputs, attributes, operations=count))
        edges += [Edge(number[child], number[node], i) for child, i in node.inputs]
    for name, (node, i) in zip(symbol.list_outputs(), symbol.heads):
        if node.op is not None:
            edges.append(Edge(number[node], len(boxes), i))
            boxes.append(Box(name, "", OUTPUT, name, (value(node, i, name),)))
    return Diagram(title or symbol.name or "symbol", tuple(boxes), tuple(edges))


def variable_kinds(nodes: Sequence[Node], shapes: Mapping[str, Any]) -> dict[str, str]:
    """Return the kind of each variable by name: data, parameter or state.

    Data are the variables with a shape in ``shapes`` and the data inputs of operators. A parameter
    is recognised by the argument that it is passed as, or, where only data are usual, by what its
    variable declares: a shape, an initializer, a learning rate or weight decay of its own.
    """
    auxiliary = auxiliary_states(nodes)
    kinds: dict[str, str] = {}
    for node in nodes:
        if node.op is None:
            kinds.setdefault(node.name, STATE if node in auxiliary else DATA)
            continue
        for name, (child, _) in zip(node.op.arguments(), node.inputs):
            plain = name in _DATA_ARGUMENTS or (node.op.variadic and name.startswith("arg"))
            plain = plain and _DECLARED.isdisjoint(child.attrs)
            if child.op is None and child not in auxiliary and not plain:
                kinds[child.name] = PARAMETER
    return {name: DATA if name in shapes else kind for name, kind in kinds.items()}


def parameter_inputs(node: Node, kinds: Mapping[str, str]) -> list[Entry]:
    """Return the inputs of a node that are parameters or auxiliary states."""
    return [(n, i) for n, i in node.inputs if n.op is None and kinds[n.name] in (PARAMETER, STATE)]
