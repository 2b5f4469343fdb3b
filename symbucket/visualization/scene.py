"""The boxes, frames and merged edges of a picture with some groups open, with their texts.

The page does the same in ``assets/scene.js``; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from symbucket.visualization.diagram import BACKWARD, FORWARD, printable
from symbucket.visualization.fold import Folded, View
from symbucket.visualization.tree import REPEAT, STEPS

TIMES = "\N{MULTIPLICATION SIGN}"
LONGEST = 30  # characters of a name on a box; the full one is a click away
SHOWN_SHAPES = 2


@dataclass
class Line:
    """An edge between two visible items, with every value that runs along it."""

    source: str
    target: str
    values: list[tuple[int, int]] = field(default_factory=list)
    text: str = ""
    kind: str = "plain"


@dataclass
class Scene:
    """Ids are ``b12`` for a box, ``g3`` for a group, ``r7`` for a run of steps from group 7 on.

    ``hidden`` says what hides each group.
    """

    folded: Folded
    hidden: list[str]
    lines: list[Line]


def make_scene(folded: Folded, view: View) -> Scene:
    """Return the scene of a view: edges into closed groups are merged."""
    hidden = folded.representatives(view)
    lines: dict[tuple[str, str], Line] = {}
    seen: set[tuple[str, str, int, int]] = set()
    for edge in folded.diagram.edges:
        source, target = (shown_id(folded, hidden, box) for box in (edge.source, edge.target))
        if source == target and not _crosses(folded, source, edge.source, edge.target):
            continue
        line = lines.setdefault((source, target), Line(source, target))
        value = (source, target, edge.source, edge.output)
        if value not in seen:
            seen.add(value)
            line.values.append((edge.source, edge.output))
    for line in lines.values():
        line.text = _text(folded, line.values)
        line.kind = _kind(folded, line)
    return Scene(folded, hidden, list(lines.values()))


def shown_id(folded: Folded, hidden: list[str], box: int) -> str:
    """Return the id of the visible item that stands for a box: itself, or what hides it."""
    parent = folded.parents[box]
    return (hidden[parent] if parent >= 0 else "") or f"b{box}"


def phase_of(folded: Folded, item: str) -> str:
    """Return the phase of a visible item; a box takes that of the group around it."""
    number = int(item[1:])
    if item[0] != "b":
        return folded.groups[number].phase
    parent = folded.parents[number]
    return folded.groups[parent].phase if parent >= 0 else FORWARD


def _crosses(folded: Folded, item: str, source: int, target: int) -> bool:
    """Return whether an edge inside closed time steps goes from one step to another."""
    if item[0] == "b":
        return False
    steps = int(item[1:])
    if item[0] == "r":
        steps = folded.groups[steps].parent
    if folded.groups[steps].kind != STEPS:
        return False
    return _member(folded, steps, source) != _member(folded, steps, target)


def _member(folded: Folded, group: int, box: int) -> int:
    """The member of ``group`` that a box inside it belongs to."""
    inner = folded.parents[box]
    while folded.groups[inner].parent != group:
        inner = folded.groups[inner].parent
    return inner


def _kind(folded: Folded, line: Line) -> str:
    if line.source == line.target:
        return "loop"
    source, target = phase_of(folded, line.source), phase_of(folded, line.target)
    if source != target:
        return "stash"
    return BACKWARD if source == BACKWARD else "plain"


def _text(folded: Folded, values: list[tuple[int, int]]) -> str:
    """Return the shape; of several values their number too, if they have few shapes."""
    counts: dict[str, int] = {}
    for box, output in values:
        outputs = folded.diagram.boxes[box].outputs
        shape = outputs[output].text if output < len(outputs) else ""
        counts[shape] = counts.get(shape, 0) + 1
    if "" in counts:
        return "" if len(values) == 1 else f"{len(values)} values"
    if len(counts) > SHOWN_SHAPES:
        return f"{len(values)} values"
    return "\n".join(f"{n} of {s}" if n > 1 else s for s, n in counts.items())


def box_texts(folded: Folded, number: int) -> tuple[str, str]:
    """Return the two lines on a box: its operator, and its name."""
    box = folded.diagram.boxes[number]
    if not box.op:
        return short(box.name), box.outputs[0].text
    name = box.name.removesuffix(f"/{box.op}")
    return box.op, short(name)


def group_texts(folded: Folded, number: int) -> tuple[str, str]:
    """Return the two lines on a closed group; an open one's frame has the first."""
    group = folded.groups[number]
    if group.kind == STEPS:
        first, last = (folded.groups[group.groups[i]].label for i in (0, -1))
        name = "" if group.label == first.rstrip("0123456789") + "#" else f"{group.label}  "
        return short(name + _steps(first, last, group.members)), _nodes(group.size)
    if group.kind == REPEAT:
        label = group.label.replace("#", "*")
        nodes = "" if group.size == group.members else _nodes(group.size)
        return f"{short(label)}  {TIMES} {group.members}", nodes
    if folded.only_arrays(number):
        return short(group.label), f"{group.members} arrays"
    return short(group.label), _nodes(group.size)


def run_texts(folded: Folded, steps: list[int]) -> tuple[str, str]:
    """Return the two lines on a run of steps."""
    groups = [folded.groups[i] for i in steps]
    label = _steps(groups[0].label, groups[-1].label, len(steps))
    return label, _nodes(sum(g.size for g in groups))


def _steps(first: str, last: str, count: int) -> str:
    if count == 1:
        return first
    return f"{first} \N{HORIZONTAL ELLIPSIS} {last}  {TIMES} {count}"


def _nodes(count: int) -> str:
    return f"{count:,} nodes"


def short(text: str) -> str:
    """Return a name without its middle if it is long."""
    text = printable(text)
    if len(text) <= LONGEST:
        return text
    room = LONGEST - 1
    return text[: room // 2] + "\N{HORIZONTAL ELLIPSIS}" + text[len(text) - (room - room // 2) :]
