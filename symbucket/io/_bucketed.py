"""What the text iterators share: buckets, epochs and their order, reports of what is left out."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from symbucket.errors import DataError, StateError
from symbucket.io._buckets import (
    assign_buckets,
    batch_count,
    checked_buckets,
    choose_buckets,
    order_sentences,
    plan_epoch,
)
from symbucket.io._checks import checked_choice, checked_count, checked_integer
from symbucket.io._seed import epoch_generator, resolve_seed
from symbucket.io._tokens import store_sentences
from symbucket.io.batch import DataBatch
from symbucket.io.bucket_table import BucketRow
from symbucket.io.desc import DataDesc
from symbucket.io.iterator import DataIter

logger = logging.getLogger("symbucket.io")


class BucketedTextIter(DataIter, ABC):
    """Base of the iterators over bucketed sentences; a subclass shapes the arrays.

    Attributes:
        buckets: keys of the buckets that hold sentences, ascending.
        default_bucket_key: the largest bucket given (or chosen), even if no sentence fell into it:
            the network for it may have been built already.
        discarded: sentences dropped because they are longer than every bucket.
        remainder: sentences left out of each epoch because they fill no batch; which ones changes
            from epoch to epoch when shuffling.
        short_buckets: key -> number of sentences of buckets that yield no batch at all.
        seed: the seed in use, also if None was given.
        epoch: 0 at first, one more with each reset.
    """

    default_bucket_key: int

    def __init__(
        self,
        sentences: Iterable[Any],
        batch_size: int,
        buckets: Iterable[int] | None,
        *,
        invalid_label: int,
        dtype: DTypeLike,
        seed: int | None,
        shuffle: bool,
        last_batch: str,
    ) -> None:
        super().__init__(checked_count(batch_size, "batch_size"))
        self.invalid_label = checked_integer(invalid_label, "invalid_label")
        self.last_batch = checked_choice(last_batch, "last_batch", ("discard", "pad"))
        self.shuffle = bool(shuffle)
        self.seed = resolve_seed(seed)
        given = [] if buckets is None else checked_buckets(buckets)
        self._store = store_sentences(sentences, dtype, self.invalid_label)
        self.dtype: np.dtype[Any] = self._store.tokens.dtype

        lengths = self._store.lengths
        keys = given or choose_buckets(lengths, self.batch_size)
        self.default_bucket_key = keys[-1]
        assigned = assign_buckets(lengths, keys)
        counts = np.bincount(assigned, minlength=len(keys) + 1)
        self.discarded = int(counts[-1])
        held = np.flatnonzero(counts[:-1])
        empty = [key for key, count in zip(keys, counts) if not count]
        self.buckets = [keys[i] for i in held]
        self._counts = [int(counts[i]) for i in held]
        # Buckets without sentences go; what is longer than all stays behind the last one.
        self._assigned = np.searchsorted(held, assigned, side="left")
        self._tokens_held = np.bincount(self._assigned, weights=lengths)[: len(held)]

        batches = [batch_count(n, self.batch_size, self.last_batch) for n in self._counts]
        self.remainder = sum(max(0, n - b * self.batch_size) for n, b in zip(self._counts, batches))
        self.short_buckets = {
            key: n for key, n, b in zip(self.buckets, self._counts, batches) if not b
        }
        self._num_batches = sum(batches)
        self._refuse_if_no_batch(keys[-1])
        self._described: dict[int, tuple[list[DataDesc], list[DataDesc]]] = {}
        data, label = self._descs(self.default_bucket_key)
        self.provide_data, self.provide_label = list(data), list(label)
        self._report(keys[-1], empty)
        self.epoch = -1
        self.reset()

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._num_batches

    def reset(self) -> None:
        """Begin the next epoch: sentences share batches anew, and batches come in a new order."""
        self.epoch += 1
        generator = epoch_generator(self.seed, self.epoch) if self.shuffle else None
        self._order = order_sentences(self._assigned, len(self.buckets), generator)
        self._plan = plan_epoch(self._counts, self.batch_size, self.last_batch, generator)
        self._position = 0
        self._current: DataBatch | None = None

    def next(self) -> DataBatch:
        """The next batch, with bucket_key, pad, index, provide_data and provide_label.

        ``index`` gives each row's sentence by its position in the input, -1 for padded rows.

        Raises:
            StopIteration: the epoch is over.
        """
        if not self.iter_next():
            raise StopIteration
        return self._now()

    def iter_next(self) -> bool:
        """Move to the next batch; False if the epoch is over."""
        if self._position == len(self._plan):
            self._current = None
            return False
        bucket, offset = self._plan[self._position]
        self._current = self._batch(bucket, offset)
        self._position += 1
        return True

    def getdata(self) -> list[Any]:
        """Data arrays of the current batch."""
        return self._now().data

    def getlabel(self) -> list[Any] | None:
        """Label arrays of the current batch."""
        return self._now().label

    def getindex(self) -> Any:
        """Positions in the input of the current batch's sentences, -1 for padded rows."""
        return self._now().index

    def getpad(self) -> int | None:
        """Number of rows at the end of the current batch that hold no sentence."""
        return self._now().pad

    def bucket_table(self) -> list[BucketRow]:
        """Rows ``(key, sentences, batches, padding_share)``, one a bucket, for a table."""
        return [
            BucketRow(
                key,
                count,
                batch_count(count, self.batch_size, self.last_batch),
                1.0 - float(held) / (count * key),
            )
            for key, count, held in zip(self.buckets, self._counts, self._tokens_held)
        ]

    @abstractmethod
    def _describe(self, key: int) -> tuple[list[DataDesc], list[DataDesc]]:
        """Data and label descriptions of a batch of bucket ``key``."""

    @abstractmethod
    def _arrays(
        self, tokens: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Data and label arrays from two fresh (batch_size, key) arrays."""

    def _descs(self, key: int) -> tuple[list[DataDesc], list[DataDesc]]:
        if key not in self._described:
            self._described[key] = self._describe(key)
        return self._described[key]

    def _batch(self, bucket: int, offset: int) -> DataBatch:
        key = self.buckets[bucket]
        ids = self._order[bucket][offset : offset + self.batch_size]
        pad = self.batch_size - len(ids)
        ids = np.concatenate([ids, np.full(pad, -1, ids.dtype)])
        tokens = self._store.rows(ids, key, self.invalid_label)
        labels = np.full_like(tokens, self.invalid_label)
        labels[:, :-1] = tokens[:, 1:]
        data, label = self._arrays(tokens, labels)
        provide_data, provide_label = self._descs(key)
        return DataBatch(data, label, pad, ids, key, provide_data, provide_label)

    def _now(self) -> DataBatch:
        if self._current is None:
            raise StateError(
                f"{type(self).__name__}: no current batch; call next() or iter_next() first"
            )
        return self._current

    def _refuse_if_no_batch(self, largest: int) -> None:
        if self._num_batches:
            return
        if not self.buckets:
            shortest = int(self._store.lengths.min())
            raise DataError(
                f"all {self.discarded} sentences are longer than the largest bucket ({largest}), "
                f"the shortest has {shortest} tokens; give a bucket of at least that size"
            )
        raise DataError(
            f"no bucket yields a batch of batch_size = {self.batch_size}: "
            f"{_counts_text(self.short_buckets)}. Use a batch_size of at most "
            f"{max(self._counts)}, fewer and wider buckets, or last_batch='pad'"
        )

    def _report(self, largest: int, empty: list[int]) -> None:
        name = type(self).__name__
        if self.discarded:
            logger.warning(
                "%s: dropped %d of %d sentences longer than the largest bucket (%d); the longest "
                "has %d tokens",
                name,
                self.discarded,
                len(self._store.lengths),
                largest,
                int(self._store.lengths.max()),
            )
        if empty:
            logger.warning("%s: removed buckets without sentences: %s", name, _keys_text(empty))
        if self.short_buckets:
            logger.warning(
                "%s: buckets with fewer sentences than batch_size = %d yield no batch: %s",
                name,
                self.batch_size,
                _counts_text(self.short_buckets),
            )


def _keys_text(keys: list[int]) -> str:
    return ", ".join(map(str, keys))


def _counts_text(counts: dict[int, int]) -> str:
    return ", ".join(
        f"bucket {key} holds {count} sentence{'' if count == 1 else 's'}"
        for key, count in counts.items()
    )
