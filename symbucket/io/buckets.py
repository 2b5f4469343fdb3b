"""Which sentence goes to which bucket, and in which order an epoch visits samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from symbucket.checks import is_integer
from symbucket.errors import DataError


def checked_buckets(buckets: Iterable[int]) -> list[int]:
    """Bucket sizes as Python ints: positive and strictly ascending.

    Raises:
        DataError: a size is no positive integer, or the order is wrong, or a size comes twice.
    """
    hint = "expected ascending sentence lengths, as in [10, 20, 30]"
    if isinstance(buckets, (str, bytes)) or not isinstance(buckets, Iterable):
        raise DataError(f"buckets is {buckets!r}; {hint}")
    listed = list(buckets)
    for size in listed:
        if not is_integer(size) or size <= 0:
            raise DataError(f"buckets holds {size!r}, which is no positive integer; {hint}")
    result = [int(size) for size in listed]
    for left, right in pairwise(result):
        if left == right:
            raise DataError(f"buckets holds {left} twice; {hint}")
        if left > right:
            raise DataError(f"buckets is not sorted: {left} comes before {right}; {hint}")
    return result


def choose_buckets(lengths: NDArray[np.int64], batch_size: int) -> list[int]:
    """Return every length that at least ``batch_size`` sentences have, as ``mx.rnn`` chooses.

    Raises:
        DataError: there is none.
    """
    present, counts = np.unique(lengths, return_counts=True)
    chosen = present[counts >= batch_size]
    if not len(chosen):
        most = int(np.argmax(counts))
        raise DataError(
            f"no buckets can be chosen: none of the {len(present)} lengths ({present[0]} to "
            f"{present[-1]} tokens) has batch_size = {batch_size} sentences, the most frequent "
            f"({present[most]} tokens) has {counts[most]}. Give buckets=[...], or use a batch_size "
            f"of at most {counts[most]}"
        )
    return [int(length) for length in chosen]


def assign_buckets(lengths: NDArray[np.int64], buckets: list[int]) -> NDArray[np.int64]:
    """For each sentence the position of the smallest bucket that holds it.

    A sentence longer than every bucket gets ``len(buckets)``.
    """
    return np.searchsorted(np.asarray(buckets), lengths, side="left")


def batch_count(samples: int, batch_size: int, last_batch: str) -> int:
    """Return how many batches a bucket of so many samples yields an epoch."""
    full, rest = divmod(samples, batch_size)
    return full + (1 if rest and last_batch in ("pad", "keep") else 0)


def order_samples(
    assigned: NDArray[np.int64], buckets: int, generator: np.random.Generator | None
) -> list[NDArray[np.int64]]:
    """Samples of each bucket in the order of one epoch; in input order without a generator.

    One permutation over all samples is drawn, whatever the buckets: the relative order of two
    samples in an epoch depends on neither bucket boundaries nor batch size.
    """
    count = len(assigned)
    order = np.arange(count) if generator is None else generator.permutation(count)
    grouped = order[np.argsort(assigned[order], kind="stable")]
    ends = np.cumsum(np.bincount(assigned, minlength=buckets)[:buckets])
    return np.split(grouped[: ends[-1]], ends[:-1])


def plan_epoch(
    counts: Sequence[int],
    batch_sizes: Sequence[int],
    last_batch: str,
    generator: np.random.Generator | None,
) -> list[tuple[int, int]]:
    """The batches of one epoch: (position of the bucket, offset of its first sample).

    Every batch comes once. A shuffle over all of them draws each next bucket in proportion to the
    batches that it has left; without a generator they come bucket by bucket. ``counts`` and
    ``batch_sizes``: samples of each bucket, and of a batch of it.
    """
    pairs = [
        (bucket, batch * size)
        for bucket, (count, size) in enumerate(zip(counts, batch_sizes))
        for batch in range(batch_count(count, size, last_batch))
    ]
    if generator is None:
        return pairs
    return [pairs[i] for i in generator.permutation(len(pairs))]
