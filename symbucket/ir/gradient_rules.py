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
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias, TypeVar

import onnx_ir as ir

from symbucket.ir.builder import Builder, attr, shape_of
from symbucket.ir.expr import Expr
from symbucket.ir.nodes import attributes_of
from symbucket.ir.registry import GradientRule, NoGradient, info

Part: TypeAlias = "Expr | Callable[[], Expr] | None"
"""The gradient of one input. A callable runs only if that gradient is needed, and its result is
summed over the axes along which the input was broadcast."""

Parts: TypeAlias = "Part | Sequence[Part]"
"""What a rule returns: the gradients of the first inputs. Inputs beyond them have none, which
``no_gradient`` states; a gradient that is needed and neither returned nor stated is refused."""

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
            entry = info(op_type, domain)
            entry.gradient, entry.no_gradient = _as_gradient_rule(rule), ""
        return rule

    return decorate


def no_gradient(
    *op_types: str,
    because: str,
    inputs: Collection[int] | None = None,
    when: Callable[[ir.Node], bool] | None = None,
    domain: str = "",
) -> None:
    """State that nothing flows back through operators, and that this is right.

    Args:
        op_types: the operators.
        because: a phrase that goes on after the operator's name: "is piecewise constant"; with
            ``inputs`` after the input's: "is an index".
        inputs: the positions that the statement is about; all of them by default.
        when: the nodes for which it holds; all of them by default.
        domain: of the operators.
    """
    for op_type in op_types:
        entry = info(op_type, domain)
        if inputs is None and when is None:
            entry.no_gradient = because
        else:
            positions = None if inputs is None else frozenset(inputs)
            entry.statements.append(NoGradient(because, positions, when))


_Getter: TypeAlias = Callable[[Builder, ir.Node, Sequence["ir.Value | None"], Sequence[bool]], Any]


def _as_gradient_rule(rule: Callable[..., Parts]) -> GradientRule:
    getters: list[_Getter] = []
    defaults: dict[str, Any] = {}
    count = 0  # of inputs with a parameter of their own
    takes_rest = takes_all_attributes = False
    for parameter in inspect.signature(rule).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            takes_rest = True
        elif parameter.kind is parameter.VAR_KEYWORD:
            takes_all_attributes = True
        elif parameter.kind is parameter.KEYWORD_ONLY:
            has_default = parameter.default is not parameter.empty
            defaults[parameter.name] = parameter.default if has_default else None
        elif parameter.name in _NAMED:
            getters.append(_NAMED[parameter.name])
        else:
            getters.append(_input_getter(count, parameter))
            count += 1

    @functools.wraps(rule)
    def run(
        g: Builder, node: ir.Node, grads: Sequence[ir.Value | None], needs: Sequence[bool]
    ) -> list[ir.Value | None]:
        arguments = [get(g, node, grads, needs) for get in getters]
        inputs = node.inputs
        if takes_rest:
            arguments += [_expr(g, v) for v in inputs[count:]]
        attributes = {name: attr(node, name, default) for name, default in defaults.items()}
        if takes_all_attributes:
            attributes |= attributes_of(node)
        result = rule(*arguments, **attributes)
        parts = result if isinstance(result, (list, tuple)) else (result,)
        values = [_value(*each) for each in zip(parts, inputs, needs)]
        return values + [None] * (len(inputs) - len(values))

    return run


def _expr(g: Builder, value: ir.Value | None) -> Expr | None:
    return None if value is None else Expr(g, value)


def _input_getter(i: int, parameter: inspect.Parameter) -> _Getter:
    def get(g: Builder, node: ir.Node, grads: Any, needs: Any) -> Expr | None:
        value = node.inputs[i] if i < len(node.inputs) else None
        if value is None and parameter.default is not None:
            raise TypeError(
                f"the gradient rule of {node.op_type} takes input {i} as {parameter.name!r}, which "
                f"node {node.name!r} does not have; give the parameter the default None."
            )
        return _expr(g, value)

    return get


def _value(part: Part, operand: ir.Value | None, needed: bool) -> ir.Value | None:
    if part is None or isinstance(part, Expr):
        return None if part is None else part.value
    if not needed or operand is None:
        return None
    return part().sum_to(shape_of(operand)).value


_NAMED: dict[str, _Getter] = {
    "g": lambda g, node, grads, needs: g,
    "node": lambda g, node, grads, needs: node,
    "needs": lambda g, node, grads, needs: needs,
    "y": lambda g, node, grads, needs: Expr(g, node.outputs[0]),
    "outputs": lambda g, node, grads, needs: [Expr(g, v) for v in node.outputs],
    "dy": lambda g, node, grads, needs: _expr(g, grads[0]),
    "grads": lambda g, node, grads, needs: [_expr(g, v) for v in grads],
}
