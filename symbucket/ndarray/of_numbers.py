"""Functions of arrays or numbers: ``add``, ``maximum``, ``greater`` and their like.

Two arrays broadcast; an array and a number give the array's dtype; two numbers give a number.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Protocol, overload

from symbucket.errors import InvalidArgumentError
from symbucket.runtime import NDArray
from symbucket.runtime.arithmetic import apply_rule


class OfNumbers(Protocol):
    """A function of two arrays or numbers."""

    @overload
    def __call__(self, lhs: NDArray, rhs: NDArray | float) -> NDArray: ...
    @overload
    def __call__(self, lhs: float, rhs: NDArray) -> NDArray: ...
    @overload
    def __call__(self, lhs: float, rhs: float) -> float: ...


def _define(
    name: str, rule: str, of_numbers: Callable[[float, float], float], what: str
) -> OfNumbers:
    def function(lhs: NDArray | float, rhs: NDArray | float) -> NDArray | float:
        if not isinstance(lhs, NDArray) and not isinstance(rhs, NDArray):
            return of_numbers(lhs, rhs)
        result = apply_rule(rule, lhs, rhs)
        if result is NotImplemented:
            raise InvalidArgumentError(
                f"nd.{name}: operands of types {type(lhs).__name__} and {type(rhs).__name__}; "
                "expected NDArrays or numbers"
            )
        return result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return {what}, element by element, of arrays that broadcast or numbers."
    return function  # type: ignore[return-value] # the overloads are what it does


def _as_number(compare: Callable[[float, float], object]) -> Callable[[float, float], float]:
    return lambda a, b: float(bool(compare(a, b)))


add = _define("add", "add", operator.add, "``lhs + rhs``")
subtract = _define("subtract", "sub", operator.sub, "``lhs - rhs``")
multiply = _define("multiply", "mul", operator.mul, "``lhs * rhs``")
divide = _define("divide", "div", operator.truediv, "``lhs / rhs``")
true_divide = divide
modulo = _define("modulo", "mod", operator.mod, "``lhs % rhs``, with the sign of ``rhs``")
power = _define("power", "power", operator.pow, "``lhs ** rhs``")
maximum = _define("maximum", "maximum", max, "the larger one")
minimum = _define("minimum", "minimum", min, "the smaller one")
hypot = _define("hypot", "hypot", math.hypot, "``sqrt(lhs^2 + rhs^2)``")
equal = _define("equal", "equal", _as_number(operator.eq), "1 where they are equal, else 0")
not_equal = _define(
    "not_equal", "not_equal", _as_number(operator.ne), "1 where they differ, else 0"
)
greater = _define("greater", "greater", _as_number(operator.gt), "1 where ``lhs > rhs``, else 0")
greater_equal = _define(
    "greater_equal", "greater_equal", _as_number(operator.ge), "1 where ``lhs >= rhs``, else 0"
)
lesser = _define("lesser", "lesser", _as_number(operator.lt), "1 where ``lhs < rhs``, else 0")
lesser_equal = _define(
    "lesser_equal", "lesser_equal", _as_number(operator.le), "1 where ``lhs <= rhs``, else 0"
)
logical_and = _define(
    "logical_and", "logical_and", _as_number(lambda a, b: a and b), "1 where both are not 0, else 0"
)
logical_or = _define(
    "logical_or", "logical_or", _as_number(lambda a, b: a or b), "1 where one is not 0, else 0"
)
logical_xor = _define(
    "logical_xor",
    "logical_xor",
    _as_number(lambda a, b: bool(a) != bool(b)),
    "1 where exactly one is not 0, else 0",
)
