"""Base of iterators over buckets: epochs and their order, reports of what yields no batch."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from symbucket.checks import check_choice, check_integer
from symbucket.io.batch import DataBatch
from symbucket.io.buckets import batch_count, order_samples, plan_epoch
from symbucket.io.epoch_seed import epoch_generator, resolve_seed
from symbucket.io.state import (
    State,
    compare,
    data_digest,
    pack_ids,
    restores,
    tell_changes,
    unpack_ids,
)
from symbucket.io.whole_batch_iter import WholeBatchIter

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
        self._left: NDArray[np.int64] | None = None
        """All that an epoch has left after a change of the layout; None: everything."""
        self._data_digest: str | None = None

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
        self._carried = self._rolled_over  # what this epoch begins with
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
        self._carried, self._left = self._rolled_over, None
        self._begin()

    def _begin(self) -> None:
        """Lay out the batches of the epoch, and go to its beginning."""
        generator = epoch_generator(self.seed, self.epoch) if self.shuffle else None
        order = self._epoch_order(generator)
        if self.last_batch == "roll_over":
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

    def _epoch_order(self, generator: np.random.Generator | None) -> list[NDArray[np.int64]]:
        """Return each bucket's samples in the order of the epoch."""
        order = order_samples(self._assigned, len(self.buckets), generator)
        if self._left is not None:
            return [self._left[self._assigned[self._left] == i] for i in range(len(self.buckets))]
        return [np.concatenate(parts) for parts in zip(self._carried, order)]

    # Where the iterator is ---------------------------------------------------------------------

    def state(self) -> State:
        """Return epoch, position and all that they depend on, as JSON values."""
        left = None if self._left is None else pack_ids(self._left)
        return {
            "iterator": type(self).__name__,
            "data": self._digest,
            "epoch": self.epoch,
            "position": self._position,
            "finished": self._position == len(self._plan),
            "carried": [pack_ids(ids) for ids in self._carried],
            "left": left,
            **self._layout(),
        }

    @restores
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go where ``state()`` was: the next batch is the one that followed then.

        If batch size, buckets or the treatment of last batches differ, the epoch goes on with every
        sample that had no turn yet, once, and a warning says so. Raises DataError if the data
        differ in the middle of an epoch; nothing is changed then.
        """
        same_data, changes = compare(self, state, self._digest, self._layout())
        finished = state["finished"]
        # The seed goes with the state: one that nobody gave is another one in every run.
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])
        none = np.empty(0, np.int64)
        self._carried, self._left = [none] * len(self.buckets), None
        if not changes:
            self._carried = [unpack_ids(text) for text in state["carried"]]
            self._left = None if state["left"] is None else unpack_ids(state["left"])
        elif not finished and same_data:
            self._left = self._without_turn(state)
        self._begin()
        if not changes or finished:
            self._position = len(self._plan) if changes else int(state["position"])
        if changes:
            tell_changes(self, self.epoch, 0 if finished else self._num_samples, changes)

    @property
    def _num_samples(self) -> int:
        return sum(map(len, self._order))

    def _layout(self) -> State:
        """Return what the batches of an epoch depend on besides its number and the data."""
        return {
            "seed": self.seed,
            "shuffle": self.shuffle,
            "last_batch": self.last_batch,
            "buckets": self._bucket_names(),
            "batch_sizes": list(self.batch_sizes.values()),
        }

    @property
    def _digest(self) -> str:
        if self._data_digest is None:
            self._data_digest = data_digest(*self._hashed_data())
        return self._data_digest

    def _without_turn(self, state: Mapping[str, Any]) -> NDArray[np.int64]:
        """Return the samples that batches of another layout had not come to, in its order."""
        generator = epoch_generator(state["seed"], state["epoch"]) if state["shuffle"] else None
        sizes = state["batch_sizes"]
        assigned = self._assigned_to(state["buckets"])
        order = order_samples(assigned, len(sizes), generator)
        if state["left"] is not None:
            left = unpack_ids(state["left"])
            order = [left[assigned[left] == i] for i in range(len(sizes))]
        else:
            carried = map(unpack_ids, state["carried"])
            order = [np.concatenate(parts) for parts in zip(carried, order)]
        plan = plan_epoch([len(ids) for ids in order], sizes, state["last_batch"], generator)
        for bucket, offset in plan[: state["position"]]:
            order[bucket][offset : offset + sizes[bucket]] = -1
        # Samples that were in no bucket then may be in one now.
        ids = np.concatenate([*order, np.flatnonzero(assigned == len(sizes))])
        return ids[ids >= 0]

    @abstractmethod
    def _bucket_names(self) -> Any:
        """Return JSON values for the buckets, if they are not known from the data."""

    @abstractmethod
    def _assigned_to(self, names: Any) -> NDArray[np.int64]:
        """Return for each sample its position among these buckets, their number if in none."""

    @abstractmethod
    def _hashed_data(self) -> tuple[Any, ...]:
        """Return the arguments of ``data_digest``."""

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
