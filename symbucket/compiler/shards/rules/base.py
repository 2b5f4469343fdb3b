"""What a rule asks of a node, and the registry of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from symbucket.compiler.shards.labels import Digit, Label, RefusedError, digit_of
from symbucket.ir import attribute_of, const_of, info_of
from symbucket.types import Shape


@dataclass
class Changes:
    """What a node needs in a shard besides the shards of its operands.

    Attributes:
        fits: operands of equal elements, by number, with the shape that they must have.
        numbers: operands that are constants, such as the shape of a Reshape, with their new value.
    """

    fits: dict[int, Shape] = field(default_factory=dict)
    numbers: dict[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Operands:
    """A node with the labels of its operands, None for one that is left out."""

    node: ir.Node
    labels: Sequence[Label | None]
    parts: int
    changes: Changes = field(default_factory=Changes)

    def shape(self, i: int) -> Shape:
        """Return the shape of an operand."""
        return _static(self.node.inputs[i])

    def out_shape(self, i: int = 0) -> Shape:
        """Return the shape of a result."""
        return _static(self.node.outputs[i])

    def label(self, i: int) -> Label | None:
        """Return the label of an operand, None if it is left out."""
        return self.labels[i] if i < len(self.labels) else None

    def is_rows(self, i: int) -> bool:
        """Return whether an operand is there and has rows."""
        label = self.label(i)
        return label is not None and label.is_rows

    def is_same(self, i: int) -> bool:
        """Return whether an operand is the same for all shards, or left out."""
        label = self.label(i)
        return label is None or label.is_same

    def digit(self, i: int) -> Digit:
        """Return where the parts of an operand with rows lie."""
        label = self.label(i)
        if label is None or not label.is_rows:
            raise RefusedError(f"{_name(self.node, i)} does not have the batch's rows")
        return digit_of(self.shape(i), label.outer, self.parts)

    def ints(self, i: int) -> list[int] | None:
        """Return the numbers of a constant operand, None if it is left out."""
        if self.label(i) is None:
            return None
        array = const_of(self.node.inputs[i])
        if array is None:
            raise RefusedError("its numbers are computed")
        return [int(number) for number in array.reshape(-1)]

    def attribute(self, name: str) -> int:
        """Return an attribute, or ONNX's default."""
        value = attribute_of(self.node, name)
        return 0 if value is None else int(value)

    def axis(self, number: int, rank: int) -> int:
        """Return the axis that a number, perhaps a negative one, stands for."""
        return number % rank if rank else 0

    def fit(self, i: int, digit: Digit) -> None:
        """Take an operand of equal elements in the shape of a shard."""
        self.changes.fits[i] = digit.shard(self.shape(i), self.parts)

    def replace(self, i: int, numbers: Iterable[int]) -> None:
        """Give a shard other numbers as a constant operand."""
        self.changes.numbers[i] = tuple(numbers)

    def rest(self, shape: Shape, digit: Digit) -> int:
        """Return how many neighbours along its axis stay together in one part."""
        return shape[digit.axis] // (digit.outer * self.parts)

    def aligned(self, numbers: Iterable[int], shape: Shape) -> Digit:
        """Return where the parts of a result lie whose operands broadcast to ``shape``.

        Operands with rows must agree; others must not tell the rows apart, or have equal elements.
        """
        digit: Digit | None = None
        others = []
        for i in numbers:
            label = self.label(i)
            if label is None:
                continue
            if not label.is_rows:
                others.append((i, label))
                continue
            one = self.digit(i).moved(len(shape) - len(self.shape(i)))
            if (digit or one) != one or self.shape(i)[self.digit(i).axis] != shape[one.axis]:
                raise RefusedError("its operands have the batch's rows in different places")
            digit = one
        if digit is None:
            raise RefusedError("no operand has the batch's rows")
        for i, label in others:
            self.agree(i, label, digit.moved(len(self.shape(i)) - len(shape)))
        return digit

    def agree(self, i: int, label: Label, digit: Digit) -> None:
        """Check that an operand without rows goes with rows at ``digit`` of its own axes."""
        if digit.axis < 0 or self.shape(i)[digit.axis] == 1:
            if label.is_same:
                return
        elif label.is_fill:
            self.fit(i, digit)
            return
        elif label.is_same:
            raise RefusedError(
                f"{_name(self.node, i)} has the size of the batch but is no part of it"
            )
        raise RefusedError(f"{_name(self.node, i)} is a sum over the batch's rows")

    def linear(self, numbers: Iterable[int]) -> bool:
        """Return whether all these operands are sums over the rows, or zeros."""
        labels = [label for label in map(self.label, numbers) if label is not None]
        return all(label.is_sum or label.is_zero for label in labels)


Rule = Callable[[Operands], Sequence[Label]]
"""Returns the label of each result, or raises RefusedError."""

_RULES: dict[str, Rule] = {}
_ELEMENTWISE = "elementwise"


def rule(*op_types: str) -> Callable[[Rule], Rule]:
    """Register the rule of operators of standard ONNX."""

    def decorate(function: Rule) -> Rule:
        for op_type in op_types:
            _RULES[op_type] = function
        return function

    return decorate


def elementwise_rule(function: Rule) -> Rule:
    """Register the rule of all operators with the trait ``elementwise``."""
    _RULES[_ELEMENTWISE] = function
    return function


def rule_of(node: ir.Node) -> Rule | None:
    """Return the rule of a node's operator, None if there is none."""
    if node.domain:
        return None
    if node.op_type in _RULES:
        return _RULES[node.op_type]
    return _RULES[_ELEMENTWISE] if info_of(node).elementwise else None


def _static(value: ir.Value | None) -> Shape:
    if value is None or value.shape is None or not value.shape.is_static():
        raise RefusedError("its number of rows is known at run time only")
    return value.shape.numpy()


def _name(node: ir.Node, i: int) -> str:
    value = node.inputs[i]
    return "" if value is None else f"{value.name!r}"
