"""Iterators over what users give to ``FeedForward``: arrays, pairs of arrays, or iterators."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.casts import check_unmasked
from symbucket.engine.contexts import ContextGroup
from symbucket.errors import DataError
from symbucket.io import NDArrayIter, ResizeIter
from symbucket.module.sym_gen import label_names_by_suffix
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.types import Array


@dataclass(frozen=True)
class DataReader:
    """Makes iterators for a model.

    Attributes:
        symbol: the network; None if a ``sym_gen`` makes one for every key.
        contexts: where a batch is split.
        batch_size: rows of a batch of an array.
    """

    symbol: Symbol | None
    contexts: ContextGroup
    batch_size: int

    def for_training(self, X: Any, y: Any, epoch_size: int | None) -> Any:
        """Return an iterator over ``X`` with labels ``y``, in random order if they are arrays.

        ``epoch_size``: batches of an epoch; None: all of them.
        """
        if not is_array(X):
            if y is not None:
                raise DataError(
                    "FeedForward.fit: y belongs to an array X; an iterator brings its own labels"
                )
            data = self.checked_iterator(X, "X")
        elif y is None:
            raise DataError("FeedForward.fit: X is an array, so its labels y must be given too")
        else:
            seed = int(seeding.generator().integers(1 << 62))
            options = {"shuffle": True, "last_batch_handle": "roll_over", "seed": seed}
            data = self._over_arrays(X, y, NDArrayIter, **options)
        if epoch_size is None:
            return data
        data = ResizeIter(data, epoch_size, reset_internal=False)
        data.data_iter.reset()
        return data

    def for_prediction(self, X: Any) -> Any:
        """Return an iterator over ``X``."""
        if is_array(X):
            return self._over_arrays(X, None, NDArrayIter)
        return self.checked_iterator(X, "X")

    def for_scoring(self, data: Any, name: str) -> Any:
        """Return an iterator over data with labels: an iterator, or a pair (X, y) of arrays."""
        if isinstance(data, (tuple, list)) and len(data) == 2:
            X, y = data
            if y is None and not is_array(X):
                return self.checked_iterator(X, name)
            if is_array(X) and y is not None:
                return self._over_arrays(X, y, EveryRowOnce)
        if is_array(data) or isinstance(data, (tuple, list)):
            raise DataError(
                f"FeedForward: {name} needs labels: give an iterator with labels, or a pair (X, y) "
                "of arrays"
            )
        return self.checked_iterator(data, name)

    def checked_iterator(self, data: Any, name: str) -> Any:
        """Return ``data``; raise DataError if it is not an iterator that fits the model."""
        if not (hasattr(data, "provide_data") and hasattr(data, "reset")):
            raise DataError(
                f"FeedForward: {name} is a {type(data).__name__}; expected an iterator "
                "(symbucket.io.DataIter) or a numpy array"
            )
        if self.symbol is None:
            default_bucket_key(data)
        return data

    def _over_arrays(self, X: Any, y: Any, kind: type[NDArrayIter], **options: Any) -> NDArrayIter:
        if self.symbol is None:
            raise DataError(
                "FeedForward: arrays have no bucket keys, which a sym_gen needs; give an iterator "
                "such as BucketSentenceIter, or a fixed Symbol in place of the sym_gen"
            )
        check_unmasked(X, "FeedForward: X")
        check_unmasked(y, "FeedForward: y")
        label = None if y is None else np.asarray(y)
        if label is not None:
            if label.ndim == 2 and label.shape[1] == 1:
                label = label.reshape(-1)
            if label.ndim != 1:
                raise DataError(
                    f"FeedForward: y has shape {label.shape}; expected one label for each row of X "
                    "(for others make an NDArrayIter)"
                )
        values = np.asarray(X)
        names = label_names_by_suffix(self.symbol)
        rows = len(values) if values.ndim else 1
        size = max(1, min(rows, self.batch_size))
        if kind is EveryRowOnce:  # others have whole batches only
            size = self.contexts.batch_size(rows, size)
        return kind(
            values,
            label,
            size,
            label_name=names[0] if len(names) == 1 else "softmax_label",
            **options,
        )


class EveryRowOnce(NDArrayIter):
    """Ends with a smaller batch in place of a padded one, so that metrics count no row twice."""

    def getindex(self) -> Any:
        """Return the positions of the batch's rows, without padding."""
        rows = super().getindex()
        return rows[: len(rows) - super().getpad()]

    def getpad(self) -> int:
        """Return 0."""
        return 0


def is_array(data: Any) -> bool:
    """Return whether data are one array."""
    return isinstance(data, (np.ndarray, NDArray))


def default_bucket_key(data: Any) -> Hashable:
    """Return the default key of an iterator; raise DataError if it has none."""
    key: Hashable = getattr(data, "default_bucket_key", None)
    if key is None:
        raise DataError(
            f"FeedForward: the {type(data).__name__} has no default_bucket_key, which a sym_gen "
            "needs; give an iterator over buckets, such as BucketSentenceIter"
        )
    return key


def join_batches(what: str, batches: list[list[Array]]) -> Any:
    """Return arrays joined over the batches; one by itself, several as a list."""
    try:
        joined = [np.concatenate(parts) for parts in zip(*batches)]
    except ValueError as error:
        raise DataError(
            f"FeedForward.predict cannot join the {what} of batches with different shapes "
            f"({error}); predict one bucket at a time, or use BucketingModule.iter_predict"
        ) from None
    return joined[0] if len(joined) == 1 else joined
