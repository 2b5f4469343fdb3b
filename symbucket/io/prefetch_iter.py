"""Batches that are made while the network runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from symbucket.checks import listing
from symbucket.errors import DataError
from symbucket.io.batch import DataBatch
from symbucket.io.desc import DataDesc
from symbucket.io.iterator import DataIter
from symbucket.io.state import State, restores, state_of
from symbucket.io.whole_batch_iter import WholeBatchIter

_Fetched = tuple[State | None, DataBatch | None]
Renames = Sequence[Mapping[str, str]] | None


class PrefetchingIter(WholeBatchIter):
    """Takes one batch ahead from one or several iterators, each in a thread of its own.

    The batches of several iterators become one, with the data and labels of all.

    Args:
        iters: an iterator, or a list of them with equal batch sizes.
        rename_data, rename_label: for each iterator new names of its data (labels) by old ones.

    Raises:
        DataError: no iterators, or as many renames as iterators are not given.
    """

    def __init__(
        self,
        iters: DataIter | Sequence[DataIter],
        rename_data: Renames = None,
        rename_label: Renames = None,
    ) -> None:
        self.iters: list[Any] = list(iters) if isinstance(iters, (list, tuple)) else [iters]
        if not self.iters or not all(hasattr(one, "provide_data") for one in self.iters):
            raise DataError(f"PrefetchingIter: {iters!r} are no iterators")
        for option, renames in (("rename_data", rename_data), ("rename_label", rename_label)):
            if renames is not None and len(renames) != len(self.iters):
                raise DataError(
                    f"PrefetchingIter: {option} has {len(renames)} entries for "
                    f"{len(self.iters)} iterators"
                )
        self.rename_data, self.rename_label = rename_data, rename_label
        super().__init__(self.iters[0].batch_size)
        self.default_bucket_key = getattr(self.iters[0], "default_bucket_key", None)
        self.provide_data = self._descs([one.provide_data for one in self.iters], rename_data)
        self.provide_label = self._descs([one.provide_label for one in self.iters], rename_label)
        self._threads = ThreadPoolExecutor(len(self.iters), "PrefetchingIter")
        self._coming: list[Future[_Fetched]] = []
        self._fetch()

    @staticmethod
    def _descs(groups: Sequence[Sequence[DataDesc]], renames: Renames) -> list[DataDesc]:
        descs = []
        for i, group in enumerate(groups):
            names = {} if renames is None else renames[i]
            for desc in group:
                described = desc if isinstance(desc, DataDesc) else DataDesc(*desc)
                name = names.get(described.name, described.name)
                descs.append(DataDesc(name, described.shape, described.dtype, described.layout))
        return descs

    def _fetch(self) -> None:
        self._coming = [self._threads.submit(_next_of, one) for one in self.iters]

    def _arrived(self) -> list[DataBatch | None]:
        """Return the batches that were taken ahead, and take none.

        If an iterator failed, that is raised; it is asked again by the next call, and the batches
        of the others wait.
        """
        coming = self._coming
        wait(coming)
        self._coming = [
            self._threads.submit(_next_of, one) if future.exception() else future
            for one, future in zip(self.iters, coming)
        ]
        batches = [future.result()[1] for future in coming]
        self._coming = []
        return batches

    def _drop(self) -> None:
        """Forget what was taken ahead, and what went wrong with it."""
        wait(self._coming)
        self._coming, self._current = [], None

    def reset(self) -> None:
        """Begin the next epoch of all iterators."""
        self._drop()
        for one in self.iters:
            one.reset()
        self._fetch()

    def state(self) -> State:
        """Return the states of the iterators before the batches that were taken ahead.

        Raises UnsupportedError if one of them has no ``state()``.
        """
        if self._coming:
            states = [future.result()[0] for future in self._coming]
        else:
            states = [one.state() for one in self.iters]  # at the end nothing was taken
        for one, state in zip(self.iters, states):
            if state is None:
                one.state()  # raises
        return {"iterator": type(self).__name__, "inner": states}

    @restores
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go where ``state()`` was, see the iterators; they are as many as then."""
        if len(state["inner"]) != len(self.iters):
            raise DataError(
                f"PrefetchingIter.restore: the state is that of {len(state['inner'])} iterators, "
                f"here are {len(self.iters)}"
            )
        self._drop()
        for one, inner in zip(self.iters, state["inner"]):
            one.restore(inner)
        self._fetch()

    def _following(self) -> DataBatch | None:
        batches = self._arrived() if self._coming else [None]
        ended = [batch is None for batch in batches]
        if all(ended):
            return None
        if any(ended) or len({batch.pad for batch in batches if batch is not None}) > 1:
            raise DataError(
                "PrefetchingIter: the iterators have different numbers of batches or of rows in "
                f"them: {listing([type(one).__name__ for one in self.iters])}"
            )
        whole = [batch for batch in batches if batch is not None]
        keys = {getattr(batch, "bucket_key", None) for batch in whole}
        if len(keys) > 1:
            raise DataError(
                "PrefetchingIter: batches that belong together have the bucket keys "
                f"{listing(map(repr, keys))}; iterators over the same samples that shuffle alike "
                "have the same ones"
            )
        self._fetch()
        if len(whole) == 1 and self.rename_data is None and self.rename_label is None:
            return whole[0]
        data = [b.provide_data or one.provide_data for b, one in zip(whole, self.iters)]
        labels = [b.provide_label or one.provide_label for b, one in zip(whole, self.iters)]
        return DataBatch(
            [array for batch in whole for array in batch.data],
            [array for batch in whole for array in batch.label or []],
            whole[0].pad,
            whole[0].index,
            whole[0].bucket_key,
            self._descs(data, self.rename_data),
            self._descs(labels, self.rename_label),
        )


def _next_of(one: DataIter) -> _Fetched:
    """Return the state before the next batch, if there are states, and the batch."""
    return state_of(one), next(one, None)
