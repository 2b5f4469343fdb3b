"""The number of each random draw of a network, counted in the order of the user's nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symbucket.compiler.loops.grouped import Grouped
from symbucket.compiler.loops.loop_operators import Loop
from symbucket.symbol.node import Node


class IrregularError(Exception):
    """A few steps do not tell how the draws of all steps are numbered."""


def first_draws(network: Grouped, training: bool) -> dict[Node, tuple[int, ...]]:
    """Return the number of each random node's first draw; of a loop's nodes one for each step.

    A loop that was told from a few steps numbers the draws of all, as if each had been there.
    Raises IrregularError if it cannot tell.
    """
    short = _in_order(network.source, training)
    loops = [node.op for node in network.nodes if isinstance(node.op, Loop)]
    gaps = [
        _Gap(nodes, op.steps - len(nodes), short, training)
        for op in loops
        for nodes in op.drawing.values()
        if len(nodes) < op.steps
    ]
    early = {node for gap in gaps for node in gap.nodes[: gap.place]}
    late = {node for gap in gaps for node in gap.nodes[gap.place :]}
    numbers = {
        node: number + sum(gap.draws_before(number, node in early, node in late) for gap in gaps)
        for node, number in short.items()
    }
    draws: dict[Node, tuple[int, ...]] = {
        node: (numbers[network.written.get(node, node)],)
        for node in network.nodes
        if network.written.get(node, node) in numbers
    }
    inserted: list[tuple[int, int]] = []  # first draws and how many there are
    filled = {id(gap.nodes): gap for gap in gaps}
    for op in loops:
        for model, nodes in op.drawing.items():
            steps = [numbers[node] for node in nodes]
            gap = filled.get(id(nodes))
            if gap is not None:
                between = gap.between(steps[gap.place - 1], steps[gap.place])
                steps[gap.place : gap.place] = between
                inserted += [(number, gap.each) for number in between]
            draws[model] = tuple(steps)
    if gaps:
        own = [(number, node.op.draws(training)) for node, number in numbers.items() if node.op]
        _require_each_once([*own, *inserted])
    return draws


def _in_order(nodes: Sequence[Node], training: bool) -> dict[Node, int]:
    """Return the numbers of first draws in the order of ``nodes``."""
    numbers: dict[Node, int] = {}
    count = 0
    for node in nodes:
        if node.op is not None and node.op.may_draw:
            numbers[node] = count
            count += node.op.draws(training)
    return numbers


class _Gap:
    """Where steps are left out between the nodes of a few steps of a loop.

    Attributes:
        nodes: those of the few steps; ``place`` is the number of the first one after the gap, the
            last but one, since steps at the ends may differ.
        each: how many draws a node makes.
    """

    def __init__(
        self, nodes: tuple[Node, ...], steps: int, short: Mapping[Node, int], training: bool
    ) -> None:
        self.nodes, self._steps = nodes, steps
        self.place = len(nodes) - 2
        assert nodes[0].op is not None
        self.each = nodes[0].op.draws(training)
        earlier, before, after = (short[node] for node in nodes[self.place - 2 :][:3])
        self._growth = after - before
        self._low, self._high = sorted((before, after))
        if before - earlier != self._growth:
            raise IrregularError

    def draws_before(self, number: int, early: bool, late: bool) -> int:
        """Return how many draws of the steps left out come before a node.

        ``number`` is the node's in the few steps, which may be ``early`` or ``late`` in a loop.
        """
        if number <= self._low:
            return 0
        if number < self._high:
            if early is late:
                raise IrregularError
            if early is (self._growth > 0):
                return 0
        return self._steps * self.each

    def between(self, before: int, after: int) -> list[int]:
        """Return the numbers of the steps left out, between those of the nodes at either side."""
        if after - before != self._growth * (self._steps + 1):
            raise IrregularError
        return [before + self._growth * (i + 1) for i in range(self._steps)]


def _require_each_once(draws: Sequence[tuple[int, int]]) -> None:
    """Raise IrregularError unless the numbers of draws are 0, 1, 2, ..."""
    count = 0
    for first, each in sorted(one for one in draws if one[1]):
        if first != count:
            raise IrregularError
        count += each
