"""An ONNX graph as a networkx graph."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(
    model: ir.Model | ir.Graph | onnx.ModelProto | str | os.PathLike[str],
) -> nx.MultiDiGraph[str]:
    """Return the main graph of an ONNX model as a networkx graph.

    A node of the result is an input, a constant (initializer) or a node of the model, in
    topological order; its attributes are

    * ``kind``: "input", "constant" or "node"; ``name``: the name in the model;
    * ``op`` and ``domain`` of a node, and ``attrs``, its attributes that hold no graph;
    * ``shapes`` and ``dtypes``: one entry an output, None if unknown; a dimension is an int, or a
      str if it is known at run time only.

    An edge is one use of a value, with its ``value`` name, the ``output`` number that it has at its
    source and the ``input`` number that it has at its target: None if a graph inside the target
    (the body of a Scan) reads it. ``graph["outputs"]`` lists the outputs of the model as pairs of
    node and output number.

    Args:
        model: a model or graph of onnx or onnx-ir, or the path of a file.
    """
    import networkx as nx  # half of what importing symbucket would cost, and few need it

    source = _graph_of(model)
    names = UniqueNames()
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    ends: dict[ir.Value, tuple[str, int]] = {}
    constants = [v for v in source.initializers.values() if v not in set(source.inputs)]
    for kind, values in (("input", list(source.inputs)), ("constant", constants)):
        for value in values:
            key = names.unique(value.name or kind)
            ends[value] = key, 0
            graph.add_node(key, kind=kind, name=value.name, **_types([value]))
    for node in source:
        key = names.unique(node.name or node.op_type)
        ends.update((value, (key, i)) for i, value in enumerate(node.outputs))
        attributes = _attributes(node)
        graph.add_node(
            key,
            kind="node",
            name=node.name,
            op=node.op_type,
            domain=node.domain,
            attrs=attributes,
            **_types(list(node.outputs)),
        )
    for node in source:
        target = ends[node.outputs[0]][0]
        uses: list[tuple[ir.Value | None, int | None]] = [(v, i) for i, v in enumerate(node.inputs)]
        uses += [(v, None) for v in _captured(node)]
        for used, position in uses:
            if used is not None and used in ends:
                key, output = ends[used]
                graph.add_edge(key, target, value=used.name, output=output, input=position)
    graph.graph["name"] = source.name
    graph.graph["outputs"] = [ends[value] for value in source.outputs if value in ends]
    return graph


def _graph_of(model: Any) -> ir.Graph:
    if isinstance(model, (str, os.PathLike)):
        model = ir.load(model)
    elif isinstance(model, onnx.ModelProto):
        model = ir.from_proto(model)
    graph: ir.Graph = model.graph if isinstance(model, ir.Model) else model
    return graph


def _types(values: list[ir.Value]) -> dict[str, Any]:
    return {
        "shapes": [_shape(value) for value in values],
        "dtypes": [None if value.dtype is None else value.dtype.name for value in values],
    }


def _shape(value: ir.Value) -> tuple[int | str, ...] | None:
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else str(d) for d in value.shape)


def _attributes(node: ir.Node) -> dict[str, Any]:
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return {
        name: attribute.value
        for name, attribute in node.attributes.items()
        if isinstance(attribute, ir.Attr) and attribute.type not in graphs
    }


def _captured(node: ir.Node) -> Iterator[ir.Value]:
    """Return every value that a graph inside a node reads, its own values among them."""
    for attribute in node.attributes.values():
        graphs: Iterable[ir.Graph] = ()
        if isinstance(attribute, ir.Attr) and attribute.type == ir.AttributeType.GRAPH:
            graphs = (attribute.value,)
        elif isinstance(attribute, ir.Attr) and attribute.type == ir.AttributeType.GRAPHS:
            graphs = attribute.value
        for graph in graphs:
            yield from graph.outputs
            for inner in graph:
                yield from (v for v in inner.inputs if v is not None)
                yield from _captured(inner)


class UniqueNames:
    """Names as keys of nodes, with a number after one that is taken."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, name: str) -> str:
        """Return ``name``, or ``name#1``, ``name#2``, ... if it is taken."""
        key, count = name, 0
        while key in self._taken:
            count += 1
            key = f"{name}#{count}"
        self._taken.add(key)
        return key
