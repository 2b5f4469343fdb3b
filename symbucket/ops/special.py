"""Special functions: gamma, its logarithm, and the inverse of the error function.

They are nodes of our own domain, so that gradients are their closed forms and not those of the
approximations, which are computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    expansion,
    gradient,
    mark,
    no_gradient,
    same_as_first,
    shape_rule,
)
from symbucket.ir.expr import exp, log, maximum, reciprocal, sin, sqrt, where
from symbucket.ops.record import Emitter, Operator, operator

FAMILY = "Element by element"

_NODES = ("LogGamma", "Gamma", "Digamma", "ErfInv")

mark(*_NODES, domain=OWN_DOMAIN, elementwise=True)
no_gradient("Digamma", domain=OWN_DOMAIN, because="is itself a derivative")
shape_rule(*_NODES, domain=OWN_DOMAIN)(same_as_first)


@gradient("LogGamma", domain=OWN_DOMAIN)
def _log_gamma_gradient(x: Expr, dy: Expr) -> Expr:
    return dy * x.own("Digamma")


@gradient("Gamma", domain=OWN_DOMAIN)
def _gamma_gradient(x: Expr, y: Expr, dy: Expr) -> Expr:
    return dy * y * x.own("Digamma")


@gradient("ErfInv", domain=OWN_DOMAIN)
def _erfinv_gradient(y: Expr, dy: Expr) -> Expr:
    return dy * exp(y * y) * (math.sqrt(math.pi) / 2.0)


# Lanczos's series with g = 7 and nine terms (Godfrey 2001): 15 digits for x >= 0.5.
_LANCZOS = (
    676.5203681218851,
    -1259.1392167224028,
    771.32342877765313,
    -176.61502916214059,
    12.507343278686905,
    -0.13857109526572012,
    9.9843695780195716e-6,
    1.5056327351493116e-7,
)


def _log_gamma_right(x: Expr) -> Expr:
    """log(gamma(x)) for x >= 0.5."""
    z = x - 1.0
    series = z.filled(0.99999999999980993)
    for i, coefficient in enumerate(_LANCZOS):
        series = series + coefficient / (z + (i + 1.0))
    t = z + 7.5
    return (z + 0.5) * log(t) - t + log(series) + 0.5 * math.log(2.0 * math.pi)


def _reflected(x: Expr, right: Callable[[Expr], Expr]) -> tuple[Expr, Expr, Expr]:
    """Return x < 0.5, ``right`` of x or of 1 - x, and sin(pi x), exact at whole numbers."""
    left = x < 0.5
    whole = (x + 0.5).op("Floor")
    even = (whole * 0.5).op("Floor") * 2.0 == whole
    wave = sin((x - whole) * math.pi)
    return left, right(where(left, 1.0 - x, x)), where(even, wave, -wave)


def _log_gamma(x: Expr) -> Expr:
    left, value, wave = _reflected(x, _log_gamma_right)
    y = where(left, log(math.pi / abs(wave)) - value, value)
    return where(x.op("IsInf"), math.inf, y)


def _gamma(x: Expr) -> Expr:
    left, value, wave = _reflected(x, _log_gamma_right)
    size = exp(where(x == math.inf, math.inf, value))
    y = where(left, math.pi / (wave * size), size)
    # It has both infinities on either side of 0, -1, -2, ...
    pole = where(x == 0.0, reciprocal(x), math.nan)
    return where(left & (wave == 0.0), pole, y)


def _digamma_right(x: Expr) -> Expr:
    """The derivative of log(gamma(x)) for x >= 0.5: Stirling's series, eight steps further on."""
    y, shifted = x.filled(0.0), x
    for _ in range(8):
        y = y - reciprocal(shifted)
        shifted = shifted + 1.0
    inverse = reciprocal(shifted)
    square = inverse * inverse
    tail = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240))))
    return y + log(shifted) - 0.5 * inverse - tail


def _digamma(x: Expr) -> Expr:
    left, value, _ = _reflected(x, _digamma_right)
    safe = where(left, x, x.const(0.25))
    turned = safe - safe.op("Floor")
    cotangent = sin((0.5 - turned) * math.pi) / sin(turned * math.pi)
    return where(left, value - math.pi * cotangent, value)


# Giles 2010, "Approximating the erfinv function": single precision.
_CENTRAL = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_TAIL = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    y = x.filled(coefficients[0])
    for coefficient in coefficients[1:]:
        y = y * x + coefficient
    return y


def _erfinv(x: Expr) -> Expr:
    w = -log((1.0 - x) * (x + 1.0))
    central = _polynomial(w - 2.5, _CENTRAL)
    tail = _polynomial(sqrt(maximum(w, 5.0)) - 3.0, _TAIL)
    return where(abs(x) == 1.0, math.inf, where(w < 5.0, central, tail)) * x


for _name, _rule in zip(_NODES, (_log_gamma, _gamma, _digamma, _erfinv)):

    def _expand(
        g: Builder, node: ir.Node, rule: Callable[[Expr], Expr] = _rule
    ) -> Sequence[ir.Value]:
        assert node.inputs[0] is not None
        x = Expr(g, node.inputs[0])
        return [rule(x.cast(ir.DataType.DOUBLE)).cast(x.dtype).value]

    expansion(_name)(_expand)


@operator("gamma")
class Gamma(Operator):
    """The gamma function, element by element."""

    formula = "y = integral over t from 0 of t^(x - 1) exp(-t)"
    example = "gamma([1, 4]) -> [1, 6]"

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.own("Gamma", data)


@operator("gammaln")
class GammaLn(Operator):
    """The logarithm of the absolute value of the gamma function, element by element."""

    formula = "y = log(abs(gamma(x)))"
    example = "gammaln([3, 4]) -> [0.6931, 1.792]"

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.own("LogGamma", data)


@operator("erfinv", method="erfinv")
class ErfInv(Operator):
    """The inverse of the error function, element by element; infinite at -1 and 1."""

    formula = "erf(y) = x"
    example = "erfinv([0, 0.5]) -> [0, 0.4769]"

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.own("ErfInv", data)
