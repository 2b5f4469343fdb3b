"""Write symbols as JSON, in the layout of MXNet's symbol files (nodes, arg_nodes, heads)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from symbucket.errors import InvalidArgumentError
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
    return {k: render(v) for k, v in own.items()}


def to_json(heads: Sequence[Entry]) -> str:
    """Return the graph beneath ``heads`` as JSON."""
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
        records.append(record)
        rows.append(rows[-1] + node.num_outputs)
    whole = {
        "nodes": records,
        "arg_nodes": [i for i, node in enumerate(nodes) if node.op is None],
        "node_row_ptr": rows,
        "heads": [[index[id(node)], i, 0] for node, i in heads],
        "attrs": {"mxnet_version": _VERSION},
    }
    return json.dumps(whole, indent=2)


def save(heads: Sequence[Entry], path: str) -> None:
    """Write the text to ``path`` atomically."""
    try:
        write_atomic(path, to_json(heads).encode())
    except OSError as error:
        raise InvalidArgumentError(f"cannot write symbol file {path!r}: {error}") from error
