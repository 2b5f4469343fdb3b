"""Arithmetic, comparisons and logic of arrays and numbers: MXNet's values and dtypes, in numpy.

Both compute the same numbers here, element by element, and numpy needs a microsecond for a small
array where a session needs ten times as long. What differs are the dtypes:

* The result has the dtype of the operands, also that of a comparison (1 and 0), of a division and
  of a power: whole numbers are divided towards zero.
* A number takes the dtype of the array first: for int32, ``7 / 2.5`` is ``7 / 2``, which is 3.
* Two arrays of different dtypes are refused.
* An array of bool and a number give int64; two arrays of bool are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from symbucket.casts import lost_numbers
from symbucket.elements import as_element
from symbucket.errors import ShapeError
from symbucket.types import Array

if TYPE_CHECKING:
    from symbucket.runtime.ndarray import NDArray

_WHOLE = "iu"  # kinds of dtypes


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind not in _WHOLE:
        return np.asarray(np.divide(a, b))
    down = a // b
    cut = (down * b != a) & ((a < 0) != (b < 0)) & (b != 0)
    return np.asarray(down + cut.astype(a.dtype))


def _modulo(a: Array, b: Array) -> Array:
    return np.where(b == 0, np.zeros((), a.dtype), np.mod(a, b))


def _power(a: Array, b: Array) -> Array:
    if a.dtype.kind not in _WHOLE:
        return np.asarray(np.power(a, b))
    powers = np.asarray(np.power(a, np.maximum(b, 0)))
    if not (b < 0).any():
        return powers
    return np.where(b < 0, np.power(a.astype(np.float64), b).astype(np.int64), powers)


_RULES: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divide,
    "mod": _modulo,
    "power": _power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "hypot": np.hypot,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "lesser": np.less,
    "lesser_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}

RULE_OF_UFUNC = {
    np.add: "add",
    np.subtract: "sub",
    np.multiply: "mul",
    np.divide: "div",
    np.remainder: "mod",
    np.power: "power",
    np.maximum: "maximum",
    np.minimum: "minimum",
    np.equal: "equal",
    np.not_equal: "not_equal",
    np.greater: "greater",
    np.greater_equal: "greater_equal",
    np.less: "lesser",
    np.less_equal: "lesser_equal",
}
"""What numpy calls when its own array stands on the left of an NDArray -> the rule."""


def arithmetic_rules() -> list[str]:
    """Return the names that ``calculate`` takes."""
    return list(_RULES)


def calculate(name: str, left: Any, right: Any) -> Array:
    """Return what the rule ``name`` gives for numpy arrays or numbers, at least one an array.

    Arrays broadcast as in numpy. Raises ShapeError if shapes or dtypes do not fit.
    """
    with np.errstate(all="ignore"):
        lhs, rhs = _operands(name, left, right)
        try:
            values = _RULES[name](lhs, rhs)
        except ValueError as error:
            raise ShapeError(
                f"{name}: shapes {np.shape(left)} and {np.shape(right)} do not broadcast"
            ) from error
        return np.asarray(values).astype(lhs.dtype, copy=False)


def _operands(name: str, left: Any, right: Any) -> tuple[Array, Array]:
    if not isinstance(right, np.ndarray):
        dtype = _number_dtype(left.dtype)
        return left.astype(dtype, copy=False), as_element(right, dtype)
    if not isinstance(left, np.ndarray):
        dtype = _number_dtype(right.dtype)
        return as_element(left, dtype), right.astype(dtype, copy=False)
    if left.dtype != right.dtype:
        raise ShapeError(
            f"{name}: dtypes {left.dtype} and {right.dtype} differ; make them one with "
            f'x.astype("{np.result_type(left.dtype, right.dtype)}")'
        )
    if left.dtype.kind == "b":
        raise ShapeError(f'{name}: arrays of bool have no arithmetic; use x.astype("float32")')
    return left, right


def _number_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.int64) if dtype.kind == "b" else dtype


class Arithmetic:
    """The operators of Python that numpy computes: ``a + b``, ``a * 2.0``, ``a > b``."""

    __slots__ = ()

    def __add__(self, other: Any) -> NDArray:
        return apply_rule("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> NDArray:
        return apply_rule("sub", self, other)

    def __rsub__(self, other: Any) -> NDArray:
        return apply_rule("sub", other, self)

    def __mul__(self, other: Any) -> NDArray:
        return apply_rule("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> NDArray:
        return apply_rule("div", self, other)

    def __rtruediv__(self, other: Any) -> NDArray:
        return apply_rule("div", other, self)

    def __mod__(self, other: Any) -> NDArray:
        return apply_rule("mod", self, other)

    def __rmod__(self, other: Any) -> NDArray:
        return apply_rule("mod", other, self)

    def __pow__(self, other: Any) -> NDArray:
        return apply_rule("power", self, other)

    def __rpow__(self, other: Any) -> NDArray:
        return apply_rule("power", other, self)

    def __matmul__(self, other: Any) -> NDArray:
        if isinstance(other, Arithmetic):
            return self.matmul(other)  # type: ignore[attr-defined,no-any-return] # likewise
        return NotImplemented

    def __neg__(self) -> NDArray:
        return apply_rule("mul", self, -1)

    def __abs__(self) -> NDArray:
        return self.abs()  # type: ignore[attr-defined,no-any-return] # a method of operators

    def __eq__(self, other: object) -> Any:
        return apply_rule("equal", self, other)

    def __ne__(self, other: object) -> Any:
        return apply_rule("not_equal", self, other)

    def __gt__(self, other: Any) -> NDArray:
        return apply_rule("greater", self, other)

    def __ge__(self, other: Any) -> NDArray:
        return apply_rule("greater_equal", self, other)

    def __lt__(self, other: Any) -> NDArray:
        return apply_rule("lesser", self, other)

    def __le__(self, other: Any) -> NDArray:
        return apply_rule("lesser_equal", self, other)

    __hash__ = object.__hash__

    def __iadd__(self, other: Any) -> NDArray:
        return _in_place("add", self, other)

    def __isub__(self, other: Any) -> NDArray:
        return _in_place("sub", self, other)

    def __imul__(self, other: Any) -> NDArray:
        return _in_place("mul", self, other)

    def __itruediv__(self, other: Any) -> NDArray:
        return _in_place("div", self, other)

    def __imod__(self, other: Any) -> NDArray:
        return _in_place("mod", self, other)

    def __ipow__(self, other: Any) -> NDArray:
        return _in_place("power", self, other)


def apply_rule(name: str, left: Any, right: Any) -> NDArray:
    """Return what a rule gives for two operands, at least one an NDArray, as a new array.

    NotImplemented if Python should ask the other operand.
    """
    array: Any = left if isinstance(left, Arithmetic) else right
    values = _values(name, array, left, right)
    result: NDArray = values if values is NotImplemented else array.beside(values)
    return result


def _in_place(name: str, array: Any, other: Any) -> NDArray:
    values = _values(name, array, array, other)
    if values is not NotImplemented:
        if values.shape != array.shape:
            raise ShapeError(
                f"{name} in place: the result has shape {values.shape}, the array {array.shape}"
            )
        array[...] = values
    result: NDArray = values if values is NotImplemented else array
    return result


def _values(name: str, array: Any, left: Any, right: Any) -> Any:
    """Return the result as a numpy array, or NotImplemented if an operand is something else."""
    operands = [_operand(value, array.dtype) for value in (left, right)]
    if any(value is NotImplemented for value in operands):
        return NotImplemented
    return calculate(name, *operands)


def _check_held(values: Array, dtype: np.dtype[Any]) -> None:
    """Raise ShapeError if numbers of a numpy array become other ones in an NDArray's dtype."""
    count, first = lost_numbers(values, dtype)
    if count:
        raise ShapeError(
            f"an array of {dtype} and a numpy array of {values.dtype}: {count} of its numbers, the "
            f"first {first}, would become others as {dtype}; make them one with "
            f'x.astype("{np.result_type(values.dtype, dtype)}")'
        )


def _operand(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return an operand as ``calculate`` takes it; a numpy array in the dtype of the NDArray."""
    if isinstance(value, Arithmetic):
        return value.view()  # type: ignore[attr-defined]
    if isinstance(value, np.ndarray):
        if value.dtype != dtype:
            _check_held(value, dtype)
        return value.astype(dtype, copy=False)
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        return value
    return NotImplemented
