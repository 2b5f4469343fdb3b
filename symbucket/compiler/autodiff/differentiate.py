"""Reverse-mode differentiation of an ONNX graph, node by node, with a rule per operator.

The method is the classic one (Speelpenning 1980; Griewank and Walther, *Evaluating Derivatives*):
walk the nodes backwards, turn the gradients of a node's outputs into gradients of its inputs, and
add up the gradients that arrive at one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

import symbucket.compiler.autodiff.rules  # noqa: F401 - registers the rules
from symbucket.errors import UnsupportedError
from symbucket.ir import Builder, dtype_of, info_of, shape_of
from symbucket.ir.notes import Phase

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)


def needs_head(outputs: Sequence[ir.Value], variables: Iterable[ir.Value]) -> list[bool]:
    """Return for each output whether its head gradient affects the gradients of ``variables``.

    Losses start gradients by themselves, and integer-valued outputs have none.
    """
    targets = set(variables)
    return [_reaches(output, targets) for output in outputs]


def _reaches(output: ir.Value, targets: set[ir.Value]) -> bool:
    """Return whether a head gradient of ``output`` flows back to one of ``targets``."""
    visited: set[ir.Value] = set()
    stack = [output]
    while stack:
        value = stack.pop()
        if value in visited or value.dtype not in FLOATS:
            continue
        if value in targets:
            return True
        visited.add(value)
        node = value.producer()
        if node is not None and not info_of(node).no_gradient and not _ignores_head(node):
            stack.extend(v for v in node.inputs if v is not None)
    return False


def _ignores_head(node: ir.Node) -> bool:
    out_grad = node.attributes.get("out_grad")
    return info_of(node).own_loss and not (out_grad is not None and out_grad.value)


def differentiate(
    g: Builder,
    outputs: Sequence[ir.Value],
    heads: Mapping[ir.Value, ir.Value],
    variables: Sequence[ir.Value],
) -> dict[ir.Value, ir.Value]:
    """Append the nodes that compute the gradients of ``variables``.

    Args:
        g: a builder at the end of the graph that computes ``outputs``.
        outputs: the outputs whose ancestors take part.
        heads: head gradients by output; other outputs contribute through losses only.
        variables: the values to differentiate with respect to.

    Returns:
        A gradient for each variable that influences the outputs.

    Raises:
        UnsupportedError: names every node on the way whose operator has no rule, or whose rule
            does not cover its attributes.
    """
    nodes = _ancestors(outputs)
    active = _active_values(nodes, variables)
    reached = _reached_values(outputs)
    no_rule = _without_rule([n for n in nodes if any(v in reached for v in n.outputs)], active)
    adjoints: dict[ir.Value, list[ir.Value]] = {}  # for each value the terms of its gradient
    for output, head in heads.items():
        adjoints.setdefault(output, []).append(head)

    uncovered: list[str] = []
    for node in reversed(nodes):
        traits = info_of(node)
        if traits.gradient is None or traits.no_gradient:
            continue
        if not any(v in active for v in node.inputs if v is not None):
            continue
        if not traits.own_loss and not any(out in adjoints for out in node.outputs):
            continue
        needs = [v is not None and v in active for v in node.inputs]
        with g.scoped(f"grad/{node.name}", Phase.BACKWARD):
            output_gradients = [_total(g, adjoints, out) for out in node.outputs]
            try:
                gradients = traits.gradient(g, node, output_gradients, needs)
            except UnsupportedError as error:  # go on, to report all of them at once
                uncovered.append(str(error))
                gradients = [
                    g.filled(shape_of(v), 0.0, dtype_of(v)) if needed and v is not None else None
                    for v, needed in zip(node.inputs, needs)
                ]
        for value, needed, gradient in zip(node.inputs, needs, gradients):
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


def _total(
    g: Builder, adjoints: dict[ir.Value, list[ir.Value]], value: ir.Value
) -> ir.Value | None:
    """Return the gradient of ``value``, the sum of its terms; None if there are none."""
    terms = adjoints.get(value)
    if not terms:
        return None
    if len(terms) > 1:
        adjoints[value] = terms = [g.op("Sum", *terms)]
    return terms[0]


def _ancestors(outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """Return the nodes that compute ``outputs``, inputs first."""
    order: list[ir.Node] = []
    visited: set[ir.Node] = set()
    for output in outputs:
        last = output.producer()
        if last is None:
            continue
        stack: list[tuple[ir.Node, bool]] = [(last, False)]
        while stack:
            node, inputs_done = stack.pop()
            if inputs_done:
                order.append(node)
                continue
            if node in visited:
                continue
            visited.add(node)
            stack.append((node, True))
            for value in node.inputs:
                producer = None if value is None else value.producer()
                if producer is not None and producer not in visited:
                    stack.append((producer, False))
    return order


def _active_values(nodes: Sequence[ir.Node], variables: Sequence[ir.Value]) -> set[ir.Value]:
    """Return the float values that depend on one of ``variables`` in a differentiable way."""
    active = {v for v in variables if v.dtype in FLOATS}
    for node in nodes:
        if info_of(node).no_gradient:
            continue
        if any(v in active for v in node.inputs if v is not None):
            active.update(v for v in node.outputs if v.dtype in FLOATS)
    return active


def _reached_values(outputs: Sequence[ir.Value]) -> set[ir.Value]:
    """Return the values that a gradient of ``outputs`` may reach: no node on the way blocks it."""
    reached: set[ir.Value] = set()
    stack = list(outputs)
    while stack:
        value = stack.pop()
        if value in reached:
            continue
        reached.add(value)
        node = value.producer()
        if node is not None and not info_of(node).no_gradient:
            stack.extend(v for v in node.inputs if v is not None)
    return reached


def _without_rule(nodes: Sequence[ir.Node], active: set[ir.Value]) -> list[str]:
    return [
        f"{node.name} ({node.domain + '::' if node.domain else ''}{node.op_type})"
        for node in nodes
        if any(v in active for v in node.inputs if v is not None)
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
