"""The order of nodes: use up early what takes much memory."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.memory.intervals import size_of
from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.ir import bounds

_WORTH = 1 << 18  # bytes; gaining less is not worth another order
_NEAR = 32  # nodes that may be moved up to free one value


@graph_pass("final", requires=(Property.NO_DEAD_NODES, Property.STANDARD_ONNX))
def schedule_for_memory(graph: ir.Graph) -> int:
    """Move up the last users of large values, where that gives memory back.

    The runtime follows the order of the graph. As differentiation leaves it, the gradient of the
    output layer's weight stands last, and the probabilities live through the whole backward part.
    With every large value that is made, its users run at once, together with the few nodes that
    they still wait for, if what they allocate is less than what they free. Other nodes keep their
    order. Gives the number of nodes that were moved.
    """
    nodes = list(graph)
    place = {node: i for i, node in enumerate(nodes)}
    large = _large_values(graph)
    done: set[ir.Node] = set()
    order: list[int] = []

    stack = nodes[::-1]
    while stack:
        node = stack.pop()
        if node in done:
            continue
        done.add(node)
        order.append(place[node])
        for value in dict.fromkeys((*node.inputs, *node.outputs)):
            if value is not None and value in large:
                users = _users_to_run(value, done, place, large)
                if users and place[users[-1]] > place[node] + _NEAR:
                    stack += reversed(users)
    moved = sum(1 for i, at in enumerate(order) if at > i)
    if moved:
        graph.extend([nodes[i] for i in order])
    return moved


def _large_values(graph: ir.Graph) -> dict[ir.Value, int]:
    sizes, outputs = bounds(graph), set(graph.outputs)
    found = {}
    for node in graph:
        for value in node.outputs:
            if value not in outputs and value.uses():
                size = size_of(value, sizes)
                if size >= _WORTH:
                    found[value] = size
    return found


def _users_to_run(
    value: ir.Value,
    done: set[ir.Node],
    place: dict[ir.Node, int],
    large: dict[ir.Value, int],
) -> list[ir.Node]:
    """The nodes that use ``value`` up, in order, if running them now gives memory back.

    Where they only put something as large in its place, their users are looked at too.
    """
    wanted: set[ir.Node] = set()
    values = [value]
    while values:
        stack = [user for v in values for user, _ in v.uses() if user not in done]
        before = len(wanted)
        while stack:
            node = stack.pop()
            if node in wanted:
                continue
            wanted.add(node)
            if len(wanted) > _NEAR:
                return []
            for source in node.inputs:
                producer = None if source is None else source.producer()
                if producer is not None and producer not in done:
                    stack.append(producer)
        made = [v for node in wanted for v in node.outputs if v in large]
        gain = -sum(large[v] for v in made)
        if -gain > large[value]:
            return []  # they need more on the way than they free
        for read in {v for node in wanted for v in node.inputs if v in large}:
            if all(user in done or user in wanted for user, _ in read.uses()):
                gain += large[read]
        if gain >= _WORTH:
            return sorted(wanted, key=place.__getitem__)
        values = made if len(wanted) > before else []
    return []
