"""Random numbers in a network, as ``mx.sym.random``.

Parameters of a distribution are numbers (``shape`` is then the shape of what is drawn), or Symbols
that hold one distribution an element: ``shape`` numbers are drawn from each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError
from symbucket.symbol.compose import apply
from symbucket.symbol.symbol import Symbol

__all__ = [
    "exponential",
    "exponential_like",
    "gamma",
    "gamma_like",
    "generalized_negative_binomial",
    "generalized_negative_binomial_like",
    "multinomial",
    "negative_binomial",
    "negative_binomial_like",
    "normal",
    "normal_like",
    "poisson",
    "poisson_like",
    "randint",
    "randn",
    "shuffle",
    "uniform",
    "uniform_like",
]

Parameter = Symbol | float
Size = int | Sequence[int]


def uniform(
    low: Parameter = 0,
    high: Parameter = 1,
    shape: Size | None = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Symbol:
    """Draw evenly from ``low`` up to below ``high``."""
    return _draw("uniform", {"low": low, "high": high}, shape, dtype, kwargs)


def normal(
    loc: Parameter = 0,
    scale: Parameter = 1,
    shape: Size | None = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Symbol:
    """Draw from the normal distribution around ``loc`` with standard deviation ``scale``."""
    return _draw("normal", {"loc": loc, "scale": scale}, shape, dtype, kwargs)


def randn(*shape: int, loc: Parameter = 0, scale: Parameter = 1, **kwargs: Any) -> Symbol:
    """Draw from the normal distribution; the sizes are positional arguments."""
    return normal(loc, scale, shape or None, **kwargs)


def exponential(
    scale: Parameter = 1, shape: Size | None = None, dtype: Any = None, **kwargs: Any
) -> Symbol:
    """Draw from the exponential distribution of mean ``scale``."""
    rate = 1.0 / scale if isinstance(scale, Symbol) else 1.0 / float(scale)
    return _draw("exponential", {"lam": rate}, shape, dtype, kwargs)


def poisson(
    lam: Parameter = 1, shape: Size | None = None, dtype: Any = None, **kwargs: Any
) -> Symbol:
    """Draw from the Poisson distribution of mean ``lam``."""
    return _draw("poisson", {"lam": lam}, shape, dtype, kwargs)


def gamma(
    alpha: Parameter = 1,
    beta: Parameter = 1,
    shape: Size | None = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Symbol:
    """Draw from the gamma distribution of shape ``alpha`` and scale ``beta``."""
    return _draw("gamma", {"alpha": alpha, "beta": beta}, shape, dtype, kwargs)


def negative_binomial(
    k: Parameter = 1,
    p: Parameter = 1,
    shape: Size | None = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Symbol:
    """Draw how often a trial fails before ``k`` successes of probability ``p``."""
    return _draw("negative_binomial", {"k": k, "p": p}, shape, dtype, kwargs)


def generalized_negative_binomial(
    mu: Parameter = 1,
    alpha: Parameter = 1,
    shape: Size | None = None,
    dtype: Any = None,
    **kwargs: Any,
) -> Symbol:
    """Draw from the negative binomial distribution of mean ``mu`` and dispersion ``alpha``."""
    parameters = {"mu": mu, "alpha": alpha}
    return _draw("generalized_negative_binomial", parameters, shape, dtype, kwargs)


def randint(
    low: int, high: int, shape: Size | None = None, dtype: Any = None, **kwargs: Any
) -> Symbol:
    """Draw whole numbers from ``low`` up to below ``high``."""
    options = {"low": low, "high": high, "shape": shape, "dtype": dtype, **kwargs}
    return apply("_random_randint", (), options)


def multinomial(
    data: Symbol,
    shape: Size | None = None,
    get_prob: bool = True,
    dtype: Any = "int32",
    **kwargs: Any,
) -> Symbol:
    """Draw ``shape`` classes for each row of probabilities; see ``sym.sample_multinomial``."""
    options = {"shape": shape, "get_prob": get_prob, "dtype": dtype, **kwargs}
    return apply("_sample_multinomial", [data], options)


def shuffle(data: Symbol, **kwargs: Any) -> Symbol:
    """Put the slices along the first axis in random order."""
    return apply("_shuffle", [data], kwargs)


def _like(name: str) -> Callable[..., Symbol]:
    def function(data: Symbol, **kwargs: Any) -> Symbol:
        return apply(f"_random_{name}_like", [data], kwargs)

    function.__name__ = function.__qualname__ = f"{name}_like"
    function.__doc__ = f"Draw as by ``{name}``, with numbers for parameters, like the data."
    return function


uniform_like = _like("uniform")
normal_like = _like("normal")
exponential_like = _like("exponential")
poisson_like = _like("poisson")
gamma_like = _like("gamma")
negative_binomial_like = _like("negative_binomial")
generalized_negative_binomial_like = _like("generalized_negative_binomial")


def _draw(
    name: str,
    parameters: dict[str, Parameter],
    shape: Size | None,
    dtype: Any,
    kwargs: dict[str, Any],
) -> Symbol:
    symbols = [p for p in parameters.values() if isinstance(p, Symbol)]
    numbers = [p for p in parameters.values() if isinstance(p, (int, float, np.number))]
    if len(parameters) not in (len(symbols), len(numbers)):
        raise InvalidArgumentError(
            f"random.{name}: {', '.join(parameters)} must be all Symbols or all numbers, not "
            f"{', '.join(type(p).__name__ for p in parameters.values())}"
        )
    options = {"shape": shape, "dtype": dtype, **kwargs}
    if symbols:
        return apply(f"_sample_{name}", symbols, options)
    return apply(f"_random_{name}", (), {**parameters, **options})
