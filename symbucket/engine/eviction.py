"""Number of executors to keep, and the cost of those that are kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from symbucket.checks import check_integer


@dataclass(frozen=True)
class EvictionPolicy:
    """Limits beyond which the least recently used executors are dropped; None: no limit.

    Attributes:
        max_executors: number of executors.
        max_bytes: bytes of their sessions and arrays, by estimate.
    """

    max_executors: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, limit in (
            ("max_executors", self.max_executors),
            ("max_executors_bytes", self.max_bytes),
        ):
            if limit is not None:
                check_integer(limit, name, 1)

    @property
    def unlimited(self) -> bool:
        """Whether nothing is ever dropped."""
        return self.max_executors is None and self.max_bytes is None

    def exceeded(self, count: int, nbytes: Callable[[], int]) -> bool:
        """Return whether ``count`` executors of ``nbytes()`` bytes together are too many."""
        if self.max_executors is not None and count > self.max_executors:
            return True
        return self.max_bytes is not None and nbytes() > self.max_bytes


@dataclass(frozen=True)
class ExecutorStats:
    """Cost of a module's executors, and how often one was there when it was needed.

    Attributes:
        keys: what the executors that are alive are for, least recently used first: bucket keys, or
            shapes of the data for a ``Module``.
        nbytes: an estimate of the bytes of their sessions and arrays.
        pool_nbytes: bytes of outputs and step buffers, which they share.
        hits: runs whose executor was there.
        misses: builds of executors, first ones and those of executors that had been dropped.
        evictions: executors that were dropped.
    """

    keys: tuple[Hashable, ...]
    nbytes: int
    pool_nbytes: int
    hits: int
    misses: int
    evictions: int
