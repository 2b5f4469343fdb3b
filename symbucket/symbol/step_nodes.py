"""Nodes of repeated steps: the first few are made, the others when somebody looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from symbucket.symbol.node import Entry, Node

FIRST = 6  # steps that are made


@dataclass(frozen=True)
class Own:
    """An operand that a step makes, ``distance`` steps before."""

    index: int
    output: int
    distance: int


@dataclass(frozen=True)
class Item:
    """An operand that is the step's element of a sequence."""

    sequence: int


Operand = Own | Item | Entry
"""An operand of a step's node; an entry is the same one in every step."""


@dataclass(frozen=True)
class Numbered:
    """Names in which some numbers grow by the same in every step: text, or (at step 0, growth)."""

    parts: tuple[str | tuple[int, int], ...]

    def at(self, step: int) -> str:
        """Return the name in a step."""
        return "".join(p if isinstance(p, str) else str(p[0] + p[1] * step) for p in self.parts)


@dataclass(frozen=True, eq=False)
class Operation:
    """One node of every step: ``model`` in the last one that was made."""

    model: Node
    name: Numbered
    operands: tuple[Operand, ...]


class Repetition:
    """Equal steps over sequences.

    Attributes:
        count: the number of steps.
        first: the nodes of the steps that were made, inputs first.
        operations: the nodes of any other step.
        sequences: for each sequence what the steps read.
        outputs: what each step returns.
    """

    def __init__(
        self,
        first: Sequence[Sequence[Node]],
        operations: Sequence[Operation],
        sequences: Sequence[tuple[Entry, ...]],
        outputs: Sequence[Entry],
        result: Own,
    ) -> None:
        self.first, self.operations, self.sequences = first, operations, sequences
        self.count = len(sequences[0])
        self._later: dict[tuple[int, int], StepNode] = {}
        later = range(len(first), self.count)
        self.outputs = (*outputs, *((self.node(t, result.index), result.output) for t in later))

    def node(self, step: int, index: int) -> Node:
        """Return a node of a step, numbered as in the steps that are equal."""
        if step < len(self.first):
            return self.first[step][index]
        node = self._later.get((step, index))
        # The same node for everybody, also if two threads ask at the same time.
        return node or self._later.setdefault((step, index), StepNode(self, step, index))

    def entry(self, operand: Operand, step: int) -> Entry:
        """Return what an operand is in a step."""
        if isinstance(operand, Own):
            return self.node(step - operand.distance, operand.index), operand.output
        return self.sequences[operand.sequence][step] if isinstance(operand, Item) else operand


class StepNode(Node):
    """A node of a step that was not made: its name and inputs follow from the others."""

    __slots__ = ("_inputs", "index", "repetition", "step")

    repetition: Repetition
    step: int
    index: int
    _inputs: tuple[Entry, ...] | None

    def __init__(self, repetition: Repetition, step: int, index: int) -> None:
        model = repetition.operations[index].model
        for name, value in (
            ("op", model.op),
            ("attrs", model.attrs),
            ("value", None),
            ("repetition", repetition),
            ("step", step),
            ("index", index),
            ("_inputs", None),
        ):
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The name, made when it is read."""
        return self.repetition.operations[self.index].name.at(self.step)

    @property
    def inputs(self) -> tuple[Entry, ...]:
        """The operands, which come to be when they are read for the first time."""
        if self._inputs is None:
            one = self.repetition
            operands = one.operations[self.index].operands
            entries = tuple(one.entry(operand, self.step) for operand in operands)
            object.__setattr__(self, "_inputs", entries)
        assert self._inputs is not None
        return self._inputs
