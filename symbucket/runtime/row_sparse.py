"""``RowSparse``: the gradient of a table, as the rows that it is not zero in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.runtime.ndarray import NDArray


@dataclass(frozen=True)
class RowSparse:
    """The gradient of a table as the rows that a step read.

    ``rows`` (n, 1) int64 are row numbers, possibly with repetitions; ``values`` (n, width) float32
    are added to those rows.
    """

    rows: NDArray
    values: NDArray

    def dense(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """Return the gradient as an array of the table's shape."""
        gradient = np.zeros(shape, self.values.dtype)
        np.add.at(gradient, self.rows.view()[:, 0], self.values.view())
        return gradient
