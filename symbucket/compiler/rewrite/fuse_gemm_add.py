"""``Gemm(x, W, b1) + Gemm(h, R, b2)`` becomes ``Gemm(h, R, Gemm(x, W, b1 + b2))``.

This is the sum at the heart of every recurrent cell. The recurrent product takes the other one as
its C operand; the biases meet in one small addition, so the other products can later be computed
for all time steps at once. Before the first step the state is zero, and its product is left out.
"""

from __future__ import annotations

from functools import cached_property

import onnx_ir as ir

from symbucket.compiler.rewrite.base import graph_pass
from symbucket.compiler.rewrite.graph_queries import chained_weights, depths, is_zero
from symbucket.compiler.rewrite.pattern import Match, Op, Optional, Var, replace_matches, variables
from symbucket.ir import (
    Builder,
    attributes_of,
    input_of,
    optional_input_of,
    shape_of,
)


def _product(name: str) -> Op:
    bias = Var(f"{name} bias", where=lambda c: len(shape_of(c)) == 1)
    return Op("Gemm", *variables(f"{name} left", f"{name} right"), Optional(bias), beta=1, users=1)


FIRST, SECOND = _product("first"), _product("second")
SUM = Op("Add", FIRST, SECOND)


@graph_pass("forward")
def fuse_gemm_add(graph: ir.Graph) -> int:
    """Rewrite every addition of two Gemms of one shape whose results have no other user."""
    return replace_matches(graph, SUM, _Fusion(graph).replace)


class _Fusion:
    """Knows of the graph what decides which of two products takes the other."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph

    @cached_property
    def _recurrent(self) -> set[ir.Value]:
        return chained_weights(self._graph)

    @cached_property
    def _depth(self) -> dict[ir.Value, int]:
        return depths(self._graph)

    def replace(self, g: Builder, match: Match) -> ir.Value | None:
        """Return the product that takes the other one as its summand."""
        if shape_of(match[FIRST]) != shape_of(match[SECOND]):
            return None
        inner, outer = match.node(FIRST), match.node(SECOND)
        if self._rank(inner) > self._rank(outer):
            inner, outer = outer, inner
        biases = [c for c in (optional_input_of(node, 2) for node in (inner, outer)) if c]
        if len(biases) == 2:
            with g.scoped(""):  # all time steps share it
                biases = [g.op("Add", *biases)]
        total = _gemm(g, inner, biases)
        if not is_zero(outer.inputs[0]):
            total = _gemm(g, outer, [total])
        self._depth[total] = self._depth[match[SUM]]
        return total

    def _rank(self, gemm: ir.Node) -> tuple[bool, bool, int]:
        """Return a key that is larger for the recurrent one of two products, or the deeper one."""
        left, right = input_of(gemm, 0), input_of(gemm, 1)
        return is_zero(left), right in self._recurrent, self._depth.get(left, 0)


def _gemm(g: Builder, gemm: ir.Node, summand: list[ir.Value]) -> ir.Value:
    """Return the product of ``gemm`` with another summand."""
    with g.beside(gemm):
        return g.op("Gemm", *gemm.inputs[:2], *summand, **attributes_of(gemm))
