"""Reverse-mode differentiation of an ONNX graph, node by node, with a rule per operator.

The method is the classic one (Speelpenning 1980; Griewank and Walther, *Evaluating Derivatives*):
walk the nodes backwards, turn the gradients of a node's outputs into gradients of its inputs, and
add up the gradients that arrive at one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

import symbucket.compiler.autodiff.rules  # noqa: F401 - registers the rules
from symbucket.compiler.autodiff.backpropagate import Adjoints, backpropagate
from symbucket.compiler.autodiff.flow import FLOATS, flows_back
from symbucket.ir import Builder, info_of, reads


def needs_head(outputs: Sequence[ir.Value], variables: Iterable[ir.Value]) -> list[bool]:
    """Return for each output whether its head gradient affects the gradients of ``variables``.

    Losses start gradients by themselves, and integer-valued outputs have none.
    """
    targets = set(variables)
    return [output.dtype in FLOATS and _reaches(output, targets) for output in outputs]


def _reaches(output: ir.Value, targets: set[ir.Value]) -> bool:
    """Return whether a head gradient of ``output`` flows back to one of ``targets``."""
    visited: set[ir.Value] = set()
    stack = [output]
    while stack:
        value = stack.pop()
        if value in visited:
            continue
        if value in targets:
            return True
        visited.add(value)
        node = value.producer()
        if node is not None and not _ignores_head(node):
            stack.extend(flows_back(node))
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
            does not cover its attributes or one of its inputs.
    """
    adjoints: Adjoints = {output: [head] for output, head in heads.items()}
    return backpropagate(g, _ancestors(outputs), outputs, adjoints, variables)


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
            for value in reads(node):
                producer = None if value is None else value.producer()
                if producer is not None and producer not in visited:
                    stack.append((producer, False))
    return order
