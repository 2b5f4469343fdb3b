"""What iterators over buckets share: epochs and their order, reports of what yields no batch."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from symbucket.checks import check_choice, check_integer
from symbucket.io._buckets import batch_count, order_samples, plan_epoch
from symbucket.io._seed import epoch_generator, resolve_seed
from symbucket.io._whole import WholeBatchIter
from symbucket.io.batch import DataBatch

logger = logging.getLogger("symbucket.io")


class BucketedIter(WholeBatchIter):
    """Base of iterators whose batches hold samples of one bucket each; a subclass makes them.

    A subclass calls :meth:`_hold` once it knows which sample is in which bucket, and ``reset`` when
    it is ready.

    Attributes:
        buckets: keys of the buckets that hold samples.
        remainder: samples left out of each epoch because they fill no batch; which ones changes
            from epoch to epoch when shuffling.
        short_buckets: key -> number of samples of buckets that yield no batch at all.
        seed: the seed in use, also if None was given.
        epoch: 0 at first, one more with each reset.
    """

    _samples: ClassVar[tuple[str, str]] = ("sample", "samples")  # how messages call one, and many
    _last_batches: ClassVar[Sequence[str]] = ("discard", "pad")

    buckets: Sequence[Any]

    def __init__(
        self, batch_size: int, *, seed: int | None, shuffle: bool, last_batch: str
    ) -> None:
        super().__init__(check_integer(batch_size, "batch_size", 1))
        self.last_batch = check_choice(last_batch, "last_batch", self._last_batches)
        self.shuffle = bool(shuffle)
        self.seed = resolve_seed(seed)
        self.epoch = -1

    def _hold(self, buckets: Sequence[Any], assigned: NDArray[np.int64]) -> None:
        """Say which samples there are.

        Args:
            buckets: keys of the buckets, all of which hold samples.
            assigned: position in ``buckets`` for each sample; ``len(buckets)`` for one that is in
                none of them.
        """
        self.buckets, self._assigned = buckets, assigned
        self._counts: list[int] = np.bincount(assigned, minlength=len(buckets) + 1)[:-1].tolist()
        batches = [batch_count(n, self.batch_size, self.last_batch) for n in self._counts]
        self.remainder = sum(max(0, n - b * self.batch_size) for n, b in zip(self._counts, batches))
        self.short_buckets = {key: n for key, n, b in zip(buckets, self._counts, batches) if not b}
        self._num_batches = sum(batches)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._num_batches

    def reset(self) -> None:
        """Begin the next epoch: samples share batches anew, and batches come in a new order."""
        self.epoch += 1
        generator = epoch_generator(self.seed, self.epoch) if self.shuffle else None
        self._order = order_samples(self._assigned, len(self.buckets), generator)
        self._plan = plan_epoch(self._counts, self.batch_size, self.last_batch, generator)
        self._position = 0
        self._current = None

    def _following(self) -> DataBatch | None:
        if self._position == len(self._plan):
            return None
        bucket, offset = self._plan[self._position]
        batch = self._batch(bucket, offset)
        self._position += 1
        return batch

    @abstractmethod
    def _batch(self, bucket: int, offset: int) -> DataBatch:
        """The batch of samples ``_order[bucket][offset:]``."""

    def _no_batch_text(self) -> str:
        return (
            f"no bucket yields a batch of batch_size = {self.batch_size}: "
            f"{self._counts_text(self.short_buckets)}"
        )

    def _warn_of_short_buckets(self) -> None:
        if self.short_buckets:
            logger.warning(
                "%s: buckets with fewer %s than batch_size = %d yield no batch: %s",
                type(self).__name__,
                self._samples[1],
                self.batch_size,
                self._counts_text(self.short_buckets),
            )

    def _counts_text(self, counts: Mapping[Hashable, int]) -> str:
        return ", ".join(
            f"bucket {key} holds {count} {self._samples[count != 1]}"
            for key, count in counts.items()
        )
