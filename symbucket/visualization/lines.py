"""All lines that views of a diagram can show: between any two items, the values that run there.

An item is a box or a group. An edge between two boxes is a line between any two items that hold
them, so whatever is open, its lines are those with both ends in the picture: nothing is left to
compute when a view changes, neither here nor in a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field

from symbucket.visualization.diagram import BACKWARD, FORWARD, PARAMETER, Edge
from symbucket.visualization.fold import Folded
from symbucket.visualization.tree import LOOP, RUN, STEPS

SHOWN_SHAPES = 2
PLAIN, WEIGHT, STASH, SELF, CARRIED = "plain", "weight", "stash", "self", "carried"


@dataclass
class Line:
    """The values, as (box, output), that run from one item to another.

    Box 3 is item 3, group 3 is item -4 (``~3``). ``kind``: "plain", "weight" from
    parameters, "backward" in the backward part, "stash" from part to part, "self" in a loop that
    shows as one box, or "carried" from step to step of a loop.
    """

    source: int
    target: int
    values: list[tuple[int, int]] = field(default_factory=list)
    text: str = ""
    kind: str = PLAIN


def item_id(item: int) -> str:
    """Return the id of an item in a picture: b3, g3."""
    return f"b{item}" if item >= 0 else f"g{~item}"


def all_lines(folded: Folded) -> list[Line]:
    """Return all lines of a diagram."""
    items = [[i, *(~g for g in folded.around(p))] for i, p in enumerate(folded.parents)]
    lines: dict[tuple[int, int], Line] = {}
    values: dict[tuple[int, int], dict[tuple[int, int], None]] = {}
    for edge in folded.diagram.edges:
        for ends in _ends(folded, items, edge):
            if ends not in lines:
                kind = _kind(folded, edge, ends) if ends[0] != ends[1] else SELF
                lines[ends] = Line(*ends, kind=kind)
            elif lines[ends].kind == CARRIED:
                lines[ends].kind = _kind(folded, edge, ends)
            values.setdefault(ends, {})[edge.source, edge.output] = None
    for ends, line in lines.items():
        line.values = list(values[ends])
        line.text = _text(folded, line.values)
    return list(lines.values())


def shown_lines(folded: Folded, lines: Iterable[Line], opened: Set[int]) -> list[Line]:
    """Return the lines of a view: those with both ends in the picture."""
    hiding = folded.hidden_by(opened)
    shown = {i for i, p in enumerate(folded.parents) if p < 0 or hiding[p] < 0}
    shown |= {~i for i, by in enumerate(hiding) if by == i}
    return [line for line in lines if line.source in shown and line.target in shown]


def _ends(folded: Folded, items: list[list[int]], edge: Edge) -> Iterator[tuple[int, int]]:
    sources, targets = items[edge.source], items[edge.target]
    common = 0
    while common < min(len(sources), len(targets)) and sources[-1 - common] == targets[-1 - common]:
        common += 1
    for source in sources[: len(sources) - common]:
        for target in targets[: len(targets) - common]:
            yield source, target
    around = sources[len(sources) - common :]
    yield from ((item, item) for item in _loops_around(folded, around, edge.carried))


def _loops_around(folded: Folded, around: list[int], carried: bool) -> list[int]:
    """Return the items, inner ones first, that hide an edge from one step of a loop to another."""
    last = LOOP if carried else STEPS
    for count, item in enumerate(around, 1):
        kind = folded.groups[~item].kind if item < 0 else ""
        if kind == last:
            return around[:count]
        if not carried and kind != RUN:
            break
    return []


def _kind(folded: Folded, edge: Edge, ends: tuple[int, int]) -> str:
    if edge.carried:
        return CARRIED
    source, target = (_phase(folded, box) for box in (edge.source, edge.target))
    if source != target:
        return STASH
    if source == BACKWARD:
        return BACKWARD
    item = ends[0]
    if item >= 0:
        return WEIGHT if folded.diagram.boxes[item].kind == PARAMETER else PLAIN
    return WEIGHT if folded.of_parameters(~item) else PLAIN


def _phase(folded: Folded, box: int) -> str:
    """Return the phase of a box, which is that of any group around it."""
    parent = folded.parents[box]
    return folded.groups[parent].phase if parent >= 0 else FORWARD


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
