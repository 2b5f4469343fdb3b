"""``Updater``: an optimizer together with the states of the parameters that it updates."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from symbucket.compiler.update import UpdateSpec
from symbucket.context import Context
from symbucket.errors import (
    CheckpointError,
    InvalidArgumentError,
    ShapeError,
    UnsupportedError,
)
from symbucket.files import read_bytes, write_checkpoint
from symbucket.optimizer.base import EMA, Optimizer
from symbucket.optimizer.hyperparameters import Index
from symbucket.optimizer.states import pack, unpack
from symbucket.optimizer.update_session import DenseRun, RowRun, RowUpdate, UpdateGraph
from symbucket.runtime import RowSparse
from symbucket.runtime.ndarray import NDArray

Array = NDArray | np.ndarray[Any, Any]
Dense = tuple[Index, NDArray, NDArray]
"""Index, gradient and weight of a parameter."""
Rows = tuple[Index, RowSparse, NDArray]
"""Index, row-sparse gradient and weight of a table."""
_Host = np.ndarray[Any, Any]

MAX_CACHED_GRAPHS = 64
"""Parameters updated one by one need a graph for each shape; structures change seldom."""


class GradientExchange(Protocol):
    """What several workers do before each update: see ``symbucket.kvstore``."""

    num_workers: int

    def __call__(self, dense: Sequence[Dense], by_rows: Sequence[Rows], batch: str) -> list[Rows]:
        """Sum gradients over the workers, in place; return those by rows of all workers."""

    def failures(self, failures: Sequence[str]) -> list[str]:
        """Return the failures of all workers."""


class Updater:
    """``updater(index, grad, weight)`` updates a weight in place, as MXNet's updater does.

    With lists of indices, gradients and weights all of them are updated by one run of one graph,
    which is how a module should call it. Weights and gradients are float32 NDArrays of one context,
    or numpy arrays, which are copied in and back. A gradient that is None leaves its parameter out.

    Graphs are built when first needed, once for each structure: shapes, the names of the scalars,
    what the optimizer's ``structure()`` says. Learning rates and all other numbers vary without a
    new graph; ``builds`` counts the graphs built.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise InvalidArgumentError(
                f"an updater needs an Optimizer, found {optimizer!r}; make one with "
                "symbucket.optimizer.create(name, ...)."
            )
        self.optimizer = optimizer
        self.builds = 0
        self.samples: int | None = None
        """Samples of the next gradients, if they are the sum of several batches."""
        self.exchange: GradientExchange | None = None
        """Of several workers: modules call it before each step."""
        self._states: dict[Index, dict[str, NDArray]] = {}
        self._loaded: dict[Index, dict[str, _Host]] = {}
        self._allocated: tuple[list[Any], Sequence[NDArray]] = [], []  # names, indices; weights
        self._mirrors: dict[tuple[Index, str], NDArray] = {}
        self._row_updates: dict[Index, tuple[NDArray, RowUpdate]] = {}
        self._graphs: OrderedDict[Hashable, UpdateGraph] = OrderedDict()

    # Updating.

    def __call__(
        self,
        index: Index | Sequence[Index],
        grad: Array | Sequence[Array | None] | None,
        weight: Array | Sequence[Array],
    ) -> None:
        """One update of one parameter, or of the parameters of a list."""
        one = isinstance(index, (int, str))
        indices: list[Index] = [index] if isinstance(index, (int, str)) else list(index)
        all_grads: list[Any] = [grad] if one else [*cast("Sequence[Any]", grad)]
        targets: list[Any] = [weight] if one else [*cast("Sequence[Any]", weight)]
        if not len(indices) == len(all_grads) == len(targets) or len({*indices}) != len(indices):
            raise InvalidArgumentError(
                f"updater: {len(indices)} indices ({len({*indices})} different ones), "
                f"{len(all_grads)} gradients and {len(targets)} weights; expected as many of "
                "each, and no index twice."
            )
        self._step([(i, g, w) for i, g, w in zip(indices, all_grads, targets) if g is not None], [])

    def update_rows(self, index: Index, grad: RowSparse, weight: NDArray) -> None:
        """One update of a table from a row-sparse gradient, as ``updater(index, grad, weight)``.

        If the optimizer changes other rows too, the gradient is made dense first.
        """
        self.step([], [(index, grad, weight)])

    def make_dense(self, index: Index, grad: RowSparse, dense: NDArray) -> None:
        """Set ``dense``, of the table's shape, to the gradient that ``grad`` is by rows.

        The array must be in host memory, and should be the same one in every step.
        """
        dense[...] = 0
        self._row_update(index, dense).run(grad, -1.0)

    def step(
        self,
        dense: Sequence[Dense],
        by_rows: Sequence[Rows],
    ) -> None:
        """Update all parameters, or none if anything fails: one step.

        Args:
            dense: index, gradient and weight of parameters.
            by_rows: index, row-sparse gradient and weight of tables.
        """
        whole = [
            (i, NDArray(g.dense(w.shape), w.context), w)
            for i, g, w in by_rows
            if not self.optimizer.updates_rows(i)
        ]
        self._step(
            [*dense, *whole], [row for row in by_rows if self.optimizer.updates_rows(row[0])]
        )

    def _step(
        self,
        dense: Sequence[tuple[Index, Any, Any]],
        by_rows: Sequence[Rows],
    ) -> None:
        indices = [i for i, _, _ in dense]
        grads = [self._buffer(i, "gradient", g) for i, g, _ in dense]
        weights = [self._buffer(i, "weight", w) for i, _, w in dense]
        self._check(dense, grads, weights)
        states = self.allocate(indices, weights)
        counters = self.optimizer.counters()
        runs: list[DenseRun | RowRun] = []
        try:
            if dense:
                self.optimizer._update_count(indices)
                table, rows = self.optimizer.table(indices)
                graph = self._graph(weights, table, rows)
                graph.bind(weights, grads, states)
                runs.append(DenseRun(graph, table))
            for index, gradient, weight in by_rows:
                self.optimizer._update_count(index)
                update = self._row_update(index, weight)
                # Before the dense ones, which cannot be taken back.
                runs.insert(0, RowRun(update, gradient, self.optimizer.row_step(index)))
            for run in runs:
                run.run()
        except BaseException:
            # An interrupt that comes during a run is raised when the run has ended.
            if not (runs and runs[-1].ended):
                for run in runs:
                    run.undo()
                self.optimizer.set_counters(counters)
            raise
        for (_, _, target), array in zip(dense, weights):
            if target is not array:
                target[...] = array.view()

    def _row_update(self, index: Index, weight: NDArray) -> RowUpdate:
        """Return what updates a table by rows; it is made if it is new."""
        bound_weight, update = self._row_updates.get(index, (None, None))
        if update is not None and bound_weight is weight:
            return update
        update = RowUpdate(weight, f"rows of {self._label(index)}")
        self._row_updates[index] = weight, update
        return update

    def _buffer(self, index: Index, kind: str, array: Any) -> NDArray:
        """The array itself, or a copy of a numpy array in a buffer kept for it."""
        if isinstance(array, NDArray):
            return array
        if not isinstance(array, np.ndarray):
            raise InvalidArgumentError(
                f"updater: the {kind} of {self._label(index)!r} is a {type(array).__name__}; "
                "expected an NDArray or a numpy array."
            )
        self._check_dtype(index, kind, array)
        mirror = self._mirrors.get((index, kind))
        if mirror is None or mirror.shape != array.shape:
            mirror = self._mirrors[index, kind] = NDArray.empty(array.shape, array.dtype)
        mirror[...] = array
        return mirror

    def _check_dtype(self, index: Index, kind: str, array: Array) -> None:
        if array.dtype != np.float32:
            raise UnsupportedError(
                f"updater: the {kind} of {self._label(index)!r} has dtype {array.dtype}; "
                "optimizers work on float32. Convert it with astype('float32')."
            )

    def _check(
        self,
        updates: Sequence[tuple[Index, Any, Any]],
        grads: Sequence[NDArray],
        weights: Sequence[NDArray],
    ) -> None:
        for (index, _, target), grad, weight in zip(updates, grads, weights):
            self._check_dtype(index, "gradient", grad)
            if grad.shape != weight.shape:
                raise ShapeError(
                    f"updater: the gradient of {self._label(index)!r} has shape {grad.shape}, its "
                    f"weight {weight.shape}."
                )
            context = weights[0].context
            if grad.context != context or weight.context != context:
                raise InvalidArgumentError(
                    f"updater: {self._label(index)!r} has its weight on {weight.context} and its "
                    f"gradient on {grad.context}; one update runs on one context, here {context}."
                )
            if isinstance(target, np.ndarray) and not target.flags.writeable:
                raise InvalidArgumentError(
                    f"updater: the weight of {self._label(index)!r} is a read-only numpy array; "
                    "it is updated in place. Pass a copy."
                )

    def _graph(
        self, weights: Sequence[NDArray], table: Sequence[Mapping[str, float]], rows: Sequence[int]
    ) -> UpdateGraph:
        spec = UpdateSpec(
            shapes=tuple(w.shape for w in weights),
            states=tuple(self.optimizer.update_states()),
            scalars=tuple(tuple(row) for row in table),
            rows=tuple(rows),
        )
        context: Context = weights[0].context
        key = (spec, self.optimizer.structure(), context)
        graph = self._graphs.get(key)
        if graph is None:
            name = f"optimizer {type(self.optimizer).__name__.lower()}"
            graph = self._graphs[key] = UpdateGraph(spec, self.optimizer.emit_update, context, name)
            self.builds += 1
            if len(self._graphs) > MAX_CACHED_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return graph

    # States.

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
        for index, weight in zip(indices, weights):
            states, loaded = dict(self._states.get(index, {})), self._loaded.get(index, {})
            for name, value in values.items():
                if name not in states or states[name].context != weight.context:
                    state = NDArray.empty(weight.shape, np.float32, weight.context)
                    state[...] = states.get(name, loaded.get(name, value))
                    states[name] = state
            self._states[index] = states
            self._loaded.pop(index, None)
        self._allocated = request
        return [self._states[index] for index in indices]

    def averages(self) -> dict[Index, _Host]:
        """The moving averages of all weights that were updated, by index; needs ``ema_decay``."""
        return {
            index: states[EMA].asnumpy() * np.float32(self.optimizer.average_scale(index))
            for index, states in self._states.items()
            if EMA in states and self.optimizer.is_counted(index)
        }

    def use_states(self, index: Index, states: Mapping[str, NDArray]) -> None:
        """Let these arrays be the states of a parameter."""
        self._states[index] = dict(states)

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
        counts = counters["index_update_count"]
        return {**counters, "index_update_count": {self._label(i): n for i, n in counts}}

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
            self._take(states, where)
        except CheckpointError:
            self.optimizer.set_counters(before)
            raise
        except (KeyError, TypeError, ValueError) as error:
            self.optimizer.set_counters(before)
            raise CheckpointError(f"{where}: damaged counters {counters!r}: {error}") from error

    def _take(self, states: Mapping[str, Any], where: str) -> None:
        """Set the states, all of them checked before the first is written."""
        new = self._sorted(states, where)
        self._loaded = {}
        for index, arrays in new.items():
            if index not in self._states:
                self._loaded[index] = {k: np.array(v) for k, v in arrays.items()}
                continue
            for kind, array in arrays.items():
                self._states[index][kind][...] = array

    def _sorted(self, states: Mapping[str, Any], where: str) -> dict[Index, dict[str, _Host]]:
        """States by index and kind, all of them checked."""
        kinds = list(self.optimizer.update_states())
        labels = {self._label(i): i for i in [*self.optimizer.idx2name, *self._states]}
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
            index = labels.get(label, int(label) if label.isdecimal() else label)
            have = self._states.get(index, {}).get(kind)
            if array.dtype != np.float32 or (have is not None and have.shape != array.shape):
                expected = "float32" if have is None else f"float32 of shape {have.shape}"
                raise CheckpointError(
                    f"{where}: state {key!r} is {array.dtype} of shape {array.shape}; "
                    f"expected {expected}."
                )
            new.setdefault(index, {})[kind] = array
        stateful = [i for i in {**self._states, **new} if kinds]
        missing = [self._key(k, i) for i in stateful for k in kinds if k not in new.get(i, {})]
        if missing:
            raise CheckpointError(
                f"{where}: {len(missing)} states are missing: {', '.join(missing[:5])}"
                f"{', ...' if len(missing) > 5 else ''}. Found {len(states)}. Use the states of "
                "the same optimizer and network."
            )
        return new

    def _counters(self, counters: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Counters by index, as the optimizer takes them."""
        expected = set(self.optimizer.counters())
        if not isinstance(counters, Mapping) or set(counters) != expected:
            raise CheckpointError(
                f"{where}: the counters {counters!r} must have the entries {sorted(expected)}."
            )
        labels = {self._label(i): i for i in [*self.optimizer.idx2name, *self._states]}
        counts = counters["index_update_count"]
        if not isinstance(counts, Mapping):
            raise CheckpointError(f"{where}: index_update_count must be a dict, found {counts!r}.")
        pairs = [
            [labels.get(n, int(n) if n.isdecimal() else n), count] for n, count in counts.items()
        ]
        return {**counters, "index_update_count": pairs}

    def _kind(self) -> str:
        return type(self.optimizer).__name__.lower()

    def _label(self, index: Index) -> str:
        return self.optimizer.idx2name.get(index, str(index))

    def _key(self, kind: str, index: Index) -> str:
        return f"{self._kind()}/{kind}/{self._label(index)}"
