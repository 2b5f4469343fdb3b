"""``Updater``: an optimizer together with the states of the parameters that it updates."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import onnx_ir as ir

from symbucket.compiler.update import UpdateSpec
from symbucket.context import Context
from symbucket.errors import InvalidArgumentError, ShapeError, UnsupportedError
from symbucket.optimizer.base import Optimizer
from symbucket.optimizer.hyperparameters import Index
from symbucket.optimizer.parameter_states import Array, ParameterStates
from symbucket.optimizer.update_session import DenseRun, RowRun, RowUpdate, UpdateGraph
from symbucket.runtime import RowSparse
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.providers import share_memory
from symbucket.stopwatch import timed

Dense = tuple[Index, NDArray, NDArray]
"""Index, gradient and weight of a parameter."""
Rows = tuple[Index, RowSparse, NDArray]
"""Index, row-sparse gradient and weight of a table."""

MAX_CACHED_GRAPHS = 64
"""Parameters updated one by one need a graph for each shape; structures change seldom."""


class GradientExchange(Protocol):
    """Work of several workers before each update: see ``symbucket.kvstore``."""

    num_workers: int

    def __call__(self, dense: Sequence[Dense], by_rows: Sequence[Rows], batch: str) -> list[Rows]:
        """Sum gradients over the workers, in place; return those by rows of all workers."""

    def failures(self, failures: Sequence[str]) -> list[str]:
        """Return the failures of all workers."""


class Updater(ParameterStates):
    """``updater(index, grad, weight)`` updates a weight in place, as MXNet's updater does.

    With lists of indices, gradients and weights all of them are updated by one run of one graph,
    which is how a module should call it. Weights and gradients are NDArrays of one context,
    all of float32 or all of float64, or numpy arrays, which are copied in and back. A gradient that
    is None leaves its parameter out.

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
        super().__init__(optimizer)
        self.builds = 0
        self.samples: int | None = None
        """Samples of the next gradients, if they are the sum of several batches."""
        self.exchange: GradientExchange | None = None
        """Of several workers: modules call it before each step."""
        self._mirrors: dict[tuple[Index, str], NDArray] = {}
        self._row_updates: dict[Index, tuple[NDArray, RowUpdate]] = {}
        self._graphs: OrderedDict[Hashable, UpdateGraph] = OrderedDict()
        self._checked: list[NDArray] = []  # gradients and weights of the last step that was right

    def __call__(
        self,
        index: Index | Sequence[Index],
        grad: Array | Sequence[Array | None] | None,
        weight: Array | Sequence[Array],
    ) -> None:
        """Update one parameter, or the parameters of a list."""
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
        """Update a table from a row-sparse gradient, as ``updater(index, grad, weight)``.

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
        whole: list[Dense] = []
        alone: list[Rows] = []
        for i, gradient, weight in by_rows:
            if self._takes_rows(i):
                alone.append((i, gradient, weight))
            else:
                dense_gradient = NDArray.of(gradient.dense(weight.shape), weight.context)
                whole.append((i, dense_gradient, weight))
        self._step([*dense, *whole], alone)

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

    def _takes_rows(self, index: Index) -> bool:
        """Return whether ``_step`` may get a parameter's gradient by rows."""
        return self.optimizer.updates_rows(index)

    def _row_update(self, index: Index, weight: NDArray) -> RowUpdate:
        """Return what updates a table by rows; it is made if it is new."""
        bound_weight, update = self._row_updates.get(index, (None, None))
        if update is not None and bound_weight is weight:
            return update
        with timed("compile"):
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
        if mirror is None or (mirror.shape, mirror.dtype) != (array.shape, array.dtype):
            mirror = self._mirrors[index, kind] = NDArray.empty(array.shape, array.dtype)
        mirror[...] = array
        return mirror

    def _check(
        self,
        updates: Sequence[tuple[Index, Any, Any]],
        grads: Sequence[NDArray],
        weights: Sequence[NDArray],
    ) -> None:
        arrays = [*grads, *weights]
        if len(arrays) == len(self._checked) and all(map(operator.is_, arrays, self._checked)):
            return
        for (index, _, target), grad, weight in zip(updates, grads, weights):
            self._check_dtype(index, "gradient", grad)
            self._check_dtype(index, "weight", weight)
            if not grad.dtype == weight.dtype == weights[0].dtype:
                first = weights[0].dtype
                raise UnsupportedError(
                    f"updater: {self._label(index)!r} has a weight of {weight.dtype} and a "
                    f"gradient of {grad.dtype}; one update has one dtype, here {first}. Convert "
                    f"them with astype({first.name!r}), or update them in another call."
                )
            if grad.shape != weight.shape:
                raise ShapeError(
                    f"updater: the gradient of {self._label(index)!r} has shape {grad.shape}, its "
                    f"weight {weight.shape}."
                )
            context = weights[0].context
            if not all(share_memory(x.context, context) for x in (grad, weight)):
                raise InvalidArgumentError(
                    f"updater: {self._label(index)!r} has its weight on {weight.context} and its "
                    f"gradient on {grad.context}; one update runs on one context, here {context}."
                )
            if isinstance(target, np.ndarray) and not target.flags.writeable:
                raise InvalidArgumentError(
                    f"updater: the weight of {self._label(index)!r} is a read-only numpy array; "
                    "it is updated in place. Pass a copy."
                )
        if all(target is weight for (_, _, target), weight in zip(updates, weights)):
            self._checked = arrays

    def _graph(
        self, weights: Sequence[NDArray], table: Sequence[Mapping[str, float]], rows: Sequence[int]
    ) -> UpdateGraph:
        spec = UpdateSpec(
            shapes=tuple(w.shape for w in weights),
            states=tuple(self.optimizer.update_states()),
            scalars=tuple(tuple(row) for row in table),
            rows=tuple(rows),
            dtype=ir.DataType.from_numpy(weights[0].dtype),
        )
        context: Context = weights[0].context
        key = (spec, self.optimizer.structure(), context)
        graph = self._graphs.get(key)
        if graph is None:
            name = f"optimizer {type(self.optimizer).__name__.lower()}"
            with timed("compile"):
                emit = self.optimizer.emit_update
                graph = self._graphs[key] = UpdateGraph(spec, emit, context, name)
            self.builds += 1
            if len(self._graphs) > MAX_CACHED_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return graph
