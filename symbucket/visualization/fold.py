"""Fold a diagram: boxes in nested groups, and which of these are open at first."""

from __future__ import annotations

from dataclasses import dataclass, field

from symbucket.visualization.acyclic import dissolve_cycles, has_cycles
from symbucket.visualization.diagram import FORWARD, Diagram
from symbucket.visualization.paths import box_paths
from symbucket.visualization.tree import PHASE, SCOPE, STEPS, Tree, build_tree, pattern

BUDGET = 32
"""Boxes that a picture shows at first, if folding can make them so few."""
LARGE = 600
"""Boxes beyond which a layout takes minutes and nobody can read it."""


@dataclass
class Group:
    """Boxes and groups (``members``, by number) that fold into one box.

    ``kind``: a phase (backward, update), a name's prefix ("scope"), all time steps of one part
    ("steps"), one of them ("step"), or other members of one pattern ("repeat"). ``size`` counts
    the boxes inside; ``parent`` is -1 at the top.
    """

    label: str
    kind: str
    parent: int = -1
    phase: str = FORWARD
    boxes: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    size: int = 0

    @property
    def members(self) -> int:
        """Boxes and groups directly inside."""
        return len(self.boxes) + len(self.groups)


@dataclass(frozen=True)
class View:
    """The open groups. Of open time steps, those ``picked`` show; the others are in runs."""

    opened: frozenset[int] = frozenset()
    picked: frozenset[int] = frozenset()


@dataclass
class Folded:
    """A network with its groups; ``parents`` is each box's group, -1 at the top."""

    diagram: Diagram
    groups: list[Group]
    parents: list[int]
    top: Group

    def representatives(self, view: View) -> list[str]:
        """Return for each group the id of the outermost closed group or run of steps that hides it.

        ``g3`` is group 3, which may be the group itself, ``r7`` the run of steps that begins with
        group 7; an open group has "".
        """
        hidden_by: list[str] = []
        run = ""
        for i, group in enumerate(self.groups):  # parents come before their members
            above = hidden_by[group.parent] if group.parent >= 0 else ""
            if above:
                hidden_by.append(above)
            elif self.in_steps(i) and i not in view.picked:
                first = self.groups[group.parent].groups
                before = first[first.index(i) - 1] if first[0] != i else -1
                run = run if before >= 0 and before not in view.picked else f"r{i}"
                hidden_by.append(run)
            else:
                hidden_by.append("" if i in view.opened else f"g{i}")
        return hidden_by

    def in_steps(self, i: int) -> bool:
        """Return whether a group is one of several time steps."""
        parent = self.groups[i].parent
        return parent >= 0 and self.groups[parent].kind == STEPS

    def shown(self, view: View) -> int:
        """Return the number of boxes in the picture: boxes, closed groups, runs of steps."""
        hidden = self.representatives(view)
        single = sum(1 for p in self.parents if p < 0 or not hidden[p])
        return single + len({by for by in hidden if by})

    def default_view(self, budget: int = BUDGET) -> View:
        """Return the groups that are open at first.

        Phases are open; then similar groups are opened together, outer ones first, while no more
        than ``budget`` boxes show. Time steps stay folded.
        """
        opened = {i for i, g in enumerate(self.groups) if g.kind == PHASE}
        while True:
            for similar in self._closed_sets(opened):
                # Single parameters make a picture wide and say little.
                limit = budget // 2 if all(map(self.only_arrays, similar)) else budget
                if self.shown(View(frozenset(opened.union(similar)))) <= limit:
                    opened.update(similar)
                    break
            else:
                return View(frozenset(opened))

    def full_view(self) -> View:
        """Return the view with everything open."""
        steps = (i for i in range(len(self.groups)) if self.in_steps(i))
        return View(frozenset(range(len(self.groups))), frozenset(steps))

    def _closed_sets(self, opened: set[int]) -> list[list[int]]:
        """Return the groups that could be opened next, similar ones together, best first."""
        sets: dict[tuple[str, ...], list[int]] = {}
        for i, group in enumerate(self.groups):
            if i in opened or group.kind == STEPS:
                continue
            if group.parent < 0 or group.parent in opened:
                sets.setdefault((group.kind, pattern(group.label)), []).append(i)

        def order(alike: list[int]) -> tuple[bool, int, int]:
            timed = any(self.groups[j].kind == STEPS for i in alike for j in self.groups[i].groups)
            depth = min(self.depth(i) for i in alike)
            return not timed, depth, sum(self.groups[i].members for i in alike)

        return sorted(sets.values(), key=order)

    def only_arrays(self, i: int) -> bool:
        """Return whether a group holds only parameters or gradients."""
        group = self.groups[i]
        return not group.groups and not any(self.diagram.boxes[j].op for j in group.boxes)

    def depth(self, i: int) -> int:
        """Return how many groups are around a group."""
        count = 0
        while self.groups[i].parent >= 0:
            i = self.groups[i].parent
            count += 1
        return count

    def path(self, i: int) -> list[str]:
        """Return the labels from the outermost group to group ``i``."""
        labels: list[str] = []
        while i >= 0:
            labels.append(self.groups[i].label)
            i = self.groups[i].parent
        return labels[::-1]


def fold(diagram: Diagram) -> Folded:
    """Group the boxes of a diagram by time step and by what their names begin with.

    However its groups are opened, the picture of a diagram without cycles has no cycles but loops
    of time: groups that would make one are dissolved.
    """
    tree = build_tree(diagram, box_paths(diagram))
    if has_cycles(tree, diagram):  # automatic names told too little
        tree = build_tree(diagram, box_paths(diagram, adopt=True))
        dissolve_cycles(tree, diagram)
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
    return boxes, groups
