"""A digest of what a network computes, whatever its nodes are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from symbucket.symbol.node import Entry, Node, topological
from symbucket.symbol.serialize import operator_attrs


def network_digest(heads: Sequence[Entry]) -> str:
    """Return a SHA-256 over operators, their attributes, connections and names of variables.

    Names of other nodes do not count, since automatic ones go on counting in a process; neither do
    the attributes of users, such as factors on learning rates.
    """
    return _digest(topological(heads), heads, named=True)


def _digest(nodes: Sequence[Node], heads: Sequence[Entry], *, named: bool) -> str:
    """Return the digest of a network, or of a loop's body, whose variables are known by order."""
    index = {id(node): i for i, node in enumerate(nodes)}
    lines = [
        ["", node.name if named else ""]
        if node.op is None
        else [
            node.op.op_name,
            sorted(operator_attrs(node).items()),
            [(index[id(child)], output) for child, output in node.inputs],
            [_digest(body.nodes, body.heads, named=False) for body in node.op.subgraphs()],
        ]
        for node in nodes
    ]
    ends = [(index[id(node)], output) for node, output in heads]
    return hashlib.sha256(json.dumps([lines, ends]).encode()).hexdigest()
