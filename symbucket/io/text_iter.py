"""Base of the text iterators: sentences in buckets, and reports of what is left out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sized
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from symbucket.checks import check_choice, check_integer, is_integer
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.io.arrays import in_batch
from symbucket.io.batch import DataBatch
from symbucket.io.bucket_choice import plan_buckets
from symbucket.io.bucket_plan import BucketPlan
from symbucket.io.bucket_table import BucketRow, BucketTable
from symbucket.io.bucketed_iter import BucketedIter, logger
from symbucket.io.buckets import assign_buckets, checked_buckets, choose_buckets
from symbucket.io.desc import LENGTHS, DataDesc
from symbucket.io.tokens import store_sentences

Buckets = Iterable[int] | int | str | BucketPlan | None

_MANY_BUCKETS = 64  # networks to compile that are worth a warning


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
        batch_size: int | None,
        buckets: Buckets,
        *,
        invalid_label: int,
        dtype: DTypeLike,
        seed: int | None,
        shuffle: bool,
        last_batch: str,
        too_long: str,
        lengths: bool = False,
    ) -> None:
        self.lengths = bool(lengths)
        size = _checked_batch_size(batch_size, buckets)
        super().__init__(size, seed=seed, shuffle=shuffle, last_batch=last_batch)
        self.invalid_label = check_integer(invalid_label, "invalid_label")
        check_choice(too_long, "too_long", ("discard", "cut", "split", "error"))
        requested = checked_buckets(cast("Any", buckets)) if _is_listed(buckets) else None
        self._store = store_sentences(sentences, dtype, self.invalid_label)
        self.dtype: np.dtype[Any] = self._store.tokens.dtype

        keys = requested or self._choose(buckets)
        self.default_bucket_key = keys[-1]
        self._plan_sizes = (
            dict(zip(buckets.boundaries, buckets.batch_sizes))
            if isinstance(buckets, BucketPlan)
            else {}
        )
        self._sentence_of: NDArray[np.int64] | None = None  # of a part, if sentences are split
        self._fit_longest(keys[-1], too_long)
        sizes = self._store.lengths
        assigned = assign_buckets(sizes, keys)
        counts = np.bincount(assigned, minlength=len(keys) + 1)
        self.discarded = int(counts[-1])
        held = np.flatnonzero(counts[:-1])
        empty = [key for key, count in zip(keys, counts) if not count]
        # Buckets without sentences go; what is longer than all stays behind the last one.
        self._hold([keys[i] for i in held], np.searchsorted(held, assigned, side="left"))
        self._tokens_held = np.bincount(self._assigned, weights=sizes)[: len(held)]
        self._refuse_if_no_batch(keys[-1])
        self._described: dict[int, tuple[list[DataDesc], list[DataDesc]]] = {}
        data, label = self._descs(self.default_bucket_key)
        self.provide_data, self.provide_label = list(data), list(label)
        self._report(keys[-1], empty)
        self.reset()

    def _choose(self, buckets: Buckets) -> list[int]:
        """Return the keys that a plan has, or that are best for a number of buckets."""
        lengths = self._store.lengths
        if isinstance(buckets, BucketPlan):
            return checked_buckets(cast("Any", buckets.boundaries))
        if buckets is None or not (isinstance(buckets, str) or is_integer(buckets)):
            keys = choose_buckets(lengths, self.batch_size)
            if len(keys) > _MANY_BUCKETS:
                logger.warning(
                    "%s: buckets=None takes every length that has a batch of sentences: %d "
                    "networks to compile. buckets=6 chooses the 6 boundaries of least padding, "
                    "buckets='auto' as many as are worth it",
                    type(self).__name__,
                    len(keys),
                )
            return keys
        number = None if isinstance(buckets, str) else buckets
        plan = plan_buckets(lengths, number, batch=self.batch_size)
        return checked_buckets(cast("Any", plan.boundaries))

    def _fit_longest(self, longest: int, too_long: str) -> None:
        """Cut, split or refuse sentences longer than every bucket."""
        store, name = self._store, type(self).__name__
        count = int((store.lengths > longest).sum())
        if not count or too_long == "discard":
            return
        if too_long == "error":
            raise DataError(
                f"{count} of {len(store.lengths)} sentences are longer than the largest bucket "
                f"({longest}), the first is sentence {int(np.argmax(store.lengths > longest))}; "
                "give a larger bucket, or too_long='discard', 'cut' or 'split'"
            )
        if too_long == "cut":
            self._store = store.cut(longest)
        else:
            self._store, self._sentence_of = store.split(longest)
        logger.warning(
            "%s: %s %d of %d sentences longer than the largest bucket (%d)",
            name,
            "cut" if too_long == "cut" else "split",
            count,
            len(store.lengths),
            longest,
        )

    def _bucket_names(self) -> list[int]:
        return self.buckets

    def _assigned_to(self, names: list[int]) -> NDArray[np.int64]:
        return assign_buckets(self._store.lengths, names)

    def _hashed_data(self) -> tuple[Any, ...]:
        store = self._store
        return [store.tokens, store.starts, store.lengths], self.invalid_label

    def _batch_size(self, key: int) -> int:
        return self._plan_sizes.get(key, self.batch_size)

    def bucket_table(self) -> BucketTable:
        """Rows ``(key, sentences, batches, padding_share)``, one a bucket, for a table."""
        return BucketTable(
            BucketRow(key, count, batches, 1.0 - float(held) / (count * key))
            for key, count, batches, held in zip(
                self.buckets, self._counts, self._batches(self._counts), self._tokens_held
            )
        )

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
            data, label = self._describe(key)
            if self.lengths:
                data.append(DataDesc(LENGTHS, (self._batch_size(key),), np.float32, "N"))
            self._described[key] = data, label
        return self._described[key]

    def _batch(self, bucket: int, offset: int) -> DataBatch:
        key = self.buckets[bucket]
        size = self.batch_sizes[key]
        ids = self._order[bucket][offset : offset + size]
        pad = size - len(ids)
        ids = np.concatenate([ids, np.full(pad, -1, ids.dtype)])
        tokens = self._store.rows(ids, key, self.invalid_label)
        labels = np.full_like(tokens, self.invalid_label)
        labels[:, :-1] = tokens[:, 1:]
        data, label = self._arrays(tokens, labels)
        if self.lengths:  # 0 of rows that fill the batch up
            data.append(np.where(ids >= 0, self._store.lengths[ids], 0).astype(np.float32))
        provide_data, provide_label = self._descs(key)
        index = ids if self._sentence_of is None else np.append(self._sentence_of, -1)[ids]
        arrays = in_batch(data), in_batch(label)
        return DataBatch(*arrays, pad, index, key, provide_data, provide_label)

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
        words = int(np.count_nonzero(self._store.tokens == self.invalid_label))
        if words:
            logger.warning(
                "%s: invalid_label=%d, which pads, is also the token of %d words: nothing tells "
                "them from padding, so that a loss or a metric that leaves padding out leaves them "
                "out too. Number words from another integer (start_label of encode_sentences), or "
                "pad with another one",
                name,
                self.invalid_label,
                words,
            )
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
        self._tell_remainder()


def _is_listed(buckets: Buckets) -> bool:
    """Return whether the buckets are listed by the user; raise DataError if they are nothing."""
    if buckets is None or isinstance(buckets, BucketPlan) or is_integer(buckets):
        return False
    if isinstance(buckets, str):
        if buckets == "auto":
            return False
        raise DataError(
            f"buckets is {buckets!r}; expected ascending sentence lengths, a number of buckets, "
            "'auto', or a BucketPlan"
        )
    return not isinstance(buckets, Sized) or len(buckets) > 0


def _checked_batch_size(batch_size: int | None, buckets: Buckets) -> int:
    """Return the batch size: a plan's largest if none is given."""
    if not isinstance(buckets, BucketPlan):
        return check_integer(batch_size, "batch_size", 1)
    if batch_size is not None and {*buckets.batch_sizes} != {batch_size}:
        raise InvalidArgumentError(
            f"batch_size is {batch_size!r}, but the plan has batches of "
            f"{', '.join(map(str, buckets.batch_sizes))} sentences; leave batch_size out (None)"
        )
    return buckets.batch_sizes[-1]
