"""Gradients of the activations that bend instead of cutting off: Selu, Gelu."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.compiler.autodiff.rules.common import Grads, Wanted, inp, only
from symbucket.ir import Builder, attr, gradient


def _times(g: Builder, x: ir.Value, factor: float) -> ir.Value:
    return g.op("Mul", x, g.const(factor, like=x))


def _plus(g: Builder, x: ir.Value, number: float) -> ir.Value:
    return g.op("Add", x, g.const(number, like=x))


@gradient("Selu")
def _selu(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    # y = gamma x above zero, gamma alpha (e^x - 1) below, whose slope is y + gamma alpha.
    x, y, dy = inp(node), node.outputs[0], only(grads)
    alpha = attr(node, "alpha", 1.6732632423543772)
    gamma = attr(node, "gamma", 1.0507009873554805)
    right = g.const(gamma, like=x)
    slope = g.op(
        "Where", g.op("Greater", x, g.const(0.0, like=x)), right, _plus(g, y, gamma * alpha)
    )
    return [g.op("Mul", dy, slope)]


@gradient("Gelu")
def _gelu(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    # Hendrycks and Gimpel 2016: y = x P(x), P the distribution function of the standard normal.
    x, dy = inp(node), only(grads)
    square = g.op("Mul", x, x)
    if attr(node, "approximate", "none") == "tanh":
        root = math.sqrt(2.0 / math.pi)
        inner = g.op("Mul", x, _plus(g, _times(g, square, 0.044715 * root), root))
        bent = g.op("Tanh", inner)
        share = _times(g, _plus(g, bent, 1.0), 0.5)
        rise = _plus(g, _times(g, square, 0.5 * 3 * 0.044715 * root), 0.5 * root)
        density = g.op("Mul", rise, _plus(g, _times(g, g.op("Mul", bent, bent), -1.0), 1.0))
    else:
        erf = g.op("Erf", _times(g, x, math.sqrt(0.5)))
        share = _times(g, _plus(g, erf, 1.0), 0.5)
        bell = g.op("Exp", _times(g, square, -0.5))
        density = _times(g, bell, 1.0 / math.sqrt(2.0 * math.pi))
    return [g.op("Mul", dy, g.op("Add", share, g.op("Mul", x, density)))]
