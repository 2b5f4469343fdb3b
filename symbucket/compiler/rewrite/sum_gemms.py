"""Sums of products become products of stacked operands: ``sum_t a_t^T b_t = [a]^T [b]``.

This is the gradient of a weight that is used once in every time step; likewise the gradient of a
bias, a sum of row sums, is the row sum of the stack.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import is_zero, only_user
from symbucket.ir import Builder, attr, const_of, shape_of


def sum_gemms(graph: ir.Graph) -> int:
    """Rewrite the products and row sums among the terms of every Sum."""
    gathered = 0
    for node in list(graph):
        if node.op_type != "Sum" or node.domain:
            continue
        terms = [v for v in node.inputs if v is not None]
        if any(shape_of(v) != shape_of(node.outputs[0]) for v in terms):
            continue  # a sum that broadcasts
        products = [v for v in terms if _is_product(v, node)]
        row_sums = [v for v in terms if _is_row_sum(v, node)]
        g = Builder(graph, anchor=node)
        made: list[ir.Value] = []
        with g.scoped((node.name or "").rpartition("/")[0]):
            if len(products) > 1:
                made.append(_product(g, products))
            if len(row_sums) > 1:
                made.append(_row_sum(g, row_sums))
            if not made:
                continue
            used = {
                *(products if len(products) > 1 else []),
                *(row_sums if len(row_sums) > 1 else []),
            }
            made += [v for v in terms if v not in used]
            total = made[0] if len(made) == 1 else g.op("Sum", *made)
        node.outputs[0].replace_all_uses_with(total, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        for value in used:
            producer = value.producer()
            if producer is not None:
                graph.remove(producer, safe=True)
        gathered += len(used)
    return gathered


def _is_product(value: ir.Value, user: ir.Node) -> bool:
    node = value.producer()
    return (
        node is not None
        and node.op_type == "Gemm"
        and only_user(value) is user
        and len(node.inputs) == 2
        and bool(attr(node, "transA", 0))
        and not attr(node, "transB", 0)
        and attr(node, "alpha", 1.0) == 1.0
    )


def _is_row_sum(value: ir.Value, user: ir.Node) -> bool:
    node = value.producer()
    if node is None or node.op_type != "ReduceSum" or only_user(value) is not user:
        return False
    axes = const_of(node.inputs[1]) if len(node.inputs) > 1 else None
    source = node.inputs[0]
    return (
        axes is not None
        and source is not None
        and axes.tolist() == [0]
        and len(shape_of(source)) == 2
        and not attr(node, "keepdims", 1)
    )


def _operands(values: Sequence[ir.Value], i: int) -> list[ir.Value]:
    found = []
    for value in values:
        node = value.producer()
        assert node is not None
        operand = node.inputs[i]
        assert operand is not None
        found.append(operand)
    return found


def _product(g: Builder, products: Sequence[ir.Value]) -> ir.Value:
    left, right = _operands(products, 0), _operands(products, 1)
    kept = [(a, b) for a, b in zip(left, right) if not (is_zero(a) or is_zero(b))]
    if len(kept) < 2:
        kept = list(zip(left, right))
    a = g.op("Concat", *(pair[0] for pair in kept), axis=0)
    b = g.op("Concat", *(pair[1] for pair in kept), axis=0)
    return g.op("Gemm", a, b, transA=1)


def _row_sum(g: Builder, sums: Sequence[ir.Value]) -> ir.Value:
    return g.op("ReduceSum", g.op("Concat", *_operands(sums, 0), axis=0), g.ints(0), keepdims=0)
