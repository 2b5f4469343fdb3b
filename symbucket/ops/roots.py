"""Roots of sums of powers, whose gradient at zero is zero."""

from __future__ import annotations

from symbucket.ir import Expr
from symbucket.ir.expr import sign, sqrt, where


def root(total: Expr, order: int) -> Expr:
    """Return the square root (``order`` 2) or cube root (3); where it is 0, nothing flows back.

    The slope is infinite there, and 0 times that would be NaN for each element of the sum.
    """
    is_zero = total == 0.0
    safe = where(is_zero, 1.0, total)
    y = sqrt(safe) if order == 2 else sign(safe) * abs(safe) ** (1.0 / 3.0)
    return where(is_zero, 0.0, y)
