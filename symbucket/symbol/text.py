"""A symbol as text and as a table, for people to read."""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.html_tables import html_table
from symbucket.symbol import serialize
from symbucket.symbol.node import Entry, Node


def debug_text(nodes: Sequence[Node], heads: Sequence[Entry]) -> str:
    """Return outputs, then every node with its inputs and attributes, in MXNet's words."""
    lines = ["Symbol Outputs:"]
    lines += [f"\toutput[{i}]={n.name}({k})" for i, (n, k) in enumerate(heads)]
    for node in nodes:
        if node.op is None:
            lines.append(f"Variable:{node.name}")
            continue
        lines += ["-" * 20, f"Op:{node.op.op_name}, Name={node.name}", "Inputs:"]
        lines += [
            f"\targ[{i}]={child.name}({k}) version=0" for i, (child, k) in enumerate(node.inputs)
        ]
        attributes = serialize.node_attrs(node)
        if attributes:
            lines += ["Attrs:", *(f"\t{key}={value}" for key, value in attributes.items())]
    return "\n".join(lines) + "\n"


def node_table(nodes: Sequence[Node], caption: str) -> str:
    """Return an HTML table of the operators among ``nodes`` and of what they read."""
    rows = [("name", "operator", "inputs")]
    for node in nodes:
        if node.op is not None:
            inputs = ", ".join(source.name for source, _ in node.inputs)
            rows.append((node.name, node.op.op_name, inputs))
    return html_table(rows, caption=caption, left=range(3))
