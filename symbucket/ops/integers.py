"""Sums, products and powers of whole numbers: modulo the dtype's range, and exact inside it.

Newer versions of the runtime add and multiply int64 in float64, which rounds from 2^53 on and stops
at the ends of the range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ir.expr import where

_HALF = 2**32
_BITS = 6  # of exponents: 2^64 is 0 in every dtype


def integer_sum(x: Expr, axes: Sequence[int], keepdims: bool) -> Expr:
    """Return the sum over ``axes`` of up to two million integers each."""

    def total(values: Expr) -> Expr:
        return values.op("ReduceSum", list(axes), keepdims=int(keepdims))

    if x.dtype != ir.DataType.INT64:
        return total(x.cast(ir.DataType.INT64)).cast(x.dtype)
    high = x / _HALF
    return total(high) * _HALF + total(x - high * _HALF)


def integer_product(x: Expr, axes: Sequence[int], keepdims: bool) -> Expr:
    """Return the product over ``axes``: of halves, of their halves, and so on."""
    rest = [i for i in range(x.rank) if i not in axes]
    shape = [1 if i in axes else d for i, d in enumerate(x.shape) if keepdims or i in rest]
    count = math.prod(x.shape[i] for i in axes)
    y = x.transpose([*axes, *rest]).reshape((count, *(x.shape[i] for i in rest)))
    while count > 1:
        half, odd = divmod(count, 2)
        parts = y.ops("Split", [half, half, *[1] * odd], outputs=2 + odd, axis=0)
        y = parts[0] * parts[1]
        y = y.op("Concat", parts[2], axis=0) if odd else y
        count = half + odd
    return y.reshape(shape)


def integer_power(base: Expr, exponent: Expr) -> Expr:
    """Return the power of integers by squaring; exponents below 0 are those of floats, cut."""
    dtype = base.dtype
    if dtype.itemsize == 1:  # the runtimes choose among no shorter ones
        return integer_power(*(x.cast(ir.DataType.INT32) for x in (base, exponent))).cast(dtype)
    left = where(exponent > 2**_BITS - 1, exponent.op("Mod", 2) + (2**_BITS - 2), exponent)
    square, y = base, base.const(1)
    for _ in range(_BITS):
        y = where(left.op("Mod", 2) == 1, y * square, y)
        square, left = square * square, left / 2
    return where(exponent < 0, base**exponent, y)
