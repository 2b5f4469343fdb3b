"""Parts of an array that a mask selects: as many as it says, so only arrays have this."""

from __future__ import annotations

import numpy as np

from symbucket.checks import check_integer
from symbucket.errors import ShapeError
from symbucket.runtime import NDArray


def boolean_mask(data: NDArray, index: NDArray, axis: int = 0) -> NDArray:
    """Return the parts of ``data`` along ``axis`` at which ``index`` is not 0.

    Raises ShapeError if ``index`` is not one number for each part.
    """
    check_integer(axis, "boolean_mask: axis")
    if not -data.ndim <= axis < data.ndim:
        raise ShapeError(f"boolean_mask: axis {axis} is none of data of shape {data.shape}")
    if index.shape != (data.shape[axis],):
        raise ShapeError(
            f"boolean_mask: index has shape {index.shape}; axis {axis} of data of shape "
            f"{data.shape} needs ({data.shape[axis]},)"
        )
    rows = np.flatnonzero(index.asnumpy())
    return NDArray.of(np.take(data.asnumpy(), rows, axis=axis), data.context)
