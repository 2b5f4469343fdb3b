"""Bucket boundaries of least cost, by dynamic programming over the histogram of lengths.

Sentences of adjacent lengths share a bucket, whose key is the longest of them, so a choice of
boundaries is a partition of the sorted lengths into runs. With ``cost[k, j]`` the least cost of the
first ``j`` lengths in ``k`` buckets::

    cost[k, j] = min over i < j of cost[k - 1, i] + run(i, j)

which is exact whatever ``run`` is. ``O(k n^2)`` for n different lengths, one numpy call a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

# Cost of a bucket: its position among the sizes, and the number of sentences it may hold.
RunCost = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]


def least_cost_partitions(
    counts: NDArray[np.int64], run_cost: RunCost, minimum: NDArray[np.int64]
) -> Iterator[list[int]]:
    """Yield the cheapest partition into 1, 2, ... runs, as long as there is one.

    A partition is the positions of its boundaries among the sizes, ascending.

    Args:
        counts: sentences of each size, sizes ascending.
        run_cost: ``run_cost(j, n)`` is the cost of ``n`` sentences in a bucket of size ``j``.
        minimum: the fewest sentences that a bucket of each size may hold.
    """
    sizes = len(counts)
    before = np.concatenate([[0], np.cumsum(counts)])  # sentences shorter than each size
    costs = np.full(sizes + 1, np.inf)
    costs[0] = 0.0
    origins: list[NDArray[np.int64]] = []
    for _ in range(sizes):
        following = np.full(sizes + 1, np.inf)
        origin = np.zeros(sizes + 1, np.int64)
        for j in range(len(origins), sizes):
            held = before[j + 1] - before[: j + 1]
            total = costs[: j + 1] + run_cost(j, held)
            total[held < minimum[j]] = np.inf
            best = int(np.argmin(total))
            following[j + 1], origin[j + 1] = total[best], best
        costs = following
        origins.append(origin)
        if np.isfinite(costs[sizes]):
            yield _boundaries(origins)
        elif not np.isfinite(costs).any():
            return


def _boundaries(origins: list[NDArray[np.int64]]) -> list[int]:
    end = len(origins[0]) - 1
    boundaries = []
    for origin in reversed(origins):
        boundaries.append(end - 1)
        end = int(origin[end])
    return boundaries[::-1]
