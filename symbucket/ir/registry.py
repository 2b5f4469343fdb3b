"""The registry of ONNX operators: shape rule, gradient, expansion and traits of each.

Rules are registered beside the thing they describe: standard operators in ``ir/shapes`` and
``compiler/autodiff/rules``, our own in the file of the operator record that emits them. Passes
ask here for properties; they never keep lists of operator names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    from symbucket.ir.builder import Builder

OWN_DOMAIN = "symbucket"
OPSET = 21
IR_VERSION = 10

TensorType = tuple[tuple[int, ...], ir.DataType]
"""Shape and dtype of a value; symbucket graphs are static, every dimension is known."""

ShapeRule = Callable[[ir.Node], Sequence[TensorType]]

Grads = Sequence["ir.Value | None"]
"""One gradient for each output or input of a node; None if there is none."""

GradientRule = Callable[["Builder", ir.Node, Grads, Sequence[bool]], Grads]
"""``rule(g, node, output_gradients, needs)`` returns one gradient (or None) for each input.

``output_gradients[i]`` is None if nothing flows back into output i; ``needs[i]`` tells whether the
gradient of input i will be used, so a rule can leave out work. ``ir.gradient`` makes one of a
formula.
"""
Expansion = Callable[["Builder", ir.Node], Sequence[ir.Value]]


@dataclass(frozen=True)
class NoGradient:
    """A statement that nothing flows back into inputs of an operator, and that this is right.

    Args:
        because: a phrase that goes on after the operator's name: "is piecewise constant".
        inputs: the positions that it is about; None for all of them.
        when: the nodes for which it holds; None for all of them.
    """

    because: str
    inputs: frozenset[int] | None = None
    when: Callable[[ir.Node], bool] | None = None


@dataclass
class OpInfo:
    """One operator of one domain.

    ``elementwise``: output element i depends only on (broadcast) input elements i, so the kernel
    may write over an input of the output's size. ``random``: two equal nodes differ in value, they
    are never merged. ``own_loss``: the gradient ignores the head gradient and starts from the node.
    ``commutative``: the order of inputs does not matter.
    ``straight_through``: the integers that it takes or returns carry a gradient, as if they had not
    been rounded.
    ``no_gradient``: why nothing flows back and that is right; "" for every other operator.
    ``statements``: the same for single inputs, or for some nodes. The gradient rule of an operator
    returns a gradient for every other input, or it refuses.
    """

    domain: str
    op_type: str
    shape: ShapeRule | None = None
    gradient: GradientRule | None = None
    expand: Expansion | None = None
    elementwise: bool = False
    random: bool = False
    own_loss: bool = False
    straight_through: bool = False
    no_gradient: str = ""
    statements: list[NoGradient] = field(default_factory=list)
    commutative: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def why_no_gradient(self, node: ir.Node, i: int) -> str:
        """Return why nothing flows back into input ``i`` of ``node``; "" if something does."""
        if self.no_gradient:
            return self.no_gradient
        for statement in self.statements:
            if statement.inputs is not None and i not in statement.inputs:
                continue
            if statement.when is None or statement.when(node):
                return statement.because
        return ""


_OPS: dict[tuple[str, str], OpInfo] = {}


def info(op_type: str, domain: str = "") -> OpInfo:
    """Return the entry of an operator, created on first use: rules come in any order."""
    domain = "" if domain == "ai.onnx" else domain
    key = (domain, op_type)
    if key not in _OPS:
        _OPS[key] = OpInfo(domain, op_type)
    return _OPS[key]


def info_of(node: ir.Node) -> OpInfo:
    """Return the entry of a node's operator."""
    return info(node.op_type, node.domain)


def known_ops() -> list[OpInfo]:
    """Return all entries, sorted; for documentation and tests."""
    return [_OPS[k] for k in sorted(_OPS)]


def shape_rule(*op_types: str, domain: str = "") -> Callable[[ShapeRule], ShapeRule]:
    """Register the shape rule of one or several operators."""

    def decorate(rule: ShapeRule) -> ShapeRule:
        for op_type in op_types:
            info(op_type, domain).shape = rule
        return rule

    return decorate


def expansion(op_type: str) -> Callable[[Expansion], Expansion]:
    """Register how a node of our own domain is written in standard ONNX."""

    def decorate(rule: Expansion) -> Expansion:
        info(op_type, OWN_DOMAIN).expand = rule
        return rule

    return decorate


def mark(
    *op_types: str,
    domain: str = "",
    elementwise: bool = False,
    random: bool = False,
    own_loss: bool = False,
    straight_through: bool = False,
    commutative: bool = False,
) -> None:
    """Set traits of operators; traits add up over calls."""
    for op_type in op_types:
        entry = info(op_type, domain)
        entry.elementwise |= elementwise
        entry.random |= random
        entry.own_loss |= own_loss
        entry.straight_through |= straight_through
        entry.commutative |= commutative
