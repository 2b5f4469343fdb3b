"""Batches from arrays that lie in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbucket import runtime
from symbucket.checks import check_choice, check_integer
from symbucket.errors import DataError, NameConflictError, StateError, UnsupportedError
from symbucket.io.arrays import as_array, float32, in_batch
from symbucket.io.desc import DataDesc
from symbucket.io.epoch_seed import epoch_generator, resolve_seed
from symbucket.io.iterator import DataIter
from symbucket.io.state import (
    State,
    compare,
    data_digest,
    pack_ids,
    restores,
    tell_changes,
    unpack_ids,
)

Named = list[tuple[str, runtime.NDArray]]
"""Arrays with their names, in order."""


class NDArrayIter(DataIter):
    """Batches of consecutive (or shuffled) rows of one or several arrays.

    As in MXNet, arrays become float32. A single array is called ``data_name``; several in a list
    ``_0_<data_name>``, ``_1_<data_name>`` and so on; those in a dict keep their names and come
    sorted by them. Labels likewise with ``label_name``.

    Args:
        data: array, list of arrays or dict of arrays; axis 0 counts the examples.
        label: likewise, or None.
        batch_size: rows of a batch.
        shuffle: take the rows in a new random order each epoch.
        last_batch_handle: what becomes of rows that do not fill a batch: ``'pad'`` fills it up
            with rows from the epoch's start (``pad`` of the batch counts them), ``'discard'``
            drops it, ``'roll_over'`` opens the next epoch with them.
        data_name: name of the data.
        label_name: name of the label.
        layout: that of ``provide_data`` and ``provide_label``; its ``N`` must stand first.
        seed: fixes the shuffles; None draws one that follows ``sb.random.seed`` and differs from
            iterator to iterator, then readable as ``seed``.

    Attributes:
        data: all rows, a list of ``(name, NDArray)``: float32, over the memory of the arrays that
            were given if that could be, else copies.
        label: likewise.
        num_data: number of examples.
        epoch: 0 at first, one more with each reset.

    Raises:
        DataError: no data, arrays of different lengths or without an axis 0, values that are no
            numbers or integers that float32 cannot hold, or too few rows for one batch with
            ``'discard'``.
        NameConflictError: a data and a label array carry one name.
        InvalidArgumentError: an option out of range.
    """

    _order: NDArray[np.int64]  # rows of the epoch, in the order in which batches take them
    _carried: NDArray[np.int64]  # rows that rolled over from the last epoch
    _batch: int  # number of the current batch, -1 before the first
    _exhausted: bool
    _left: NDArray[np.int64] | None  # all that an epoch has left after a change; None: everything

    def __init__(
        self,
        data: Any,
        label: Any = None,
        batch_size: int = 1,
        shuffle: bool = False,
        last_batch_handle: str = "pad",
        data_name: str = "data",
        label_name: str = "softmax_label",
        layout: str | None = "NCHW",
        seed: int | None = None,
    ) -> None:
        if DataDesc.get_batch_axis(layout) != 0:
            raise UnsupportedError(
                f"NDArrayIter: layout={layout!r} does not begin with N: examples are rows of "
                "axis 0 here. Give arrays with that axis first, and swap axes in the network "
                "(sym.swapaxes), or make the batches in an iterator of your own"
            )
        self.layout = layout
        super().__init__(check_integer(batch_size, "batch_size", 1))
        self.shuffle = bool(shuffle)
        self.last_batch_handle = check_choice(
            last_batch_handle, "last_batch_handle", ("pad", "discard", "roll_over")
        )
        self.seed = resolve_seed(seed)
        self.data = _named_arrays(data, "data", data_name)
        self.label = [] if label is None else _named_arrays(label, "label", label_name)
        if not self.data:
            raise DataError("NDArrayIter: data holds no array; give at least one")
        self.num_data = _common_length(self.data + self.label)
        if self.last_batch_handle == "discard" and self.num_data < self.batch_size:
            raise DataError(
                f"NDArrayIter: {self.num_data} rows do not fill one batch of {self.batch_size}, "
                "which last_batch_handle='discard' drops; use a smaller batch_size or 'pad'"
            )
        self.provide_data = self._descs(self.data)
        self.provide_label = self._descs(self.label)
        shared = {desc.name for desc in self.provide_data} & {d.name for d in self.provide_label}
        if shared:
            raise NameConflictError(
                f"NDArrayIter: data and label both have an array named {min(shared)!r}; "
                "change data_name or label_name"
            )
        self.epoch = -1
        self._data_digest: str | None = None
        self._carried = np.empty(0, np.int64)
        self._begin()

    def reset(self) -> None:
        """Begin the next epoch; with ``'roll_over'`` at the rows that the last one left."""
        # Only an epoch that ran to its end leaves rows; one that was not begun keeps its own.
        if self._exhausted or (self._batch >= 0 and not self._has_next):
            used = len(self._order) // self.batch_size * self.batch_size
            self._carried = self._order[used:]
        elif self._batch >= 0:
            self._carried = self._order[:0]
        self._begin()

    def hard_reset(self) -> None:
        """Begin the next epoch, without rows that rolled over."""
        self._carried = self._order[:0]
        self._begin()

    @property
    def _has_next(self) -> bool:
        left = len(self._order) - (self._batch + 1) * self.batch_size
        return left >= self.batch_size or (left > 0 and self.last_batch_handle == "pad")

    def iter_next(self) -> bool:
        """Move to the next batch; False if the epoch is over."""
        if self._has_next:
            self._batch += 1
            return True
        self._exhausted = True
        return False

    def getdata(self) -> list[runtime.NDArray]:
        """Data arrays of the current batch, each (batch_size, ...) float32, freshly made."""
        rows = self.getindex()
        return in_batch(array.view()[rows] for _, array in self.data)

    def getlabel(self) -> list[runtime.NDArray]:
        """Label arrays of the current batch, each (batch_size, ...) float32."""
        rows = self.getindex()
        return in_batch(array.view()[rows] for _, array in self.label)

    def getindex(self) -> NDArray[np.int64]:
        """Row numbers of the current batch in the given arrays: (batch_size,) int64."""
        if self._batch < 0 or self._exhausted:
            raise StateError("NDArrayIter: no current batch; call next() or iter_next() first")
        positions = np.arange(self._batch * self.batch_size, (self._batch + 1) * self.batch_size)
        # Beyond the end the epoch starts over, more than once if the batch is wider than the data.
        rows: NDArray[np.int64] = self._order[positions % len(self._order)]
        return rows

    def getpad(self) -> int:
        """Number of rows at the end of the current batch that repeat the epoch's start."""
        return max(0, (self._batch + 1) * self.batch_size - len(self._order))

    def state(self) -> State:
        """Return epoch, position and all that they depend on, as JSON values."""
        return {
            "iterator": type(self).__name__,
            "data": self._digest,
            "epoch": self.epoch,
            "position": self._batch + 1,
            "exhausted": self._exhausted,
            "finished": not self._has_next,
            "carried": pack_ids(self._carried),
            "left": None if self._left is None else pack_ids(self._left),
            **self._layout(),
        }

    @restores
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go where ``state()`` was: the next batch is the one that followed then.

        If the batch size or the treatment of the last batch differs, the epoch goes on with every
        row that had no turn yet, once, and a warning says so. Raises DataError if the data differ
        in the middle of an epoch; nothing is changed then.
        """
        same_data, changes = compare(self, state, self._digest, self._layout())
        finished = state["finished"]
        # The seed goes with the state: one that nobody gave is another one in every run.
        self.seed = int(state["seed"])
        position, batch_size = int(state["position"]), int(state["batch_size"])
        self._begin_epoch(
            int(state["epoch"]),
            unpack_ids(state["carried"]) if same_data else np.empty(0, np.int64),
            unpack_ids(state["left"]) if same_data and state["left"] is not None else None,
            bool(state["shuffle"]) if same_data else self.shuffle,
        )
        if not changes:
            self._batch, self._exhausted = position - 1, bool(state["exhausted"])
            return
        if finished:
            self._left = self._order = self._order[:0]
        elif same_data:
            self._left = self._order = self._order[position * batch_size :]
        tell_changes(self, self.epoch, len(self._order), changes)

    def _layout(self) -> State:
        """Return what the batches of an epoch depend on besides its number and the data."""
        return {
            "seed": self.seed,
            "shuffle": self.shuffle,
            "batch_size": self.batch_size,
            "last_batch_handle": self.last_batch_handle,
        }

    @property
    def _digest(self) -> str:
        if self._data_digest is None:
            named = self.data + self.label
            arrays = (np.asarray(array) for _, array in named)
            self._data_digest = data_digest(arrays, [name for name, _ in named])
        return self._data_digest

    def _begin(self) -> None:
        keep = self._carried if self.last_batch_handle == "roll_over" else self._carried[:0]
        self._begin_epoch(self.epoch + 1, keep, None, self.shuffle)

    def _begin_epoch(
        self,
        epoch: int,
        carried: NDArray[np.int64],
        left: NDArray[np.int64] | None,
        shuffle: bool,
    ) -> None:
        """Go to the beginning of an epoch, over ``carried`` and all rows, or over ``left``."""
        self.epoch, self._carried, self._left = epoch, carried, left
        self._batch = -1
        self._exhausted = False
        if shuffle:
            order = epoch_generator(self.seed, epoch).permutation(self.num_data)
        else:
            order = np.arange(self.num_data)
        whole = np.concatenate([carried, order.astype(np.int64)])
        self._order = whole if left is None else left

    def _descs(self, arrays: Named) -> list[DataDesc]:
        return [
            DataDesc(name, (self.batch_size, *array.shape[1:]), array.dtype, self.layout)
            for name, array in arrays
        ]


def _named_arrays(source: Any, what: str, default: str) -> Named:
    if isinstance(source, Mapping):
        for name in source:
            if not isinstance(name, str):
                raise DataError(f"NDArrayIter: {what} has the key {name!r}; expected a string")
        named = sorted(source.items())
    elif isinstance(source, (list, tuple)):
        if len(source) == 1:
            named = [(default, source[0])]
        else:
            named = [(f"_{i}_{default}", array) for i, array in enumerate(source)]
    else:
        named = [(default, source)]
    return [(name, _rows(name, what, array)) for name, array in named]


def _rows(name: str, what: str, source: Any) -> runtime.NDArray:
    where = f"NDArrayIter: {what} array {name!r}"
    array = as_array(where, source)
    if array.ndim == 0 and array.dtype.kind in "biuf":
        raise DataError(f"{where} is a single number; expected axis 0 to count the examples")
    (rows,) = in_batch([float32(where, array)])
    return rows


def _common_length(arrays: Named) -> int:
    first_name, first = arrays[0]
    for name, array in arrays:
        if len(array) != len(first):
            raise DataError(
                f"NDArrayIter: array {name!r} has {len(array)} rows but {first_name!r} has "
                f"{len(first)}; axis 0 of all data and labels must be of one length"
            )
    if len(first) == 0:
        raise DataError(f"NDArrayIter: array {first_name!r} has no rows; give at least one")
    return len(first)
