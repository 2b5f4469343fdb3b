"""``KVStore``: arrays by key that are summed when they are pushed, in one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.casts import lost_numbers
from symbucket.checks import check_choice, is_integer
from symbucket.errors import InvalidArgumentError, ShapeError, StateError, UnsupportedError
from symbucket.optimizer import Optimizer, Updater, get_updater
from symbucket.runtime import NDArray

Key = int | str
Values = NDArray | Sequence[NDArray]


class KVStore:
    """A store of arrays in this process; make one with :func:`create`.

    Every method takes one key or a list of keys. For a list, ``value`` and ``out`` are lists of the
    same length, whose entries are an NDArray or a list of NDArrays (one for each device).
    """

    def __init__(self, kind: str = "local") -> None:
        self._type = kind
        self._arrays: dict[Key, NDArray] = {}
        self._updater: Callable[[Key, NDArray, NDArray], None] | None = None

    @property
    def type(self) -> str:
        """The kind of store that :func:`create` was asked for."""
        return self._type

    @property
    def rank(self) -> int:
        """The number of this worker: 0."""
        return 0

    @property
    def num_workers(self) -> int:
        """How many workers there are: 1."""
        return 1

    def init(self, key: Key | Sequence[Key], value: Any) -> None:
        """Give keys their first values, which are copied; each key once, before push and pull.

        Raises InvalidArgumentError, with nothing stored, if a key has a value already.
        """
        pairs = _pairs(key, value, "init")
        for name, _ in pairs:
            if name in self._arrays:
                raise InvalidArgumentError(
                    f"KVStore.init: key {name!r} has a value already; use push to change it"
                )
        for name, arrays in pairs:
            self._arrays[name] = self._first_value(_one(arrays).copy())

    def push(self, key: Key | Sequence[Key], value: Any, priority: int = 0) -> None:
        """Sum the arrays of each key, and update the stored array from the sum.

        With an optimizer (or an updater) set, the sum is the gradient of the stored weight;
        otherwise it replaces the stored array. ``priority`` has no effect: calls are synchronous.
        """
        sums = [(k, _sum(k, self._stored(k, "push"), a)) for k, a in _pairs(key, value, "push")]
        for name, local in sums:
            stored, total = self._arrays[name], self._total(local)
            if self._updater is None:
                stored[...] = total
            else:
                self._updater(name, total, stored)

    def pull(
        self,
        key: Key | Sequence[Key],
        out: Any = None,
        priority: int = 0,
        ignore_sparse: bool = True,
    ) -> None:
        """Copy the stored array of each key into the arrays of ``out``."""
        if out is None:
            raise InvalidArgumentError("KVStore.pull: out= is missing; give arrays to write into")
        copies = [
            (self._stored(name, "pull"), target)
            for name, targets in _pairs(key, out, "pull")
            for target in targets
        ]
        for stored, target in copies:
            if target.shape != stored.shape:
                raise ShapeError(
                    f"KVStore.pull: out has shape {target.shape}, the stored array {stored.shape}"
                )
        for stored, target in copies:
            stored.copyto(target)

    def pushpull(
        self, key: Key | Sequence[Key], value: Any, out: Any = None, priority: int = 0
    ) -> None:
        """Push ``value``, then pull into ``out`` (into ``value`` itself if ``out`` is None)."""
        self.push(key, value, priority)
        self.pull(key, value if out is None else out, priority)

    def broadcast(self, key: Key | Sequence[Key], value: Any, out: Any, priority: int = 0) -> None:
        """Initialise keys with ``value``, then pull into ``out``."""
        self.init(key, value)
        self.pull(key, out, priority)

    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Update the stored arrays with ``optimizer`` at every push."""
        self._updater = get_updater(optimizer)

    def set_updater(self, updater: Callable[[Key, NDArray, NDArray], None]) -> None:
        """Call ``updater(key, sum, stored)`` at every push; it writes into ``stored``."""
        if not callable(updater):
            raise InvalidArgumentError(
                f"KVStore.set_updater: {updater!r} cannot be called; expected a function "
                "updater(key, pushed, stored)"
            )
        self._updater = updater

    _set_updater = set_updater  # MXNet's scripts call it by this name

    def save_optimizer_states(
        self, fname: str | os.PathLike[str], dump_optimizer: bool = False
    ) -> None:
        """Write the optimizer's states to a file, atomically."""
        if dump_optimizer:
            raise UnsupportedError(
                "KVStore.save_optimizer_states(dump_optimizer=True): symbucket writes no pickled "
                "optimizer. Keep its arguments in your program."
            )
        self._optimizer("save_optimizer_states").save(fname)

    def load_optimizer_states(self, fname: str | os.PathLike[str]) -> None:
        """Set the optimizer's states from a file."""
        self._optimizer("load_optimizer_states").load(fname)

    def barrier(self) -> None:
        """Return at once: there is one worker."""

    def set_gradient_compression(self, compression_params: Mapping[str, Any]) -> None:
        """Check ``{"type": "2bit"}`` or its like; one process sends nothing to be compressed."""
        kind = str(dict(compression_params).get("type"))
        check_choice(kind, "compression type", ("1bit", "2bit", "fp16", "none"))

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Return whether the store can update weights itself ("optimizer"): it can."""
        return check_choice(capability, "capability", ("optimizer",)) == "optimizer"

    def row_sparse_pull(self, *args: Any, **kwargs: Any) -> None:
        """Raise UnsupportedError: arrays are dense; ``pull`` copies all rows."""
        raise UnsupportedError(
            "KVStore.row_sparse_pull: symbucket has no sparse arrays; pull copies all rows, and "
            "nd.take(array, row_ids) has some of them"
        )

    def _first_value(self, array: NDArray) -> NDArray:
        """Return what is stored for a key's first value."""
        return array

    def _total(self, array: NDArray) -> NDArray:
        """Return the sum of what all workers push."""
        return array

    def _optimizer(self, method: str) -> Updater:
        if not isinstance(self._updater, Updater):
            raise StateError(f"KVStore.{method}: call set_optimizer first")
        return self._updater

    def _stored(self, key: Key, method: str) -> NDArray:
        if key not in self._arrays:
            names = ", ".join(map(repr, self._arrays)) or "none"
            raise InvalidArgumentError(
                f"KVStore.{method}: key {key!r} has no value; call init first. Keys: {names}"
            )
        return self._arrays[key]


