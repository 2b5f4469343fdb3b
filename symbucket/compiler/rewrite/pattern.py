"""Patterns of nodes: say what a piece of a graph looks like, match it, and replace it.

A pattern is an expression of operators (`Op`), pattern variables (`Var`) and constants (`Const`)::

    x, w, bias = variables("x", "w", "bias")
    PRODUCT = Op("Gemm", x, w, Optional(bias), transB=1, alpha=1.0, users=1)

    match = PRODUCT.match(value)
    if match is not None:
        match[x], match.get(bias), match.node(PRODUCT)

Matching goes from a result to its operands. A variable (or operator) that occurs twice must be the
same value both times. Every choice (operands in either order, alternatives) is tried until the
whole pattern fits. `why_not` says what did not fit. `replace_matches` applies a rule to a graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import only_user, substitute
from symbucket.ir import Builder, attribute_of, const_of, info, produced_by, producer_of


@dataclass(frozen=True)
class Match:
    """The values that the variables and operators of a pattern stand for."""

    values: Mapping[Pattern, ir.Value] = field(default_factory=dict)
    mismatches: list[str] | None = None

    def __getitem__(self, pattern: Pattern) -> ir.Value:
        """Return the value of a variable or the result of an operator."""
        return self.values[pattern]

    def __contains__(self, pattern: Pattern) -> bool:
        return pattern in self.values

    def get(self, pattern: Pattern) -> ir.Value | None:
        """Return the value of a pattern, None if it is absent from this match."""
        return self.values.get(pattern)

    def node(self, op: Op) -> ir.Node:
        """Return the node that an operator of the pattern stands for."""
        return producer_of(self.values[op])

    def attribute(self, op: Op, name: str) -> Any:
        """Return an attribute of a matched node; ONNX's default if the node does not set it."""
        return attribute_of(self.node(op), name)

    def bind(self, pattern: Pattern, value: ir.Value) -> Match:
        """Return this match with one more value."""
        return Match({**self.values, pattern: value}, self.mismatches)

    def reject(self, reason: Callable[[], str]) -> None:
        """Note a mismatch, if someone asks why."""
        if self.mismatches is not None:
            self.mismatches.append(reason())


