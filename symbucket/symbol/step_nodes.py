"""Nodes of repeated steps: the first few are made, the others when somebody looks at them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from symbucket.symbol.node import Entry, Node

FIRST = 5  # steps that are made


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


@dataclass(frozen=True)
class Parts:
    """A sequence: the ``count`` outputs of a node that cuts an array, or the last one first."""

    node: Node
    count: int
    forwards: bool

    def at(self, step: int) -> Entry:
        """Return an element."""
        return self.node, step if self.forwards else self.count - 1 - step


@dataclass(frozen=True)
class Results:
    """A sequence: one of the values that the steps of a repetition return, or the last one first.

    ``number`` is the position of the value among those that a step returns.
    """

    repetition: Repetition
    number: int
    forwards: bool

    def at(self, step: int) -> Entry:
        """Return an element."""
        last = self.repetition.count - 1
        return self.repetition.output(self.number, step if self.forwards else last - step)


@dataclass(frozen=True)
class Elements:
    """A sequence of any values."""

    entries: tuple[Entry, ...]

    def at(self, step: int) -> Entry:
        """Return an element."""
        return self.entries[step]


ReadSequence = Parts | Results | Elements


class Repetition:
    """Equal steps over sequences.

    A node of a step that was not made lives as long as somebody has it.

    Attributes:
        count: the number of steps.
        first: the nodes of the steps that were made, inputs first.
        operations: the nodes of any other step.
        sequences: what the steps read.
        results: what any other step returns.
    """

    def __init__(
        self,
        count: int,
        first: Sequence[Sequence[Node]],
        operations: Sequence[Operation],
        sequences: Sequence[ReadSequence],
        outputs: Sequence[Sequence[Entry]],
        results: Sequence[Own],
    ) -> None:
        self.count = count
        self.first, self.operations, self.sequences = first, operations, sequences
        self._outputs, self.results = outputs, results
        self._later: WeakValueDictionary[tuple[int, int], StepNode] = WeakValueDictionary()
        self._lock = threading.Lock()  # the same node for everybody, in all threads

    def node(self, step: int, index: int) -> Node:
        """Return a node of a step, numbered as in the steps that are equal."""
        if step < len(self.first):
            return self.first[step][index]
        with self._lock:
            node = self._later.get((step, index))
            if node is None:
                node = self._later[step, index] = StepNode(self, step, index)
            return node

    def tidy(self) -> None:
        """Give back the room of nodes that nobody has any more."""
        with self._lock:
            self._later = WeakValueDictionary(self._later)

    def entry(self, operand: Operand, step: int) -> Entry:
        """Return what an operand is in a step."""
        if isinstance(operand, Own):
            return self.node(step - operand.distance, operand.index), operand.output
        return self.sequences[operand.sequence].at(step) if isinstance(operand, Item) else operand

    def output(self, number: int, step: int) -> Entry:
        """Return one of the values that a step returns."""
        if step < len(self._outputs):
            return self._outputs[step][number]
        result = self.results[number]
        return self.node(step, result.index), result.output

    def outputs(self, number: int) -> tuple[Entry, ...]:
        """Return one of the values of all steps."""
        return tuple(self.output(number, step) for step in range(self.count))


class StepNode(Node):
    """A node of a step that was not made: its name and inputs follow from the others."""

    __slots__ = ("__weakref__", "_inputs", "index", "repetition", "step")

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


class JoinNode(Node):
    """A node that reads what all steps return, in order."""

    __slots__ = ("_inputs", "sequence")

    sequence: Results
    _inputs: tuple[Entry, ...] | None

    def __init__(self, model: Node, sequence: Results) -> None:
        for name, value in (
            ("op", model.op),
            ("name", model.name),
            ("attrs", model.attrs),
            ("value", None),
            ("sequence", sequence),
            ("_inputs", None),
        ):
            object.__setattr__(self, name, value)

    @property
    def repetition(self) -> Repetition:
        """The steps that it reads."""
        return self.sequence.repetition

    @property
    def inputs(self) -> tuple[Entry, ...]:
        """What the steps return; it comes to be when it is read for the first time."""
        if self._inputs is None:
            inputs = self.repetition.outputs(self.sequence.number)
            object.__setattr__(self, "_inputs", inputs)
        assert self._inputs is not None
        return self._inputs


def compact(entries: tuple[Entry, ...]) -> ReadSequence:
    """Return a sequence in the shortest form, which keeps no nodes of steps alive."""
    node, count = entries[0][0], len(entries)
    for forwards in (True, False):
        ordered = entries if forwards else entries[::-1]
        last, output = ordered[-1]
        if isinstance(last, StepNode):
            repetition = last.repetition
            for number, result in enumerate(repetition.results):
                if (result.index, result.output) != (last.index, output):
                    continue
                if repetition.count == count and ordered == repetition.outputs(number):
                    return Results(repetition, number, forwards)
        elif node.num_outputs == count > 1 and ordered == _parts_of(node):
            return Parts(node, count, forwards)
    return Elements(entries)


def _parts_of(node: Node) -> tuple[Entry, ...]:
    return tuple((node, i) for i in range(node.num_outputs))
