"""Fold a diagram: boxes in nested groups, and which of these are open at first.

A view of a diagram is the set of its open groups, by number.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from symbucket.visualization.acyclic import dissolve_cycles, has_cycles
from symbucket.visualization.diagram import FORWARD, Diagram
from symbucket.visualization.paths import GRADIENTS, PARAMETERS, box_paths
from symbucket.visualization.runs import add_runs, add_sections
from symbucket.visualization.tree import (
    LOOP,
    PHASE,
    REPEAT,
    RUN,
    SCOPE,
    STEPS,
    Tree,
    build_tree,
    pattern,
)

BUDGET = 32
"""Boxes that a picture shows at first, if folding can make them so few."""
LARGE = 600
"""Boxes beyond which a layout takes minutes and nobody can read it."""


@dataclass
class Group:
    """Boxes and groups (``members``, by number) that fold into one box.

    ``kind``: as of a Tree. ``size`` counts the boxes inside, ``members`` what is directly inside,
    runs counted as what they hold; ``parent`` is -1 at the top.
    """

    label: str
    kind: str
    parent: int = -1
    phase: str = FORWARD
    boxes: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    size: int = 0
    members: int = 0


@dataclass
class Folded:
    """A network with its groups; ``parents`` is each box's group, -1 at the top."""

    diagram: Diagram
    groups: list[Group]
    parents: list[int]
    top: Group

    def hidden_by(self, opened: Set[int]) -> list[int]:
        """Return for each group the outermost closed one that hides it, which may be itself; or -1.

        The group is one of ``groups``, by number; an open group in open groups has -1.
        """
        hiding: list[int] = []
        for i, group in enumerate(self.groups):  # parents come before their members
            above = hiding[group.parent] if group.parent >= 0 else -1
            hiding.append(above if above >= 0 or i in opened else i)
        return hiding

    def shown(self, opened: Set[int]) -> int:
        """Return the number of boxes in the picture: boxes and closed groups."""
        hiding = self.hidden_by(opened)
        single = sum(1 for p in self.parents if p < 0 or hiding[p] < 0)
        return single + sum(1 for i, by in enumerate(hiding) if by == i)

    def default_view(self, budget: int = BUDGET) -> frozenset[int]:
        """Return the groups that are open at first.

        Phases are open; then similar groups are opened together, large ones first, while no more
        than ``budget`` boxes show. Time steps, loops and runs stay folded, and so does what is
        smaller than the part of the network that one of these boxes stands for.
        """
        opened = {i for i, g in enumerate(self.groups) if g.kind == PHASE}
        while True:
            for similar in self._closed_sets(opened, budget):
                # Single parameters make a picture wide and say little.
                limit = budget // 2 if all(map(self.of_parameters, similar)) else budget
                if self.shown(opened.union(similar)) <= limit:
                    opened.update(similar)
                    break
            else:
                return frozenset(opened)

    def full_view(self) -> frozenset[int]:
        """Return the view with everything open."""
        return frozenset(range(len(self.groups)))

    def _closed_sets(self, opened: Set[int], budget: int) -> list[list[int]]:
        """Return the groups that could be opened next, similar ones together, best first.

        Where there is not enough room for all of them, the forward part comes alone, or the first
        of repeated blocks as an example.
        """
        sets: dict[str, list[int]] = {}
        least = len(self.parents) / budget
        for i, group in enumerate(self.groups):
            if i in opened or group.kind in (STEPS, RUN, LOOP) or group.size < least:
                continue
            if group.kind == REPEAT and not group.groups:  # many times the same operator
                continue
            if self._has_an_example(i):
                continue
            if group.parent < 0 or group.parent in opened:
                sets.setdefault(f"{group.kind} {pattern(group.label)}", []).append(i)
        for key, similar in list(sets.items()):
            forward = [i for i in similar if self.groups[i].phase == FORWARD]
            if 0 < len(forward) < len(similar):
                sets[f"{key} {FORWARD}"] = forward
            first = [i for i in similar if self._is_first_block(i)]
            if 0 < len(first) < len(similar):
                sets[f"{key} first"] = first

        def order(alike: list[int]) -> tuple[bool, int, int]:
            timed = any(self.groups[j].kind == STEPS for i in alike for j in self.groups[i].groups)
            largest = max(self.groups[i].size for i in alike)
            return not timed, -largest, -len(alike)

        return sorted(sets.values(), key=order)

    def _has_an_example(self, i: int) -> bool:
        """Return whether a group is one of many blocks, of which the first one is the example."""
        parent = self.groups[i].parent
        if parent < 0 or self.groups[parent].kind != REPEAT:
            return False
        blocks = self.groups[parent].groups
        return blocks[0] != i and any(self.groups[j].kind == RUN for j in blocks)

    def _is_first_block(self, i: int) -> bool:
        parent = self.groups[i].parent
        return (
            parent >= 0
            and self.groups[parent].kind == REPEAT
            and self.groups[parent].groups[0] == i
            and self.groups[i].phase == FORWARD
        )

    def of_parameters(self, i: int) -> bool:
        """Return whether a group holds parameters, with what is made of them, or gradients."""
        return self.groups[i].label.endswith((PARAMETERS, GRADIENTS))

    def boxes_inside(self, i: int) -> Iterator[int]:
        """Yield the boxes of a group at any depth."""
        group = self.groups[i]
        yield from group.boxes
        for inner in group.groups:
            yield from self.boxes_inside(inner)

    def around(self, i: int) -> Iterator[int]:
        """Yield group ``i`` and the groups around it, outwards; nothing for -1."""
        while i >= 0:
            yield i
            i = self.groups[i].parent

    def path(self, i: int) -> list[str]:
        """Return the labels from the outermost group to group ``i``."""
        return [self.groups[j].label for j in self.around(i)][::-1]


def fold(diagram: Diagram) -> Folded:
    """Group the boxes of a diagram by time step and by what their names begin with.

    However its groups are opened, the picture of a diagram without cycles has no cycles but loops
    of time: groups that would make one are dissolved.
    """
    tree = build_tree(diagram, box_paths(diagram))
    if has_cycles(tree, diagram):  # automatic names told too little
        tree = build_tree(diagram, box_paths(diagram, adopt=True))
        dissolve_cycles(tree, diagram)
    add_runs(tree, diagram)
    add_sections(tree, diagram)
    folded = Folded(diagram, [], [-1] * len(diagram.boxes), Group("", SCOPE))
    folded.top.boxes, folded.top.groups = _number(tree, -1, FORWARD, folded)
    folded.top.size = len(diagram.boxes)
    return folded


def _number(tree: Tree, number: int, phase: str, folded: Folded) -> tuple[list[int], list[int]]:
    """Number the groups, outer ones first; return the members of ``tree`` by number."""
    boxes, groups = [], []
    for member in tree.members:
        if not isinstance(member, Tree):
            folded.parents[member] = number
            boxes.append(member)
            continue
        inner = member.label if member.kind == PHASE else phase
        group = Group(member.label.lstrip("/"), member.kind, number, inner)
        groups.append(len(folded.groups))
        folded.groups.append(group)
        group.boxes, group.groups = _number(member, groups[-1], inner, folded)
        group.size = len(group.boxes) + sum(folded.groups[g].size for g in group.groups)
        inside = (folded.groups[g] for g in group.groups)
        group.members = len(group.boxes) + sum(g.members if g.kind == RUN else 1 for g in inside)
    return boxes, groups