class Pattern(ABC):
    """A set of values; matching one binds variables."""

    def match(self, value: ir.Value | None, partial: Match | None = None) -> Match | None:
        """Return the first match of ``value``, None if there is none.

        ``partial`` is a match to extend: its variables keep their values.
        """
        return next(self.matches(value, partial or Match()), None)

    def match_node(self, node: ir.Node, partial: Match | None = None) -> Match | None:
        """Return the first match of a node, through its first output."""
        return self.match(node.outputs[0], partial)

    def why_not(self, value: ir.Value | None) -> str:
        """Return what keeps ``value`` from matching, an empty string if it matches."""
        mismatches: list[str] = []
        if next(self.matches(value, Match(mismatches=mismatches)), None) is not None:
            return ""
        return "; ".join(dict.fromkeys(mismatches))

    @abstractmethod
    def matches(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        """Yield every way to extend ``match`` such that ``value`` is in the set."""


class Var(Pattern):
    """Any value, the same one wherever the variable occurs; ``where`` must hold for it."""

    def __init__(self, name: str, where: Callable[[ir.Value], bool] | None = None) -> None:
        self.name, self.where = name, where

    def matches(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        """Bind the variable, or compare with the value that it has."""
        bound = match.values.get(self)
        if value is None or (bound is not None and bound is not value):
            match.reject(lambda: f"{self.name}: {_show(value)} is not {_show(bound)}")
        elif bound is not None:
            yield match
        elif self.where is not None and not self.where(value):
            match.reject(lambda: f"{self.name}: {_show(value)} does not fulfil the condition")
        else:
            yield match.bind(self, value)


class Const(Var):
    """A constant, equal to ``expected`` if that is given.

    A number stands for one element of that value in any shape, a list for exactly that array.
    """

    def __init__(self, expected: float | Sequence[int] | None = None, name: str = "") -> None:
        super().__init__(name or ("constant" if expected is None else str(expected)), self._holds)
        self.expected = expected

    def _holds(self, value: ir.Value) -> bool:
        array = const_of(value)
        if array is None or self.expected is None:
            return array is not None
        if isinstance(self.expected, Sequence):
            return bool(array.tolist() == list(self.expected))
        return array.size == 1 and bool((array == self.expected).all())

    def matches(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        """Bind a constant; equal ones need not be one value."""
        if value is not None and self._holds(value):
            yield match.bind(self, value)
        else:
            match.reject(lambda: f"{_show(value)} is not the constant {self.name}")


class Optional(Pattern):
    """An input that may be absent; the variables of its pattern are unbound then."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern

    def matches(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        """Match an input that is present."""
        yield from [match] if value is None else self.pattern.matches(value, match)


class Either(Pattern):
    """Any of several patterns, tried in order."""

    def __init__(self, *patterns: Pattern) -> None:
        self.patterns = patterns

    def matches(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        """Match any of the alternatives."""
        for pattern in self.patterns:
            yield from pattern.matches(value, match)


class Op(Pattern):
    """A result of a node with this operator, these inputs and these attributes.

    Without ``inputs`` a node may have any. ``users=1`` asks that the result has one user, and reads
    it once, and is no output of the graph. ``any_order`` also tries two operands in reverse, for
    commutative operators. Attributes are compared with ONNX's default if a node does not set them;
    a function in place of a value is a condition.
    """

    def __init__(
        self,
        op_type: str,
        *inputs: Pattern,
        domain: str = "",
        users: int | None = None,
        any_order: bool = False,
        **attributes: Any,
    ) -> None:
        if users not in (None, 1):
            raise ValueError(f"users={users}: only one user can be asked for")
        if any_order and not (info(op_type, domain).commutative and len(inputs) == 2):
            raise ValueError(f"any_order: {op_type} is not commutative, or has not two operands")
        self.op_type, self.inputs, self.domain = op_type, inputs, domain
        self.users, self.any_order, self.attributes = users, any_order, attributes

    def match(self, value: ir.Value | None, partial: Match | None = None) -> Match | None:
        """Return the first match of ``value``, None if there is none."""
        if produced_by(value, self.op_type, self.domain) is None:
            return None  # most nodes of a graph, without the search
        return super().match(value, partial)

    def matches(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        """Match the node that produces ``value``, then its inputs."""
        node = None if value is None else value.producer()
        bound = match.values.get(self)
        if value is None or node is None or node.op_type != self.op_type:
            match.reject(lambda: f"{_show(value)} is no result of {self.op_type}")
        elif bound is not None:
            if bound is value:
                yield match
            else:
                match.reject(lambda: f"{self.op_type}: {_show(value)} is not {_show(bound)}")
        elif self._fits(node, value, match):
            match = match.bind(self, value)
            for inputs in self._orders(node):
                yield from _match_all(self.inputs, inputs, match)

    def _fits(self, node: ir.Node, value: ir.Value, match: Match) -> bool:
        if node.domain != self.domain:
            match.reject(lambda: f"{_show(value)} is of domain {node.domain!r}")
            return False
        if self.inputs and any(v is not None for v in node.inputs[len(self.inputs) :]):
            match.reject(lambda: f"{_show(value)} has more than {len(self.inputs)} inputs")
            return False
        if self.users is not None and only_user(value) is None:
            match.reject(lambda: f"{_show(value)} has other users, or is an output")
            return False
        for name, expected in self.attributes.items():
            actual = attribute_of(node, name)
            if not (expected(actual) if callable(expected) else actual == expected):
                match.reject(lambda: f"{_show(value)} has {name}={actual!r}")  # noqa: B023
                return False
        return True

    def _orders(self, node: ir.Node) -> Iterator[Sequence[ir.Value | None]]:
        inputs = node.inputs
        absent = len(self.inputs) - len(inputs)
        yield (*inputs, *[None] * absent) if absent > 0 else inputs
        if self.any_order:
            yield inputs[::-1]


def _match_all(
    patterns: Sequence[Pattern], values: Sequence[ir.Value | None], match: Match
) -> Iterator[Match]:
    if not patterns:
        yield match
        return
    for extended in patterns[0].matches(values[0], match):
        yield from _match_all(patterns[1:], values[1:], extended)


def _show(value: ir.Value | None) -> str:
    if value is None:
        return "an absent input"
    node = value.producer()
    return f"{value.name!r}" if node is None else f"{value.name!r} ({node.op_type})"


def variables(*names: str) -> tuple[Var, ...]:
    """Return pattern variables of these names."""
    return tuple(map(Var, names))


def match_each(pattern: Pattern, values: Sequence[ir.Value | None]) -> list[Match] | None:
    """Return a match of every value by itself, None if one has none."""
    matches = []
    for value in values:
        match = pattern.match(value)
        if match is None:
            return None
        matches.append(match)
    return matches


Replacement = Callable[[Builder, Match], ir.Value | None]


def replace_matches(graph: ir.Graph, pattern: Op, replacement: Replacement) -> int:
    """Replace every match of ``pattern`` and return their number.

    ``replacement(g, match)`` appends nodes to the builder, which stands at the matched node and
    names them after it, and returns the new result, or None to leave the graph as it is. The
    matched node is removed, and so are operands of the pattern that had it as their only user.
    """
    count = 0
    for node in list(graph):
        if node.op_type != pattern.op_type or node.graph is not graph:
            continue
        match = pattern.match_node(node)
        if match is None:
            continue
        g = Builder(graph, anchor=node)
        with g.beside(node):
            result = replacement(g, match)
        if result is None:
            continue
        substitute(g, node.outputs[0], result)
        graph.remove(node, safe=True)
        for operand, value in match.values.items():
            if isinstance(operand, Op) and operand.users == 1 and operand is not pattern:
                graph.remove(producer_of(value), safe=True)
        count += 1
    return count
