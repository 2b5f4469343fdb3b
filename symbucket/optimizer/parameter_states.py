"""``ParameterStates``: the states of an optimizer for each parameter, in memory and as bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.errors import CheckpointError, ShapeError, UnsupportedError
from symbucket.files import read_bytes, write_checkpoint
from symbucket.optimizer.base import EMA, Optimizer
from symbucket.optimizer.hyperparameters import Index
from symbucket.optimizer.states import pack, unpack
from symbucket.runtime.ndarray import NDArray

Array = NDArray | np.ndarray[Any, Any]
_Host = np.ndarray[Any, Any]

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
"""What parameters can be; their states are of the same dtype."""

_BY_INDEX = {"index_update_count", "index_begin"}
"""Counters that each parameter has."""


class ParameterStates:
    """The arrays in which an optimizer remembers what was, such as momentum, by parameter.

    They are allocated when their parameter is known, written and read whole, and named in files
    by optimizer, state and parameter.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._states: dict[Index, dict[str, NDArray]] = {}
        self._loaded: dict[Index, dict[str, _Host]] = {}  # of parameters that are not allocated yet
        self._allocated: tuple[list[Any], Sequence[NDArray]] = [], []  # names, indices; weights

    @property
    def nbytes(self) -> int:
        """Bytes of all states."""
        return sum(a.nbytes for states in self._states.values() for a in states.values())

    def allocate(
        self, indices: Sequence[Index], weights: Sequence[NDArray]
    ) -> list[dict[str, NDArray]]:
        """The states of parameters, made where they are not there yet, at their initial values.

        Call it before ``set_states`` to have the states checked against the weights at once.
        """
        values = self.optimizer.update_states()
        request = [tuple(values), *indices], weights
        same = not self._loaded and self._allocated[0] == request[0]
        if same and all(a is b for a, b in zip(weights, self._allocated[1])):
            return [self._states[index] for index in indices]
        for index, weight in zip(indices, weights):
            self._check_dtype(index, "weight", weight)
            if weight.ndim == 0 or weight.size == 0:
                raise UnsupportedError(
                    f"updater: {self._label(index)!r} has shape {weight.shape}; a parameter needs "
                    "at least one axis and one element. Give a single number the shape (1,)."
                )
            have, loaded = self._states.get(index, {}), self._loaded.get(index, {})
            shapes = {n: a.shape for n, a in have.items()} | {n: a.shape for n, a in loaded.items()}
            for name, shape in shapes.items():
                if shape != weight.shape:
                    raise ShapeError(
                        f"updater: {self._label(index)!r} has shape {weight.shape}, its state "
                        f"{name!r} {shape}. Use one index (or one updater) for each weight."
                    )
            for name, array in have.items():
                if array.dtype != weight.dtype:
                    raise UnsupportedError(
                        f"updater: {self._label(index)!r} has dtype {weight.dtype}, its state "
                        f"{name!r} {array.dtype}. Convert one of them with astype, or make the "
                        "state anew with create_state."
                    )
        for index, weight in zip(indices, weights):
            states, loaded = dict(self._states.get(index, {})), self._loaded.get(index, {})
            for name, value in values.items():
                if name not in states or states[name].context != weight.context:
                    state = NDArray.empty(weight.shape, weight.dtype, weight.context)
                    state[...] = states.get(name, loaded.get(name, value))
                    states[name] = state
            self._states[index] = states
            self._loaded.pop(index, None)
        self._allocated = request
        return [self._states[index] for index in indices]

    def averages(self) -> dict[Index, _Host]:
        """The moving averages of all weights that were updated, by index; needs ``ema_decay``."""
        return {
            index: states[EMA].asnumpy() * self.optimizer.average_scale(index)
            for index, states in self._states.items()
            if EMA in states and self.optimizer.is_counted(index)
        }

    def use_states(self, index: Index, states: Mapping[str, NDArray]) -> None:
        """Let these arrays be the states of a parameter."""
        self._states[index] = dict(states)
        self._allocated = [], []

    def states(self) -> dict[str, _Host]:
        """Copies of all states as ``{"adam/mean/embed_weight": array}``."""
        kinds = list(self.optimizer.update_states())
        arrays: dict[str, _Host] = {}
        for index, states in self._states.items():
            arrays |= {self._key(k, index): states[k].asnumpy() for k in kinds if k in states}
        for index, loaded in self._loaded.items():
            arrays |= {self._key(k, index): loaded[k].copy() for k in kinds}
        return arrays

    def counters(self) -> dict[str, Any]:
        """The optimizer's counters, by parameter name, ready for JSON."""
        counters = self.optimizer.counters()
        for name in _BY_INDEX & counters.keys():
            counters[name] = {self._label(i): n for i, n in counters[name]}
        return counters

    def get_states(self, dump_optimizer: bool = False, *, parameters: str = "") -> bytes:
        """States and counters as one safetensors file in memory, for ``set_states``.

        ``parameters`` is the digest of the parameters that belong to them, if they are a file's.
        """
        if dump_optimizer:
            raise UnsupportedError(
                "get_states(dump_optimizer=True): symbucket writes no pickled optimizer. Keep its "
                "arguments in your program, and make it anew before set_states."
            )
        record = {"optimizer": self._kind(), "counters": self.counters()}
        if parameters:
            record["parameters"] = parameters
        return pack(self.states(), record)

    def set_states(
        self, states: bytes | Mapping[str, Any], counters: Mapping[str, Any] | None = None
    ) -> None:
        """Take back what ``get_states`` gave, or what ``states()`` and ``counters()`` gave.

        States of parameters that are not allocated yet wait for their first update. Raises
        CheckpointError, with nothing changed, where states are missing, unknown or do not fit.
        """
        self._set(states, counters, "the given states")

    def save(self, path: str | os.PathLike[str], parameters: str = "") -> None:
        """Write states and counters into a file, whole or not at all."""
        write_checkpoint(path, self.get_states(parameters=parameters))

    def load(self, path: str | os.PathLike[str], parameters: str = "") -> None:
        """Take back what ``save`` wrote; errors as ``set_states``.

        ``parameters`` is the digest of the parameters that were read beside the states. Raises
        CheckpointError if the states were saved with others.
        """
        self._set(read_bytes(path, "file of optimizer states"), None, str(path), parameters)

    def _set(
        self,
        states: bytes | Mapping[str, Any],
        counters: Mapping[str, Any] | None,
        where: str,
        parameters: str = "",
    ) -> None:
        if isinstance(states, bytes):
            states, record = unpack(states, where)
            if record.get("optimizer") != self._kind():
                raise CheckpointError(
                    f"{where} holds states of optimizer {record.get('optimizer')!r}; this one is "
                    f"{self._kind()!r}. Make the optimizer that wrote them."
                )
            if parameters and record.get("parameters", parameters) != parameters:
                raise CheckpointError(
                    f"{where} belongs to other parameters than those beside it: a save was "
                    "interrupted between the two files. Use another epoch, or load the parameters "
                    "alone (load_optimizer_states=False), which starts the optimizer anew."
                )
            counters = record.get("counters")
        checked = None if counters is None else self._counters(counters, where)
        before = self.optimizer.counters()
        try:
            if checked is not None:
                self.optimizer.set_counters(checked)
            updated = [] if checked is None else [i for i, _ in checked["index_update_count"]]
            self._take(states, where, updated)
        except CheckpointError:
            self.optimizer.set_counters(before)
            raise
        except (KeyError, TypeError, ValueError) as error:
            self.optimizer.set_counters(before)
            raise CheckpointError(f"{where}: damaged counters {counters!r}: {error}") from error

    def _take(self, states: Mapping[str, Any], where: str, updated: Sequence[Index]) -> None:
        """Set the states, all of them checked before the first is written."""
        new = self._sorted(states, where, updated)
        self._loaded = {}
        for index, arrays in new.items():
            if index not in self._states:
                self._loaded[index] = {k: np.array(v) for k, v in arrays.items()}
                continue
            for kind, array in arrays.items():
                self._states[index][kind][...] = array

    def _sorted(
        self, states: Mapping[str, Any], where: str, updated: Sequence[Index]
    ) -> dict[Index, dict[str, _Host]]:
        """States by index and kind, all of them checked; parameters ``updated`` must have them."""
        kinds = list(self.optimizer.update_states())
        labels = self._labels()
        new: dict[Index, dict[str, _Host]] = {}
        for key, value in states.items():
            owner, kind, label = [*key.split("/", 2), "", ""][:3]
            has_owner = label in labels or not self.optimizer.idx2name
            if owner != self._kind() or kind not in kinds or not label or not has_owner:
                raise CheckpointError(
                    f"{where}: state {key!r} is unknown here. Optimizer {self._kind()!r} has the "
                    f"states {kinds} of {sorted(labels) or 'any parameter'}; names are "
                    f"'{self._kind()}/STATE/PARAMETER'. Use the arguments and the network of the "
                    "run that wrote them."
                )
            array = np.asarray(value)
            index = index_of(label, labels)
            have = self._states.get(index, {}).get(kind)
            fits = array.dtype in DTYPES if have is None else array.dtype == have.dtype
            if not fits or (have is not None and have.shape != array.shape):
                expected = "float32" if have is None else f"{have.dtype} of shape {have.shape}"
                raise CheckpointError(
                    f"{where}: state {key!r} is {array.dtype} of shape {array.shape}; "
                    f"expected {expected}."
                )
            new.setdefault(index, {})[kind] = array
        stateful = [i for i in dict.fromkeys([*self._states, *new, *updated]) if kinds]
        missing = [self._key(k, i) for i in stateful for k in kinds if k not in new.get(i, {})]
        if missing:
            raise CheckpointError(
                f"{where}: {len(missing)} states are missing: {', '.join(missing[:5])}"
                f"{', ...' if len(missing) > 5 else ''}. Found {len(states)}. Use the states of "
                "the same optimizer, with the same arguments (such as momentum), and network."
            )
        return new

    def _counters(self, counters: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Counters by index, as the optimizer takes them."""
        expected = self.optimizer.counters().keys() - {"index_begin"}
        if not isinstance(counters, Mapping) or counters.keys() - {"index_begin"} != expected:
            raise CheckpointError(
                f"{where}: the counters {counters!r} must have the entries {sorted(expected)}."
            )
        labels = self._labels()
        checked = dict(counters)
        for name in _BY_INDEX & counters.keys():
            if not isinstance(counters[name], Mapping):
                raise CheckpointError(f"{where}: {name} must be a dict, found {counters[name]!r}.")
            checked[name] = [[index_of(n, labels), count] for n, count in counters[name].items()]
        return checked

    def _check_dtype(self, index: Index, kind: str, array: Array) -> None:
        if array.dtype not in DTYPES:
            raise UnsupportedError(
                f"updater: the {kind} of {self._label(index)!r} has dtype {array.dtype}; "
                "optimizers work on float32 and float64. Convert it with astype('float32')."
            )

    def _kind(self) -> str:
        return type(self.optimizer).__name__.lower()

    def _label(self, index: Index) -> str:
        """What a parameter is called: by its name, or by its index, ``3`` or ``'3'``."""
        if index in self.optimizer.idx2name:
            return self.optimizer.idx2name[index]
        return index if isinstance(index, str) and index_of(index, {}) == index else repr(index)

    def _labels(self) -> dict[str, Index]:
        """Return the indices by their labels, of all parameters that have a name or a state."""
        return {self._label(i): i for i in [*self.optimizer.idx2name, *self._states]}

    def _key(self, kind: str, index: Index) -> str:
        return f"{self._kind()}/{kind}/{self._label(index)}"


def index_of(label: str, labels: Mapping[str, Index]) -> Index:
    """Return the index that a label stands for: a number, or text.

    Text that would be read as something else, such as ``3``, is in quotes.
    """
    if label in labels:
        return labels[label]
    if label.removeprefix("-").isdecimal():
        return int(label)
    inner = label[1:-1]
    return inner if label == repr(inner) and index_of(inner, {}) != inner else label
