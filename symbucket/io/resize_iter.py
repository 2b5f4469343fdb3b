"""Epochs of another length over the same data."""

from __future__ import annotations

from typing import Any

from symbucket.errors import DataError, StateError
from symbucket.io._checks import checked_count
from symbucket.io.batch import DataBatch
from symbucket.io.iterator import DataIter


class ResizeIter(DataIter):
    """Epochs of ``size`` batches over another iterator, after ``mx.io.ResizeIter``.

    A smaller size stops each epoch early; a larger one starts the data again from its beginning as
    often as it takes.

    Args:
        data_iter: the iterator that makes the batches. Its descriptions, ``batch_size`` and
            ``default_bucket_key`` become those of this one.
        size: batches of an epoch, 1 or more.
        reset_internal: True: each epoch begins with ``data_iter.reset()``. False: it goes on where
            the last one stopped.

    Raises:
        DataError: ``data_iter`` is no DataIter, or has no batch even after a reset.
        InvalidArgumentError: ``size`` out of range.
    """

    def __init__(self, data_iter: DataIter, size: int, reset_internal: bool = True) -> None:
        if not isinstance(data_iter, DataIter):
            raise DataError(
                f"ResizeIter: data_iter is {data_iter!r}; expected a DataIter, as NDArrayIter or "
                "BucketSentenceIter"
            )
        super().__init__(data_iter.batch_size)
        self.data_iter = data_iter
        self.size = checked_count(size, "size")
        self.reset_internal = bool(reset_internal)
        self.provide_data = data_iter.provide_data
        self.provide_label = data_iter.provide_label
        self.default_bucket_key = data_iter.default_bucket_key
        self._taken = 0
        self._current: DataBatch | None = None

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self.size

    def reset(self) -> None:
        """Begin the next epoch."""
        self._taken = 0
        self._current = None
        if self.reset_internal:
            self.data_iter.reset()

    def next(self) -> DataBatch:
        """The next batch, just as ``data_iter`` made it.

        Raises:
            StopIteration: the epoch is over.
        """
        if not self.iter_next():
            raise StopIteration
        return self._now()

    def iter_next(self) -> bool:
        """Move to the next batch; False if the epoch is over."""
        if self._taken == self.size:
            self._current = None
            return False
        try:
            self._current = self.data_iter.next()
        except StopIteration:
            self.data_iter.reset()
            try:
                self._current = self.data_iter.next()
            except StopIteration:
                raise DataError(
                    f"ResizeIter: {type(self.data_iter).__name__} has no batch even after a reset"
                ) from None
        self._taken += 1
        return True

    def getdata(self) -> list[Any]:
        """Data arrays of the current batch."""
        return self._now().data

    def getlabel(self) -> list[Any] | None:
        """Label arrays of the current batch, or None."""
        return self._now().label

    def getindex(self) -> Any:
        """Positions in the data set of the current batch's rows, or None."""
        return self._now().index

    def getpad(self) -> int | None:
        """Number of rows at the end of the current batch that only fill it up."""
        return self._now().pad

    def _now(self) -> DataBatch:
        if self._current is None:
            raise StateError("ResizeIter: no current batch; call next() or iter_next() first")
        return self._current
