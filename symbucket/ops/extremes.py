"""Extremes, their positions and orders of floats, NaN among them, alike on every runtime.

The runtimes' kernels pass over a NaN or return it, depending on where it stands, and what
onnxruntime 1.19 calls ordered is not if there is one. Here an extreme of numbers with a NaN is NaN,
and the position that of the first NaN. In an order a NaN stands where plus infinity does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.casts import lost_numbers
from symbucket.errors import ShapeError
from symbucket.ir import Expr
from symbucket.ir.expr import has_nan, where
from symbucket.types import DType


def extreme(x: Expr, kind: str, axes: Sequence[int], keepdims: bool) -> Expr:
    """Return the largest (``kind`` "ReduceMax") or smallest elements ("ReduceMin") over ``axes``.

    No gradient flows back if the result is NaN.
    """
    y = x.op(kind, list(axes), keepdims=int(keepdims))
    if not x.dtype.is_floating_point():
        return y
    return where(has_nan(x, axes, keepdims), y.const(math.nan), y)


def position(x: Expr, kind: str, axis: int, keepdims: bool) -> Expr:
    """Return the position of the first extreme (``kind`` "ArgMax" or "ArgMin") along ``axis``."""
    if x.dtype.is_floating_point():
        is_nan = x.op("IsNaN")
        extremes = (is_nan if kind == "ArgMax" else ~is_nan).cast(x.dtype)
        x = where(has_nan(x, [axis], keepdims=True), extremes, x)
    return x.op(kind, axis=axis, keepdims=int(keepdims))


def ordered(x: Expr, count: Expr, axis: int, largest: bool, in_order: bool = True) -> list[Expr]:
    """Return the first ``count`` elements in order along ``axis``, and their positions (int64).

    ``in_order`` false: the same elements, in any order.
    """
    attributes: dict[str, Any] = {
        "axis": axis,
        "largest": int(largest),
        "sorted": None if in_order else 0,
    }
    if not x.dtype.is_floating_point():
        return x.ops("TopK", count, outputs=2, **attributes)
    numbers = where(x.op("IsNaN"), math.inf, x)
    positions = numbers.ops("TopK", count, outputs=2, **attributes)[1]
    return [x.op("GatherElements", positions, axis=axis), positions]


def check_positions(size: int, dtype: DType, what: str) -> None:
    """Raise ShapeError unless ``dtype`` holds the positions among ``size`` elements."""
    if lost_numbers(np.array([max(size - 1, 0)]), dtype)[0]:
        raise ShapeError(
            f"{what}: positions among {size} elements go up to {size - 1}, which {dtype} does not "
            "hold; choose a wider dtype"
        )
