"""A gradient of a few rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.runtime.ndarray import NDArray


@dataclass(frozen=True)
class RowSparse:
    """The gradient of a table by the rows that a step read.

    ``rows`` (n, 1) int64 are row numbers, which may come several times; ``values`` (n, width) is
    what to add there.
    """

    rows: NDArray
    values: NDArray

    def dense(self, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        """The same gradient as an array of the table's shape."""
        whole = np.zeros(shape, self.values.dtype)
        np.add.at(whole, self.rows.view()[:, 0], self.values.view())
        return whole
