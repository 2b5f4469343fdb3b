"""The content of a picture: boxes and the values between them, whatever the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

# The kinds of a box. The first four are inputs and outputs of the network, the others compute.
DATA, PARAMETER, STATE, OUTPUT = "data", "parameter", "state", "output"
FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
PHASES = (FORWARD, BACKWARD, UPDATE)
KINDS = (DATA, PARAMETER, STATE, OUTPUT, *PHASES)


@dataclass(frozen=True)
class Value:
    """An output of a box. ``shape`` is None if unknown; a size in it may be a name."""

    name: str
    dtype: str = ""
    shape: tuple[int | str | None, ...] | None = None

    @property
    def text(self) -> str:
        """The shape as text on an edge: ``32x200`` with a real times sign, "" if unknown."""
        if self.shape is None:
            return ""
        return "\N{MULTIPLICATION SIGN}".join(map(_size, self.shape)) or "scalar"


def _size(size: int | str | None) -> str:
    return "?" if size is None else printable(str(size))


def printable(text: str) -> str:
    """Return a text without line breaks and control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


@dataclass(frozen=True)
class Loop:
    """A compiled loop: the name of its node, and its number of steps, 0 if unknown."""

    name: str
    steps: int


@dataclass(frozen=True)
class Statistics:
    """Of the values of a parameter; ``counts`` is a histogram of equal bins from least to most.

    Values that are not finite are counted apart, and in nothing else.
    """

    mean: float
    std: float
    least: float
    most: float
    zeros: int
    not_finite: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """A node, a variable, or an output of a network.

    Attributes:
        op: the operator; empty if the box computes nothing.
        scope: the name by which boxes fold: that of the symbol's node, without the operator.
        param: the parameter that the box holds, or whose gradient it holds.
        operations: floating-point operations of one run; None if a shape is unknown.
        steps: of an operator that is a loop over time, the number of its steps.
        loop: the compiled loop whose body the box is part of.
        seconds: the time of one run, where a profile is given.
        measure: computes the statistics of the values, where they are given.
    """

    name: str
    op: str
    kind: str
    scope: str
    outputs: tuple[Value, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    param: str = ""
    operations: int | None = 0
    steps: int = 0
    loop: Loop | None = None
    seconds: float | None = None
    measure: Callable[[], Statistics | None] | None = field(default=None, compare=False)

    @cached_property
    def statistics(self) -> Statistics | None:
        """Those of the values: what reads them all, so a picture without them does not ask."""
        return None if self.measure is None else self.measure()


@dataclass(frozen=True)
class Edge:
    """Output number ``output`` of box ``source`` is an input of box ``target``; both by number.

    ``carried``: a loop hands it to its next step.
    """

    source: int
    target: int
    output: int = 0
    carried: bool = False


@dataclass(frozen=True)
class Diagram:
    """Boxes in topological order and the edges between them.

    ``elsewhere``: seconds of one run that a profile has for nodes that are not among the boxes.
    """

    title: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    elsewhere: float = 0.0

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters, sorted: the order in which they get colours."""
        return sorted({b.param for b in self.boxes if b.param})
