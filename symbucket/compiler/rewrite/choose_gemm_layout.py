"""Products whose tall first operand enters transposed are computed the other way round.

``a^T b`` with a of thousands of columns strides through memory; ``b^T a`` reads it row by row and
its result, transposed, is the same. This is the weight gradient of an output layer, where it takes
two thirds of the time.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import only_user
from symbucket.ir import Builder, attr, const_of, shape_of

_TALL = 2048  # columns of the transposed operand from which on the detour wins


def choose_gemm_layout(graph: ir.Graph) -> int:
    """Turn round every such product; a Split of its columns becomes one of rows."""
    turned = 0
    for node in list(graph):
        if not _is_tall(node):
            continue
        g = Builder(graph, anchor=node)
        tall, other = node.inputs[:2]
        assert tall is not None
        assert other is not None
        rows, columns = shape_of(node.outputs[0])
        assert other.shape is not None
        depth = other.shape[0]
        scope = (node.name or "").rpartition("/")[0]
        with g.scoped(scope):
            flat = g.typed("Transpose", [columns, _size(depth)], other, perm=[1, 0])
            product = g.typed("Gemm", [columns, rows], flat, tall)
            split = _column_split(node.outputs[0])
            if split is None:
                _replace(node.outputs[0], g.transpose(product, [1, 0]))
            else:
                sizes = const_of(split.inputs[1])
                assert sizes is not None
                count = len(split.outputs)
                at = Builder(graph, anchor=split)  # not before: the tall operand lives till here
                with at.scoped(scope):
                    parts = at.ops("Split", product, split.inputs[1], axis=0, outputs=count)
                    for old, part in zip(split.outputs, parts):
                        _replace(old, at.transpose(part, [1, 0]))
                graph.remove(split, safe=True)
        graph.remove(node, safe=True)
        turned += 1
    return turned


def _size(dimension: object) -> int | str:
    return dimension if isinstance(dimension, int) else str(dimension)


def _is_tall(node: ir.Node) -> bool:
    if node.op_type != "Gemm" or node.domain or len(node.inputs) > 2:
        return False
    if not attr(node, "transA", 0) or attr(node, "transB", 0) or attr(node, "alpha", 1.0) != 1.0:
        return False
    rows, columns = shape_of(node.outputs[0])
    return rows >= _TALL and rows > 2 * columns


def _column_split(value: ir.Value) -> ir.Node | None:
    user = only_user(value)
    if user is None or user.op_type != "Split" or attr(user, "axis", 0) not in (1, -1):
        return None
    if len(user.inputs) < 2 or const_of(user.inputs[1]) is None:
        return None
    return user


def _replace(old: ir.Value, new: ir.Value) -> None:
    old.replace_all_uses_with(new, replace_graph_outputs=True)
