"""Epochs of another length over the same data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbucket.checks import check_integer
from symbucket.errors import DataError
from symbucket.io.batch import DataBatch
from symbucket.io.iterator import DataIter
from symbucket.io.state import State, restores
from symbucket.io.whole_batch_iter import WholeBatchIter


class ResizeIter(WholeBatchIter):
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
        self.size = check_integer(size, "size", 1)
        self.reset_internal = bool(reset_internal)
        self.provide_data = data_iter.provide_data
        self.provide_label = data_iter.provide_label
        self.default_bucket_key = data_iter.default_bucket_key
        self._taken = 0

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self.size

    def reset(self) -> None:
        """Begin the next epoch."""
        self._taken = 0
        self._current = None
        if self.reset_internal:
            self.data_iter.reset()

    def state(self) -> State:
        """Return the state of ``data_iter``, and how many batches were taken from it."""
        inner = self.data_iter.state()
        return {"iterator": "ResizeIter", "taken": self._taken, "inner": inner}

    @restores
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go where ``state()`` was, see ``data_iter``."""
        taken = int(state["taken"])
        self.data_iter.restore(state["inner"])
        self._taken, self._current = taken, None

    def _following(self) -> DataBatch | None:
        if self._taken == self.size:
            return None
        batch = self._batch()
        self._taken += 1
        return batch

    def _batch(self) -> DataBatch:
        """The next batch, just as ``data_iter`` made it."""
        for again in (True, False):
            try:
                return self.data_iter.next()
            except StopIteration:
                if again:
                    self.data_iter.reset()
        raise DataError(
            f"ResizeIter: {type(self.data_iter).__name__} has no batch even after a reset"
        )
