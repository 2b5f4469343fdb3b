"""Factors of a loop's step that are known before it come together, so that they can leave it.

Backwards, a step multiplies what comes back to it by slopes that the forward steps have left. Two
multiplications, one after the other, become one by the product of their factors; a Concat of
products becomes a product of Concats. What is left in the step is short, and a Scan pays for every
node in every step.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.loops.free_values import (
    Directions,
    find_free,
    is_worth_hoisting,
    slice_directions,
)
from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import only_user
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import Builder, attr, body_of
from symbucket.ir.nodes import scope_of

Product = tuple[ir.Value, ir.Value]
"""The operands of a Mul, of which the second is a factor that is known before the loop."""


@graph_pass("final", requires=(Property.STANDARD_ONNX,))
def regroup_factors(graph: ir.Graph) -> int:
    """Rewrite the body of every loop; returns the number of changes."""
    changes = 0
    for scan in graph:
        body = body_of(scan)
        if body is not None:
            regrouping = _Regrouping(body, slice_directions(scan))
            before = changes
            while any(regrouping.apply(node) for node in list(body)):
                changes += 1
            if changes > before:
                remove_dead_nodes(body)
    return changes


class _Regrouping:
    def __init__(self, body: ir.Graph, directions: Directions) -> None:
        self._body, self._directions = body, directions
        find_free(body, directions)

    def apply(self, node: ir.Node) -> bool:
        """``(x a) b`` becomes ``x (a b)``, ``[x a, y b]`` becomes ``[x, y] [a, b]``."""
        if node.domain or self._is_factor(node.outputs[0]):
            return False
        if node.op_type == "Mul":
            return self._join_factors(node)
        return node.op_type == "Concat" and self._join_products(node)

    def _join_factors(self, node: ir.Node) -> bool:
        outer = self._product(node)
        inner = None if outer is None else self._inner(outer[0], node)
        if outer is None or inner is None:
            return False
        g = Builder(self._body, anchor=node)
        with g.scoped(scope_of(node)):
            factor = g.op("Mul", inner[1], outer[1])
        node.replace_input_with(0, inner[0])
        node.replace_input_with(1, factor)
        find_free(self._body, self._directions)
        return True

    def _join_products(self, node: ir.Node) -> bool:
        products = [part for v in node.inputs if (part := self._inner(v, node)) is not None]
        if len(products) < len(node.inputs):
            return False
        axis = attr(node, "axis")
        g = Builder(self._body, anchor=node)
        with g.scoped(scope_of(node)):
            left = g.op("Concat", *(x for x, _ in products), axis=axis)
            right = g.op("Concat", *(factor for _, factor in products), axis=axis)
            result = g.op("Mul", left, right)
        node.outputs[0].replace_all_uses_with(result, replace_graph_outputs=True)
        self._body.remove(node, safe=True)
        find_free(self._body, self._directions)
        return True

    def _is_factor(self, value: ir.Value) -> bool:
        """Return whether a value is known before the loop, and leaves it."""
        is_free = self._directions.get(value) is not None
        return is_free and is_worth_hoisting(value, self._body, self._directions)

    def _product(self, node: ir.Node) -> Product | None:
        """The two operands of a Mul of one shape, if one of them is a factor."""
        a, b = node.inputs
        if a is None or b is None or a.shape != b.shape:
            return None
        if self._is_factor(a) == self._is_factor(b):
            return None
        return (b, a) if self._is_factor(a) else (a, b)

    def _inner(self, value: ir.Value | None, user: ir.Node) -> Product | None:
        """The operands of the Mul that makes ``value`` for ``user`` alone."""
        node = None if value is None else value.producer()
        if node is None or value is None or node.op_type != "Mul" or node.domain:
            return None
        if node.graph is not self._body or value in self._body.outputs:
            return None
        return self._product(node) if only_user(value) is user else None
