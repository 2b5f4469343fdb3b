"""A symbol as a networkx graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from symbucket.ir.nx_graph import UniqueNames
from symbucket.symbol import serialize
from symbucket.symbol.infer import ShapeTable
from symbucket.symbol.node import Entry, Node

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(
    nodes: Sequence[Node], heads: Sequence[Entry], table: ShapeTable | None
) -> nx.MultiDiGraph[str]:
    """Return ``nodes``, which are in topological order, as a graph; see ``Symbol.to_networkx``."""
    import networkx as nx  # half of what importing symbucket would cost, and few need it

    names = UniqueNames()
    keys = {node: names.unique(node.name) for node in nodes}
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for node in nodes:
        attributes: dict[str, Any] = {
            "op": "null" if node.op is None else node.op.op_name,
            "name": node.name,
            "attrs": serialize.node_attrs(node),
        }
        if table is not None:
            attributes["shapes"] = [table.shape_of((node, i)) for i in range(node.num_outputs)]
        graph.add_node(keys[node], **attributes)
        arguments = () if node.op is None else (*node.op.arguments(), *node.op.auxiliary())
        for position, (name, (source, output)) in enumerate(zip(arguments, node.inputs)):
            graph.add_edge(keys[source], keys[node], output=output, input=position, argument=name)
    graph.graph["heads"] = [(keys[node], output) for node, output in heads]
    return graph
