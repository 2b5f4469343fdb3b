"""Symbols as JSON, in the layout of MXNet's symbol files (nodes, arg_nodes, heads)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from symbucket.attribute import stored_name
from symbucket.errors import InvalidArgumentError
from symbucket.files import write_atomic
from symbucket.ops.attributes import render
from symbucket.ops.record import find
from symbucket.symbol.node import Entry, Node, topological

_VERSION = ["int", 10901]  # the MXNet version whose layout this is


def node_attrs(node: Node) -> dict[str, str]:
    """Return the non-default attributes of the operator and those of the user, as strings."""
    own = {} if node.op is None else {k: render(v) for k, v in node.op.attributes().items()}
    return {**own, **node.attrs}


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


def from_json(text: str) -> list[Entry]:
    """Return the heads of the graph in ``text``.

    Raises InvalidArgumentError with the node and the reason if the text is not a symbol file.
    """
    try:
        whole = json.loads(text)
        records, heads = whole["nodes"], whole["heads"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidArgumentError(f"This is not a symbol file: {error!r}") from None
    if not isinstance(records, list) or not isinstance(heads, list) or not heads:
        raise InvalidArgumentError(
            "This is not a symbol file: 'nodes' and 'heads' must be lists, and heads not empty"
        )
    nodes: list[Node] = []
    for position, record in enumerate(records):
        name = record.get("name", "?") if isinstance(record, dict) else "?"
        try:
            nodes.append(_node(record, nodes))
        except KeyError as error:
            raise InvalidArgumentError(
                f"Symbol file, node {position} ({name!r}): the key {error} is missing"
            ) from error
        except (IndexError, TypeError, ValueError, AttributeError) as error:
            raise InvalidArgumentError(
                f"Symbol file, node {position} ({name!r}): {error}"
            ) from error
    try:
        return [_entry(h, nodes) for h in heads]
    except (IndexError, TypeError, ValueError) as error:
        raise InvalidArgumentError(f"Symbol file, heads: {error}") from error


def _entry(raw: Sequence[Any], nodes: Sequence[Node]) -> Entry:
    """Return an input or head from [node, output, version]; the version is not used."""
    if not isinstance(raw, list) or not all(isinstance(i, int) for i in raw) or len(raw) < 2:
        raise ValueError(f"{raw!r} is not [node, output, version]")
    position, output = raw[:2]
    if not 0 <= position < len(nodes):
        raise IndexError(
            f"{raw} points to node {position}; only the {len(nodes)} nodes before it may be used"
        )
    node = nodes[position]
    if not 0 <= output < node.num_outputs:
        raise IndexError(
            f"{raw} points to output {output} of {node.name!r}, which has {node.num_outputs}"
        )
    return node, output


def _operator(record: dict[str, Any]) -> tuple[Any, dict[str, str]]:
    raw = dict(record.get("attrs") or record.get("param") or record.get("attr") or {})
    raw = {stored_name(str(k)): v for k, v in raw.items()}
    kind = find(record["op"])
    fields = kind.fields()
    own = {k: v for k, v in raw.items() if k in fields}
    user = {k: v for k, v in raw.items() if k not in fields}
    strange = [k for k in user if not (k.startswith("__") and k.endswith("__"))]
    ignored = kind.ignored_attributes()
    for key in strange:
        if key in ignored:
            del user[key]
        elif "attrs" in record:
            kind.make({**own, key: user[key]})  # raises, with the list of known attributes
    if kind.variadic and "num_args" not in own:
        own["num_args"] = str(len(record["inputs"]))
    return kind.make(own), user


def _node(record: dict[str, Any], nodes: Sequence[Node]) -> Node:
    if record["op"] == "null":
        attributes = record.get("attrs") or record.get("attr") or {}
        attrs = {stored_name(str(k)): str(v) for k, v in attributes.items()}
        return Node(None, record["name"], (), attrs)
    op, user = _operator(record)
    inputs = tuple(_entry(i, nodes) for i in record["inputs"])
    count = len(op.arguments()) + len(op.auxiliary())
    if len(inputs) != count:
        raise InvalidArgumentError(
            f"{op.op_name} takes {count} inputs ({', '.join(op.arguments())}), not {len(inputs)}"
        )
    return Node(op, record["name"], inputs, user)


def read(path: str) -> str:
    """Return the text of a symbol file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise InvalidArgumentError(f"cannot read symbol file {path!r}: {error}") from error


def save(heads: Sequence[Entry], path: str) -> None:
    """Write the text to ``path`` atomically."""
    try:
        write_atomic(path, to_json(heads).encode())
    except OSError as error:
        raise InvalidArgumentError(f"cannot write symbol file {path!r}: {error}") from error
