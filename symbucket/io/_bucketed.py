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

_MANY_LEFT_OUT = 0.01  # share of the samples that is worth a warning


class BucketedIter(WholeBatchIter):
    """Base of iterators whose batches hold samples of one bucket each; a subclass makes them.

    A subclass calls :meth:`_hold` once it knows which sample is in which bucket, and ``reset`` when
    it is ready.

    Attributes:
        buckets: keys of the buckets that hold samples.
        batch_sizes: samples of a batch of each bucket, by key.
        remainder: samples of this epoch that fill no batch and are in none; which ones changes from
            epoch to epoch when shuffling. With ``last_batch='roll_over'`` the next epoch begins
            with them.
        short_buckets: key -> number of samples of buckets that yield no batch at all.
        seed: the seed in use, also if None was given.
        epoch: 0 at first, one more with each reset.
    """

    _samples: ClassVar[tuple[str, str]] = ("sample", "samples")  # how messages call one, and many
    _last_batches: ClassVar[Sequence[str]] = ("discard", "pad", "roll_over")

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
        self.batch_sizes = {key: self._batch_size(key) for key in buckets}
        self._counts: list[int] = np.bincount(assigned, minlength=len(buckets) + 1)[:-1].tolist()
        none = np.empty(0, np.int64)
        self._rolled_over: list[NDArray[np.int64]] = [none] * len(buckets)
        batches = self._batches(self._counts)
        self.short_buckets = {
            key: n for key, n, b in zip(buckets, self._counts, batches) if n and not b
        }
        self._count_batches(self._counts)

    def _batch_size(self, key: Any) -> int:
        """Return the samples of a batch of a bucket."""
        return self.batch_size

    def _batches(self, counts: Sequence[int]) -> list[int]:
        sizes = self.batch_sizes.values()
        return [batch_count(n, size, self.last_batch) for n, size in zip(counts, sizes)]

    def _count_batches(self, counts: Sequence[int]) -> None:
        batches = self._batches(counts)
        sizes = self.batch_sizes.values()
        self.remainder = sum(max(0, n - b * s) for n, b, s in zip(counts, batches, sizes))
        self._num_batches = sum(batches)

    def __len__(self) -> int:
        """Batches of this epoch."""
        return self._num_batches

    def reset(self) -> None:
        """Begin the next epoch: samples share batches anew, and batches come in a new order."""
        self.epoch += 1
        generator = epoch_generator(self.seed, self.epoch) if self.shuffle else None
        order = order_samples(self._assigned, len(self.buckets), generator)
        if self.last_batch == "roll_over":
            order = [np.concatenate(parts) for parts in zip(self._rolled_over, order)]
            # What this epoch will not come to, known before it begins.
            self._rolled_over = [
                ids[len(ids) - len(ids) % size :]
                for ids, size in zip(order, self.batch_sizes.values())
            ]
        self._order = order
        counts = [len(ids) for ids in order]
        self._count_batches(counts)
        sizes = list(self.batch_sizes.values())
        self._plan = plan_epoch(counts, sizes, self.last_batch, generator)
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
            f"no bucket yields a batch of {self._batch_size_text()}: "
            f"{self._counts_text(self.short_buckets)}"
        )

    def _batch_size_text(self) -> str:
        if len({*self.batch_sizes.values()}) > 1:
            return "the plan's batch sizes"
        return f"batch_size = {self.batch_size}"

    def _warn_of_short_buckets(self) -> None:
        if self.short_buckets:
            logger.warning(
                "%s: buckets with fewer %s than %s yield no batch: %s",
                type(self).__name__,
                self._samples[1],
                self._batch_size_text(),
                self._counts_text(self.short_buckets),
            )

    def _tell_remainder(self) -> None:
        """Log how many samples of other than short buckets are left out; warn if they are many."""
        rest = self.remainder - sum(self.short_buckets.values())
        if not rest or self.last_batch == "roll_over":
            return
        total = sum(self._counts)
        level = logging.WARNING if rest > _MANY_LEFT_OUT * total else logging.INFO
        logger.log(
            level,
            "%s: each epoch leaves out %d of %d %s, which fill no batch; last_batch='pad' or "
            "'roll_over' keeps them",
            type(self).__name__,
            rest,
            total,
            self._samples[1],
        )

    def _counts_text(self, counts: Mapping[Hashable, int]) -> str:
        return ", ".join(
            f"bucket {key} holds {count} {self._samples[count != 1]}"
            for key, count in counts.items()
        )