def _pairs(key: Any, value: Any, method: str) -> list[tuple[Key, list[NDArray]]]:
    """Return each key with its list of arrays."""
    if isinstance(key, (list, tuple)):
        if not isinstance(value, (list, tuple)) or len(value) != len(key):
            count = len(value) if isinstance(value, (list, tuple)) else "no list of"
            raise InvalidArgumentError(
                f"KVStore.{method}: {len(key)} keys, but {count} values; expected one for each key"
            )
        if len(set(key)) != len(key):
            raise InvalidArgumentError(f"KVStore.{method}: a key comes twice in {list(key)!r}")
        return [pair for k, v in zip(key, value) for pair in _pairs(k, v, method)]
    if not isinstance(key, str) and not is_integer(key):
        raise InvalidArgumentError(
            f"KVStore.{method}: key is {key!r}; expected an integer, a string, or a list of these"
        )
    arrays = list(value) if isinstance(value, (list, tuple)) else [value]
    if not arrays:
        raise InvalidArgumentError(
            f"KVStore.{method}: key {key!r} has an empty list; expected an NDArray or some of them"
        )
    for array in arrays:
        if not isinstance(array, NDArray):
            raise InvalidArgumentError(
                f"KVStore.{method}: the value of key {key!r} is a {type(array).__name__}; expected "
                "an NDArray or a list of NDArrays"
            )
    return [(key, arrays)]


def _one(arrays: list[NDArray]) -> NDArray:
    if len(arrays) != 1:
        raise InvalidArgumentError(
            f"KVStore.init: {len(arrays)} arrays for one key; expected one array"
        )
    return arrays[0]


def _sum(key: Key, stored: NDArray, arrays: list[NDArray]) -> NDArray:
    for array in arrays:
        if array.shape != stored.shape:
            raise ShapeError(
                f"KVStore.push: the array for key {key!r} has shape {array.shape}, the stored one "
                f"{stored.shape}"
            )
        count, first = lost_numbers(array.view(), stored.dtype)
        if count:
            raise InvalidArgumentError(
                f"KVStore.push: the array for key {key!r} is {array.dtype}, the stored one "
                f"{stored.dtype}, which does not hold {count} of its numbers, the first {first}. "
                "Push arrays of the stored dtype, or init the key with another one"
            )
    total = np.sum([a.view() for a in arrays], axis=0, dtype=stored.dtype)
    return NDArray.of(total, stored.context)
