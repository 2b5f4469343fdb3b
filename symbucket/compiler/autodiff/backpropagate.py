"""The walk back through given nodes: gradients of outputs become gradients of variables."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import Builder, dtype_of, info_of, reads, shape_of
from symbucket.ir.notes import Phase

Adjoints = dict[ir.Value, list[ir.Value]]
"""For each value the terms of its gradient."""

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)


def backpropagate(
    g: Builder,
    nodes: Sequence[ir.Node],
    outputs: Sequence[ir.Value],
    adjoints: Adjoints,
    variables: Sequence[ir.Value],
) -> dict[ir.Value, ir.Value]:
    """Append the nodes that compute the gradients of ``variables`` through ``nodes`` alone.

    Args:
        g: a builder at the place of the new nodes.
        nodes: the forward nodes, inputs first; nothing flows back through any other node.
        outputs: the values that gradients start from.
        adjoints: the terms that arrive from outside of ``nodes``.
        variables: the values to differentiate with respect to.

    Returns:
        A gradient for each variable that influences the outputs.
    """
    active = _active_values(nodes, variables)
    reached = _reached_values(nodes, outputs)
    no_rule = _without_rule([n for n in nodes if any(v in reached for v in n.outputs)], active)
    uncovered: list[str] = []
    for node in reversed(nodes):
        traits = info_of(node)
        if traits.gradient is None or traits.no_gradient:
            continue
        values = reads(node)
        if not any(v in active for v in values if v is not None):
            continue
        if not traits.own_loss and not any(out in adjoints for out in node.outputs):
            continue
        needs = [v is not None and v in active for v in values]
        with g.scoped(f"grad/{node.name}", Phase.BACKWARD):
            output_gradients = [_total(g, adjoints, out) for out in node.outputs]
            try:
                gradients = traits.gradient(g, node, output_gradients, needs)
            except UnsupportedError as error:  # go on, to report all of them at once
                uncovered.append(str(error))
                gradients = [
                    g.filled(shape_of(v), 0.0, dtype_of(v)) if needed and v is not None else None
                    for v, needed in zip(values, needs)
                ]
        for value, needed, gradient in zip(values, needs, gradients):
            if value is not None and needed and gradient is not None:
                _check_shape(node, value, gradient)
                adjoints.setdefault(value, []).append(gradient)
    if no_rule or uncovered:
        raise UnsupportedError("; ".join([*_no_rule_text(no_rule), *reversed(uncovered)]))
    totals = {}
    for variable in variables:
        with g.scoped(f"grad/{variable.name}", Phase.BACKWARD):
            total = _total(g, adjoints, variable)
        if total is not None:
            totals[variable] = total
    return totals


def _check_shape(node: ir.Node, value: ir.Value, gradient: ir.Value) -> None:
    if shape_of(gradient) != shape_of(value):
        raise AssertionError(
            f"gradient rule of {node.op_type}: the gradient of {value.name} has shape "
            f"{shape_of(gradient)}, the value {shape_of(value)}"
        )


def _total(g: Builder, adjoints: Adjoints, value: ir.Value) -> ir.Value | None:
    """Return the gradient of ``value``, the sum of its terms; None if there are none."""
    terms = adjoints.get(value)
    if not terms:
        return None
    if len(terms) > 1:
        adjoints[value] = terms = [g.op("Sum", *terms)]
    return terms[0]


def _active_values(nodes: Sequence[ir.Node], variables: Sequence[ir.Value]) -> set[ir.Value]:
    """Return the float values that depend on one of ``variables`` in a differentiable way."""
    active = {v for v in variables if v.dtype in FLOATS}
    for node in nodes:
        if info_of(node).no_gradient:
            continue
        if any(v in active for v in reads(node) if v is not None):
            active.update(v for v in node.outputs if v.dtype in FLOATS)
    return active


def _reached_values(nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> set[ir.Value]:
    """Return the values that a gradient of ``outputs`` may reach: no node on the way blocks it."""
    reached = set(outputs)
    for node in reversed(nodes):
        if any(v in reached for v in node.outputs) and not info_of(node).no_gradient:
            reached.update(v for v in reads(node) if v is not None)
    return reached


def _without_rule(nodes: Sequence[ir.Node], active: set[ir.Value]) -> list[str]:
    return [
        f"{node.name} ({node.domain + '::' if node.domain else ''}{node.op_type})"
        for node in nodes
        if any(v in active for v in reads(node) if v is not None)
        and any(v.dtype in FLOATS for v in node.outputs)
        and info_of(node).gradient is None
        and not info_of(node).no_gradient
    ]


def _no_rule_text(nodes: Sequence[str]) -> list[str]:
    if not nodes:
        return []
    return [
        f"{len(nodes)} nodes have operators without a gradient: {', '.join(nodes)}. Block the "
        "gradient above them (BlockGrad), fix the parameters below them (fixed_param_names), or "
        "register a rule with symbucket.ir.gradient."
    ]
