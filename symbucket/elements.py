"""Numbers as elements of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError
from symbucket.types import Array


def as_element(number: Any, dtype: np.dtype[Any]) -> Array:
    """Return a number as a 0-d array: cut to a whole number if ``dtype`` is one.

    8-bit integers wrap around, as in MXNet; what wider ones cannot hold is refused.
    """
    if dtype.kind not in "iu":
        return np.asarray(number, dtype)
    try:
        element = np.asarray(int(number), np.int64).astype(dtype)
        fits = dtype.itemsize == 1 or element == int(number)
    except (OverflowError, ValueError):  # too large, NaN or infinite
        fits = False
    if not fits:
        raise InvalidArgumentError(
            f"the number {number!r} does not fit an array of {dtype}; "
            'x.astype("float32") makes an array that holds it'
        )
    return element
