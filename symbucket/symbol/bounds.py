"""The ranges of inputs that hold class labels or row numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from symbucket.errors import DataError
from symbucket.ops.record import IndexBounds, Operator
from symbucket.symbol.node import Entry, Node
from symbucket.types import Array, PartialShape


@dataclass(frozen=True)
class InputBounds:
    """The values that input ``name`` may hold, because node ``node`` reads it."""

    name: str
    node: str
    bounds: IndexBounds

    def check(self, values: Array, where: str, lenient: bool = False) -> None:
        """Raise DataError if a value lies outside the range; ``where`` names the batch's bucket.

        ``lenient``: accept what a lenient operator computes something for: all values but NaN.
        """
        accepts = lenient and self.bounds.lenient
        if values.size == 0 or (accepts and not np.isnan(values).any()):
            return
        b = self.bounds
        low = -np.inf if b.low is None else b.low
        smallest, largest = values.min(), values.max()
        if smallest >= low and largest < b.high:
            return
        bad = (values < low) | (values >= b.high) | np.isnan(values)
        if b.also is not None:
            bad &= values != b.also
        if not bad.any():
            return
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        ignored = "" if b.also is None else f", or {b.also:g} to be ignored"
        hint = b.hint and " " + b.hint
        if b.lenient:
            hint += ' CompilerOptions(out_of_range="mxnet") computes what MXNet does with them.'
        raise DataError(
            f"{where}: {self.name}{list(place)} is {values[place]:g}, but {self.node!r} reads it "
            f"as one of {b.high} {b.what}: {b.low or 0} to {b.high - 1}{ignored}. "
            f"{int(bad.sum())} values of this batch are outside.{hint}"
        )


def has_bounds(node: Node) -> bool:
    """Return whether an operator may have arguments whose values are limited."""
    return node.op is not None and type(node.op).index_bounds is not Operator.index_bounds


def input_bounds(
    nodes: Iterable[Node], shape_of: Callable[[Entry], PartialShape]
) -> list[InputBounds]:
    """Return the bounds of every variable that reaches an indexing argument unchanged.

    ``shape_of``: the shapes of what the operators with such arguments read.
    """
    all_bounds: list[InputBounds] = []
    for node in nodes:
        if node.op is None or not has_bounds(node):
            continue
        shapes = [shape_of(e) or () for e in node.inputs]
        for argument, bounds in node.op.index_bounds(shapes).items():
            start = node.inputs[node.op.arguments().index(argument)][0]
            for variable in _sources(start):
                all_bounds.append(InputBounds(variable.name, node.name, bounds))
    return list(dict.fromkeys(all_bounds))


def _sources(start: Node) -> list[Node]:
    """Return the variables that reach ``start`` through nodes that only move values."""
    stack, seen, variables = [start], {start}, []
    while stack:
        node = stack.pop()
        if node.op is None:
            variables.append(node)
        elif node.op.moves_only:
            for child, _ in node.inputs:
                if child not in seen:
                    seen.add(child)
                    stack.append(child)
    return variables
