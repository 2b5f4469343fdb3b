"""What several passes need."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import onnx_ir as ir

from symbucket.ir import Builder, const_of


def substitute(g: Builder, old: ir.Value, new: ir.Value) -> None:
    """Users of ``old`` read ``new``.

    ONNX wants every graph output computed, and each under a name of its own: where ``new`` cannot
    be the output that ``old`` was, an Identity of it is.
    """
    if old.is_graph_output() and (new.producer() is None or new.is_graph_output()):
        new = g.op("Identity", new)
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def only_user(value: ir.Value) -> ir.Node | None:
    """The node that reads ``value``, where it is the only reader and reads it once."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses))[0]


def depths(graph: ir.Graph) -> dict[ir.Value, int]:
    """The longest way, in nodes, from the graph's inputs to every value."""
    found: dict[ir.Value, int] = {}
    for node in graph:
        depth = 1 + max((found.get(v, 0) for v in node.inputs if v is not None), default=0)
        for out in node.outputs:
            found[out] = depth
    return found


def chained_weights(graph: ir.Graph) -> set[ir.Value]:
    """Right operands of Gemms that multiply what came out of a product with them.

    These are the weights of a network's recurrent part; products with any other weight do not wait
    for each other.
    """
    bits: dict[ir.Value, int] = {}
    behind: dict[ir.Value, int] = {}  # the weights that a value went through, one bit each
    found = set()
    for node in graph:
        passed = 0
        for value in node.inputs:
            if value is not None:
                passed |= behind.get(value, 0)
        if node.op_type == "Gemm" and not node.domain:
            weight = node.inputs[1]
            assert weight is not None
            bit = bits.setdefault(weight, 1 << len(bits))
            if passed & bit:
                found.add(weight)
            passed |= bit
        if passed:
            for out in node.outputs:
                behind[out] = passed
    return found


def levels(graph: ir.Graph, members: Iterable[ir.Node]) -> dict[ir.Node, int]:
    """For each member, the largest number of members on a way that leads to it.

    Members of one level do not depend on each other: each member on a way adds one.
    """
    wanted = set(members)
    reached: dict[ir.Value, int] = {}
    found: dict[ir.Node, int] = {}
    for node in graph:
        level = 0
        for value in node.inputs:
            if value is not None:
                level = max(level, reached.get(value, 0))
        if node in wanted:
            found[node] = level
            level += 1
        if level:
            for out in node.outputs:
                reached[out] = level
    return found


def is_zero(value: ir.Value | None) -> bool:
    """Whether a value is known to be all zeros."""
    if value is None:
        return False
    array = const_of(value)
    if array is not None:
        return not array.any()
    node = value.producer()
    if node is None or node.op_type != "ConstantOfShape":
        return False
    fill = node.attributes.get("value")
    return fill is None or not fill.value.numpy().any()


def attribute_key(node: ir.Node) -> Hashable:
    """A node's attributes in a form that can be compared."""
    if not node.attributes:
        return ()
    return tuple(sorted((name, _plain(a.value)) for name, a in node.attributes.items()))


def _plain(value: Any) -> Hashable:
    if isinstance(value, (list, tuple)):
        return tuple(value)
    if hasattr(value, "tobytes"):
        return (str(value.dtype), tuple(value.shape), value.tobytes())
    return value  # type: ignore[no-any-return]
