"""A tree of the boxes of a diagram, by time step and by what their names begin with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from symbucket.visualization.diagram import BACKWARD, UPDATE, Diagram, Loop
from symbucket.visualization.paths import ROOTS, Path, is_step, loop_token

PHASE, SCOPE, STEPS, STEP, REPEAT = "phase", "scope", "steps", "step", "repeat"
RUN, LOOP = "run", "loop"
_MIN_MEMBERS = 3  # fewer need no group around them
_MIN_REPETITIONS = 4  # members of one pattern that are a group; of time steps two are enough
_DIGITS = re.compile(r"\d+")
_PHASES = {ROOTS[BACKWARD][0]: BACKWARD, ROOTS[UPDATE][0]: UPDATE}


@dataclass
class Tree:
    """A group: its label, its kind, and its members, trees or boxes by number.

    The kinds: a phase (backward, update), the prefix of names ("scope"), all time steps of one part
    ("steps"), one of them ("step"), other members of one pattern ("repeat"), some successive ones
    of many steps or members ("run"), or the body of a compiled loop ("loop").
    """

    label: str
    kind: str
    members: list[Tree | int]

    def boxes(self) -> Iterator[int]:
        """Yield the numbers of all boxes inside, at any depth."""
        for member in self.members:
            if isinstance(member, Tree):
                yield from member.boxes()
            else:
                yield member


def pattern(label: str) -> str:
    """Return a label without its numbers; labels that differ only in these have one pattern."""
    return _DIGITS.sub("#", label)


def build_tree(diagram: Diagram, paths: Sequence[Path]) -> Tree:
    """Return the tree of the boxes whose paths are ``paths``."""
    loops = {loop_token(box.loop): box.loop for box in diagram.boxes if box.loop is not None}
    top = _Folder("")
    for i, path in enumerate(paths):
        top.add(path, i)
    return _tree(top, diagram, loops)


class _Folder:
    """A node of the tree of paths."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.folders: dict[str, _Folder] = {}
        self.boxes: list[int] = []

    def add(self, path: Path, box: int) -> None:
        folder = self
        for token in path:
            folder = folder.folders.setdefault(token, _Folder(token))
        folder.boxes.append(box)


def _tree(folder: _Folder, diagram: Diagram, loops: Mapping[str, Loop]) -> Tree:
    members: list[Tree | int] = []
    for child in folder.folders.values():
        members += _simplified(_tree(child, diagram, loops))
    members += folder.boxes
    if is_step(folder.token):
        return Tree(folder.token, STEP, members)
    if sum(isinstance(m, Tree) and m.kind == STEP for m in members) == 1:
        # A network one step long, or a loop that was compiled: there is no time to fold.
        inner = [m.members if isinstance(m, Tree) and m.kind == STEP else [m] for m in members]
        members = [member for part in inner for member in part]
    if folder.token in loops:
        steps = loops[folder.token].steps
        label = f"loop  \N{MULTIPLICATION SIGN} {steps}" if steps else "loop"
        return Tree(label, LOOP, members)
    members = _repetitions(members, diagram)
    if folder.token in _PHASES:
        return Tree(_PHASES[folder.token], PHASE, members)
    return Tree(folder.token, SCOPE, members)


def _simplified(tree: Tree) -> list[Tree | int]:
    """Return a group with enough members, or its members with its name before theirs."""
    if tree.kind != SCOPE:
        return [tree]
    timed = any(isinstance(m, Tree) and m.kind in (STEPS, LOOP) for m in tree.members)
    if len(tree.members) >= _MIN_MEMBERS or (timed and len(tree.members) > 1):
        return [tree]
    for member in tree.members:
        if isinstance(member, Tree):
            between = "" if member.label.startswith("/") else "_"
            member.label = f"{tree.label}{between}{member.label}"
    return tree.members


def _repetitions(members: Sequence[Tree | int], diagram: Diagram) -> list[Tree | int]:
    """Return the members; those of one pattern share a group."""
    by_form: dict[tuple[str, str], list[Tree | int]] = {}
    for member in members:
        by_form.setdefault(_form(member, diagram), []).append(member)
    grouped: list[Tree | int] = []
    for (kind, form), similar in by_form.items():
        first = similar[0]
        if isinstance(first, Tree):
            if kind == STEP and len(similar) > 1:
                grouped.append(Tree("t#", STEPS, sorted(similar, key=_numbers)))
            elif kind != STEP and "#" in form and len(similar) >= _MIN_REPETITIONS:
                grouped.append(Tree(form, REPEAT, sorted(similar, key=_numbers)))
            else:
                grouped += similar
        elif "#" in form and len(similar) >= _MIN_REPETITIONS:
            grouped.append(Tree(diagram.boxes[first].op or form, REPEAT, similar))
        else:
            grouped += similar
    return grouped


def _numbers(member: Tree | int) -> list[int]:
    return [int(n) for n in _DIGITS.findall(member.label)] if isinstance(member, Tree) else []


def _form(member: Tree | int, diagram: Diagram) -> tuple[str, str]:
    if isinstance(member, Tree):
        return member.kind, pattern(member.label)
    box = diagram.boxes[member]
    if box.param:  # a parameter is one by itself, whatever its name
        return "box", box.name.replace("#", "")
    # Later nodes of a scope have a number at the end: Reshape, Reshape_1, ...
    form = pattern(box.name)
    return f"{box.kind} {box.op}", form if form.endswith("#") else f"{form}_#"
