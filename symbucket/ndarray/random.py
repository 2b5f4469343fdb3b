"""Random arrays by MXNet's names (``mx.nd.random``, ``mx.random``).

All numbers come from the library's running generator (:func:`symbucket.seeding.generator`), so they
depend on the seed and on what was drawn before. They are not MXNet's.

Parameters of a distribution are numbers, or arrays of one shape: then each pair draws ``shape``
numbers of its own, and the result has the shape of the parameters followed by ``shape``. ``shape``
is one number by default, ``dtype`` float32. With ``out=`` the array is filled, in its shape and
dtype, and returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket.casts import lost_numbers
from symbucket.context import Context
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.ndarray.create import as_dtype, as_shape, holding
from symbucket.runtime import NDArray
from symbucket.seeding import generator
from symbucket.types import Array

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

Parameter = float | NDArray
Shape = int | Sequence[int]
DType = npt.DTypeLike
Sampler = Callable[..., Any]
"""Called with the parameters and ``size``, as methods of numpy's Generator are."""


def _draw(
    what: str,
    sampler: Sampler,
    parameters: Sequence[Parameter],
    shape: Shape | None,
    dtype: DType | None,
    ctx: Context | None,
    out: NDArray | None,
) -> NDArray:
    arrays = [p for p in parameters if isinstance(p, NDArray)]
    if arrays and (len(arrays) < len(parameters) or len({a.shape for a in arrays}) > 1):
        raise InvalidArgumentError(
            f"random.{what}: parameters must all be numbers, or all arrays of one shape"
        )
    if arrays:
        ends = () if shape is None else as_shape(shape)
        size = (*arrays[0].shape, *ends)
        plain: list[Any] = [a.view().reshape(*a.shape, *[1] * len(ends)) for a in arrays]
        ctx = ctx or arrays[0].context
    else:
        size = as_shape(1 if shape is None else shape)
        if shape is None and out is not None:
            size = out.shape
        plain = list(parameters)
    try:
        values = np.asarray(sampler(*plain, size=size))
    except ValueError as error:
        raise InvalidArgumentError(f"random.{what}: {error}") from error
    return _put(what, values, dtype, ctx, out)


def _put(
    what: str, values: Array, dtype: DType | None, ctx: Context | None, out: NDArray | None
) -> NDArray:
    kept = out.dtype if out is not None else as_dtype(None if dtype == "None" else dtype)
    if kept.kind in "iu":  # a count may be any
        lost, first = lost_numbers(values, kept)
        if lost:
            raise InvalidArgumentError(
                f"random.{what}: {first} was drawn, which {kept} does not hold; give another dtype"
            )
    if out is None:
        return holding(values.astype(kept), ctx)
    if out.shape != values.shape:
        raise ShapeError(f"random.{what}: out has shape {out.shape}, not {values.shape}")
    out[...] = values
    return out


def _generalized_negative_binomial(mu: Any, alpha: Any, size: Any) -> Array:
    mu, alpha = np.broadcast_to(mu, size), np.broadcast_to(alpha, size)
    spread = np.where(alpha > 0, alpha, 1.0)
    rates = np.where(alpha > 0, generator().gamma(1 / spread, mu * spread, size), mu)
    return np.asarray(generator().poisson(rates))


def _want_fractions(what: str, dtype: DType | None, out: NDArray | None) -> None:
    """Raise InvalidArgumentError for dtypes of integers, which would cut fractions to 0."""
    target = out.dtype if out is not None else as_dtype(None if dtype == "None" else dtype)
    if target.kind != "f":
        raise InvalidArgumentError(
            f"random.{what}: dtype {target} holds no fractions; randint draws whole numbers"
        )


def _keep_below(array: NDArray, low: Parameter, high: Parameter) -> None:
    """Move numbers that were rounded up to ``high`` to the next one below it."""
    if isinstance(low, NDArray) or isinstance(high, NDArray) or not low < high:
        return
    top = array.dtype.type(high)
    values = array.view()
    at_top = values >= top
    if at_top.any():
        array[...] = np.where(at_top, np.nextafter(top, array.dtype.type(low)), values)


