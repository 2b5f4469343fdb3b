"""Repeat a step over sequences: make the first few, see what is the same in them, foresee the rest.

``unroll`` makes the same nodes in every step, but for numbers in their names. A network of 1,000
steps is asked for its first steps (by the compiler, see ``brief``) far more often than for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from symbucket.attribute import AttrScope
from symbucket.name import NameManager, Prefix
from symbucket.one_of_each import OneOfEach
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.step_nodes import (
    FIRST,
    Item,
    JoinNode,
    Numbered,
    Operand,
    Operation,
    Own,
    Repetition,
    Results,
    compact,
)
from symbucket.symbol.symbol import Symbol

_REGULAR = 2  # steps that may differ from the later ones
_LEAST = FIRST + 3  # steps; fewer are all made
_FARTHEST = 3  # steps back that a step may read
_DIGITS = re.compile(r"(\d+)")
_one_own: OneOfEach[Own] = OneOfEach()
_one_name: OneOfEach[Numbered] = OneOfEach()

Step = Callable[[tuple[Symbol, ...], list[Symbol]], tuple[Symbol, list[Symbol]]]
"""Makes one step from what it reads of each sequence and from states: its output, new states.

The output may be several values, each state is one.
"""


def repeat(
    step: Step, sequences: Sequence[Sequence[Symbol]], states: list[Symbol], alike: bool
) -> tuple[list[Symbol], list[Symbol]]:
    """Return the outputs of a step for each element of ``sequences``, and the last states.

    Args:
        step: makes one step.
        sequences: one or several of equal length, of Symbols of one output.
        states: what the first step takes.
        alike: every step makes the same nodes, but for numbers in names; of long sequences only
            the first few steps are called for then.
    """
    count = len(sequences[0])
    recorder = None
    if alike and count >= _LEAST and _plain_scopes():
        recorder = _Recorder(sequences, states)
    outputs: list[Symbol] = []
    for number, items in enumerate(zip(*sequences)):
        output, states = step(items, states)
        outputs.append(output)
        if recorder is None:
            continue
        recorder.add(output, states)
        if number == FIRST - 1:
            rest = recorder.rest()
            if rest is not None:
                return [*outputs, *rest[0]], rest[1]
            recorder = None
    return outputs, states


def joined(symbol: Symbol) -> Symbol:
    """Return a symbol whose node does not keep alive all steps, if these are what it reads."""
    ((node, output),) = symbol.heads
    sequence = compact(node.inputs)
    if isinstance(sequence, Results) and sequence.forwards:
        return Symbol([(JoinNode(node, sequence), output)])
    return symbol


def _plain_scopes() -> bool:
    """Return whether names and attributes are given by nobody's own rules."""
    plain = type(NameManager.current) in (NameManager, Prefix)
    return plain and type(AttrScope.current) is AttrScope


