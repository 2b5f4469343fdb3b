"""Arrays of numbers as networks take them, and as batches hold them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbucket import runtime
from symbucket.casts import check_unmasked, lost_numbers
from symbucket.errors import DataError


def as_array(where: str, source: Any) -> NDArray[Any]:
    """``source`` as a numpy array; ``where`` is how errors call it."""
    check_unmasked(source, where)
    try:
        return np.asarray(source)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} cannot be made an array ({error})") from error


def float32(where: str, array: NDArray[Any]) -> NDArray[Any]:
    """``array`` in the dtype of all data; ``where`` is how errors call it.

    Raises:
        DataError: it holds something else than numbers, integers that float32 rounds, or numbers
            beyond its range.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where} has dtype {array.dtype}; expected numbers")
    if array.dtype.kind in "iu" and array.size:
        limit = 2**24
        low, high = int(array.min()), int(array.max())
        if low < -limit or high > limit:
            raise DataError(
                f"{where} holds integers from {low} to {high}; float32 is exact only up to "
                f"{limit}. Renumber or scale them"
            )
    lost, example = lost_numbers(array, np.dtype(np.float32))
    if lost:
        raise DataError(f"{where} holds {example}, which float32 cannot hold; scale the numbers")
    return array.astype(np.float32, copy=False)


def in_batch(arrays: Iterable[NDArray[Any]]) -> list[runtime.NDArray]:
    """Return fresh arrays as a batch holds them: as NDArrays over the same memory."""
    return [runtime.NDArray.over(np.ascontiguousarray(array)) for array in arrays]
