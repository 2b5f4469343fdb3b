"""Write symbols as JSON, in the layout of MXNet's symbol files (nodes, arg_nodes, heads)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.files import write_atomic
from symbucket.ops.attributes import render
from symbucket.symbol.node import Entry, Node, topological

_VERSION = ["int", 10901]  # the MXNet version whose layout this is


def node_attrs(node: Node) -> dict[str, str]:
    """Return the attributes of the operator that a file needs, and the user's, as strings."""
    return {**operator_attrs(node), **node.attrs}


def operator_attrs(node: Node) -> dict[str, str]:
    """Return the attributes of the operator that a file needs, as strings."""
    if node.op is None:
        return {}
    own = node.op.attributes()
    own |= {name: getattr(node.op, name) for name in node.op.always_written}
    if node.op.variadic:
        own.pop("num_args", None)
        own[node.op.count_in_files] = len(node.op.arguments())
    return {name: render(value) for name, value in own.items()}


def to_json(heads: Sequence[Entry]) -> str:
    """Return the graph beneath ``heads`` as JSON.

    Raises UnsupportedError for a loop or branch that MXNet's layout cannot hold.
    """
    _require_layout(heads)
    whole = {**graph_of(heads), "attrs": {"mxnet_version": _VERSION}}
    return json.dumps(whole, indent=2)


def _require_layout(heads: Sequence[Entry]) -> None:
    for node in topological(heads):
        if node.op is not None:
            graphs = node.op.subgraphs()
            for name, places in node.op.attributes().items() if graphs else ():
                if isinstance(places, list) and -1 in places:
                    raise UnsupportedError(
                        f"Node {node.name!r} ({node.op.op_name}): its function does not use "
                        f"argument {places.index(-1)} of {name}, which MXNet's symbol files "
                        "cannot say; leave that argument out, or use it"
                    )
            for graph in graphs:
                _require_layout(graph.heads)


def graph_of(heads: Sequence[Entry]) -> dict[str, Any]:
    """Return the graph beneath ``heads`` in the form of a symbol file."""
    nodes = topological(heads)
    index = {id(node): i for i, node in enumerate(nodes)}
    records: list[dict[str, Any]] = []
    rows = [0]
    for node in nodes:
        record: dict[str, Any] = {
            "op": "null" if node.op is None else node.op.op_name,
            "name": node.name,
        }
        attrs = node_attrs(node)
        if attrs:
            record["attrs"] = attrs
        record["inputs"] = [[index[id(child)], i, 0] for child, i in node.inputs]
        graphs = () if node.op is None else node.op.subgraphs()
        if graphs:
            record["subgraphs"] = [graph_of(graph.heads) for graph in graphs]
        records.append(record)
        rows.append(rows[-1] + node.num_outputs)
    return {
        "nodes": records,
        "arg_nodes": [i for i, node in enumerate(nodes) if node.op is None],
        "node_row_ptr": rows,
        "heads": [[index[id(node)], i, 0] for node, i in heads],
    }


def save(heads: Sequence[Entry], path: str) -> None:
    """Write the text to ``path`` atomically."""
    try:
        write_atomic(path, to_json(heads).encode())
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        raise InvalidArgumentError(f"cannot write symbol file {path!r}: {error}") from error
