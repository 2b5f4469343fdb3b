"""Gradients of the activations with a shape of their own: leaky, exponential and Gaussian units."""

from __future__ import annotations

import math

from symbucket.ir import Expr, gradient
from symbucket.ir.expr import erf, exp, minimum, tanh, where
from symbucket.ir.gradient_rules import Parts


@gradient("LeakyRelu")
def leaky_relu(x: Expr, dy: Expr, *, alpha: float = 0.01) -> Parts:
    """dx = dy above zero, alpha dy below."""
    leak = dy * alpha
    return where(x > 0.0, dy, leak)


@gradient("Elu")
def elu(x: Expr, y: Expr, dy: Expr, *, alpha: float = 1.0) -> Parts:
    """y = alpha (e^x - 1) below zero, whose slope is y + alpha."""
    below = dy * (y + alpha)
    return where(x > 0.0, dy, below)


@gradient("Selu")
def selu(
    x: Expr,
    y: Expr,
    dy: Expr,
    *,
    alpha: float = 1.6732632423543772,
    gamma: float = 1.0507009873554805,
) -> Parts:
    """y = gamma x above zero, gamma alpha (e^x - 1) below, whose slope is y + gamma alpha."""
    above = x.const(gamma)
    return dy * where(x > 0.0, above, y + gamma * alpha)


@gradient("HardSigmoid")
def hard_sigmoid(x: Expr, y: Expr, dy: Expr, *, alpha: float = 0.2) -> Parts:
    """y = min(max(alpha x + beta, 0), 1): alpha dy between the bounds."""
    inside = (y > 0.0) & (y < 1.0)
    return where(inside, dy * alpha, 0.0)


@gradient("PRelu")
def prelu(x: Expr, slope: Expr, dy: Expr) -> Parts:
    """dx = dy above zero, slope dy below; dslope = dy min(x, 0)."""
    positive = x > 0.0
    return lambda: where(positive, dy, dy * slope), lambda: dy * minimum(x, 0.0)


@gradient("Gelu")
def gelu(x: Expr, dy: Expr, *, approximate: str = "none") -> Parts:
    """y = x P(x), P the distribution function of the normal (Hendrycks and Gimpel 2016)."""
    square = x * x
    if approximate == "tanh":
        root = math.sqrt(2.0 / math.pi)
        bend = tanh(x * (square * (0.044715 * root) + root))
        probability = (bend + 1.0) * 0.5
        rise = square * (0.5 * 3 * 0.044715 * root) + 0.5 * root
        density = rise * (bend * bend * -1.0 + 1.0)
    else:
        probability = (erf(x * math.sqrt(0.5)) + 1.0) * 0.5
        density = exp(square * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
    return dy * (probability + x * density)
