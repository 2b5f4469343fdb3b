"""The first step of a candidate, where it looks different because the state before it is zero.

The compiler leaves out products with zeros: the first step of an LSTM has no product with h, and
the gradient of its last step no share from the step after it. Where what is there is the step with
zeros for the state before it, the step joins the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import onnx_ir as ir

from symbucket.compiler.loops.loop import (
    BodyOp,
    Invariant,
    LoopCandidate,
    Scanned,
    Source,
    State,
    alike,
    same_type,
)
from symbucket.compiler.loops.slices import next_slice
from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.ir import attr, shape_of


def match_first_iteration(candidate: LoopCandidate) -> bool:
    """Let the step that made the initial states join the candidate, if it can; says whether."""
    front = _FirstIteration(candidate)
    try:
        fits = all(
            value is not None and front.is_made_by(body_op, output, value)
            for (body_op, output), value in candidate.initial.items()
        )
    except _SearchLimitError:
        return False
    if not fits or not front.nodes:
        return False
    front.join()
    return True


MAX_OPERAND_CHECKS = 20_000  # looks at operands: ways to add zeros multiply
MAX_OPERAND_DEPTH = 150  # operands of operands


class _SearchLimitError(Exception):
    """The search for a first step is given up; the candidate starts where it starts."""


_Matches = tuple[
    dict[BodyOp, ir.Node],
    dict[BodyOp, ir.Value],
    dict[Scanned, ir.Value],
    dict[State, "ir.Value | None"],
]


class _FirstIteration:
    """What the nodes before a candidate are, seen as a step of it."""

    def __init__(self, candidate: LoopCandidate) -> None:
        self._candidate = candidate
        self._taken = candidate.places()
        self.nodes: dict[BodyOp, ir.Node] = {}
        self._instead: dict[BodyOp, ir.Value] = {}
        self._given: dict[Scanned, ir.Value] = {}
        self._initial: dict[State, ir.Value | None] = {}
        self._looks = 0
        self._depth = 0

    def join(self) -> None:
        candidate = self._candidate
        candidate.steps += 1
        for body_op in candidate.body_ops:
            body_op.nodes.insert(0, self.nodes.get(body_op))
            for source in body_op.sources:
                if isinstance(source, Scanned):
                    value = self._given.get(source)
                    if value is None:
                        known = [v for v in source.values if v is not None]
                        value = next_slice(known[::-1])
                    source.values.insert(0, value)
        candidate.initial = {state: self._initial.get(state) for state in candidate.initial}
        candidate.instead = self._instead

    def is_made_by(self, body_op: BodyOp, output: int, value: ir.Value) -> bool:
        """Whether ``value`` is output ``output`` of the step's ``body operation``."""
        with self._look():
            return self._is_made_by(body_op, output, value)

    @contextmanager
    def _look(self) -> Iterator[None]:
        """Count what is looked at; raises _TooMuchError where that is without end."""
        self._looks += 1
        self._depth += 1
        if self._looks > MAX_OPERAND_CHECKS or self._depth > MAX_OPERAND_DEPTH:
            raise _SearchLimitError
        yield
        self._depth -= 1

    def _is_made_by(self, body_op: BodyOp, output: int, value: ir.Value) -> bool:
        if body_op in self._instead:
            return self._instead[body_op] is value
        node = value.producer()
        if body_op in self.nodes:
            return self.nodes[body_op] is node and value.index() == output
        if (
            node is not None
            and node not in self._taken
            and alike(node, body_op.model)
            and value.index() == output
        ):
            before = self._save()
            self.nodes[body_op] = node
            if all(self._reads(s, v) for s, v in zip(body_op.sources, node.inputs)):
                return True
            self._restore(before)
        return self._adds_zero(body_op, value)

    def _save(self) -> _Matches:
        return dict(self.nodes), dict(self._instead), dict(self._given), dict(self._initial)

    def _restore(self, saved: _Matches) -> None:
        self.nodes, self._instead, self._given, self._initial = saved

    def _reads(self, source: Source, value: ir.Value | None) -> bool:
        """Whether ``value`` can be what the step reads there."""
        if isinstance(source, Invariant):
            return value is source.value
        if value is None:
            return False
        if isinstance(source, Scanned):
            known = next(v for v in source.values if v is not None)
            return same_type(value, known) and self._given.setdefault(source, value) is value
        if not source.before:
            return self.is_made_by(source.body_op, source.output, value)
        state = source.body_op, source.output
        if not same_type(value, source.body_op.model.outputs[source.output]):
            return False
        if self._initial.get(state) is None and (state not in self._initial or is_zero(value)):
            self._initial[state] = value
        return self._initial[state] is value

    def _adds_zero(self, body_op: BodyOp, value: ir.Value) -> bool:
        """Whether the body operation makes ``value`` by adding zero to it."""
        model, sources = body_op.model, body_op.sources
        if model.domain or shape_of(value) != shape_of(model.outputs[0]):
            return False
        wholes: Iterable[int] = ()
        if model.op_type == "Gemm" and len(sources) == 3 and attr(model, "beta", 1.0) == 1.0:
            wholes = (2,)
        elif model.op_type in ("Sum", "Add"):
            wholes = range(len(sources))
        for slot in wholes:
            others = [s for i, s in enumerate(sources) if i != slot]
            zeros = others[:1] if model.op_type == "Gemm" else others
            before = self._save()
            if all(map(self._is_zero, zeros)) and self._reads(sources[slot], value):
                self._instead[body_op] = value
                return True
            self._restore(before)
        return model.op_type == "Sum" and self._adds_zeros(body_op, value)

    def _adds_zeros(self, body_op: BodyOp, value: ir.Value) -> bool:
        """The same where zeros are left out of a sum and several operands are there."""
        node = value.producer()
        if node is None or node.domain or node.op_type not in ("Sum", "Add"):
            return False
        before = self._save()
        there = [source for source in body_op.sources if not self._is_zero(source)]
        if len(there) == len(node.inputs) and all(map(self._reads, there, node.inputs)):
            self._instead[body_op] = value
            return True
        self._restore(before)
        return False

    def _is_zero(self, source: Source) -> bool:
        """Whether an operand is zero where the states that it comes from are."""
        with self._look():
            return self._zero(source)

    def _zero(self, source: Source) -> bool:
        if isinstance(source, Invariant):
            return is_zero(source.value)
        if isinstance(source, Scanned):
            return False
        if source.before:
            state = source.body_op, source.output
            value = self._initial.setdefault(state, None)
            return value is None or is_zero(value)
        body_op = source.body_op
        if body_op in self.nodes or body_op in self._instead or body_op.model.domain:
            return False
        kind, operands = body_op.model.op_type, body_op.sources
        if kind == "Mul" or (kind == "Gemm" and len(operands) == 2):
            return any(map(self._is_zero, operands))
        if kind in ("Add", "Sum", "Concat"):
            return all(map(self._is_zero, operands))
        if kind in ("Reshape", "Transpose", "Split", "Identity"):
            return self._is_zero(operands[0])
        return False