def uniform(
    low: Parameter = 0.0,
    high: Parameter = 1.0,
    shape: Shape | None = None,
    dtype: DType | None = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Numbers drawn evenly from ``low`` up to below ``high``."""
    _want_fractions("uniform", dtype, out)
    values = _draw("uniform", generator().uniform, (low, high), shape, dtype, ctx, out)
    _keep_below(values, low, high)
    return values


def normal(
    loc: Parameter = 0.0,
    scale: Parameter = 1.0,
    shape: Shape | None = None,
    dtype: DType | None = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Numbers of the normal distribution around ``loc`` with standard deviation ``scale``."""
    return _draw("normal", generator().normal, (loc, scale), shape, dtype, ctx, out)


def randn(
    *shape: int,
    loc: Parameter = 0.0,
    scale: Parameter = 1.0,
    dtype: DType | None = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """As ``normal``, with the sizes of the result as arguments."""
    return normal(loc, scale, shape or None, dtype, ctx, out)


def exponential(
    scale: Parameter = 1.0,
    shape: Shape | None = None,
    dtype: DType | None = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Numbers of the exponential distribution with mean ``scale``."""
    return _draw("exponential", generator().exponential, (scale,), shape, dtype, ctx, out)


def gamma(
    alpha: Parameter = 1.0,
    beta: Parameter = 1.0,
    shape: Shape | None = None,
    dtype: DType | None = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Numbers of the gamma distribution with shape ``alpha`` and scale ``beta``."""
    return _draw("gamma", generator().gamma, (alpha, beta), shape, dtype, ctx, out)


def poisson(
    lam: Parameter = 1.0,
    shape: Shape | None = None,
    dtype: DType | None = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Counts of the Poisson distribution with mean ``lam``."""
    return _draw("poisson", generator().poisson, (lam,), shape, dtype, ctx, out)


def negative_binomial(
    k: Parameter = 1,
    p: Parameter = 1,
    shape: Shape | None = None,
    dtype: DType | None = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Draw how often experiments succeed before ``k`` fail, each with probability ``p``."""
    draw = generator().negative_binomial
    return _draw("negative_binomial", draw, (k, p), shape, dtype, ctx, out)


def generalized_negative_binomial(
    mu: Parameter = 1,
    alpha: Parameter = 1,
    shape: Shape | None = None,
    dtype: DType | None = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Counts with mean ``mu`` and dispersion ``alpha``: the variance is ``mu + alpha mu^2``."""
    draw = _generalized_negative_binomial
    return _draw("generalized_negative_binomial", draw, (mu, alpha), shape, dtype, ctx, out)


def randint(
    low: int,
    high: int,
    shape: Shape | None = None,
    dtype: DType | None = "int32",
    ctx: Context | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """Whole numbers from ``low`` up to below ``high``, int32."""
    target = out.dtype if out is not None else as_dtype(dtype or "int32")
    ends = np.array([low, high - 1])
    if ends.dtype.kind in "iuf" and lost_numbers(ends, target)[0]:
        raise InvalidArgumentError(
            f"random.randint: numbers from {low} up to below {high} do not fit {target}; give "
            'another dtype, such as "int64"'
        )
    return _draw("randint", generator().integers, (low, high), shape, dtype or "int32", ctx, out)


def multinomial(
    data: NDArray,
    shape: Shape | None = None,
    get_prob: bool = False,
    out: NDArray | None = None,
    dtype: DType = "int32",
) -> NDArray | list[NDArray]:
    """Draw positions by probabilities in the last axis of ``data``: ``(*d, k) -> (*d, *shape)``.

    With ``get_prob`` a list of them and of the logarithms of their probabilities.
    """
    weights = data.view().astype(np.float64)
    if (weights < 0).any() or not np.allclose(weights.sum(-1), 1, atol=1e-3):
        raise InvalidArgumentError(
            "random.multinomial: the last axis of data must hold probabilities with the sum 1"
        )
    ends = as_shape(shape) if shape is not None else (1,) * (data.ndim == 1)
    bounds = weights.cumsum(-1).reshape(-1, weights.shape[-1])
    draws = generator().random((len(bounds), int(np.prod(ends))))
    positions = np.empty(draws.shape, np.int64)
    for place, row, draw in zip(positions, bounds, draws):
        place[:] = np.searchsorted(row, draw * row[-1], "right")
    taken = np.take_along_axis(weights.reshape(bounds.shape), positions, -1)
    size = (*data.shape[:-1], *ends)
    result = _put("multinomial", positions.reshape(size), dtype, data.context, out)
    if not get_prob:
        return result
    return [result, holding(np.log(taken).reshape(size).astype(np.float32), data.context)]


def shuffle(data: NDArray, out: NDArray | None = None) -> NDArray:
    """The rows of ``data`` in a random order."""
    values = data.view()[generator().permutation(len(data))]
    return _put("shuffle", values, data.dtype, data.context, out)


def _like(draw: Callable[..., NDArray]) -> Callable[..., NDArray]:
    def function(*parameters: float, data: NDArray, **named: Any) -> NDArray:
        return draw(*parameters, shape=data.shape, dtype=data.dtype, ctx=data.context, **named)

    function.__name__ = function.__qualname__ = f"{draw.__name__}_like"
    function.__doc__ = f"As ``{draw.__name__}``, in the shape and dtype of ``data=``."
    return function


uniform_like = _like(uniform)
normal_like = _like(normal)
exponential_like = _like(exponential)
gamma_like = _like(gamma)
poisson_like = _like(poisson)
negative_binomial_like = _like(negative_binomial)
generalized_negative_binomial_like = _like(generalized_negative_binomial)


def _exponential_of_rate(lam: Parameter = 1.0, *args: Any, **kwargs: Any) -> NDArray:
    """As ``exponential``, of the rate ``lam``, as the operators have it: the mean is 1 / lam."""
    if isinstance(lam, NDArray):
        return exponential(1 / lam, *args, **kwargs)
    if not lam > 0:
        raise InvalidArgumentError(f"random_exponential: the rate lam={lam!r} must be above 0")
    return exponential(1 / lam, *args, **kwargs)


def _sample_normal(mu: Parameter, sigma: Parameter, *args: Any, **kwargs: Any) -> NDArray:
    """As ``normal``, with the names that this operator has for its parameters."""
    return normal(mu, sigma, *args, **kwargs)


_NAMES = (
    "exponential gamma generalized_negative_binomial negative_binomial normal poisson uniform"
).split()

BY_OPERATOR: dict[str, Callable[..., Any]] = {
    **{f"random_{name}": globals()[name] for name in (*_NAMES, "randint")},
    **{f"sample_{name}": globals()[name] for name in (*_NAMES, "multinomial")},
    "random_exponential": _exponential_of_rate,
    "sample_exponential": _exponential_of_rate,
    "sample_normal": _sample_normal,
    "uniform": uniform,
    "normal": normal,
    "shuffle": shuffle,
}
"""The functions by the names that MXNet's operators have in ``mx.nd``."""
