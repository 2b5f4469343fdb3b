"""Runs: of many time steps or repeated blocks, the first ones show and the others are one box.

A run is a group like any other, so a view is a set of open groups and nothing else. A long run
holds shorter ones: whichever step is looked for, few boxes show around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from symbucket.visualization.acyclic import cycles_among, groups_with_edges
from symbucket.visualization.diagram import Diagram
from symbucket.visualization.tree import REPEAT, RUN, STEPS, Tree

MOST_SHOWN = 4
"""Members up to which steps and equal blocks show one by one."""
LONGEST_RUN = 8


def add_runs(tree: Tree, diagram: Diagram) -> None:
    """Put the middle of many steps, and all but the first of many equal blocks, into runs.

    In place. Blocks are left alone if their run would make a cycle.
    """
    for group, inner in list(groups_with_edges(tree, diagram)):
        members = group.members
        if len(members) <= MOST_SHOWN or not all(isinstance(m, Tree) for m in members):
            continue
        if group.kind == STEPS:
            group.members = [*members[:2], _run(members[2:-1]), members[-1]]
        elif group.kind == REPEAT:
            shorter = Tree(group.label, REPEAT, _with_runs(members, diagram))
            if not cycles_among(shorter, inner):
                group.members = shorter.members


def _with_runs(members: Sequence[Tree | int], diagram: Diagram) -> list[Tree | int]:
    """Return blocks in which all but the first one of many equal ones in succession are a run."""
    blocks: list[Tree | int] = []
    for _, equal in groupby(members, lambda member: _contents(member, diagram)):
        first, *others = equal
        blocks += [first, _run(others)] if len(others) >= MOST_SHOWN else [first, *others]
    return blocks


def _contents(member: Tree | int, diagram: Diagram) -> list[tuple[str, tuple[str, ...]]]:
    """Return what a block computes: its operators with the shapes of their outputs."""
    boxes = (diagram.boxes[i] for i in (member.boxes() if isinstance(member, Tree) else [member]))
    return sorted((box.op, tuple(value.text for value in box.outputs)) for box in boxes)


def _run(members: Sequence[Tree | int]) -> Tree:
    if len(members) > LONGEST_RUN:
        length = LONGEST_RUN
        while len(members) > LONGEST_RUN * length:
            length *= LONGEST_RUN
        count = -(-len(members) // length)
        ends = [len(members) * i // count for i in range(count + 1)]
        members = [_run(members[a:b]) for a, b in pairwise(ends)]
    return Tree(_ends_of(members), RUN, list(members))


def _ends_of(members: Sequence[Tree | int]) -> str:
    """Return the labels of the first and the last member, with an ellipsis between them."""
    first, last = members[0], members[-1]
    assert isinstance(first, Tree)
    assert isinstance(last, Tree)
    dots = " \N{HORIZONTAL ELLIPSIS} "
    return f"{first.label.lstrip('/').split(dots)[0]}{dots}{last.label.lstrip('/').split(dots)[-1]}"
