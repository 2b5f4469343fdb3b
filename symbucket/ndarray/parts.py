"""Arrays put together, taken apart, and with axes in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.checks import is_integer
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.runtime import NDArray


def concatenate(arrays: Sequence[NDArray], axis: int = 0, always_copy: bool = True) -> NDArray:
    """The arrays along an axis that exists; a single one itself if not ``always_copy``."""
    if not arrays:
        raise InvalidArgumentError("nd.concatenate: there are no arrays; give one or more")
    if len(arrays) == 1 and not always_copy:
        return arrays[0]
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) > 1:
        raise ShapeError(f"nd.concatenate: dtypes differ: {', '.join(sorted(map(str, dtypes)))}")
    try:
        values = np.concatenate([array.view() for array in arrays], axis)
    except ValueError as error:
        raise ShapeError(f"nd.concatenate: {error}") from error
    return arrays[0].beside(values)


def moveaxis(
    tensor: NDArray, source: int | Sequence[int], destination: int | Sequence[int]
) -> NDArray:
    """A new array with axes moved to other places; the others keep their order."""
    try:
        return tensor.beside(np.moveaxis(tensor.view(), source, destination).copy())
    except ValueError as error:  # numpy's error of axes is one, and so is that of lengths
        raise ShapeError(f"nd.moveaxis of shape {tensor.shape}: {error}") from error


def split_v2(
    ary: NDArray,
    indices_or_sections: int | Sequence[int],
    axis: int = 0,
    squeeze_axis: bool = False,
) -> NDArray | list[NDArray]:
    """Parts of an array along an axis, as new arrays; a single one itself.

    ``indices_or_sections``: how many equal parts, or the positions before which to cut.
    ``squeeze_axis`` drops the axis of parts that have size 1 there.
    """
    where: Any = indices_or_sections
    if not is_integer(where):
        where = [int(i) for i in where]
    try:
        parts = np.split(ary.view(), where, axis)
        if squeeze_axis:
            parts = [part.squeeze(axis) for part in parts]
    except (ValueError, IndexError) as error:
        raise ShapeError(
            f"nd.split_v2 of shape {ary.shape} at {indices_or_sections} along axis {axis}: {error}"
        ) from error
    arrays = [ary.beside(part.copy()) for part in parts]
    return arrays[0] if len(arrays) == 1 else arrays
