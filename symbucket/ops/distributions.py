"""Distributions of random numbers, as formulas of uniform and normal numbers that are drawn.

Where numbers are rejected, a fixed count of attempts is drawn and the first one that is accepted
counts; that none is has a probability below 1e-9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ir.expr import exp, log, maximum, reciprocal, sqrt, where
from symbucket.ops.record import Emitter
from symbucket.types import Shape

Parameters = Sequence[Expr]


@dataclass(frozen=True)
class Distribution:
    """Recipe by which a distribution is drawn.

    Attributes:
        text: what it is, in words, with the names of the parameters.
        formula: the density, or the probability, of y.
        defaults: the parameters, in order.
        draw: draws a shape of float32 numbers; parameters are float32 and broadcast to it.
        draws: how many draws of uniform or normal numbers that takes, from the parameters if these
            are numbers, else None.
    """

    text: str
    formula: str
    defaults: Mapping[str, float]
    draw: Callable[[Emitter, Parameters, Shape], Expr]
    draws: Callable[[Sequence[float] | None], int] = lambda numbers: 1


_GAMMA_ATTEMPTS = 8  # each is accepted with a probability above 0.95
_POISSON_ATTEMPTS = 18  # above 0.7
_SMALL_MEAN = 10.0  # of a Poisson variable that is found by adding up probabilities
_TERMS = 48  # of that sum: what is left has a probability below 1e-15


def _uniform(g: Emitter, shape: Shape) -> Expr:
    return Expr(g, g.noise("uniform", shape))


def uniform(g: Emitter, parameters: Parameters, shape: Shape) -> Expr:
    """From low up to below high."""
    low, high = parameters
    return low + (high - low) * _uniform(g, shape)


def normal(g: Emitter, parameters: Parameters, shape: Shape) -> Expr:
    """Around loc, with standard deviation scale."""
    loc, scale = parameters
    return loc + scale * Expr(g, g.noise("normal", shape))


def exponential(g: Emitter, parameters: Parameters, shape: Shape) -> Expr:
    """With the rate lam, so of mean 1 / lam."""
    return -log(1.0 - _uniform(g, shape)) / parameters[0]


def gamma(g: Emitter, parameters: Parameters, shape: Shape) -> Expr:
    """Of shape alpha and scale beta (Marsaglia and Tsang 2000)."""
    alpha, beta = parameters
    is_small = alpha < 1.0  # gamma(alpha) is gamma(alpha + 1) times u^(1 / alpha)
    d = where(is_small, alpha + 1.0, alpha) - 1.0 / 3.0
    attempts = (_GAMMA_ATTEMPTS, *shape)
    x = Expr(g, g.noise("normal", attempts))
    u = _uniform(g, (_GAMMA_ATTEMPTS + 1, *shape))
    root = x * reciprocal(sqrt(d * 9.0)) + 1.0
    v = maximum(root * root * root, 1e-30)
    chance, boost = u.ops("Split", [_GAMMA_ATTEMPTS, 1], axis=0, outputs=2)
    accepted = log(1.0 - chance) < x * x * 0.5 + d - d * v + d * log(v)
    value = d * _first(v, accepted & (root > 0.0), shape)
    power = (1.0 - boost.reshape(shape)) ** reciprocal(alpha)
    return where(is_small, value * power, value) * beta


def poisson(g: Emitter, parameters: Parameters, shape: Shape) -> Expr:
    """Of mean lam."""
    (mean,) = parameters
    number = mean.constant
    if number is None or number.size != 1:
        small = _small_poisson(g, where(mean < _SMALL_MEAN, mean, 1.0), shape)
        return where(mean < _SMALL_MEAN, small, _large_poisson(g, mean, shape))
    draw = _small_poisson if number.item() < _SMALL_MEAN else _large_poisson
    return draw(g, mean, shape)


def _small_poisson(g: Emitter, mean: Expr, shape: Shape) -> Expr:
    """Return how many of the first sums of probabilities a uniform number exceeds."""
    counts = np.arange(_TERMS).reshape(-1, *[1] * len(shape))
    logs = np.array([math.lgamma(k + 1.0) for k in range(_TERMS)]).reshape(counts.shape)
    wide = mean.cast(ir.DataType.DOUBLE)
    # The logarithm of 0 is minus infinity, and 0 times that would be NaN.
    terms = exp(log(maximum(wide, 1e-300)) * counts - wide - logs)
    sums = terms.op("CumSum", Expr(g, g.const(np.int64(0))))
    exceeded = _uniform(g, shape).cast(ir.DataType.DOUBLE) >= sums
    return exceeded.cast(ir.DataType.FLOAT).sum(0)


def _large_poisson(g: Emitter, mean: Expr, shape: Shape) -> Expr:
    """Transformed rejection (Hoermann 1993, PTRS), for means of 10 and more."""
    mean = maximum(mean.cast(ir.DataType.DOUBLE), _SMALL_MEAN)
    spread = sqrt(mean) * 2.53 + 0.931
    tilt = spread * 0.02483 - 0.059
    attempts = (_POISSON_ATTEMPTS, *shape)
    u = _uniform(g, attempts).cast(ir.DataType.DOUBLE) - 0.5
    v = _uniform(g, attempts).cast(ir.DataType.DOUBLE)
    edge = maximum(0.5 - abs(u), 1e-9)
    count = ((tilt * 2.0 / edge + spread) * u + mean + 0.43).op("Floor")
    surely = (edge >= 0.07) & (v <= 0.9277 - 3.6224 / (spread - 2.0))
    never = (count < 0.0) | ((edge < 0.013) & (v > edge))
    factor = 1.1239 + 1.1328 / (spread - 3.4)
    safe = maximum(count, 0.0)
    chance = log(maximum(v, 1e-30)) + log(factor) - log(tilt / (edge * edge) + spread)
    accepted = chance <= safe * log(mean) - mean - (safe + 1.0).own("LogGamma")
    return _first(safe, surely | (accepted & ~never), shape).cast(ir.DataType.FLOAT)


def _first(values: Expr, accepted: Expr, shape: Shape) -> Expr:
    """The first accepted value along axis 0."""
    place = accepted.cast(ir.DataType.FLOAT).op("ArgMax", axis=0, keepdims=1)
    return values.op("GatherElements", place, axis=0).reshape(shape)


def negative_binomial(g: Emitter, parameters: Parameters, shape: Shape) -> Expr:
    """Failures before k successes of probability p: a Poisson variable of a gamma mean."""
    k, p = parameters
    return poisson(g, [gamma(g, [k, (1.0 - p) / p], shape)], shape)


def generalized_negative_binomial(g: Emitter, parameters: Parameters, shape: Shape) -> Expr:
    """Of mean mu and dispersion alpha; without dispersion a Poisson variable."""
    mu, alpha = parameters
    spread = maximum(alpha, 1e-6)
    mean = gamma(g, [reciprocal(spread), mu * spread], shape)
    return poisson(g, [where(alpha < 1e-6, mu, mean)], shape)


def _draws_of_poisson(numbers: Sequence[float] | None) -> int:
    if numbers is None:
        return 3
    return 1 if numbers[0] < _SMALL_MEAN else 2


DISTRIBUTIONS = {
    "uniform": Distribution(
        "the uniform distribution from ``low`` up to below ``high``",
        "p(y) = 1 / (high - low)",
        {"low": 0.0, "high": 1.0},
        uniform,
    ),
    "normal": Distribution(
        "the normal distribution around ``loc`` with standard deviation ``scale``",
        "p(y) = exp(-(y - loc)^2 / (2 scale^2)) / (scale sqrt(2 pi))",
        {"loc": 0.0, "scale": 1.0},
        normal,
    ),
    "exponential": Distribution(
        "the exponential distribution of rate ``lam``",
        "p(y) = lam exp(-lam y)",
        {"lam": 1.0},
        exponential,
    ),
    "gamma": Distribution(
        "the gamma distribution of shape ``alpha`` and scale ``beta``",
        "p(y) = y^(alpha - 1) exp(-y / beta) / (gamma(alpha) beta^alpha)",
        {"alpha": 1.0, "beta": 1.0},
        gamma,
        lambda numbers: 2,
    ),
    "poisson": Distribution(
        "the Poisson distribution of mean ``lam``",
        "P(y) = lam^y exp(-lam) / y!",
        {"lam": 1.0},
        poisson,
        _draws_of_poisson,
    ),
    "negative_binomial": Distribution(
        "the negative binomial distribution: failures before ``k`` successes of probability ``p``",
        "P(y) = gamma(y + k) / (y! gamma(k)) p^k (1 - p)^y",
        {"k": 1.0, "p": 1.0},
        negative_binomial,
        lambda numbers: 5,
    ),
    "generalized_negative_binomial": Distribution(
        "the negative binomial distribution of mean ``mu`` and dispersion ``alpha``",
        "P(y) as of the negative binomial distribution with k = 1 / alpha, p = 1 / (1 + alpha mu)",
        {"mu": 1.0, "alpha": 1.0},
        generalized_negative_binomial,
        lambda numbers: 5,
    ),
}
