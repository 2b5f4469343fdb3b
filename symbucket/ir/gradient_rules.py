"""Gradient rules that read like their formulas, and the statements that an operator has none.

    @gradient("Softmax")
    def softmax(y: Expr, dy: Expr, *, axis: int = -1) -> Expr:
        p = dy * y
        return p - y * p.sum(axis, keepdims=True)

The parameters of the function say what it needs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import onnx_ir as ir

from symbucket.ir.builder import Builder, attr
from symbucket.ir.expr import Expr
from symbucket.ir.registry import GradientRule, info

Part: TypeAlias = "Expr | Callable[[], Expr] | None"
"""The gradient of one input. A callable runs only if that gradient is needed, and its result is
summed over the axes along which the input was broadcast."""

Parts: TypeAlias = "Part | Sequence[Part]"
"""What a rule returns: the gradients of the first inputs. Inputs beyond them have none."""

Rule = TypeVar("Rule", bound=Callable[..., Parts])


def gradient(*op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register the gradient rule of one or several operators.

    The decorated function gets by name:

    * ``dy``, the gradient of the first output, and ``y``, that output;
    * ``grads`` and ``outputs``, those of all outputs (a gradient is None if nothing flows back);
    * ``needs``, for each input whether its gradient will be used;
    * ``g``, the builder, and ``node``, the node itself;
    * keyword-only parameters: the attributes of those names, with ONNX's defaults;
      ``**attributes``: all that the node has;
    * other parameters, whatever their names: the inputs from the first one on, each an Expr. One
      with the default None may be absent; ``*inputs`` takes the remaining ones.

    It returns ``Parts``. It raises UnsupportedError if it does not cover the node's attributes.
    """

    def decorate(rule: Rule) -> Rule:
        for op_type in op_types:
            info(op_type, domain).gradient = _as_gradient_rule(rule)
        return rule

    return decorate


def no_gradient(*op_types: str, because: str, domain: str = "") -> None:
    """State that nothing flows back through operators, and that this is right.

    ``because`` is a phrase that goes on after the operator's name: "is piecewise constant".
    """
    for op_type in op_types:
        info(op_type, domain).no_gradient = because


def _as_gradient_rule(rule: Callable[..., Parts]) -> GradientRule:
    parameters = list(inspect.signature(rule).parameters.values())
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keyword = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    all_attributes = any(p.kind is p.VAR_KEYWORD for p in parameters)
    input_names = [p for p in positional if p.name not in _NAMED]

    @functools.wraps(rule)
    def run(
        g: Builder, node: ir.Node, grads: Sequence[ir.Value | None], needs: Sequence[bool]
    ) -> list[ir.Value | None]:
        inputs = iter(enumerate(input_names))
        arguments = [
            _NAMED[p.name](g, node, grads, needs)
            if p.name in _NAMED
            else _input(g, node, *next(inputs))
            for p in positional
        ]
        if rest:
            arguments += [_expr(g, v) for v in node.inputs[len(input_names) :]]
        attributes = {p.name: attr(node, p.name, _default(p)) for p in keyword}
        if all_attributes:
            attributes |= {name: a.value for name, a in node.attributes.items()}
        result = rule(*arguments, **attributes)
        parts = result if isinstance(result, Sequence) else [result]
        values = [_value(g, *each) for each in zip(parts, node.inputs, needs)]
        return values + [None] * (len(node.inputs) - len(values))

    return run


def _expr(g: Builder, value: ir.Value | None) -> Expr | None:
    return None if value is None else Expr(g, value)


def _input(g: Builder, node: ir.Node, i: int, parameter: inspect.Parameter) -> Expr | None:
    value = node.inputs[i] if i < len(node.inputs) else None
    if value is None and parameter.default is not None:
        raise TypeError(
            f"the gradient rule of {node.op_type} takes input {i} as {parameter.name!r}, which "
            f"node {node.name!r} does not have; give the parameter the default None."
        )
    return _expr(g, value)


def _default(parameter: inspect.Parameter) -> Any:
    return None if parameter.default is parameter.empty else parameter.default


def _value(g: Builder, part: Part, operand: ir.Value | None, needed: bool) -> ir.Value | None:
    if part is None or isinstance(part, Expr):
        return None if part is None else part.value
    if not needed or operand is None:
        return None
    return part().sum_to(Expr(g, operand).shape).value


_NAMED: dict[str, Callable[..., Any]] = {
    "g": lambda g, node, grads, needs: g,
    "node": lambda g, node, grads, needs: node,
    "needs": lambda g, node, grads, needs: needs,
    "y": lambda g, node, grads, needs: Expr(g, node.outputs[0]),
    "outputs": lambda g, node, grads, needs: [Expr(g, v) for v in node.outputs],
    "dy": lambda g, node, grads, needs: _expr(g, grads[0]),
    "grads": lambda g, node, grads, needs: [_expr(g, v) for v in grads],
}
