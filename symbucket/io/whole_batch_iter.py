"""The second half of the iterator protocol for iterators that make whole batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from symbucket.errors import StateError
from symbucket.io.batch import DataBatch
from symbucket.io.iterator import DataIter


class WholeBatchIter(DataIter, ABC):
    """Base of iterators that make a batch at once; a subclass says which comes next.

    A ``DataIter`` puts a batch together from what ``getdata`` and its kin give. Here it is the
    other way round: they give the parts of the batch that :meth:`next` or :meth:`iter_next` moved
    to.
    """

    _current: DataBatch | None = None  # a subclass's reset() sets it back to None

    @abstractmethod
    def _following(self) -> DataBatch | None:
        """The batch after the current one; None if the epoch is over."""

    def next(self) -> DataBatch:
        """The next batch, with all that is known about it.

        Raises:
            StopIteration: the epoch is over.
        """
        if not self.iter_next():
            raise StopIteration
        return self._now()

    def iter_next(self) -> bool:
        """Move to the next batch; False if the epoch is over."""
        self._current = self._following()
        return self._current is not None

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
            raise StateError(
                f"{type(self).__name__}: no current batch; call next() or iter_next() first"
            )
        return self._current
