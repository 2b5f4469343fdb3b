"""Columns: the nodes of equal steps that do the same in each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from symbucket.symbol.node import Entry, Node

Users = Mapping[Node, Sequence[tuple[Node, int]]]
"""The nodes that read a node, with the number of the input."""


class DiffersError(Exception):
    """Steps are not equal, for the reason given."""


@dataclass(frozen=True)
class Invariant:
    """An operand that is the same in every step."""

    entry: Entry


@dataclass(eq=False)
class Sequential:
    """An operand from outside that is another one in every step."""

    entries: list[Entry | None]


@dataclass(frozen=True)
class Internal:
    """An operand that a column makes, ``distance`` steps before."""

    column: Column = field(repr=False)
    output: int
    distance: int


Source = Invariant | Sequential | Internal


@dataclass(eq=False)
class Column:
    """The nodes that do the same in every step; None in last steps where nobody reads them."""

    nodes: list[Node | None]
    sources: list[Source] = field(default_factory=list)

    @property
    def model(self) -> Node:
        """The first step's node."""
        node = self.nodes[0]
        assert node is not None
        return node

    def present(self) -> Iterator[tuple[int, Node]]:
        """The steps that have such a node, with the node."""
        for step, node in enumerate(self.nodes):
            if node is not None:
                yield step, node


@dataclass(eq=False)
class Steps:
    """Equal steps; ``initial`` has what is read of the steps before the first one (-1, -2, ...)."""

    count: int
    columns: list[Column]
    initial: dict[tuple[Column, int], dict[int, Entry]]
    places: dict[Node, tuple[Column, int]]


def may_loop(node: Node) -> bool:
    """Return whether an operator can be in the body of a loop."""
    op = node.op
    return op is not None and not (op.is_loss or op.foreign or op.auxiliary())


def alike(a: Node, b: Node) -> bool:
    """Return whether two nodes are the same operation of as many operands."""
    same = a.op is b.op or (a.op == b.op and type(a.op) is type(b.op))
    return same and len(a.inputs) == len(b.inputs)
