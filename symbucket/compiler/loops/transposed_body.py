"""A loop's body with every matrix transposed: samples are columns, not rows.

What is elementwise does not care, a Split or Concat of columns becomes one of rows, and ``h w^T``
becomes ``w h``: the weight is the left operand, which kernels read as it is.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.ir import (
    Builder,
    attribute_of,
    attributes_of,
    dtype_of,
    info_of,
    input_of,
    is_op,
    optional_input_of,
    shape_of,
)
from symbucket.ir.nodes import scope_of


def state_products(body: ir.Graph) -> list[ir.Node]:
    """Return the products of what the body computes with a weight from outside."""
    own = _own_values(body)
    return [
        node
        for node in body
        if is_op(node, "Gemm") and input_of(node, 0) in own and input_of(node, 1) not in own
    ]


def can_transpose(body: ir.Graph) -> bool:
    """Return whether ``transpose_body`` knows all nodes of a body."""
    own = _own_values(body)
    matrices = all(len(shape_of(value)) == 2 for value in own)
    products = set(state_products(body))
    return matrices and all(node in products or _is_known(node, own) for node in body)


def _own_values(body: ir.Graph) -> set[ir.Value]:
    return {*body.inputs, *(out for node in body for out in node.outputs)}


def _is_known(node: ir.Node, own: set[ir.Value]) -> bool:
    if node.domain:
        return False
    if node.op_type in ("Split", "Concat"):
        operands = [v for v in node.inputs if v is not None and len(shape_of(v)) == 2]
        return attribute_of(node, "axis") in (1, -1) and all(v in own for v in operands)
    return node.op_type == "Identity" or (
        info_of(node).elementwise and all(v is None or len(shape_of(v)) <= 2 for v in node.inputs)
    )


def transpose_body(g: Builder, body: ir.Graph) -> None:
    """Transpose all matrices of a body; ``g`` builds in front of its loop."""
    own = _own_values(body)
    products = set(state_products(body))
    for matrix in own:
        matrix.shape = ir.Shape(shape_of(matrix)[::-1])
    for node in list(body):
        if node in products:
            _transpose_product(g, body, node, own)
        elif node.op_type in ("Split", "Concat"):
            node.attributes["axis"] = ir.AttrInt64("axis", 0)
        else:
            for i, value in enumerate(node.inputs):
                if value is not None and value not in own:
                    node.replace_input_with(i, transposed(g, value))


def _transpose_product(g: Builder, body: ir.Graph, node: ir.Node, own: set[ir.Value]) -> None:
    """``alpha x w + beta c`` becomes ``alpha w^T x + beta c``, with x and c transposed."""
    options = attributes_of(node)
    weight, summand = input_of(node, 1), optional_input_of(node, 2)
    left = weight if options.pop("transB", 0) else transposed(g, weight)
    if summand is not None:
        summand = summand if summand in own else transposed(g, summand)
    inner = Builder(body, anchor=node)
    flipped = options.pop("transA", 0)
    with inner.scoped(scope_of(node)):
        result = inner.op("Gemm", left, input_of(node, 0), summand, transB=flipped, **options)
    old = node.outputs[0]
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    own.add(result)
    body.remove(node, safe=True)


def transposed(g: Builder, value: ir.Value) -> ir.Value:
    """Return a matrix transposed; a vector becomes a column, and what is one number stays."""
    shape = shape_of(value)
    if len(shape) == 1 and shape != (1,):
        return g.reshape(value, (*shape, 1))
    if len(shape) < 2:
        return value
    if is_zero(value):
        return g.filled(shape[::-1], 0.0, dtype_of(value))
    return g.transpose(value, (1, 0))
