"""The first step of a chain, where it looks different because the state before it is zero.

The compiler leaves out products with zeros: the first step of an LSTM has no product with h, and
the gradient of its last step no share from the step after it. Where what is there is the step with
zeros for the state before it, the step joins the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import onnx_ir as ir

from symbucket.compiler.loops.loop import (
    Chain,
    Column,
    Given,
    Same,
    Source,
    State,
    alike,
    same_type,
)
from symbucket.compiler.loops.slices import following
from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.ir import attr, shape_of


def extend_to_front(chain: Chain) -> bool:
    """Let the step that made the initial states join the chain, if it can; says whether."""
    front = _Front(chain)
    try:
        fits = all(
            value is not None and front.is_made_by(column, output, value)
            for (column, output), value in chain.initial.items()
        )
    except _TooMuchError:
        return False
    if not fits or not front.nodes:
        return False
    front.join()
    return True


_PATIENCE = 20_000  # looks at operands: ways to add zeros multiply
_DEEP = 150  # operands of operands


class _TooMuchError(Exception):
    """The search for a first step is given up; the chain starts where it starts."""


_Found = tuple[
    dict[Column, ir.Node],
    dict[Column, ir.Value],
    dict[Given, ir.Value],
    dict[State, "ir.Value | None"],
]


class _Front:
    """What the nodes before a chain are, seen as a step of it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._taken = chain.places()
        self.nodes: dict[Column, ir.Node] = {}
        self._instead: dict[Column, ir.Value] = {}
        self._given: dict[Given, ir.Value] = {}
        self._initial: dict[State, ir.Value | None] = {}
        self._looks = 0
        self._depth = 0

    def join(self) -> None:
        chain = self._chain
        chain.steps += 1
        for column in chain.columns:
            column.nodes.insert(0, self.nodes.get(column))
            for source in column.sources:
                if isinstance(source, Given):
                    value = self._given.get(source)
                    if value is None:
                        known = [v for v in source.values if v is not None]
                        value = following(known[::-1])
                    source.values.insert(0, value)
        chain.initial = {state: self._initial.get(state) for state in chain.initial}
        chain.instead = self._instead

    def is_made_by(self, column: Column, output: int, value: ir.Value) -> bool:
        """Whether ``value`` is output ``output`` of the step's ``column``."""
        with self._look():
            return self._is_made_by(column, output, value)

    @contextmanager
    def _look(self) -> Iterator[None]:
        """Count what is looked at; raises _TooMuchError where that is without end."""
        self._looks += 1
        self._depth += 1
        if self._looks > _PATIENCE or self._depth > _DEEP:
            raise _TooMuchError
        yield
        self._depth -= 1

    def _is_made_by(self, column: Column, output: int, value: ir.Value) -> bool:
        if column in self._instead:
            return self._instead[column] is value
        node = value.producer()
        if column in self.nodes:
            return self.nodes[column] is node and value.index() == output
        if (
            node is not None
            and node not in self._taken
            and alike(node, column.model)
            and value.index() == output
        ):
            before = self._save()
            self.nodes[column] = node
            if all(self._reads(s, v) for s, v in zip(column.sources, node.inputs)):
                return True
            self._restore(before)
        return self._adds_zero(column, value)

    def _save(self) -> _Found:
        return dict(self.nodes), dict(self._instead), dict(self._given), dict(self._initial)

    def _restore(self, saved: _Found) -> None:
        self.nodes, self._instead, self._given, self._initial = saved

    def _reads(self, source: Source, value: ir.Value | None) -> bool:
        """Whether ``value`` can be what the step reads there."""
        if isinstance(source, Same):
            return value is source.value
        if value is None:
            return False
        if isinstance(source, Given):
            known = next(v for v in source.values if v is not None)
            return same_type(value, known) and self._given.setdefault(source, value) is value
        if not source.before:
            return self.is_made_by(source.column, source.output, value)
        state = source.column, source.output
        if not same_type(value, source.column.model.outputs[source.output]):
            return False
        if self._initial.get(state) is None and (state not in self._initial or is_zero(value)):
            self._initial[state] = value
        return self._initial[state] is value

    def _adds_zero(self, column: Column, value: ir.Value) -> bool:
        """Whether the column makes ``value`` by adding zero to it."""
        model, sources = column.model, column.sources
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
                self._instead[column] = value
                return True
            self._restore(before)
        return model.op_type == "Sum" and self._adds_zeros(column, value)

    def _adds_zeros(self, column: Column, value: ir.Value) -> bool:
        """The same where zeros are left out of a sum and several operands are there."""
        node = value.producer()
        if node is None or node.domain or node.op_type not in ("Sum", "Add"):
            return False
        before = self._save()
        there = [source for source in column.sources if not self._is_zero(source)]
        if len(there) == len(node.inputs) and all(map(self._reads, there, node.inputs)):
            self._instead[column] = value
            return True
        self._restore(before)
        return False

    def _is_zero(self, source: Source) -> bool:
        """Whether an operand is zero where the states that it comes from are."""
        with self._look():
            return self._zero(source)

    def _zero(self, source: Source) -> bool:
        if isinstance(source, Same):
            return is_zero(source.value)
        if isinstance(source, Given):
            return False
        if source.before:
            state = source.column, source.output
            value = self._initial.setdefault(state, None)
            return value is None or is_zero(value)
        column = source.column
        if column in self.nodes or column in self._instead or column.model.domain:
            return False
        kind, operands = column.model.op_type, column.sources
        if kind == "Mul" or (kind == "Gemm" and len(operands) == 2):
            return any(map(self._is_zero, operands))
        if kind in ("Add", "Sum", "Concat"):
            return all(map(self._is_zero, operands))
        if kind in ("Reshape", "Transpose", "Split", "Identity"):
            return self._is_zero(operands[0])
        return False