class _Recorder:
    """Looks at the first steps for what is the same in all of them."""

    def __init__(self, sequences: Sequence[Sequence[Symbol]], states: Sequence[Symbol]) -> None:
        self._count = len(sequences[0])
        entries = [tuple(symbol.heads[0] for symbol in sequence) for sequence in sequences]
        self._sequences = list(map(compact, entries))
        outside = [*(e for each in entries for e in each), *(h for s in states for h in s.heads)]
        self._seen = {node for node, _ in outside}
        self._steps: list[list[Node]] = []
        self._index: dict[Node, tuple[int, int]] = {}
        self._results: list[list[Entry]] = []
        self._counts: list[dict[str, int]] = []
        self._outputs: list[tuple[Entry, ...]] = []
        self._single = True  # every state is one value

    def add(self, output: Symbol, states: Sequence[Symbol]) -> None:
        """Take the nodes that a step has made."""
        self._single &= all(len(symbol) == 1 for symbol in states)
        self._outputs.append(output.heads)
        heads = [head for symbol in (output, *states) for head in symbol.heads]
        nodes = self._new_nodes(heads)
        self._index.update((node, (len(self._steps), i)) for i, node in enumerate(nodes))
        self._steps.append(nodes)
        self._results.append(heads)
        self._counts.append(NameManager.current.counts())

    def _new_nodes(self, heads: Sequence[Entry]) -> list[Node]:
        order: list[Node] = []
        stack = [(node, False) for node, _ in reversed(heads)]
        while stack:
            node, ready = stack.pop()
            if ready:
                order.append(node)
            elif node not in self._seen:
                self._seen.add(node)
                if node.inputs:  # variables and constants are nobody's
                    stack.append((node, True))
                    stack += [(child, False) for child, _ in reversed(node.inputs)]
        return order

    def rest(self) -> tuple[list[Symbol], list[Symbol]] | None:
        """Return the outputs of the steps that were not made and the last states.

        None if the steps are not equal; names go on after those of the last step.
        """
        equal = range(_REGULAR, FIRST)
        operands = self._operands(FIRST - 1)
        model = self._steps[-1]
        for step in equal[:-1]:
            nodes = self._steps[step]
            if len(nodes) != len(model) or self._operands(step) != operands:
                return None
            if any(a.op != b.op or a.attrs != b.attrs for a, b in zip(nodes, model)):
                return None
        results = [self._operand(entry, FIRST - 1) for entry in self._results[-1]]
        for step in equal:
            if [self._operand(entry, step) for entry in self._results[step]] != results:
                return None
        own = [result for result in results if isinstance(result, Own) and not result.distance]
        names = [_numbered([self._steps[t][i].name for t in equal]) for i in range(len(model))]
        growth = [_growth(a, b) for a, b in zip(self._counts[_REGULAR:], self._counts[3:])]
        values = len(self._outputs[-1])
        if not self._single or any(len(output) != values for output in self._outputs):
            return None
        if len(own) < len(results) or None in names:
            return None
        if any(one != growth[0] for one in growth):
            return None
        repetition = Repetition(
            self._count,
            self._steps,
            [Operation(n, name, o) for n, name, o in zip(model, names, operands) if name],
            self._sequences,
            self._outputs,
            own[:values],
        )
        NameManager.current.advance(
            {hint: n * (repetition.count - FIRST) for hint, n in growth[0].items()}
        )
        states = own[values:]
        last = [(repetition.node(repetition.count - 1, one.index), one.output) for one in states]
        later = [
            Symbol([repetition.output(number, step) for number in range(values)])
            for step in range(FIRST, repetition.count)
        ]
        return later, [Symbol([entry]) for entry in last]

    def _operands(self, step: int) -> list[tuple[Operand, ...]]:
        return [tuple(self._operand(e, step) for e in n.inputs) for n in self._steps[step]]

    def _operand(self, entry: Entry, step: int) -> Operand:
        place = self._index.get(entry[0])
        if place is not None and step - place[0] <= _FARTHEST:
            return _one_own(Own(place[1], entry[1], step - place[0]))
        for i, sequence in enumerate(self._sequences):
            if sequence.at(step) == entry:
                return Item(i)
        return entry


def _numbered(names: Sequence[str]) -> Numbered | None:
    """Return the pattern of the names of a node in successive steps, the first one ``_REGULAR``."""
    split = [_DIGITS.split(name) for name in names]
    if any(len(one) != len(split[0]) for one in split):
        return None
    parts: list[str | tuple[int, int]] = []
    for texts in zip(*split):
        if texts.count(texts[0]) == len(texts):
            parts.append(texts[0])
            continue
        if not all(text.isdecimal() and str(int(text)) == text for text in texts):
            return None
        first, growth = int(texts[0]), int(texts[1]) - int(texts[0])
        if any(int(text) != first + growth * i for i, text in enumerate(texts)):
            return None
        parts.append((first - growth * _REGULAR, growth))
    return _one_name(Numbered(tuple(parts)))


def _growth(earlier: dict[str, int], later: dict[str, int]) -> dict[str, int]:
    growth = {hint: count - earlier.get(hint, 0) for hint, count in later.items()}
    return {hint: n for hint, n in growth.items() if n}
