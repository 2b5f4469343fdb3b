"""Labels: what a value of the whole batch is to the values that the shards compute.

A shard has one of ``parts`` equal parts of the batch's rows. A value of the whole batch is

* ROWS: its elements in order are ``(outer, parts, rest)``, and shard i computes ``[:, i]``;
* SAME: every shard computes all of it;
* FILL: the same, and all elements are equal, so that it can be made in any shape;
* SUM: it is the sum of what the shards compute.

Two labels are for a proof under way: OPEN is a state of a loop of which nothing is known yet, and
FREE are random numbers, of which a shard may take its part along one of several axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import onnx_ir as ir

from symbucket.types import Shape


class Kind(Enum):
    """What a label says; see above."""

    ROWS = "rows"
    SAME = "same"
    FILL = "fill"
    SUM = "sum"
    OPEN = "open"
    FREE = "free"


@dataclass(frozen=True)
class Label:
    """The label of a value.

    Attributes:
        kind: what it says.
        outer: for ROWS the elements before the parts; see above.
        fill: for FILL the value of every element.
        noise: for FREE the input with the random numbers.
        choices: for FREE pairs of labels: that of the input, and what this value has then.
    """

    kind: Kind
    outer: int = 0
    fill: Any = None
    noise: ir.Value | None = None
    choices: tuple[tuple[Label, Label], ...] = ()

    @property
    def is_rows(self) -> bool:
        """Whether shards compute parts of the value."""
        return self.kind is Kind.ROWS

    @property
    def is_sum(self) -> bool:
        """Whether the value is the sum of the shards' values."""
        return self.kind is Kind.SUM

    @property
    def is_fill(self) -> bool:
        """Whether the value can be made in any shape."""
        return self.kind is Kind.FILL

    @property
    def is_same(self) -> bool:
        """Whether all shards compute all of the value."""
        return self.kind in (Kind.SAME, Kind.FILL)

    @property
    def is_zero(self) -> bool:
        """Whether all elements are known to be zeros, which are a sum too."""
        return self.kind is Kind.FILL and not self.fill


SAME = Label(Kind.SAME)
SUM = Label(Kind.SUM)
OPEN = Label(Kind.OPEN)


def rows(outer: int) -> Label:
    """Return the label of a value of which shards compute parts."""
    return Label(Kind.ROWS, outer)


class RefusedError(Exception):
    """A step that is not proven to work row by row, with the reason in words."""


class SettledNoise(Exception):  # noqa: N818 - it is no error
    """The label of an input of random numbers, found where they meet the batch's rows."""

    def __init__(self, noise: ir.Value, label: Label) -> None:
        super().__init__(noise.name)
        self.noise = noise
        self.label = label


class Digit(NamedTuple):
    """Where the parts lie: the axis is ``(outer, parts, rest)``."""

    axis: int
    outer: int

    def moved(self, by: int) -> Digit:
        """Return the same on the axis ``by`` places further."""
        return Digit(self.axis + by, self.outer)

    def label(self, shape: Shape) -> Label:
        """Return the label of a value of this shape."""
        return rows(math.prod(shape[: self.axis]) * self.outer)

    def shard(self, shape: Sequence[int], parts: int) -> tuple[int, ...]:
        """Return the shape of a shard's part."""
        return tuple(size // parts if i == self.axis else size for i, size in enumerate(shape))


def digit_of(shape: Shape, outer: int, parts: int) -> Digit:
    """Return where the parts of a value of this shape lie, if they lie within one axis."""
    before = 1
    for axis, size in enumerate(shape if all(shape) else ()):
        if outer % before == 0 and before * size % (outer * parts) == 0:
            return Digit(axis, outer // before)
        before *= size
    raise RefusedError(f"the shape {shape} tears the batch's rows apart")
