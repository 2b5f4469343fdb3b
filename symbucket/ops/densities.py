"""Densities of distributions, or probabilities where these are discrete: ``random_pdf_*``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr
from symbucket.ir.expr import exp, log, where
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify, unify_all
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Random numbers"

Logarithm = Callable[..., Expr]
"""From samples and parameters, which broadcast, the logarithm of the density."""


@dataclass(frozen=True)
class _Density:
    text: str
    formula: str
    example: str
    parameters: tuple[str, ...]
    log: Logarithm
    event_axes: int = 0
    """How many of the last axes of a sample are one event."""
    no_gradient: tuple[str, ...] = ()


def _log_gamma(x: Expr) -> Expr:
    return x.own("LogGamma")


def _uniform(x: Expr, low: Expr, high: Expr) -> Expr:
    inside = (x >= low) & (x <= high)
    return where(inside, -log(high - low), -np.inf)


def _normal(x: Expr, mu: Expr, sigma: Expr) -> Expr:
    away = (x - mu) / sigma
    return away * away * -0.5 - log(sigma) - 0.5 * math.log(2.0 * math.pi)


def _gamma(x: Expr, alpha: Expr, beta: Expr) -> Expr:
    return alpha * log(beta) + (alpha - 1.0) * log(x) - beta * x - _log_gamma(alpha)


def _exponential(x: Expr, lam: Expr) -> Expr:
    return log(lam) - lam * x


def _poisson(x: Expr, lam: Expr) -> Expr:
    return x * log(lam) - lam - _log_gamma(x + 1.0)


def _negative_binomial(x: Expr, k: Expr, p: Expr) -> Expr:
    ways = _log_gamma(x + k) - _log_gamma(x + 1.0) - _log_gamma(k)
    return ways + k * log(p) + x * log(1.0 - p)


def _generalized_negative_binomial(x: Expr, mu: Expr, alpha: Expr) -> Expr:
    return _negative_binomial(x, 1.0 / alpha, 1.0 / (mu * alpha + 1.0))


def _dirichlet(x: Expr, alpha: Expr) -> Expr:
    axis = x.rank - 1
    weighed = ((alpha - 1.0) * log(x)).sum(axis)
    return weighed + _log_gamma(alpha.sum(axis)) - _log_gamma(alpha).sum(axis)


_DENSITIES = {
    "uniform": _Density(
        "evenly from low to high",
        "y = 1 / (high - low) for low <= sample <= high, else 0",
        "random_pdf_uniform([[0.5, 3]], [0], [2]) -> [[0.5, 0]]",
        ("low", "high"),
        _uniform,
        no_gradient=("sample",),
    ),
    "normal": _Density(
        "around mu, with the standard deviation sigma",
        "y = exp(-((sample - mu) / sigma)^2 / 2) / (sigma sqrt(2 pi))",
        "random_pdf_normal([[0, 1]], [0], [1]) -> [[0.3989, 0.242]]",
        ("mu", "sigma"),
        _normal,
    ),
    "gamma": _Density(
        "of shape alpha and rate beta",
        "y = beta^alpha sample^(alpha - 1) exp(-beta sample) / gamma(alpha)",
        "random_pdf_gamma([[1, 2]], [5], [1]) -> [[0.01533, 0.09022]]",
        ("alpha", "beta"),
        _gamma,
    ),
    "exponential": _Density(
        "of rate lam",
        "y = lam exp(-lam sample)",
        "random_pdf_exponential([[0, 1]], [2]) -> [[2, 0.2707]]",
        ("lam",),
        _exponential,
    ),
    "poisson": _Density(
        "counts of mean lam",
        "y = lam^sample exp(-lam) / sample!",
        "random_pdf_poisson([[0, 1]], [2]) -> [[0.1353, 0.2707]]",
        ("lam",),
        _poisson,
    ),
    "negative_binomial": _Density(
        "failures before k successes of probability p",
        "y = gamma(sample + k) / (sample! gamma(k)) p^k (1 - p)^sample",
        "random_pdf_negative_binomial([[0, 1]], [2], [0.4]) -> [[0.16, 0.192]]",
        ("k", "p"),
        _negative_binomial,
    ),
    "generalized_negative_binomial": _Density(
        "counts of mean mu and dispersion alpha",
        "y as of the negative binomial with k = 1 / alpha, p = 1 / (mu alpha + 1)",
        "random_pdf_generalized_negative_binomial([[0, 1]], [2], [0.4]) -> [[0.23, 0.2556]]",
        ("mu", "alpha"),
        _generalized_negative_binomial,
    ),
    "dirichlet": _Density(
        "shares of weights alpha, along the last axis",
        "y = gamma(sum of alpha) prod(sample^(alpha - 1) / gamma(alpha))",
        "random_pdf_dirichlet([[0.2, 0.8]], [2, 3]) -> [1.536]",
        ("alpha",),
        _dirichlet,
        event_axes=1,
    ),
}


class _OfSamples(Operator):
    """Parameters have the first axes of ``sample``, whose further axes hold many samples each."""

    is_log: bool
    density: ClassVar[_Density]

    @classmethod
    def inputs(cls) -> dict[str, bool]:
        return dict.fromkeys(("sample", *cls.density.parameters), True)

    def arguments(self) -> tuple[str, ...]:
        return tuple(self.inputs())

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        sample = ins[0]
        shape = unify_all(ins[1:])
        if sample is None or shape is None:
            return [sample, *([shape] * (len(ins) - 1))], outs
        own = self.density.event_axes
        leading = len(shape) - own
        if leading < 0 or len(sample) < len(shape):
            raise ShapeError(f"parameters of shape {shape} do not fit samples of shape {sample}")
        event = sample[len(sample) - own :]
        parameter = unify((*sample[:leading], *event), shape)
        out = unify(outs[0], sample[: len(sample) - own])
        assert parameter is not None
        rest = [0] * (len(sample) - leading - own)
        sample = unify(sample, (*parameter[:leading], *rest, *parameter[leading:]))
        return [sample, *[parameter] * (len(ins) - 1)], [out]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        sample, *parameters = inputs
        x, own = Expr(g, sample), self.density.event_axes
        spread = []
        for value in parameters:
            p = Expr(g, value).cast(x.dtype)
            leading, event = p.shape[: p.rank - own], p.shape[p.rank - own :]
            between = [1] * (x.rank - len(leading) - own)
            spread.append(p.reshape((*leading, *between, *event)))
        result = self.density.log(x, *spread)
        result = result if result.shape == g.out_shapes[0] else result.expand(g.out_shapes[0])
        return result.value if self.is_log else exp(result).value


def _define(name: str, density: _Density) -> None:
    event = ", *e" if density.event_axes else ""
    inputs = ", ".join(["(*d, *more" + event + ")", *[f"(*d{event})"] * len(density.parameters)])
    body = {
        "__doc__": f"Density of ``sample``, {density.text}; its logarithm with ``is_log``.",
        "__module__": __name__,
        "__annotations__": {"is_log": bool},
        "is_log": False,
        "formula": density.formula,
        "example": density.example,
        "shapes": f"{inputs} -> (*d, *more)",
        "density": density,
        "no_gradient": density.no_gradient,
    }
    name = f"random_pdf_{name}"
    operator(f"_{name}", name)(type(name, (_OfSamples,), body))


for _name, _density in _DENSITIES.items():
    _define(_name, _density)
