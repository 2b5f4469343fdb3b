"""Random numbers in a network, as ``mx.sym.random``.

Parameters of a distribution are numbers (``shape`` is then the shape of what is drawn), or Symbols
that hold one distribution an element: ``shape`` numbers are drawn from each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError
from symbucket.symbol.compose import apply
from symbucket.symbol.symbol import Symbol

__all__ = ["normal", "randn", "uniform"]

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
