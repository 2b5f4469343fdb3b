"""Runs: of many time steps or repeated blocks, the first ones show and the others are one box.

A run is a group like any other, so a view is a set of open groups and nothing else. A long run
holds shorter ones: whichever step is looked for, few boxes show around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from symbucket.visualization.acyclic import cycles_among, groups_with_edges
from symbucket.visualization.diagram import Diagram
from symbucket.visualization.tree import REPEAT, RUN, STEPS, Tree

MOST_SHOWN = 4
"""Members up to which steps and equal blocks show one by one."""
LONGEST_RUN = 8
MOST_MEMBERS = 128
"""Members of a group beyond which it is cut into sections."""
LONGEST_SECTION = 24
_DOTS = " \N{HORIZONTAL ELLIPSIS} "


def add_runs(tree: Tree, diagram: Diagram) -> None:
    """Put the middle of many steps, and all but the first of many equal blocks, into runs.

    In place. Blocks are left alone if their run would make a cycle.
    """
    for group, inner in list(groups_with_edges(tree, diagram)):
        members = group.members
        if len(members) <= MOST_SHOWN or not all(isinstance(m, Tree) for m in members):
            continue
        if group.kind == STEPS:
            group.members = [*members[:2], _run(members[2:-1], diagram), members[-1]]
        elif group.kind == REPEAT:
            shorter = Tree(group.label, REPEAT, _with_runs(members, diagram))
            if not cycles_among(shorter, inner):
                group.members = shorter.members


def _with_runs(members: Sequence[Tree | int], diagram: Diagram) -> list[Tree | int]:
    """Return blocks in which all but the first one of many equal ones in succession are a run."""
    blocks: list[Tree | int] = []
    for _, equal in groupby(members, lambda member: _contents(member, diagram)):
        first, *others = equal
        blocks += [first, _run(others, diagram)] if len(others) >= MOST_SHOWN else [first, *others]
    return blocks


def _contents(member: Tree | int, diagram: Diagram) -> list[tuple[str, tuple[str, ...]]]:
    """Return what a block computes: its operators with the shapes of their outputs."""
    boxes = (diagram.boxes[i] for i in _boxes(member))
    return sorted((box.op, tuple(value.text for value in box.outputs)) for box in boxes)


def _run(members: Sequence[Tree | int], diagram: Diagram, longest: int = LONGEST_RUN) -> Tree:
    if len(members) > longest:
        length = longest
        while len(members) > longest * length:
            length *= longest
        count = -(-len(members) // length)
        ends = [len(members) * i // count for i in range(count + 1)]
        members = [_run(members[a:b], diagram, longest) for a, b in pairwise(ends)]
    first, last = _label(members[0], diagram), _label(members[-1], diagram)
    return Tree(f"{first.split(_DOTS)[0]}{_DOTS}{last.split(_DOTS)[-1]}", RUN, list(members))


def _label(member: Tree | int, diagram: Diagram) -> str:
    return member.label.lstrip("/") if isinstance(member, Tree) else diagram.boxes[member].name


def add_sections(tree: Tree, diagram: Diagram) -> None:
    """Cut groups of very many members, whose names tell nothing, into runs of successive ones.

    In place. The members are put into a topological order, so no run makes a cycle.
    """
    large = [
        (group, inner)
        for group, inner in groups_with_edges(tree, diagram)
        if len(group.members) > MOST_MEMBERS
    ]
    if not large:
        return
    import networkx as nx  # most pictures need none

    readers: dict[int, int] = {}
    for edge in diagram.edges:
        readers[edge.source] = min(edge.target, readers.get(edge.source, edge.target))
    for group, inner in large:
        member_of = {box: i for i, m in enumerate(group.members) for box in _boxes(m)}
        quotient = nx.DiGraph()
        quotient.add_nodes_from(range(len(group.members)))
        pairs = ((member_of[a], member_of[b]) for a, b in inner)
        quotient.add_edges_from((a, b) for a, b in pairs if a != b)
        parts = nx.condensation(quotient)  # the steps of several layers may feed each other
        # What only holds a value comes where the value is read first.
        place = [
            min(box if diagram.boxes[box].op else readers.get(box, box) for box in _boxes(m))
            for m in group.members
        ]
        first = {part: min(place[i] for i in parts.nodes[part]["members"]) for part in parts}
        order = nx.lexicographical_topological_sort(parts, key=first.__getitem__)
        members = [
            group.members[i]
            for part in order
            for i in sorted(parts.nodes[part]["members"], key=place.__getitem__)
        ]
        group.members = _run(members, diagram, LONGEST_SECTION).members


def _boxes(member: Tree | int) -> Iterable[int]:
    return member.boxes() if isinstance(member, Tree) else [member]
