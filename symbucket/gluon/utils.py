"""Helpers for arrays, as ``mx.gluon.utils``: clipped gradients, and batches in parts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.checks import check_integer
from symbucket.context import Context
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.runtime import NDArray

__all__ = ["clip_global_norm", "split_and_load", "split_data"]


def clip_global_norm(
    arrays: Sequence[NDArray], max_norm: float, check_isfinite: bool = True
) -> np.float32 | NDArray:
    """Scale arrays in place, so that the norm of all their elements is at most ``max_norm``.

    Returns the norm before: a number, or with ``check_isfinite=False`` an array of one element.
    If it is not finite, a warning says so, and the arrays become NaN.

    Raises InvalidArgumentError if there are no arrays, or one is not an NDArray.
    """
    if not arrays or not all(isinstance(array, NDArray) for array in arrays):
        raise InvalidArgumentError(
            f"clip_global_norm: arrays must be NDArrays, one or more; found {arrays!r}"
        )
    squares = (np.square(array.view(), dtype=np.float64).sum() for array in arrays)
    with np.errstate(invalid="ignore", over="ignore"):
        norm = math.sqrt(sum(squares))
    if check_isfinite and not math.isfinite(norm):
        warnings.warn(
            "clip_global_norm: NaN or infinity in the arrays; what is clipped has no meaning",
            stacklevel=2,
        )
    scale = max_norm / (norm + 1e-8)
    if not scale >= 1.0:  # also if it is NaN
        for array in arrays:
            array[...] = array.view() * np.asarray(scale, array.dtype)
    return np.float32(norm) if check_isfinite else NDArray(np.array([norm], np.float32))


def split_data(
    data: Any, num_slice: int, batch_axis: int = 0, even_split: bool = True
) -> list[NDArray]:
    """Return ``data`` in ``num_slice`` parts along ``batch_axis``, in order.

    With ``even_split=False`` the first parts may be one larger than the others.

    Raises DataError if the size cannot be split (evenly).
    """
    check_integer(num_slice, "split_data: num_slice", 1)
    array = _array(data)
    if not 0 <= batch_axis < len(array.shape):
        raise InvalidArgumentError(
            f"split_data: batch_axis={batch_axis} is no axis of data of shape {array.shape}"
        )
    size = array.shape[batch_axis]
    if size < num_slice or (even_split and size % num_slice):
        raise DataError(
            f"split_data: data of shape {array.shape} cannot be split into {num_slice} "
            f"{'equal ' if even_split else ''}parts along axis {batch_axis}. Use a batch size that "
            f"is a multiple of {num_slice}, or even_split=False with at least {num_slice} rows"
        )
    each, more = divmod(size, num_slice)
    ends = [each * (i + 1) + min(i + 1, more) for i in range(num_slice)]
    places = [
        (*[slice(None)] * batch_axis, slice(start, end)) for start, end in zip([0, *ends], ends)
    ]
    return [array[place] for place in places]


def split_and_load(
    data: Any, ctx_list: Sequence[Context], batch_axis: int = 0, even_split: bool = True
) -> list[NDArray]:
    """Return the parts of ``split_data``, one on each context of ``ctx_list``."""
    if not ctx_list:
        raise InvalidArgumentError("split_and_load: ctx_list has no context")
    parts = split_data(data, len(ctx_list), batch_axis, even_split)
    return [part.as_in_context(context) for part, context in zip(parts, ctx_list)]


def _array(data: Any) -> NDArray:
    return data if isinstance(data, NDArray) else NDArray(np.asarray(data, np.float32))
