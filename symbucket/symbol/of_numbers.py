"""Functions of symbols or numbers: ``maximum``, ``minimum``, ``power``, ``hypot``.

Two symbols have one shape; a symbol and a number make the operator of an array and a number, two
numbers a number.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Protocol, overload

import numpy as np

from symbucket.errors import InvalidArgumentError
from symbucket.symbol.compose import apply_as
from symbucket.symbol.symbol import Symbol


class OfNumbers(Protocol):
    """A function of two symbols or numbers."""

    @overload
    def __call__(self, left: Symbol, right: Symbol | float) -> Symbol: ...
    @overload
    def __call__(self, left: float, right: Symbol) -> Symbol: ...
    @overload
    def __call__(self, left: float, right: float) -> float: ...


def _define(
    name: str, of_numbers: Callable[[float, float], float], text: str, reflected: str = ""
) -> OfNumbers:
    """Return the function ``name``; ``reflected`` is its operator with the number on the left."""

    def function(left: Symbol | float, right: Symbol | float) -> Symbol | float:
        for operand in (left, right):
            if not isinstance(operand, (Symbol, int, float, np.number)):
                raise InvalidArgumentError(
                    f"{name}: {operand!r} is of type {type(operand).__name__}; both operands must "
                    "be Symbols or numbers"
                )
        if isinstance(left, Symbol) and isinstance(right, Symbol):
            return apply_as(f"_{name}", f"_{name}", left, right)
        if isinstance(left, Symbol):
            return _with_number(name, left, right)
        if isinstance(right, Symbol):
            return _with_number(reflected or name, right, left)
        return of_numbers(left, right)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function  # type: ignore[return-value] # the overloads are what it does


def _with_number(name: str, symbol: Symbol, number: Symbol | float) -> Symbol:
    # MXNet's automatic names: _maximumscalar0.
    return apply_as(f"_{name}_scalar", f"_{name}scalar", symbol, scalar=number)


maximum = _define(
    "maximum", max, "Return the larger one of symbols or numbers, element by element."
)
minimum = _define(
    "minimum", min, "Return the smaller one of symbols or numbers, element by element."
)
hypot = _define(
    "hypot", math.hypot, "Return ``sqrt(left^2 + right^2)`` of symbols or numbers, by elements."
)
power = _define(
    "power",
    operator.pow,
    "Return ``left`` to the power ``right``, symbols or numbers, element by element.",
    reflected="rpower",
)
pow = power
