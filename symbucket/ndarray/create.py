"""New arrays: from values, or filled with one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket.context import Context
from symbucket.errors import InvalidArgumentError
from symbucket.runtime import NDArray

Shape = int | Sequence[int]


def array(
    source_array: Any, ctx: Context | None = None, dtype: npt.DTypeLike | None = None
) -> NDArray:
    """A new array with the values of a number, nested list, numpy array or NDArray.

    The dtype is float32 unless given, or that of an NDArray. Raises InvalidArgumentError where the
    values are no numbers of one shape.
    """
    if dtype is None and isinstance(source_array, NDArray):
        dtype = source_array.dtype
    checked_dtype = as_dtype(dtype)
    try:
        values = np.asarray(source_array).astype(checked_dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"nd.array: {type(source_array).__name__} cannot be made an array of "
            f"{checked_dtype} ({error}); expected numbers in lists of equal lengths"
        ) from error
    return holding(values, ctx)


def empty(shape: Shape, ctx: Context | None = None, dtype: npt.DTypeLike | None = None) -> NDArray:
    """A new array whose values are not set."""
    return NDArray.empty(as_shape(shape), as_dtype(dtype), ctx)


def zeros(shape: Shape, ctx: Context | None = None, dtype: npt.DTypeLike | None = None) -> NDArray:
    """A new array of zeros."""
    return full(shape, 0, ctx, dtype)


def ones(shape: Shape, ctx: Context | None = None, dtype: npt.DTypeLike | None = None) -> NDArray:
    """A new array of ones."""
    return full(shape, 1, ctx, dtype)


def full(
    shape: Shape,
    val: float,
    ctx: Context | None = None,
    dtype: npt.DTypeLike | None = None,
) -> NDArray:
    """A new array in which every element is ``val``."""
    filled = empty(shape, ctx, dtype)
    filled[...] = val
    return filled


def waitall() -> None:
    """Wait until all results are there. They always are: calls return when their work is done."""


def holding(values: np.ndarray[Any, Any], ctx: Context | None) -> NDArray:
    """Return a new array with these values in their dtype."""
    array = NDArray.empty(values.shape, values.dtype, ctx)
    array[...] = values
    return array


def as_dtype(dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    """Return a dtype of numpy; None is float32."""
    try:
        return np.dtype(np.float32 if dtype is None else dtype)
    except TypeError as error:
        raise InvalidArgumentError(f"dtype={dtype!r} is no dtype of numpy: {error}") from error


def as_shape(shape: Any) -> tuple[int, ...]:
    """Return a number or a sequence of sizes as a shape."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    if not all(isinstance(d, (int, np.integer)) and not isinstance(d, bool) for d in sizes) or any(
        d < 0 for d in sizes
    ):
        raise InvalidArgumentError(
            f"shape={shape!r} must be a whole number of 0 or more, or a tuple of them"
        )
    return tuple(int(d) for d in sizes)
