"""Groups that keep a picture free of cycles.

A picture shows groups closed, so it is a quotient of the diagram: two groups that feed each other
make a cycle although no box does. A tree of groups has no view with a cycle if, for each
group, the quotient of its inside by its direct members has none: take a cycle in some view and the
smallest group around it; the cycle runs through at least two members of that group.

Loops of time are excepted: closed time steps are one box, and the steps of two layers may feed each
other. A cycle counts only if it is one among single steps, and runs through something outside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from symbucket.visualization.diagram import Diagram
from symbucket.visualization.tree import REPEAT, SCOPE, STEP, STEPS, Tree

_DISSOLVED = (REPEAT, SCOPE, STEP)
Ends = tuple[int, int]
"""An edge: the numbers of its boxes."""


def has_cycles(tree: Tree, diagram: Diagram) -> bool:
    """Return whether some view of the tree shows a cycle that is no loop of time."""
    return any(cycles_among(group, inner) for group, inner in groups_with_edges(tree, diagram))


def dissolve_cycles(tree: Tree, diagram: Diagram) -> None:
    """Dissolve groups, in place, until no view of the tree shows a cycle.

    The members of a dissolved group join the group around it. Repetitions go first, since they say
    least, then scopes, the smallest first.
    """
    for group, inner in reversed(list(groups_with_edges(tree, diagram))):
        while cycles := cycles_among(group, inner):
            candidates = [member for cycle in cycles for member in cycle]
            repeats = [member for member in candidates if member.kind == REPEAT]
            smallest = min(candidates, key=lambda member: sum(1 for _ in member.boxes()))
            for member in repeats or [smallest]:
                _dissolve(group, member)


def _dissolve(group: Tree, member: Tree) -> None:
    position = next(i for i, m in enumerate(group.members) if m is member)
    group.members[position : position + 1] = member.members


def groups_with_edges(tree: Tree, diagram: Diagram) -> Iterator[tuple[Tree, list[Ends]]]:
    """Yield every group, outer ones first, with the edges that run inside it.

    What a loop hands from step to step does not count.
    """
    stack = [(tree, [(e.source, e.target) for e in diagram.edges if not e.carried])]
    while stack:
        group, inner = stack.pop()
        yield group, inner
        member_of = {
            box: i
            for i, member in enumerate(group.members)
            if isinstance(member, Tree)
            for box in member.boxes()
        }
        inside: dict[int, list[Ends]] = {i: [] for i in set(member_of.values())}
        for source, target in inner:
            i = member_of.get(source, -1)
            if i >= 0 and i == member_of.get(target, -1):
                inside[i].append((source, target))
        for i, edges in inside.items():
            member = group.members[i]
            assert isinstance(member, Tree)
            stack.append((member, edges))


@dataclass(frozen=True)
class _Place:
    """The place of a box: the member of a group, and the time step in it ("" outside of steps)."""

    member: int
    step: str


def cycles_among(group: Tree, inner: Sequence[Ends]) -> list[list[Tree]]:
    """Return what can be dissolved of each cycle among the members of a group.

    ``inner``: the edges inside the group.
    """
    if group.kind == STEPS or not any(isinstance(m, Tree) for m in group.members):
        return []
    import networkx as nx  # a picture in which nothing is folded needs none

    places: dict[int, _Place] = {}
    for i, member in enumerate(group.members):
        places.update(_places(member, i, ""))
    quotient = nx.DiGraph()
    quotient.add_edges_from((places[a], places[b]) for a, b in inner if places[a] != places[b])
    cycles = []
    for component in nx.strongly_connected_components(quotient):
        untimed = sorted({place.member for place in component if not place.step})
        members = [group.members[i] for i in untimed]
        groups = [m for m in members if isinstance(m, Tree) and m.kind in _DISSOLVED]
        if groups and len({place.member for place in component}) > 1:
            cycles.append(groups)
    return cycles


def _places(member: Tree | int, number: int, step: str) -> Iterator[tuple[int, _Place]]:
    if not isinstance(member, Tree):
        yield member, _Place(number, step)
        return
    for inner in member.members:
        if member.kind == STEPS and isinstance(inner, Tree):
            yield from _places(inner, number, inner.label)
        else:
            yield from _places(inner, number, step)
