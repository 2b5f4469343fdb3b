"""``Grouped``: a network with loops in it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from symbucket.symbol.node import Entry, Node


@dataclass(frozen=True)
class Grouped:
    """The nodes of a network with loops in it, inputs first, and its outputs.

    ``loops`` names the loops that there are; ``unrolled`` says of each use of a weight in steps
    that stays unrolled why. ``written`` has for nodes that read something else now the user's node,
    which is in ``source``, the network without loops (in brief if it can be said so).
    ``inferred`` keeps what was worked out over the nodes, by what was asked.
    """

    nodes: list[Node]
    heads: Sequence[Entry]
    loops: tuple[str, ...] = ()
    unrolled: tuple[str, ...] = ()
    written: Mapping[Node, Node] = field(default_factory=dict)
    source: Sequence[Node] = ()
    inferred: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)
