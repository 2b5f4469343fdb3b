"""Read symbols from JSON in the layout of MXNet's symbol files, of version 0.8 and later."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any

from symbucket.attribute import is_of_input
from symbucket.errors import InvalidArgumentError
from symbucket.ops.record import Operator
from symbucket.ops.registry import find
from symbucket.symbol.node import Entry, Node, checked_name
from symbucket.symbol.old_files import (
    complete_inputs,
    give_to_inputs,
    merged_attributes,
    upgrade_attributes,
    version_of,
)
from symbucket.symbol.subgraph import Subgraph

_FAULTS = (IndexError, TypeError, ValueError, AttributeError, OverflowError, SyntaxError)


def from_json(text: str) -> list[Entry]:
    """Return the heads of the graph in ``text``.

    Raises InvalidArgumentError with the node and the reason if the text is not a symbol file.
    """
    try:
        whole = json.loads(text)
        records, heads = whole["nodes"], whole["heads"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidArgumentError(f"This is not a symbol file: {error!r}") from None
    if not isinstance(records, list) or not isinstance(heads, list) or not heads:
        raise InvalidArgumentError(
            "This is not a symbol file: 'nodes' and 'heads' must be lists, and heads not empty"
        )
    reader = _Reader(version_of(whole))
    for position, record in enumerate(records):
        name = record.get("name", "?") if isinstance(record, dict) else "?"
        try:
            reader.add(record)
        except KeyError as error:
            raise InvalidArgumentError(
                f"Symbol file, node {position} ({name!r}): the key {error} is missing"
            ) from error
        except _FAULTS as error:
            raise InvalidArgumentError(
                f"Symbol file, node {position} ({name!r}): {error}"
            ) from error
    try:
        return [_entry(h, reader.nodes) for h in heads]
    except _FAULTS as error:
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


class _Reader:
    """The nodes read so far.

    Attributes:
        nodes: in the order of the file.
        variables: their attributes by node, to which nodes that come later may add.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.nodes: list[Node] = []
        self.variables: dict[Node, dict[str, str]] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Read the next node."""
        name = checked_name(record["name"])
        raw = merged_attributes(record)
        if record["op"] == "null":
            attributes = {k: str(v) for k, v in raw.items()}
            node = Node(None, name, (), attributes)
            self.variables[node] = attributes
        else:
            node = self._applied(record, name, raw)
        self.nodes.append(node)

    def _applied(self, record: dict[str, Any], name: str, raw: dict[str, Any]) -> Node:
        read = _with_subgraphs if record.get("subgraphs") else _operator
        op, user = read(record, raw, self.version)
        inputs = [_entry(i, self.nodes) for i in record["inputs"]]
        inputs = complete_inputs(op, name, inputs, user, self.version)
        names = [*op.arguments(), *op.auxiliary()]
        if len(inputs) != len(names):
            raise InvalidArgumentError(
                f"{op.op_name} takes {len(names)} inputs ({', '.join(names)}), not {len(inputs)}"
            )
        give_to_inputs(user, names, [self.variables.get(node) for node, _ in inputs])
        return Node(op, name, tuple(inputs), user)


def _with_subgraphs(
    record: dict[str, Any], raw: dict[str, Any], version: int
) -> tuple[Operator, dict[str, str]]:
    """Return a node's operator, a loop or branch, and the attributes that are the user's."""
    kind: Any = find(record["op"])
    if not hasattr(kind, "read"):
        raise InvalidArgumentError(f"{record['op']} is no operator that has subgraphs")
    graphs = []
    for graph in record["subgraphs"]:
        reader = _Reader(version)
        for inner in graph["nodes"]:
            reader.add(inner)
        heads = tuple(_entry(head, reader.nodes) for head in graph["heads"])
        variables = tuple(node for node in reader.nodes if node.op is None)
        graphs.append(Subgraph(variables, heads))
    user = {k: v for k, v in raw.items() if k.startswith("__") and k.endswith("__")}
    own = {k: ast.literal_eval(str(v)) for k, v in raw.items() if k not in user}
    return kind.read(own, graphs), user


def _operator(
    record: dict[str, Any], raw: dict[str, Any], version: int
) -> tuple[Operator, dict[str, str]]:
    """Return a node's operator, and the attributes that are the user's."""
    kind = find(record["op"])
    upgrade_attributes(kind, raw, version)
    ignored = kind.ignored_attributes()
    own = {k: v for k, v in raw.items() if kind.takes(k)}
    user = {k: v for k, v in raw.items() if k not in own}
    for key in [k for k in user if not (k.startswith("__") and k.endswith("__"))]:
        if key in ignored:
            del user[key]
        elif "attrs" in record and not is_of_input(key):
            kind.make({**own, key: user[key]})  # raises, with the list of known attributes
    if kind.variadic and "num_args" not in own:
        own["num_args"] = str(len(record["inputs"]))
    return kind.make(own), user


def read(path: str) -> str:
    """Return the text of a symbol file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a zero byte in the path
        raise InvalidArgumentError(f"cannot read symbol file {path!r}: {error}") from error
