"""Totals of a network and of its groups: operators, parameters, bytes, operations, time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from symbucket.visualization.diagram import PARAMETER, Value
from symbucket.visualization.fold import Folded
from symbucket.visualization.texts import group_texts
from symbucket.visualization.tree import PHASE


@dataclass(frozen=True)
class Totals:
    """Nodes that compute, and parameters.

    Attributes:
        operators: how many nodes compute something.
        parameters: elements of the parameters; None if a shape is unknown.
        nbytes: of the parameters; None if a shape or dtype is unknown.
        operations: floating-point operations of one run; None if one's shapes are unknown.
        seconds: of one run; None without a profile.
    """

    operators: int
    parameters: int | None
    nbytes: int | None
    operations: int | None = None
    seconds: float | None = None


def totals(folded: Folded, boxes: Iterable[int]) -> Totals:
    """Return the totals of some boxes, by number."""
    chosen = [folded.diagram.boxes[i] for i in boxes]
    values = [box.outputs[0] for box in chosen if box.kind == PARAMETER]
    counts = [_count(value) for value in values]
    sizes = [_itemsize(value) for value in values]
    complete = None not in counts
    operations = [box.operations for box in chosen]
    seconds = [box.seconds for box in chosen if box.seconds is not None]
    return Totals(
        sum(1 for box in chosen if box.op),
        sum(n for n in counts if n is not None) if complete else None,
        sum((n or 0) * (size or 0) for n, size in zip(counts, sizes))
        if complete and None not in sizes
        else None,
        None if None in operations else sum(n for n in operations if n is not None),
        sum(seconds) if seconds else None,
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
            rows.append((number, label, totals(folded, folded.boxes_inside(number))))

    visit(folded.top.groups, "")
    return rows


def _count(value: Value) -> int | None:
    sizes = [size for size in value.shape or () if isinstance(size, int)]
    complete = value.shape is not None and len(sizes) == len(value.shape)
    return prod(sizes) if complete else None


def _itemsize(value: Value) -> int | None:
    try:
        return np.dtype(value.dtype).itemsize if value.dtype else None
    except TypeError:
        return None
