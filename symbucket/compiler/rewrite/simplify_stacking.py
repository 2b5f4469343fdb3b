"""Undo a Split that a Concat puts together again.

``Concat(Split(x))`` along one axis is x; the steps of a sequence, cut out along the time axis and
stacked row upon row, are one transposition.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import Builder, attr, shape_of


def simplify_stacking(graph: ir.Graph) -> int:
    """Rewrite every Concat of all parts of one Split."""
    changed = 0
    for node in list(graph):
        if node.op_type != "Concat" or node.domain or len(node.inputs) < 2:
            continue
        made = _whole(graph, node) or _transposed(graph, node)
        if made is not None:
            substitute(Builder(graph, anchor=node), node.outputs[0], made)
            graph.remove(node, safe=True)
            changed += 1
    return changed


def _split_of(values: list[ir.Value | None]) -> ir.Node | None:
    """The Split whose outputs, all and in order, are ``values``."""
    node = values[0].producer() if values[0] is not None else None
    if node is None or node.op_type != "Split" or node.domain:
        return None
    same = len(node.outputs) == len(values) and all(a is b for a, b in zip(node.outputs, values))
    return node if same else None


def _whole(graph: ir.Graph, concat: ir.Node) -> ir.Value | None:
    split = _split_of(list(concat.inputs))
    if split is None:
        return None
    rank = len(shape_of(split.outputs[0]))
    if attr(split, "axis", 0) % rank != attr(concat, "axis") % rank:
        return None
    return split.inputs[0]


def _transposed(graph: ir.Graph, concat: ir.Node) -> ir.Value | None:
    """``Concat_0(Reshape(part))`` of a Split along axis 0 or 1 into single steps."""
    if attr(concat, "axis") != 0:
        return None
    parts: list[ir.Value | None] = []
    for value in concat.inputs:
        reshape = None if value is None else value.producer()
        if reshape is None or reshape.op_type != "Reshape":
            return None
        parts.append(reshape.inputs[0])
    split = _split_of(parts)
    if split is None or attr(split, "axis", 0) not in (0, 1):
        return None
    axis = attr(split, "axis", 0)
    whole = split.inputs[0]
    assert whole is not None
    shape = shape_of(whole)
    if len(shape) < 2 or len(parts) != shape[axis]:
        return None
    piece = (shape[0] * shape[1], *shape[2:])
    if shape_of(concat.outputs[0]) != piece:
        return None
    g = Builder(graph, anchor=concat)
    with g.scoped((concat.name or "").rpartition("/")[0]):
        if axis == 1:
            whole = g.transpose(whole, [1, 0, *range(2, len(shape))])
        return g.reshape(whole, piece)
