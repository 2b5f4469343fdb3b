"""Sums over the steps of a loop, taken outside of it where one operator can do it for all steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    attr,
    attributes_of,
    const_of,
    dtype_of,
    nbytes_of,
    shape_of,
)

Stacks = Callable[[ir.Value], ir.Value]
Total = Callable[[Stacks, dict[ir.Value, ir.Value]], ir.Value]

_SMALL = 1 << 16  # bytes of a stack that is summed as a whole rather than step by step


class StepSums:
    """Totals of values of a loop's body over all its steps.

    ``add`` says what is to be summed; ``stacked`` are the values whose stacks the totals are made
    of, ``accumulators`` the carried values of those sums that have to be taken step by step.
    """

    def __init__(
        self, g: Builder, body: ir.Graph, steps: int, is_varying: Callable[[ir.Value], bool]
    ) -> None:
        self._g, self._body, self._steps, self._is_varying = g, body, steps, is_varying
        self._totals: list[Total] = []
        self._stacked: dict[ir.Value, None] = {}
        self._accumulators: dict[ir.Value, ir.Value] = {}  # carried value -> its next value

    def add(self, value: ir.Value) -> int:
        """Sum ``value``; returns the number of the total."""
        self._totals.append(self._total(value))
        return len(self._totals) - 1

    def stacked(self) -> Sequence[ir.Value]:
        """Values of the body of which all steps are needed outside."""
        return list(self._stacked)

    def accumulators(self) -> list[ir.Value]:
        """Further carried values of the body."""
        return list(self._accumulators)

    def carried(self) -> list[ir.Value]:
        """The next values of the accumulators."""
        return list(self._accumulators.values())

    def initial(self) -> list[ir.Value]:
        """Their initial values."""
        return [self._g.filled(shape_of(v), 0.0, dtype_of(v)) for v in self._accumulators]

    def total(self, number: int, stack_of: Stacks, finals: dict[ir.Value, ir.Value]) -> ir.Value:
        """A total, as nodes after the loop.

        Args:
            number: what ``add`` returned.
            stack_of: the stack (steps, ...) of a value of ``stacked``, all in one direction.
            finals: the accumulators' values after the last step.
        """
        return self._totals[number](stack_of, finals)

    def _total(self, value: ir.Value) -> Total:
        g = self._g
        if not self._is_varying(value):
            return lambda stacks, finals: g.op("Mul", value, g.const(float(self._steps), value))
        node = value.producer()
        own = node is not None and node.graph is self._body
        rule = self._rule(node, value) if own and node is not None else None
        return rule or self._plain(value)

    def _rule(self, node: ir.Node, value: ir.Value) -> Total | None:
        g, kind = self._g, node.op_type
        operands = [v for v in node.inputs if v is not None]
        if kind == "AddRows" and node.domain == OWN_DOMAIN:
            return self._added_rows(operands)
        if node.domain:
            return None
        if kind in ("Sum", "Add") and all(v.shape == value.shape for v in operands):
            parts = [self._total(v) for v in operands]
            return lambda stacks, finals: g.op(kind, *(part(stacks, finals) for part in parts))
        if kind in ("Identity", "Neg", "Reshape", "Transpose"):
            part = self._total(operands[0])
            attributes = attributes_of(node)
            return lambda stacks, finals: g.op(
                kind, part(stacks, finals), *operands[1:], **attributes
            )
        if kind == "Mul":
            scalars = [v for v in operands if math.prod(shape_of(v)) == 1]
            factors = [v for v in scalars if const_of(v) is not None]
            rest = [v for v in operands if v not in factors]
            if len(rest) == 1 and rest[0].shape == value.shape:
                part, factor = self._total(rest[0]), factors[0]
                return lambda stacks, finals: g.op("Mul", part(stacks, finals), factor)
            return None
        if kind == "Gemm":
            return self._product(node, operands)
        if kind == "ReduceSum":
            return self._reduced(node, operands)
        return None

    def _product(self, node: ir.Node, operands: list[ir.Value]) -> Total | None:
        """``sum_t a_t^T b_t``."""
        if len(operands) != 2 or not attr(node, "transA", 0) or attr(node, "transB", 0):
            return None
        if not all(map(self._is_varying, operands)):
            return None
        a, b = self._need(operands)
        alpha = attr(node, "alpha", 1.0)
        return lambda stacks, finals: self._g.op(
            "Gemm",
            self._rows(stacks(a)),
            self._rows(stacks(b)),
            transA=1,
            alpha=None if alpha == 1.0 else alpha,
        )

    def _reduced(self, node: ir.Node, operands: list[ir.Value]) -> Total | None:
        """``sum_t sum_rows a_t``."""
        x, axes = operands[0], const_of(operands[1]) if len(operands) > 1 else None
        if axes is None or not self._is_varying(x):
            return None
        rank = len(shape_of(x))
        reduced = sorted(int(a) % rank for a in axes)
        keep = attr(node, "keepdims", 1)
        (x,) = self._need([x])
        g = self._g
        if reduced == [0] and rank == 2 and not keep:
            return lambda stacks, finals: g.reduce_sum(self._rows(stacks(x)), [0], keepdims=False)
        shape = shape_of(node.outputs[0])
        over = [0, *(a + 1 for a in reduced)]
        return lambda stacks, finals: g.reshape(g.reduce_sum(stacks(x), over, False), shape)

    def _added_rows(self, operands: list[ir.Value]) -> Total | None:
        """Rows that every step adds to one table of zeros."""
        table, rows, values = operands
        if self._is_varying(table) or not (self._is_varying(rows) and self._is_varying(values)):
            return None
        self._need([rows, values])
        return lambda stacks, finals: self._g.own(
            "AddRows", table, self._rows(stacks(rows)), self._rows(stacks(values))
        )

    def _plain(self, value: ir.Value) -> Total:
        """A sum of whole values."""
        g = self._g
        if nbytes_of(value) * self._steps <= _SMALL or value.producer() is None:
            self._need([value])
            return lambda stacks, finals: g.reduce_sum(stacks(value), [0], keepdims=False)
        name = g.unique(f"{value.name}/sum")
        carried = ir.Value(name=name, shape=value.shape, type=value.type)
        with g.inside(self._body):
            self._accumulators[carried] = g.op("Add", carried, value)
        return lambda stacks, finals: finals[carried]

    def _need(self, values: list[ir.Value]) -> list[ir.Value]:
        self._stacked.update(dict.fromkeys(values))
        return values

    def _rows(self, stack: ir.Value) -> ir.Value:
        """(steps, rows, columns) as (steps * rows, columns)."""
        steps, rows, *rest = shape_of(stack)
        return self._g.reshape(stack, (steps * rows, *rest))
