"""The flow of gradients: the values that carry one, the inputs they flow into, what is refused.

Three things may hold of an input of a node. Its operator has a gradient rule, which returns the
gradient of the input. Or somebody stated with ``no_gradient`` that it has none, and why. Or a
gradient that is wanted through it is refused: no gradient is zero because nobody thought of it.

A node here reads what its body reads from outside, too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx
import onnx_ir as ir

from symbucket.ir import OPSET, body_of, info_of, reads

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)


def flows_into(node: ir.Node, i: int) -> bool:
    """Return whether a gradient flows back into what is read ``i``-th: nothing is stated."""
    return not info_of(node).why_no_gradient(node, i)


def flows_back(node: ir.Node) -> list[ir.Value]:
    """Return the values that a gradient of the outputs flows back to."""
    if info_of(node).no_gradient:
        return []
    return [v for i, v in enumerate(reads(node)) if v is not None and flows_into(node, i)]


def active_values(nodes: Sequence[ir.Node], variables: Collection[ir.Value]) -> set[ir.Value]:
    """Return the values that carry a gradient back to one of ``variables``.

    They are floats; what a quantization returns, and what only moves that, are integers.
    Other integers and booleans beside them (positions, masks) are piecewise constant.
    """
    active = {v for v in variables if v.dtype in FLOATS}
    for node in nodes:
        if any(v in active for v in flows_back(node)):
            integers = _returns_integers(node)
            active.update(v for v in node.outputs if integers or v.dtype in FLOATS)
    return active


def reached_values(nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> set[ir.Value]:
    """Return the values that a gradient of ``outputs`` may reach: no statement blocks the way."""
    reached = set(outputs)
    for node in reversed(nodes):
        if any(v in reached for v in node.outputs):
            reached.update(flows_back(node))
    return reached


def needed_inputs(node: ir.Node, active: set[ir.Value]) -> list[bool]:
    """Return for each value that the node reads whether its gradient is needed."""
    return [v in active and flows_into(node, i) for i, v in enumerate(reads(node))]


def without_rule(
    nodes: Sequence[ir.Node], active: set[ir.Value], reached: set[ir.Value]
) -> list[str]:
    """Return the names of nodes that a gradient would have to pass and cannot.

    Their operator has no rule, or they compute with the integers of a quantization.
    """
    return [
        f"{node.name} ({_operator(node)})"
        for node in nodes
        if any(v in reached for v in node.outputs)
        and any(v in active for v in flows_back(node))
        and (info_of(node).gradient is None or _computes_with_integers(node, active))
    ]


def without_gradient(
    node: ir.Node, needs: Sequence[bool], gradients: Sequence[ir.Value | None]
) -> list[str]:
    """Return a text for each needed input of which the rule returned no gradient.

    A value that is several inputs needs one gradient.
    """
    if body_of(node) is not None:
        return []  # the nodes of the body were asked; what has no gradient takes no part
    values = reads(node)
    covered = {v for v, gradient in zip(values, gradients) if gradient is not None}
    return [
        f"{node.name} ({_operator(node)}): the gradient rule returns none for {_input(node, i)}"
        for i, (value, needed) in enumerate(zip(values, needs))
        if needed and value not in covered
    ]


def _returns_integers(node: ir.Node) -> bool:
    """Return whether integers that a node, or one in its body, returns carry a gradient."""
    body = body_of(node)
    return info_of(node).straight_through or (
        body is not None and any(inner.op_type == "QuantizeLinear" for inner in body)
    )


def _computes_with_integers(node: ir.Node, active: set[ir.Value]) -> bool:
    return not info_of(node).straight_through and any(
        v in active and v.dtype not in FLOATS for v in flows_back(node)
    )


def _input(node: ir.Node, i: int) -> str:
    value = node.inputs[i]
    name = f"input {i}"
    if not node.domain and onnx.defs.has(node.op_type, ""):
        formal = onnx.defs.get_schema(node.op_type, OPSET, "").inputs
        name += f", {formal[min(i, len(formal) - 1)].name}"
    return f"{name} ({'' if value is None else value.name})"


def _operator(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type
