"""Totals of a network, whole and by group: operators, parameters and their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from symbucket.visualization.diagram import PARAMETER, Value
from symbucket.visualization.fold import Folded
from symbucket.visualization.scene import group_texts
from symbucket.visualization.tree import PHASE


@dataclass(frozen=True)
class Totals:
    """Nodes that compute, and parameters.

    ``parameters`` is None if a shape is unknown, ``nbytes`` if a shape or dtype is.
    """

    operators: int
    parameters: int | None
    nbytes: int | None


def totals(folded: Folded, boxes: Iterable[int]) -> Totals:
    """Return the totals of some boxes, by number."""
    chosen = [folded.diagram.boxes[i] for i in boxes]
    values = [box.outputs[0] for box in chosen if box.kind == PARAMETER]
    counts = [_count(value) for value in values]
    sizes = [_itemsize(value) for value in values]
    known = None not in counts
    return Totals(
        sum(1 for box in chosen if box.op),
        sum(n for n in counts if n is not None) if known else None,
        sum((n or 0) * (size or 0) for n, size in zip(counts, sizes))
        if known and None not in sizes
        else None,
    )


def group_totals(folded: Folded) -> list[tuple[int, str, Totals]]:
    """Return (number, label, totals) of the outermost groups; of a phase, of those inside it."""
    rows = []

    def visit(numbers: Iterable[int], phase: str) -> None:
        for number in numbers:
            group = folded.groups[number]
            if group.kind == PHASE:
                visit(group.groups, f"{group.label} ")
                continue
            label = f"{phase}{group_texts(folded, number)[0]}"
            rows.append((number, label, totals(folded, boxes_inside(folded, number))))

    visit(folded.top.groups, "")
    return rows


def boxes_inside(folded: Folded, number: int) -> Iterable[int]:
    """Yield the boxes of a group at any depth."""
    group = folded.groups[number]
    yield from group.boxes
    for inner in group.groups:
        yield from boxes_inside(folded, inner)


def _count(value: Value) -> int | None:
    sizes = [size for size in value.shape or () if isinstance(size, int)]
    complete = value.shape is not None and len(sizes) == len(value.shape)
    return prod(sizes) if complete else None


def _itemsize(value: Value) -> int | None:
    try:
        return np.dtype(value.dtype).itemsize if value.dtype else None
    except TypeError:
        return None
