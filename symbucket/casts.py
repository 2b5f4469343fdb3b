"""Arrays that become another dtype: which of their numbers that dtype cannot hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbucket.errors import DataError, SymbucketError

_NUMBERS = "biuf"  # kinds of dtypes


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
    source, target = values.dtype.kind, dtype.kind
    if source not in _NUMBERS or target not in _NUMBERS:
        return True
    exact = target != "f" or source == "f" or values.dtype.itemsize < 8
    if exact and np.can_cast(values.dtype, dtype, "safe"):
        return True
    if source == "b" or (source == "f" and target != "f"):
        return source == "b"
    if target == "b":
        least, most = 0.0, 1.0
    elif target in "iu":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    else:
        info = np.finfo(dtype)
        most = float(info.max) if source == "f" else 2.0 ** (info.nmant + 1)
        least = -most
    # NaN is in no range, and is looked at one by one.
    return bool(least <= values.min().item() and values.max().item() <= most)
