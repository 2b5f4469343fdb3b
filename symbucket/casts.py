"""Arrays that become another dtype: which of their numbers that dtype cannot hold."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbucket.errors import DataError, SymbucketError

_NUMBERS = "biuf"  # kinds of dtypes
_least, _most = np.minimum.reduce, np.maximum.reduce  # quicker than the methods of small arrays


def check_unmasked(values: Any, what: str, error: type[SymbucketError] = DataError) -> None:
    """Raise ``error`` for a masked array with masked elements, which have no values."""
    masked = np.count_nonzero(values.mask) if isinstance(values, np.ma.MaskedArray) else 0
    if masked:
        raise error(
            f"{what} is a masked array without values at {masked} of its elements; say what stands "
            "there, as by array.filled(0)"
        )


def lost_numbers(values: NDArray[Any], dtype: np.dtype[Any]) -> tuple[int, Any]:
    """Return how many numbers would become other ones, or infinite, as ``dtype``; and the first.

    Floats may be rounded to floats. NaN and infinities are lost in dtypes of integers alone.
    """
    if values.dtype == dtype or not values.size or _holds_all(values, dtype):
        return 0, None
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype)
        if values.dtype.kind == dtype.kind == "f":
            lost = np.isfinite(values) & ~np.isfinite(cast)
        else:
            # The way back alone would not tell: -1 is the greatest uint64, which is -1 again.
            lost = (cast.astype(values.dtype) != values) | ((cast < 0) != (values < 0))
            if values.dtype.kind == "f" and dtype.kind in "iu":  # some machines take the greatest
                lost |= values >= float(np.iinfo(dtype).max) + 1
    count = int(np.count_nonzero(lost))
    return count, values[lost].flat[0] if count else None


def _holds_all(values: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Return whether the dtypes or the range of the values tell that nothing is lost."""
    held = _held_range(values.dtype, dtype)
    if held is None:
        return True
    # NaN is in no range, and is looked at one by one.
    least, most = _least(values, None).item(), _most(values, None).item()
    return bool(held[0] <= least and most <= held[1])


@cache
def _held_range(source: np.dtype[Any], target: np.dtype[Any]) -> tuple[float, float] | None:
    """Return between which numbers of one dtype another has all; None: it has all of them.

    The range is empty if each number has to be looked at.
    """
    if source.kind not in _NUMBERS or target.kind not in _NUMBERS or source.kind == "b":
        return None
    exact = target.kind != "f" or source.kind == "f" or source.itemsize < 8
    if exact and np.can_cast(source, target, "safe"):
        return None
    if target.kind == "f":
        info = np.finfo(target)
        most = float(info.max) if source.kind == "f" else 2.0 ** (info.nmant + 1)
        return -most, most
    if source.kind == "f":
        return 1, 0
    if target.kind == "b":
        return 0, 1
    limits = np.iinfo(target)
    return int(limits.min), int(limits.max)
