"""Shorten the names of intermediate values in a serialized graph."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import onnx


def shorten_names(graph: onnx.GraphProto) -> None:
    """Give intermediate values and constants short names; inputs, outputs and nodes keep theirs.

    The runtime stores every name several times over as long as a session lives. Short ones make a
    session smaller by an eighth. The bodies of loops and branches are renamed with the graph around
    them: a name in one is its own or one of a graph around it.
    """
    bodies = list(_graphs_in(graph))
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


def _graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs of all nodes, and those of the nodes in them."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield attribute.g
                yield from _graphs_in(attribute.g)
