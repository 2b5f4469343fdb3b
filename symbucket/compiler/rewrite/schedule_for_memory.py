"""The order of nodes: run the last users of large values early."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from symbucket.compiler.memory.live_ranges import size_of
from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.ir import bounds, readers, reads

MIN_BYTES = 1 << 18  # smaller values, and smaller gains, are not worth another order
MAX_MOVED_NODES = 32  # that may run early to free one value; nearer users stay where they are


@graph_pass("final", requires=(Property.NO_DEAD_NODES, Property.STANDARD_ONNX))
def schedule_for_memory(graph: ir.Graph) -> int:
    """Run the last users of large values early if that frees memory.

    The runtime follows the order of the graph. As differentiation leaves it, the gradient of the
    output layer's weight comes last, and the probabilities live through the whole backward part.
    As soon as a large value exists, its users run at once, together with the few nodes that they
    still wait for, if these allocate less than they free. Other nodes keep their order.

    Returns:
        The number of nodes that were moved.
    """
    nodes = list(graph)
    order = _Schedule(graph, nodes).order()
    moved = sum(1 for i, place in enumerate(order) if place > i)
    if moved:
        graph.extend([nodes[place] for place in order])
    return moved


class _Schedule:
    """A walk over the nodes in order, which runs some of them early."""

    def __init__(self, graph: ir.Graph, nodes: list[ir.Node]) -> None:
        self._nodes = nodes
        self._place = {node: i for i, node in enumerate(nodes)}
        self._large = _large_values(graph)
        self._done: set[ir.Node] = set()

    def order(self) -> list[int]:
        """Return the places of the nodes in their new order."""
        order: list[int] = []
        stack = self._nodes[::-1]
        while stack:
            node = stack.pop()
            if node in self._done:
                continue
            self._done.add(node)
            order.append(self._place[node])
            for value in dict.fromkeys((*reads(node), *node.outputs)):
                if value is not None and value in self._large:
                    users = self._users_to_run(value)
                    last = self._place[users[-1]] if users else 0
                    if last > self._place[node] + MAX_MOVED_NODES:
                        stack += reversed(users)
        return order

    def _users_to_run(self, value: ir.Value) -> list[ir.Node]:
        """Return the nodes that use ``value`` up, in order, if running them now frees memory.

        If they only put something as large in its place, its users are added.
        """
        run: set[ir.Node] = set()
        values = [value]
        while values:
            count = len(run)
            if not self._add_users(values, run):
                return []
            allocated = [v for node in run for v in node.outputs if v in self._large]
            cost = sum(self._large[v] for v in allocated)
            if cost > self._large[value]:
                return []  # they need more on the way than they free
            if self._freed_by(run) - cost >= MIN_BYTES:
                return sorted(run, key=self._place.__getitem__)
            values = allocated if len(run) > count else []
        return []

    def _add_users(self, values: Iterable[ir.Value], run: set[ir.Node]) -> bool:
        """Add the users of ``values`` and what they wait for; returns False if they are too many.

        Nodes that have run already are left out.
        """
        stack = [user for value in values for user in readers(value)]
        while stack:
            node = stack.pop()
            if node in run or node in self._done:
                continue
            run.add(node)
            if len(run) > MAX_MOVED_NODES:
                return False
            producers = (v.producer() for v in reads(node) if v is not None)
            stack += [producer for producer in producers if producer is not None]
        return True

    def _freed_by(self, run: set[ir.Node]) -> int:
        """Return the bytes of the large values that ``run`` reads and nothing reads afterwards."""
        read = {v for node in run for v in reads(node) if v in self._large}
        return sum(
            self._large[value]
            for value in read
            if all(user in self._done or user in run for user in readers(value))
        )


def _large_values(graph: ir.Graph) -> dict[ir.Value, int]:
    sizes, outputs = bounds(graph), set(graph.outputs)
    large = {}
    for node in graph:
        for value in node.outputs:
            if value not in outputs and value.uses():
                size = size_of(value, sizes)
                if size >= MIN_BYTES:
                    large[value] = size
    return large
