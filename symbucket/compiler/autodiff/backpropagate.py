"""The walk back through given nodes: gradients of outputs become gradients of variables."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.compiler.autodiff.flow import (
    FLOATS,
    active_values,
    needed_inputs,
    reached_values,
    without_gradient,
    without_rule,
)
from symbucket.errors import UnsupportedError
from symbucket.ir import Builder, dtype_of, info_of, reads, shape_of
from symbucket.ir.notes import Phase

Adjoints = dict[ir.Value, list[ir.Value]]
"""For each value the terms of its gradient."""


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
    active = active_values(nodes, variables)
    no_rule = without_rule(nodes, active, reached_values(nodes, outputs))
    uncovered: list[str] = []
    for node in reversed(nodes):
        traits = info_of(node)
        values = reads(node)
        needs = needed_inputs(node, active)
        if traits.gradient is None or not any(needs):
            continue
        if not traits.own_loss and not any(out in adjoints for out in node.outputs):
            continue
        with g.scoped(f"grad/{node.name}", Phase.BACKWARD):
            output_gradients = [_total(g, adjoints, out) for out in node.outputs]
            try:
                gradients = traits.gradient(g, node, output_gradients, needs)
                uncovered += without_gradient(node, needs, gradients)
            except UnsupportedError as error:  # go on, to report all of them at once
                uncovered.append(str(error))
                gradients = [
                    g.filled(shape_of(v), 0.0, _gradient_dtype(v))
                    if needed and v is not None
                    else None
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


def _gradient_dtype(value: ir.Value) -> ir.DataType:
    """That of the value; integers of a quantization have gradients too."""
    return dtype_of(value) if value.dtype in FLOATS else ir.DataType.FLOAT


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


def _no_rule_text(nodes: Sequence[str]) -> list[str]:
    if not nodes:
        return []
    return [
        f"{len(nodes)} nodes have operators without a gradient: {', '.join(nodes)}. Block the "
        "gradient above them (BlockGrad), fix the parameters below them (fixed_param_names), or "
        "register a rule with symbucket.ir.gradient."
    ]
