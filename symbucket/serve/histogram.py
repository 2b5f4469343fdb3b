"""A histogram of durations."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator

_EDGES = [0.05 * 1.25**i for i in range(65)]
"""Upper bounds of the buckets in milliseconds, from 0.05 to 80,000; each is a quarter larger."""


class Histogram:
    """Counts durations in milliseconds; percentiles are exact to a quarter of themselves."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_EDGES) + 1)
        self.total = 0.0
        """The sum of all durations."""
        self.largest = 0.0

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts)

    def record(self, milliseconds: float, count: int = 1) -> None:
        """Count one duration, or several that are equal."""
        self.counts[bisect.bisect_left(_EDGES, milliseconds)] += count
        self.total += count * milliseconds
        self.largest = max(self.largest, milliseconds)

    def percentile(self, percent: float) -> float:
        """Return the duration that ``percent`` of all durations do not exceed; 0 if there are none.

        Between the bounds of a bucket durations count as evenly spread.
        """
        rank, before = self.count * percent / 100.0, 0
        for i, count in enumerate(self.counts):
            if count and before + count >= rank:
                low = _EDGES[i - 1] if i else 0.0
                high = min(_EDGES[i] if i < len(_EDGES) else self.largest, self.largest)
                return min(low, high) + (high - min(low, high)) * max(0.0, rank - before) / count
            before += count
        return self.largest

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield upper bounds and how many durations do not exceed them, as Prometheus counts."""
        yield from zip(_EDGES, itertools.accumulate(self.counts))

    def add(self, other: Histogram) -> None:
        """Add the durations of another histogram."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts)]
        self.total += other.total
        self.largest = max(self.largest, other.largest)
