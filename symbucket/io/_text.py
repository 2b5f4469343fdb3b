"""What the text iterators share: sentences in buckets, and reports of what is left out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from symbucket.checks import check_integer
from symbucket.errors import DataError
from symbucket.io._bucketed import BucketedIter, logger
from symbucket.io._buckets import assign_buckets, batch_count, checked_buckets, choose_buckets
from symbucket.io._tokens import store_sentences
from symbucket.io.batch import DataBatch
from symbucket.io.bucket_table import BucketRow
from symbucket.io.desc import DataDesc


class BucketedTextIter(BucketedIter):
    """Base of the iterators over bucketed sentences; a subclass shapes the arrays.

    Attributes, besides those of ``BucketedIter``:
        buckets: keys of the buckets that hold sentences, ascending.
        default_bucket_key: the largest bucket given (or chosen), even if no sentence fell into it:
            the network for it may have been built already.
        discarded: sentences dropped because they are longer than every bucket.
    """

    _samples = "sentence", "sentences"

    default_bucket_key: int
    buckets: list[int]

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
        super().__init__(batch_size, seed=seed, shuffle=shuffle, last_batch=last_batch)
        self.invalid_label = check_integer(invalid_label, "invalid_label")
        requested = [] if buckets is None else checked_buckets(buckets)
        self._store = store_sentences(sentences, dtype, self.invalid_label)
        self.dtype: np.dtype[Any] = self._store.tokens.dtype

        lengths = self._store.lengths
        keys = requested or choose_buckets(lengths, self.batch_size)
        self.default_bucket_key = keys[-1]
        assigned = assign_buckets(lengths, keys)
        counts = np.bincount(assigned, minlength=len(keys) + 1)
        self.discarded = int(counts[-1])
        held = np.flatnonzero(counts[:-1])
        empty = [key for key, count in zip(keys, counts) if not count]
        # Buckets without sentences go; what is longer than all stays behind the last one.
        self._hold([keys[i] for i in held], np.searchsorted(held, assigned, side="left"))
        self._tokens_held = np.bincount(self._assigned, weights=lengths)[: len(held)]
        self._refuse_if_no_batch(keys[-1])
        self._described: dict[int, tuple[list[DataDesc], list[DataDesc]]] = {}
        data, label = self._descs(self.default_bucket_key)
        self.provide_data, self.provide_label = list(data), list(label)
        self._report(keys[-1], empty)
        self.reset()

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
            f"{self._no_batch_text()}. Use a batch_size of at most {max(self._counts)}, fewer and "
            "wider buckets, or last_batch='pad'"
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
            listed = ", ".join(map(str, empty))
            logger.warning("%s: removed buckets without sentences: %s", name, listed)
        self._warn_of_short_buckets()
