"""A digest of what a network computes, whatever its nodes are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from symbucket.ops.attributes import render
from symbucket.symbol.node import Entry, topological


def network_digest(heads: Sequence[Entry]) -> str:
    """Return a SHA-256 over operators, their attributes, connections and names of variables.

    Names of other nodes do not count, since automatic ones go on counting in a process; neither do
    the attributes of users, such as factors on learning rates.
    """
    nodes = topological(heads)
    index = {id(node): i for i, node in enumerate(nodes)}
    lines = [
        ["", node.name]
        if node.op is None
        else [
            node.op.op_name,
            sorted((k, render(v)) for k, v in node.op.attributes().items()),
            [(index[id(child)], output) for child, output in node.inputs],
        ]
        for node in nodes
    ]
    ends = [(index[id(node)], output) for node, output in heads]
    return hashlib.sha256(json.dumps([lines, ends]).encode()).hexdigest()
