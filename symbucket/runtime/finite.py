"""Whether arrays have NaN or infinity, at the cost of one pass."""

from __future__ import annotations

import math

import numpy as np

from symbucket.types import Array

_FLOAT = np.dtype(np.float32)


def looks_finite(array: Array) -> bool:
    """Return False for an array with NaN or infinity, or with numbers whose squares overflow.

    The sum of the squares takes a tenth of the time of a look at each element.
    """
    if array.dtype == _FLOAT:
        return math.isfinite(np.vdot(array, array))
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
