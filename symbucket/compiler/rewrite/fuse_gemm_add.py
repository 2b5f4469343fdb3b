"""``Gemm(x, W, b1) + Gemm(h, R, b2)`` becomes ``Gemm(h, R, Gemm(x, W, b1 + b2))``.

This is the sum at the heart of every recurrent cell. The recurrent product takes the other as its
C operand; the biases meet in one small addition, so the other products can later be made for all
time steps at once. Before the first step the state is zero, and there is no recurrent product.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import chained_weights, depths, is_zero, only_user
from symbucket.ir import Builder, attr, shape_of


def fuse_gemm_add(graph: ir.Graph) -> int:
    """Rewrite every addition of two Gemms of one shape whose results nobody else reads."""
    chained: set[ir.Value | None] | None = None
    depth: dict[ir.Value, int] = {}
    formed = 0
    for node in list(graph):
        if node.op_type != "Add" or node.domain:
            continue
        a, b = node.inputs
        if a is None or b is None or a is b or shape_of(a) != shape_of(b):
            continue
        first, second = _gemm(a, node), _gemm(b, node)
        if first is None or second is None:
            continue
        if chained is None:
            chained, depth = {*chained_weights(graph)}, depths(graph)
        if _rank(first, chained, depth) > _rank(second, chained, depth):
            first, second = second, first
        total = _join(graph, node, outer=second, inner=first)
        depth[total] = depth[node.outputs[0]]
        formed += 1
    return formed


def _rank(
    gemm: ir.Node, chained: set[ir.Value | None], depth: dict[ir.Value, int]
) -> tuple[bool, bool, int]:
    """Of two products the one of higher rank is the recurrent one, or the deeper one."""
    value = gemm.inputs[0]
    assert value is not None
    return is_zero(value), gemm.inputs[1] in chained, depth.get(value, 0)


def _gemm(value: ir.Value, user: ir.Node) -> ir.Node | None:
    """The Gemm that makes ``value`` for ``user`` alone, with no C or a vector as C."""
    node = value.producer()
    if node is None or node.op_type != "Gemm" or node.domain or only_user(value) is not user:
        return None
    if attr(node, "beta", 1.0) != 1.0:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return node if bias is None or len(shape_of(bias)) == 1 else None


def _join(graph: ir.Graph, add: ir.Node, outer: ir.Node, inner: ir.Node) -> ir.Value:
    g = Builder(graph, anchor=add)
    biases = [n.inputs[2] for n in (inner, outer) if len(n.inputs) > 2 and n.inputs[2] is not None]
    if len(biases) == 2:
        bias: ir.Value | None = g.op("Add", *biases)
    else:
        bias = biases[0] if biases else None

    def gemm(node: ir.Node, c: ir.Value | None) -> ir.Value:
        given = {name: a.value for name, a in node.attributes.items()}
        operands = node.inputs[:2] if c is None else [*node.inputs[:2], c]
        with g.scoped((node.name or "").rpartition("/")[0]):
            return g.op("Gemm", *operands, **given)

    total = gemm(inner, bias)
    if not is_zero(outer.inputs[0]):
        total = gemm(outer, total)
    add.outputs[0].replace_all_uses_with(total, replace_graph_outputs=True)
    for node in (add, outer, inner):
        graph.remove(node, safe=True)
    return total
