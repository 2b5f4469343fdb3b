"""Questions about a graph that several passes ask, and the replacement of one value."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder, const_of, input_of, is_op, produced_by, reads


def substitute(g: Builder, old: ir.Value, new: ir.Value) -> None:
    """Let users of ``old`` read ``new``.

    ONNX requires that every graph output is computed, under its own name: if ``new`` cannot be the
    output that ``old`` was, an Identity of it is.
    """
    if old.is_graph_output() and (new.producer() is None or new.is_graph_output()):
        new = g.op("Identity", new)
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def only_user(value: ir.Value) -> ir.Node | None:
    """Return the node that reads ``value`` if it is the only one and reads it once."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses))[0]


def node_after(graph: ir.Graph, node: ir.Node) -> ir.Node | None:
    """Return the node that stands after another one; None if it is the last."""
    nodes = iter(graph)
    next(one for one in nodes if one is node)
    return next(nodes, None)


def depths(graph: ir.Graph) -> dict[ir.Value, int]:
    """Return the longest path, in nodes, from the graph's inputs to every value."""
    depth_of: dict[ir.Value, int] = {}
    for node in graph:
        depth = 1 + max((depth_of.get(v, 0) for v in reads(node) if v is not None), default=0)
        for out in node.outputs:
            depth_of[out] = depth
    return depth_of


def chained_weights(graph: ir.Graph) -> set[ir.Value]:
    """Return the right operands of Gemms whose left operand went through a product with them.

    These are the weights of a network's recurrent part; products with any other weight do not
    depend on each other.
    """
    bits: dict[ir.Value, int] = {}
    passed_by: dict[ir.Value, int] = {}  # the weights on the paths to a value, one bit each
    chained = set()
    for node in graph:
        passed = 0
        for value in reads(node):
            if value is not None:
                passed |= passed_by.get(value, 0)
        if is_op(node, "Gemm"):
            weight = input_of(node, 1)
            bit = bits.setdefault(weight, 1 << len(bits))
            if passed & bit:
                chained.add(weight)
            passed |= bit
        if passed:
            for out in node.outputs:
                passed_by[out] = passed
    return chained


def levels(graph: ir.Graph, members: Iterable[ir.Node]) -> dict[ir.Node, int]:
    """Return for each member the largest number of members on a path that leads to it.

    Members of one level do not depend on each other: each member on a path adds one.
    """
    member_set = set(members)
    reached: dict[ir.Value, int] = {}
    level_of: dict[ir.Node, int] = {}
    for node in graph:
        level = 0
        for value in reads(node):
            if value is not None:
                level = max(level, reached.get(value, 0))
        if node in member_set:
            level_of[node] = level
            level += 1
        if level:
            for out in node.outputs:
                reached[out] = level
    return level_of


def is_zero(value: ir.Value | None) -> bool:
    """Return whether a value is known to be all zeros."""
    if value is None:
        return False
    array = const_of(value)
    if array is not None:
        return not array.any()
    node = produced_by(value, "ConstantOfShape")
    if node is None:
        return False
    fill = node.attributes.get("value")
    return fill is None or not fill.value.numpy().any()


def attribute_key(node: ir.Node) -> Hashable:
    """Return a node's attributes in a form that can be compared."""
    if not node.attributes:
        return ()
    return tuple(sorted((name, _comparable(a.value)) for name, a in node.attributes.items()))


def _comparable(value: Any) -> Hashable:
    if isinstance(value, (list, tuple)):
        return tuple(value)
    if hasattr(value, "tobytes"):
        return (str(value.dtype), tuple(value.shape), value.tobytes())
    return value  # type: ignore[no-any-return]
