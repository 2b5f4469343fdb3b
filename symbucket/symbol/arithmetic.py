"""Arithmetic and comparisons on symbols, under the automatic names of MXNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symbucket.ops.attributes import as_number

if TYPE_CHECKING:
    from symbucket.symbol.symbol import Symbol


class Arithmetic:
    """The operators of Python that make a node: ``a + b``, ``a * 2.0``, ``a > b``."""

    __slots__ = ()
    # numpy must leave `np.float32(2) * symbol` to __rmul__ instead of taking symbols for sequences.
    __array_ufunc__ = None

    def __add__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_plus", "_plus_scalar")

    __radd__ = __add__

    def __sub__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_minus", "_minus_scalar")

    def __rsub__(self, other: float) -> Symbol:
        return _binary(self, other, "_minus", "_rminus_scalar")

    def __mul__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_mul", "_mul_scalar")

    __rmul__ = __mul__

    def __truediv__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_div", "_div_scalar")

    def __rtruediv__(self, other: float) -> Symbol:
        return _binary(self, other, "_div", "_rdiv_scalar")

    def __mod__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_mod", "_mod_scalar")

    def __rmod__(self, other: float) -> Symbol:
        return _binary(self, other, "_mod", "_rmod_scalar")

    def __pow__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_power", "_power_scalar")

    def __rpow__(self, other: float) -> Symbol:
        return _binary(self, other, "_power", "_rpower_scalar")

    def __matmul__(self, other: Symbol) -> Symbol:
        if isinstance(other, Arithmetic):
            return _node("matmul", "matmul", self, other)
        return NotImplemented

    def __neg__(self) -> Symbol:
        return _node("negative", "negative", self)

    def __abs__(self) -> Symbol:
        return _node("abs", "abs", self)

    def __eq__(self, other: object) -> Any:
        return _binary(self, other, "_equal", "_equal_scalar")

    def __ne__(self, other: object) -> Any:
        return _binary(self, other, "_not_equal", "_not_equal_scalar")

    def __gt__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_greater", "_greater_scalar")

    def __ge__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_greater_equal", "_greater_equal_scalar")

    def __lt__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_lesser", "_lesser_scalar")

    def __le__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_lesser_equal", "_lesser_equal_scalar")

    __hash__ = object.__hash__


def _binary(left: Arithmetic, right: Any, with_symbol: str, with_scalar: str) -> Symbol:
    if isinstance(right, Arithmetic):
        return _node(with_symbol, with_symbol, left, right)
    if isinstance(right, (int, float, np.number)):
        # MXNet's automatic names: _plusscalar0, _rminusscalar1.
        called = with_scalar.replace("_scalar", "scalar")
        return _node(with_scalar, called, left, scalar=as_number(right))
    return NotImplemented  # type: ignore[no-any-return] # Python tries the other operand then


def _node(op_name: str, called: str, *inputs: Arithmetic, **attributes: float) -> Symbol:
    from symbucket.symbol.compose import apply_as  # needs Symbol, which is an Arithmetic

    return apply_as(op_name, called, *inputs, **attributes)
