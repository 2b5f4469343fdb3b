"""A network with the first few of many equal steps: enough to know what it is made of.

What is asked of a network most often, its variables, operators and loops, does not depend on how
often a step is repeated. The *brief* network has a few steps of each repetition (see
``step_nodes``), and whatever reads or feeds all steps reads or feeds these few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from symbucket.ops.slicing import Concat, SliceChannel
from symbucket.symbol.node import Entry, Node, topological
from symbucket.symbol.step_nodes import (
    FIRST,
    Elements,
    JoinNode,
    Own,
    Parts,
    ReadSequence,
    Repetition,
    Results,
    StepNode,
    compact,
)

if TYPE_CHECKING:
    from symbucket.symbol.symbol import Symbol

_APART = 4  # between the numbers of steps that stand for different ones
_MOST_COUNTS = 4  # different numbers of steps in a network
_MOST_CARRIED = 4  # values that a step reads of the one before


@dataclass(frozen=True)
class Brief:
    """A network in brief, inputs first, and its outputs.

    Attributes:
        nodes, heads: the network.
        counts: for each number of steps the real one; with none the network is as it was.
        steps: for each node of a step the number of steps.
        ends: the nodes that cut a sequence into steps, or join the steps' values.
    """

    nodes: Sequence[Node]
    heads: Sequence[Entry]
    counts: Mapping[int, int] = field(default_factory=dict)
    steps: Mapping[Node, int] = field(default_factory=dict)
    ends: Collection[Node] = ()


def brief(symbol: Symbol) -> Brief:
    """Return a symbol's network in brief, worked out once for each symbol.

    It has the same variables in the same order, and operators of the same kinds. All nodes are
    there if a step is used in a way of its own.
    """
    return symbol.derived(_brief)


def forget_brief(symbol: Symbol) -> None:
    """Drop a symbol's network in brief, until somebody asks for it again."""
    symbol.forget(_brief)


class _WholeError(Exception):
    """The network cannot be said in brief."""


def _brief(symbol: Symbol) -> Brief:
    try:
        return _Abridgement(symbol.heads).brief()
    except _WholeError:
        return Brief(symbol.nodes(), symbol.heads)


