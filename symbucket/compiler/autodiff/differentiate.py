"""Reverse-mode differentiation of an ONNX graph, node by node, with a rule per operator.

The method is the classic one (Speelpenning 1980; Griewank and Walther, *Evaluating Derivatives*):
walk the nodes backwards, turn gradients of outputs into gradients of inputs, add up what arrives
at one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

import symbucket.compiler.autodiff.rules  # noqa: F401 - registers the rules
from symbucket.errors import UnsupportedError
from symbucket.ir import Builder, dtype_of, info_of, shape_of

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)


def needs_head(outputs: Sequence[ir.Value], wanted: Iterable[ir.Value]) -> list[bool]:
    """For each output, whether its head gradient has any effect on the wanted gradients.

    Loss outputs start gradients by themselves and integer-valued outputs have none.
    """
    goal = set(wanted)
    found = []
    for output in outputs:
        seen: set[ir.Value] = set()
        stack = [output]
        hit = False
        while stack and not hit:
            value = stack.pop()
            if value in seen or value.dtype not in FLOATS:
                continue
            seen.add(value)
            hit = value in goal
            node = value.producer()
            if node is None:
                continue
            traits = info_of(node)
            if not (traits.no_gradient or _ignores_head(node)):
                stack.extend(v for v in node.inputs if v is not None)
        found.append(hit)
    return found


def _ignores_head(node: ir.Node) -> bool:
    out_grad = node.attributes.get("out_grad")
    return info_of(node).own_loss and not (out_grad is not None and out_grad.value)


def differentiate(
    g: Builder,
    outputs: Sequence[ir.Value],
    heads: Mapping[ir.Value, ir.Value],
    wanted: Sequence[ir.Value],
) -> dict[ir.Value, ir.Value]:
    """Append the nodes that compute the gradients of ``wanted``.

    Args:
        g: a builder at the end of the graph that computes ``outputs``.
        outputs: the outputs whose ancestors take part.
        heads: head gradients by output; outputs without one contribute through losses only.
        wanted: values to differentiate by. Gives a gradient for each one that is reached; the
            others do not influence the outputs.

    Raises UnsupportedError that names every node on the way whose operator has no rule, or whose
    rule does not serve its attributes.
    """
    nodes = _ancestors(outputs)
    active = _reached_from(nodes, wanted)
    flowing = _flowing(outputs)
    missing = _without_rule([n for n in nodes if any(v in flowing for v in n.outputs)], active)
    pending: dict[ir.Value, list[ir.Value]] = {}
    for value, head in heads.items():
        pending.setdefault(value, []).append(head)

    refused: list[str] = []
    for node in reversed(nodes):
        traits = info_of(node)
        if traits.gradient is None or traits.no_gradient:
            continue
        if not any(v in active for v in node.inputs if v is not None):
            continue
        if not traits.own_loss and not any(out in pending for out in node.outputs):
            continue
        with g.scoped(f"grad/{node.name}"):
            grads = [_total(g, pending, out) for out in node.outputs]
            flags = [v is not None and v in active for v in node.inputs]
            try:
                made = traits.gradient(g, node, grads, flags)
            except UnsupportedError as error:  # go on: all of them are to be known at once
                refused.append(str(error))
                made = [
                    g.filled(shape_of(v), 0.0, dtype_of(v)) if flag and v is not None else None
                    for v, flag in zip(node.inputs, flags)
                ]
        for source, flag, grad in zip(node.inputs, flags, made):
            if flag and grad is not None:
                assert source is not None
                if shape_of(grad) != shape_of(source):
                    raise AssertionError(
                        f"gradient rule of {node.op_type}: gradient of {source.name} has shape "
                        f"{shape_of(grad)}, the value {shape_of(source)}"
                    )
                pending.setdefault(source, []).append(grad)
    if missing or refused:
        raise UnsupportedError("; ".join([*_said(missing), *reversed(refused)]))
    found = {}
    for value in wanted:
        with g.scoped(f"grad/{value.name}"):
            total = _total(g, pending, value)
        if total is not None:
            found[value] = total
    return found


def _total(g: Builder, pending: dict[ir.Value, list[ir.Value]], value: ir.Value) -> ir.Value | None:
    parts = pending.get(value)
    if not parts:
        return None
    if len(parts) > 1:
        pending[value] = parts = [g.op("Sum", *parts)]
    return parts[0]


def _ancestors(outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes that compute ``outputs``, inputs first."""
    order: list[ir.Node] = []
    seen: set[ir.Node] = set()
    for output in outputs:
        producer = output.producer()
        if producer is None:
            continue
        stack: list[tuple[ir.Node, bool]] = [(producer, False)]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
                continue
            if node in seen:
                continue
            seen.add(node)
            stack.append((node, True))
            for value in node.inputs:
                made_by = None if value is None else value.producer()
                if made_by is not None and made_by not in seen:
                    stack.append((made_by, False))
    return order


def _reached_from(nodes: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> set[ir.Value]:
    """Float values that depend on one of ``wanted`` in a differentiable way."""
    active = {v for v in wanted if v.dtype in FLOATS}
    for node in nodes:
        if info_of(node).no_gradient:
            continue
        if any(v in active for v in node.inputs if v is not None):
            active.update(v for v in node.outputs if v.dtype in FLOATS)
    return active


def _flowing(outputs: Sequence[ir.Value]) -> set[ir.Value]:
    """Values that a gradient of ``outputs`` may reach: not those behind a node that blocks it."""
    found: set[ir.Value] = set()
    stack = list(outputs)
    while stack:
        value = stack.pop()
        if value in found:
            continue
        found.add(value)
        node = value.producer()
        if node is not None and not info_of(node).no_gradient:
            stack.extend(v for v in node.inputs if v is not None)
    return found


def _without_rule(nodes: Sequence[ir.Node], active: set[ir.Value]) -> list[str]:
    return [
        f"{node.name} ({node.domain + '::' if node.domain else ''}{node.op_type})"
        for node in nodes
        if any(v in active for v in node.inputs if v is not None)
        and any(v.dtype in FLOATS for v in node.outputs)
        and info_of(node).gradient is None
        and not info_of(node).no_gradient
    ]


def _said(missing: Sequence[str]) -> list[str]:
    if not missing:
        return []
    return [
        f"{len(missing)} nodes have operators without a gradient: {', '.join(missing)}. Block "
        "the gradient before them (BlockGrad), fix the parameters beneath "
        "(fixed_param_names), or register a rule with symbucket.ir.gradient."
    ]
