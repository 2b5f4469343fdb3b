"""Gradients of softmaxes over rows that a mask of minus infinity covers whole."""

from __future__ import annotations

from symbucket.ir import Expr
from symbucket.ir.expr import where
from symbucket.ir.minus_infinity import can_be_minus_infinity


def rows_in_use(dx: Expr, dy: Expr, x: Expr, axis: int) -> Expr:
    """dx, with zeros in rows of which dy is zero: nothing flows back from them.

    A row that is masked whole, all minus infinity, has the softmax NaN. If the network replaces it
    afterwards, its gradient is 0 and not 0 times NaN. Costs two passes over dx, so only where x can
    be minus infinity; what the user hands in may be a mask.
    """
    if not can_be_minus_infinity(x.value, unknown=True):
        return dx
    total = dy.op("ReduceL1", [axis % dy.rank])
    return where(total == 0.0, 0.0, dx)
