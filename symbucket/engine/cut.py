"""Cut a network at the operators that run Python code.

Between them lie segments: networks that are compiled as any other. A segment reads variables of
the network and values of earlier steps, which are variables of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from symbucket.symbol.brief import brief
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.symbol import Symbol, entry_name


def runs_python(symbol: Symbol) -> bool:
    """Return whether a network has operators that run Python code."""
    return any(node.op is not None and node.op.runs_python for node in brief(symbol).nodes)


@dataclass(frozen=True)
class Segment:
    """A network between Python operators.

    Attributes:
        symbol: what is compiled.
        values: the values of the whole network that its inputs stand for, by the input's name;
            those of arguments are variables.
        outputs: the values of the whole network that are its outputs, in order.
    """

    symbol: Symbol
    values: dict[str, Entry]
    outputs: tuple[Entry, ...]


@dataclass(frozen=True)
class PythonCall:
    """One operator that runs Python code."""

    node: Node


Step = Segment | PythonCall


def cut(symbol: Symbol) -> list[Step]:
    """Return segments and calls in an order in which they can run.

    The nodes of segment i have i Python operators between them and the variables at most; all
    calls of that depth follow it.
    """
    nodes = [node for node in symbol.nodes() if node.op is not None]
    depth: dict[Node, int] = {}
    for node in nodes:
        sources = [child for child, _ in node.inputs if child.op is not None]
        depth[node] = max((depth[child] + _python(child) for child in sources), default=0)
    readers: dict[Entry, list[Node]] = defaultdict(list)
    for node in nodes:
        for entry in node.inputs:
            readers[entry].append(node)
    steps: list[Step] = []
    for level in range(max(depth.values(), default=-1) + 1):
        inside = [node for node in nodes if depth[node] == level and not _python(node)]
        outputs = [
            entry
            for node in inside
            for entry in ((node, i) for i in range(node.num_outputs))
            if entry in symbol.heads
            or any(depth[reader] != level or _python(reader) for reader in readers[entry])
        ]
        if outputs:
            steps.append(_segment(inside, outputs))
        calls = [node for node in nodes if depth[node] == level and _python(node)]
        steps += [PythonCall(node) for node in calls]
    return steps


def _python(node: Node) -> bool:
    return node.op is not None and node.op.runs_python


def _segment(nodes: Iterable[Node], outputs: list[Entry]) -> Segment:
    """Return the segment of these nodes; what they read from elsewhere becomes variables."""
    copies: dict[Node, Node] = {}
    inputs: dict[Entry, Node] = {}
    values: dict[str, Entry] = {}

    def entry_in_segment(entry: Entry) -> Entry:
        source, index = entry
        if source in copies:
            return copies[source], index
        if source.op is None:
            values[source.name] = entry
            return entry
        if entry not in inputs:
            name = f"cut/{entry_name(entry)}"
            while name in values:  # nodes of one name
                name += "_"
            inputs[entry] = Node(None, name)
            values[name] = entry
        return inputs[entry], 0

    for node in nodes:
        entries = tuple(entry_in_segment(entry) for entry in node.inputs)
        copies[node] = Node(node.op, node.name, entries, node.attrs, node.value)
    return Segment(Symbol([(copies[n], i) for n, i in outputs]), values, tuple(outputs))
