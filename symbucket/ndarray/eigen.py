"""Eigenvalues of symmetric matrices, found in as many steps as they need: of arrays only."""

from __future__ import annotations

import numpy as np

from symbucket.errors import ShapeError
from symbucket.runtime import NDArray


def syevd(A: NDArray) -> list[NDArray]:
    """Return eigenvectors as rows U, and eigenvalues L, ascending: ``A = U^T diag(L) U``.

    ``A``: symmetric matrices (..., n, n), of which the lower triangles are read. The largest
    element of each eigenvector is positive.

    Raises ShapeError if they are not square.
    """
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"syevd: A must hold square matrices, its shape is {A.shape}")
    values, columns = np.linalg.eigh(A.asnumpy())
    rows = np.swapaxes(columns, -1, -2)
    place = np.abs(rows).argmax(axis=-1, keepdims=True)
    rows = rows * np.where(np.take_along_axis(rows, place, axis=-1) < 0, -1, 1).astype(rows.dtype)
    return [NDArray.of(np.ascontiguousarray(v), A.context) for v in (rows, values)]
