"""Loops over the few steps of a network in brief -> loops over all steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from symbucket.compiler.loops.columns import Steps
from symbucket.compiler.loops.draw_numbers import IrregularError, first_draws
from symbucket.compiler.loops.grouped import Grouped
from symbucket.compiler.loops.loop_operators import Loop
from symbucket.compiler.loops.sequence_operators import (
    CutSteps,
    SelectStep,
    SelectSteps,
    StackSteps,
    UnstackSteps,
)
from symbucket.ops.record import Operator
from symbucket.symbol.brief import Brief
from symbucket.symbol.node import Entry, Node

_ASIDE = 2  # steps at either end that may be no part of a loop


def lengthened(brief: Brief, short: Grouped, loops: Mapping[Node, Steps]) -> Grouped | None:
    """Return the whole network with loops, from those in the brief one.

    Args:
        brief: the network in brief. short: the same with loops in it.
        loops: the steps that each loop stands for.

    Returns:
        None if the loops in brief do not tell what those over all steps are.
    """
    try:
        network = _Lengthening(brief, short, loops).run()
        for training in (False, True):
            first_draws(network, training)
    except (_UnclearError, IrregularError):
        return None
    return network


class _UnclearError(Exception):
    """Loops over a few steps do not tell what those over all steps are."""


class _Lengthening:
    def __init__(self, brief: Brief, short: Grouped, loops: Mapping[Node, Steps]) -> None:
        self._brief, self._short = brief, short
        self._few = {loop: self._steps_in_brief(steps) for loop, steps in loops.items()}
        self._ends = {id(node.op) for node in brief.ends}
        self._readers: dict[Node, set[int | None]] = {}
        for node in short.nodes:
            for source, _ in node.inputs:
                if node in self._few:
                    self._readers.setdefault(source, set()).add(self._few[node])
        self._loops = loops

    def _steps_in_brief(self, steps: Steps) -> int | None:
        """The number of steps that the nodes of a loop are of; None if it is not in brief."""
        of_nodes = {self._brief.steps.get(node) for node in steps.places}
        if len(of_nodes) > 1:
            raise _UnclearError
        return of_nodes.pop()

    def run(self) -> Grouped:
        new: dict[Node, Node] = {}
        for node in self._short.nodes:
            if self._short.written.get(node, node) in self._brief.steps:
                raise _UnclearError  # a step that no loop has
            inputs = tuple((new[child], output) for child, output in node.inputs)
            op = None if node.op is None else self._operator(node, node.op)
            same = op is node.op and inputs == node.inputs
            new[node] = node if same else Node(op, node.name, inputs, node.attrs, node.value)
        heads: list[Entry] = [(new[node], output) for node, output in self._short.heads]
        names = []
        for loop, steps in self._loops.items():
            op = new[loop].op
            assert isinstance(op, Loop)
            names.append(f"{steps.columns[0].model.name} ({op.steps} steps)")
        written = {new[node]: old for node, old in self._short.written.items()}
        nodes = list(new.values())
        return Grouped(nodes, heads, tuple(names), self._short.unrolled, written, self._brief.nodes)

    def _operator(self, node: Node, op: Operator) -> Operator:
        """The operator for all steps in place of one for a few."""
        if id(op) in self._ends or isinstance(op, (StackSteps, UnstackSteps)):
            raise _UnclearError
        if isinstance(op, Loop):
            few = self._few[node]
            return op if few is None else dataclasses.replace(op, steps=self._long(op.steps, few))
        if isinstance(op, CutSteps):
            readers = self._readers.get(node, set())
            if len(readers) != 1:
                raise _UnclearError
            few = next(iter(readers))
            if few is None:
                return op
            if op.parts != few:
                raise _UnclearError
            start, count = self._part(op, few)
            parts = self._long(op.parts, few)
            return dataclasses.replace(op, parts=parts, start=start, count=count)
        if isinstance(op, (SelectStep, SelectSteps)):
            few = self._few.get(node.inputs[0][0], 0)
            if few is None:
                return op
            steps = self._long(op.steps, few)
            if isinstance(op, SelectSteps):
                start, count = self._part(op, few)
                return dataclasses.replace(op, steps=steps, start=start, count=count)
            return dataclasses.replace(op, steps=steps, index=self._place(op.index, few))
        return op

    def _part(self, op: CutSteps | SelectSteps, few: int) -> tuple[int, int]:
        start, stop = self._place(op.start, few), self._place(op.start + op.count, few)
        return start, stop - start

    def _long(self, steps: int, few: int) -> int:
        """The number of steps of which there are ``steps`` in brief."""
        if not few - _ASIDE <= steps <= few:
            raise _UnclearError
        return steps - few + self._brief.counts[few]

    def _place(self, step: int, few: int) -> int:
        """The number of a step near either end."""
        return step if step <= _ASIDE else self._long(step, few)
