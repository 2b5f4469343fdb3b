"""``HostUpdater``: calls ``update`` of optimizers that compute in Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.errors import CheckpointError, UnsupportedError
from symbucket.optimizer.base import Optimizer
from symbucket.optimizer.hyperparameters import Index
from symbucket.optimizer.parameter_states import Array, index_of
from symbucket.optimizer.updater import Updater
from symbucket.runtime import RowSparse
from symbucket.runtime.ndarray import NDArray

_Host = np.ndarray[Any, Any]


class HostUpdater(Updater):
    """An updater for an optimizer that overrides ``update``.

    States may be NDArrays, None, and tuples, lists or dicts of them. In files each array has its
    place as its name.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        for name in ("clip_global_norm", "ema_decay"):
            if getattr(optimizer, name) is not None:
                raise UnsupportedError(
                    f"optimizer {self._kind()} computes in Python, and {name} is for those that "
                    "compute in a graph. Write it into its update."
                )
        self._host_states: dict[Index, Any] = {}
        self._waiting: dict[Index, dict[str, _Host]] = {}

    def _check_dtype(self, index: Index, kind: str, array: Array) -> None:
        """Accept all dtypes."""

    def _takes_rows(self, index: Index) -> bool:
        """False: ``update`` gets whole gradients."""
        return False

    def _labels(self) -> dict[str, Index]:
        return {self._label(i): i for i in [*self.optimizer.idx2name, *self._host_states]}

    def _step(
        self,
        dense: Sequence[tuple[Index, Any, Any]],
        by_rows: Sequence[tuple[Index, RowSparse, NDArray]],
    ) -> None:
        grads = [self._buffer(i, "gradient", g) for i, g, _ in dense]
        weights = [self._buffer(i, "weight", w) for i, _, w in dense]
        self._check(dense, grads, weights)
        indices = [i for i, _, _ in dense]
        for index, weight in zip(indices, weights):
            self._allocate_one(index, weight)
        counters = self.optimizer.counters()
        states = [leaf for i in indices for _, leaf in _leaves(self._host_states[i])]
        before = [(array, array.asnumpy()) for array in (*weights, *states)]
        try:
            for index, grad, weight in zip(indices, grads, weights):
                state = self._host_states[index]
                self.optimizer.update_multi_precision(index, weight, grad, state)
        except BaseException:
            for array, values in before:
                array[...] = values
            self.optimizer.set_counters(counters)
            raise
        for (_, _, target), array in zip(dense, weights):
            if target is not array:
                target[...] = array.view()

    def _allocate_one(self, index: Index, weight: NDArray) -> None:
        if index in self._host_states:
            return
        state = self.optimizer.create_state_multi_precision(index, weight)
        leaves = dict(_leaves(state))
        waiting = self._waiting.pop(index, None)
        if waiting is not None:
            self._check_leaves(index, leaves, waiting, "the states that were set")
            for place, values in waiting.items():
                leaves[place][...] = values
        self._host_states[index] = state

    def allocate(
        self, indices: Sequence[Index], weights: Sequence[NDArray]
    ) -> list[dict[str, NDArray]]:
        """Make the states of parameters where they are not there yet; return their arrays."""
        for index, weight in zip(indices, weights):
            self._allocate_one(index, weight)
        return [dict(_leaves(self._host_states[index])) for index in indices]

    def states(self) -> dict[str, _Host]:
        """Return copies of all arrays in states as ``{"mine/0/embed_weight": array}``."""
        arrays = {
            self._key(place, index): leaf.asnumpy()
            for index, state in self._host_states.items()
            for place, leaf in _leaves(state)
        }
        for index, waiting in self._waiting.items():
            arrays |= {self._key(place, index): values.copy() for place, values in waiting.items()}
        return arrays

    def _take(self, states: Mapping[str, Any], where: str, updated: Sequence[Index]) -> None:
        labels = self._labels()
        new: dict[Index, dict[str, _Host]] = {}
        for key, values in states.items():
            owner, place, label = [*key.split("/", 2), "", ""][:3]
            if owner != self._kind() or not label:
                raise CheckpointError(
                    f"{where}: state {key!r} is unknown here; names are "
                    f"'{self._kind()}/PLACE/PARAMETER'."
                )
            index = index_of(label, labels)
            new.setdefault(index, {})[place] = np.array(values)
        for index, state in self._host_states.items():
            self._check_leaves(index, dict(_leaves(state)), new.get(index, {}), where)
        for index, state in self._host_states.items():
            for place, leaf in _leaves(state):
                leaf[...] = new[index][place]
        waiting = dict.fromkeys([*new, *updated])  # one that was updated without a state has none
        self._waiting = {i: new.get(i, {}) for i in waiting if i not in self._host_states}

    def _check_leaves(
        self,
        index: Index,
        leaves: Mapping[str, NDArray],
        arrays: Mapping[str, _Host],
        where: str,
    ) -> None:
        own = {place: (leaf.shape, leaf.dtype) for place, leaf in leaves.items()}
        other = {place: (array.shape, array.dtype) for place, array in arrays.items()}
        if own != other:
            raise CheckpointError(
                f"{where}: the state of {self._label(index)!r} has {other or 'no arrays'}; "
                f"expected {own or 'none'} (shape and dtype by place)."
            )


def _leaves(state: Any, place: str = "") -> Iterator[tuple[str, NDArray]]:
    """Yield place and array of every NDArray in a state."""
    if isinstance(state, NDArray):
        yield place or "state", state
    elif isinstance(state, (tuple, list, dict)):
        parts = state.items() if isinstance(state, dict) else enumerate(state)
        for key, part in parts:
            yield from _leaves(part, f"{place}.{key}" if place else str(key))


def get_updater(optimizer: Optimizer) -> Updater:
    """Return an updater with states of its own for ``optimizer``."""
    host = isinstance(optimizer, Optimizer) and optimizer.updates_on_host
    return HostUpdater(optimizer) if host else Updater(optimizer)
