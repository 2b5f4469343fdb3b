"""Which numbers of an array are infinite, and which are none."""

from __future__ import annotations

import numpy as np

from symbucket.runtime import NDArray


def isinf(data: NDArray) -> NDArray:
    """Return 1 where a number is infinite, 0 elsewhere, in the array's dtype."""
    return NDArray.of(np.isinf(data.asnumpy()).astype(data.dtype), data.context)


def isfinite(data: NDArray) -> NDArray:
    """Return 1 where a number is finite, 0 at infinities and NaN, in the array's dtype."""
    return NDArray.of(np.isfinite(data.asnumpy()).astype(data.dtype), data.context)


def isnan(data: NDArray) -> NDArray:
    """Return 1 where a number is NaN, 0 elsewhere, in the array's dtype."""
    return NDArray.of(np.isnan(data.asnumpy()).astype(data.dtype), data.context)
