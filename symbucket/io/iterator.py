"""The protocol that every data iterator follows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.io.batch import DataBatch
from symbucket.io.desc import DataDesc


def check_iterator(value: object, name: str, *needs: str) -> None:
    """Raise InvalidArgumentError unless ``value`` has ``reset``, batches, and what it ``needs``."""
    missing = [n for n in ("__iter__", "reset", *needs) if not hasattr(value, n)]
    if missing:
        shown = "None" if value is None else f"a {type(value).__name__}"
        raise InvalidArgumentError(
            f"{name} is {shown}, without {', '.join(missing)}; expected an iterator of batches, "
            "such as symbucket.io.NDArrayIter(data, label, batch_size) of arrays or "
            "symbucket.io.BucketSentenceIter(sentences, batch_size)"
        )


class DataIter:
    """Base of iterators over batches.

    A subclass sets ``provide_data`` and ``provide_label`` (what its batches hold; for bucketed
    data, at the default bucket key) and overrides :meth:`reset` and either :meth:`next`, or
    :meth:`iter_next` with :meth:`getdata` and, as needed, :meth:`getlabel`, :meth:`getindex` and
    :meth:`getpad`; :meth:`state` and :meth:`restore`, if training is to resume inside an epoch.
    As in MXNet, ``iter()`` does not rewind: call :meth:`reset` between epochs.

    Args:
        batch_size: rows of a batch; 0 where it is not known.

    Attributes:
        batch_size: rows of a batch.
        provide_data: list of DataDesc.
        provide_label: list of DataDesc, empty without labels.
        default_bucket_key: key of the largest network, or None where data is not bucketed.
    """

    provide_data: list[DataDesc]
    provide_label: list[DataDesc]
    default_bucket_key: Hashable = None

    def __init__(self, batch_size: int = 0) -> None:
        self.batch_size = check_integer(batch_size, "batch_size", 0)

    def __iter__(self) -> DataIter:
        return self

    def __next__(self) -> DataBatch:
        return self.next()

    def reset(self) -> None:
        """Go back to the first batch (of a new epoch).

        Not needed by a class whose ``__iter__`` begins anew, as a generator does.
        """
        if type(self).__iter__ is DataIter.__iter__:
            raise self._missing("reset()")

    def next(self) -> DataBatch:
        """The next batch.

        Raises:
            StopIteration: the epoch is over.
        """
        if not self.iter_next():
            raise StopIteration
        return DataBatch(
            data=self.getdata(), label=self.getlabel(), pad=self.getpad(), index=self.getindex()
        )

    def iter_next(self) -> bool:
        """Move to the next batch; False if there is none."""
        raise self._missing("next(), or iter_next() with getdata()")

    def getdata(self) -> list[Any]:
        """Data arrays of the current batch."""
        raise self._missing("next(), or iter_next() with getdata()")

    def getlabel(self) -> list[Any] | None:
        """Label arrays of the current batch, or None."""
        return None

    def getindex(self) -> Any:
        """Positions in the data set of the current batch's rows, or None."""
        return None

    def getpad(self) -> int | None:
        """Number of rows at the end of the current batch that only fill it up."""
        return 0

    def state(self) -> dict[str, Any]:
        """Return where the iterator is, as JSON values, for ``restore``.

        What ``next`` has returned had its turn, whatever was read ahead.
        """
        raise self._missing("state() and restore(state)")

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go where ``state()`` was, without reading what came before it.

        The iterator is one over the same data, of this or another process.
        """
        raise self._missing("state() and restore(state)")

    def _missing(self, method: str) -> UnsupportedError:
        name = type(self).__name__
        return UnsupportedError(f"{name} does not define {method}; override it in class {name}")