class _Abridgement:
    def __init__(self, heads: Sequence[Entry]) -> None:
        self._heads = heads
        self._repetitions: dict[Repetition, int] = {}  # and the number of steps in brief
        self._steps: dict[Node, tuple[Repetition, int]] = {}  # of nodes of steps that were made
        self._cuts: dict[Node, int] = {}  # nodes that cut a sequence, and the parts in brief
        self._done: dict[Node, Node] = {}

    def brief(self) -> Brief:
        """Return the network in brief; raises _WholeError if there is none."""
        self._find_repetitions()
        if not self._repetitions:
            raise _WholeError
        counts = sorted({repetition.count for repetition in self._repetitions})
        carried = max(map(_carried_in_order, self._repetitions))
        if len(counts) > _MOST_COUNTS or carried > _MOST_CARRIED:
            raise _WholeError
        least = max(FIRST, 2 * carried + 1)
        of_count = {count: least + _APART * i for i, count in enumerate(counts)}
        if any(count < few for count, few in of_count.items()):
            raise _WholeError
        for repetition in self._repetitions:
            self._repetitions[repetition] = of_count[repetition.count]
        for repetition, few in self._repetitions.items():
            for sequence in repetition.sequences:
                if isinstance(sequence, Parts):
                    self._cuts[sequence.node] = few
        heads = [self._outer(head) for head in self._heads]
        self._rebuild([node for node, _ in heads])
        new = [(self._done[node], output) for node, output in heads]
        steps: dict[Node, int] = {}
        ends: set[Node] = set()
        for node, changed in self._done.items():
            place = self._place(node)
            if place is not None:
                steps[changed] = self._repetitions[place[0]]
            elif changed.op is not node.op:
                ends.add(changed)
        for repetition in self._repetitions:
            repetition.tidy()
        counts_of = {few: count for count, few in of_count.items()}
        return Brief(topological(new), new, counts_of, steps, ends)

    def _find_repetitions(self) -> None:
        """Walk over all nodes but those of steps that were not made."""
        stack = [node for node, _ in self._heads]
        seen = set(stack)
        while stack:
            node = stack.pop()
            inputs: Sequence[Entry] = ()
            if not isinstance(node, (StepNode, JoinNode)):
                inputs = node.inputs
            elif node.repetition not in self._repetitions:
                inputs = self._add(node.repetition)
            for child, _ in inputs:
                if child not in seen:
                    seen.add(child)
                    stack.append(child)

    def _add(self, repetition: Repetition) -> list[Entry]:
        """Note a repetition; returns what it consists of and reads."""
        self._repetitions[repetition] = 0
        for step, nodes in enumerate(repetition.first):
            for node in nodes:
                if node in self._steps:
                    raise _WholeError
                self._steps[node] = repetition, step
        operands = [o for operation in repetition.operations for o in operation.operands]
        constants = [operand for operand in operands if isinstance(operand, tuple)]
        sequences = [e for sequence in repetition.sequences for e in _ends_of(sequence)]
        return [
            *constants,
            *sequences,
            *((node, 0) for nodes in repetition.first for node in nodes),
        ]

    # Entries of the whole network that the brief one reads --------------------------------------

    def _place(self, node: Node) -> tuple[Repetition, int] | None:
        if isinstance(node, StepNode):
            return node.repetition, node.step
        return self._steps.get(node)

    def _outer(self, entry: Entry) -> Entry:
        """What stands for a value where it is read alone: of steps the first or last one."""
        node, output = entry
        if node in self._cuts:
            raise _WholeError
        place = self._place(node)
        if place is None:
            return entry
        repetition, step = place
        if step == 0:
            return entry
        if step != repetition.count - 1 or not isinstance(node, StepNode):
            raise _WholeError
        return repetition.node(self._repetitions[repetition] - 1, node.index), output

    def _item(self, sequence: ReadSequence, step: int, few: int) -> Entry:
        """What stands for the element of a sequence that a step reads."""
        if isinstance(sequence, Elements):
            raise _WholeError
        place = step if sequence.forwards else few - 1 - step
        if isinstance(sequence, Results):
            return sequence.repetition.output(sequence.number, place)
        if not isinstance(sequence.node.op, SliceChannel) or self._place(sequence.node):
            raise _WholeError
        return sequence.node, place

    def _inputs(self, node: Node) -> tuple[Entry, ...]:
        """What a node reads in the brief network, as entries of the whole one."""
        place = self._place(node)
        if place is not None:
            return self._inputs_of_step(node, *place)
        if isinstance(node, JoinNode):
            sequence: ReadSequence = node.sequence
        elif isinstance(node.op, Concat) and len(node.inputs) > FIRST:
            sequence = compact(node.inputs)
        else:
            return tuple(map(self._outer, node.inputs))
        if isinstance(sequence, Results):
            few = self._repetitions[sequence.repetition]
            return tuple(self._item(sequence, step, few) for step in range(few))
        return tuple(map(self._outer, node.inputs))

    def _inputs_of_step(self, node: Node, repetition: Repetition, step: int) -> tuple[Entry, ...]:
        few = self._repetitions[repetition]
        items = {sequence.at(step): sequence for sequence in repetition.sequences}
        inputs = []
        for entry in node.inputs:
            place = self._place(entry[0])
            if place is not None and place[0] is repetition:
                inputs.append(entry)
            elif entry in items:
                inputs.append(self._item(items[entry], step, few))
            else:
                inputs.append(self._outer(entry))
        return tuple(inputs)

    # The brief network --------------------------------------------------------------------------

    def _rebuild(self, nodes: Sequence[Node]) -> None:
        """Make the nodes of the brief network that differ from those of the whole one."""
        inputs: dict[Node, tuple[Entry, ...]] = {}
        stack = list(nodes)
        while stack:
            node = stack[-1]
            if node in self._done:
                stack.pop()
                continue
            if node not in inputs:
                inputs[node] = self._inputs(node)
                stack += [child for child, _ in inputs[node] if child not in self._done]
                continue
            stack.pop()
            new = tuple((self._done[child], output) for child, output in inputs[node])
            self._done[node] = self._changed(node, new)

    def _changed(self, node: Node, inputs: tuple[Entry, ...]) -> Node:
        op = node.op
        if node in self._cuts:
            assert isinstance(op, SliceChannel)
            op = dataclasses.replace(op, num_outputs=self._cuts[node])
        elif isinstance(op, Concat) and len(inputs) != op.num_args:
            op = dataclasses.replace(op, num_args=len(inputs))
        elif isinstance(node, JoinNode):  # of a few steps that are all
            return Node(op, node.name, inputs, node.attrs)
        elif inputs == node.inputs:
            return node
        return Node(op, node.name, inputs, node.attrs, node.value)


def _ends_of(sequence: ReadSequence) -> Sequence[Entry]:
    """Entries of a sequence among whose nodes there are all that it comes from."""
    if isinstance(sequence, Elements):
        return sequence.entries
    if isinstance(sequence, Parts):
        return [(sequence.node, 0)]
    return [sequence.repetition.output(sequence.number, sequence.repetition.count - 1)]


def _carried_in_order(repetition: Repetition) -> int:
    """Return how many values steps carry, if a few steps tell in which order a walk meets them.

    Raises _WholeError if they do not. A walk goes from step to step through the first operand that
    is carried, and the way through these comes to one that leads to itself at once.
    """
    carried: dict[int, int | None] = {}  # value -> the one that is reached from it first

    def first_of(index: int, seen: set[int]) -> int | None:
        for operand in repetition.operations[index].operands:
            if not isinstance(operand, Own) or operand.index in seen:
                continue
            if operand.distance:
                return operand.index
            seen.add(operand.index)
            reached = first_of(operand.index, seen)
            if reached is not None:
                return reached
        return None

    for operation in repetition.operations:
        for operand in operation.operands:
            if isinstance(operand, Own) and operand.distance:
                if operand.distance > 1:
                    raise _WholeError
                carried[operand.index] = first_of(operand.index, set())
    if any(f is not None and carried[f] not in (None, f) for f in carried.values()):
        raise _WholeError
    return len(carried)
