"""Merge nodes that compute the same thing from the same values."""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir

from symbucket.compiler.rewrite.base import graph_pass
from symbucket.compiler.rewrite.graph_queries import attribute_key
from symbucket.ir import info_of


@graph_pass("forward", "joint", "final")
def merge_common_subexpressions(graph: ir.Graph) -> int:
    """Merge equal nodes in one walk in topological order; the first one stays.

    Nodes are equal if they have operator, attributes and inputs in common; the order of inputs does
    not count for commutative operators. Random nodes are never equal. Losses are not merged either:
    each of them starts a gradient of its own.
    """
    outputs = set(graph.outputs)
    first_of: dict[Hashable, ir.Node] = {}
    merged = 0
    for node in list(graph):
        traits = info_of(node)
        if traits.random or traits.own_loss:
            continue
        inputs = tuple(map(id, node.inputs))
        if traits.commutative:
            inputs = tuple(sorted(inputs))
        key = (node.domain, node.op_type, len(node.outputs), inputs, attribute_key(node))
        first = first_of.setdefault(key, node)
        if first is node or any(out in outputs for out in node.outputs):
            continue
        for old, new in zip(node.outputs, first.outputs):
            old.replace_all_uses_with(new)
        graph.remove(node, safe=True)
        merged += 1
    return merged
