"""``Module``: one symbol, bound to the shapes that its batches have."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.checkpoint import load_checkpoint
from symbucket.compiler import CompilerOptions
from symbucket.context import Context
from symbucket.engine.bound_network import AnyExecutor, BoundNetwork
from symbucket.engine.contexts import ContextGroup, contexts_of
from symbucket.engine.eviction import EvictionPolicy, ExecutorStats
from symbucket.engine.executor_pool import ExecutorPool
from symbucket.engine.inner_values import Watcher
from symbucket.engine.network_interface import (
    Descs,
    GradientRequest,
    NetworkInterface,
    Types,
)
from symbucket.engine.ownership import exclusive
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import InvalidArgumentError, StateError
from symbucket.io import DataBatch
from symbucket.io.desc import batch_size_of
from symbucket.metric import EvalMetric
from symbucket.module.batches import batch_of_network
from symbucket.module.binding import ModuleBinding, require_bound
from symbucket.module.compiled import CompiledModule
from symbucket.module.optimization import apply_gradients, lent_updater, make_optimizer
from symbucket.module.planned import ModulePlans
from symbucket.module.private_names import ModuleNames
from symbucket.monitor import arrays_of
from symbucket.optimizer import Optimizer, get_updater
from symbucket.runtime import NDArray, RowSparse
from symbucket.symbol import Symbol
from symbucket.symbol.onnx.importer import as_symbol
from symbucket.types import Array, Shape


class Module(ModuleNames, ModulePlans, CompiledModule):
    """A network with its parameters and optimizer, as ``mx.mod.Module``.

    Args:
        symbol: the network; an ONNX model or its path works too (see ``sym.from_onnx``).
        data_names: arguments that are data. label_names: arguments that are labels.
        logger: where ``fit`` logs.
        context: ``cpu()`` or ``gpu(i)``, or a list: then each batch is split over these contexts
            along its batch axis (``layout`` of DataDesc) and gradients are summed. BatchNorm and
            losses with ``normalization=`` see each part by itself
            (``symbucket.engine.data_parallel``).
        work_load_list: how much of a batch each context takes, in proportion.
        fixed_param_names: parameters that get no gradient and no update.
        state_names: arguments that are states: set with ``set_states``, never trained.
        name: how messages call this network.
        options: for the compiler, as ``CompilerOptions(memory_limit=...)``.
        max_executors, max_executors_bytes: how many executors to keep, and how much memory they
            may take by estimate; beyond that the least recently used ones are dropped, and built
            again when they are needed. The one of the bound shapes and the one that is running
            stay. None: all are kept.
        executor_pool, bucket_key: the pool that BucketingModule shares among its modules, and what
            stands for this module in it. Otherwise a module has its own pool.

    Batches may come in other shapes than those bound (a smaller last batch); each set of shapes
    is compiled once. Outputs of all shapes lie in the same memory: what ``get_outputs`` gives is
    valid until the next ``forward``.
    """

    def __init__(
        self,
        symbol: Symbol | Any,
        data_names: Sequence[str] | None = ("data",),
        label_names: Sequence[str] | None = ("softmax_label",),
        logger: Any = logging,
        context: Context | Sequence[Context] | None = None,
        work_load_list: Any = None,
        fixed_param_names: Sequence[str] | None = None,
        state_names: Sequence[str] | None = None,
        group2ctxs: Any = None,
        compression_params: Any = None,
        name: str = "module",
        options: CompilerOptions | None = None,
        max_executors: int | None = None,
        max_executors_bytes: int | None = None,
        *,
        executor_pool: ExecutorPool | None = None,
        bucket_key: Hashable = None,
    ) -> None:
        super().__init__(logger)
        if not isinstance(symbol, Symbol):
            symbol = as_symbol(symbol)
        if not isinstance(symbol, Symbol):
            raise InvalidArgumentError(f"{name}: {symbol!r} is not a Symbol")
        self._name = name
        self._contexts = ContextGroup(contexts_of(context), work_load_list)
        self.context = self._contexts.contexts[0]
        self.options = options or CompilerOptions()
        self.network = NetworkInterface(
            symbol, name, data_names, label_names, state_names, fixed_param_names
        )
        """What the arguments of the symbol are for."""
        self._policy = EvictionPolicy(max_executors, max_executors_bytes)
        self._shared_pool = executor_pool
        self._bucket_key = bucket_key
        self._binding: ModuleBinding | None = None
        self._states: dict[str, Array] = {}

    # Descriptions ----------------------------------------------------------------------------

    @property
    def symbol(self) -> Symbol:
        return self.network.symbol

    @property
    def data_names(self) -> list[str]:
        return self.network.data_names

    @property
    def label_names(self) -> list[str]:
        return self.network.label_names

    @property
    def output_names(self) -> list[str]:
        return self.network.output_names

    @property
    def state_names(self) -> list[str]:
        """Names of the inputs that ``set_states`` sets."""
        return self.network.state_names

    @property
    def param_names(self) -> list[str]:
        """Names of the parameters."""
        return self.network.param_names

    @property
    def _bound(self) -> ModuleBinding:
        return require_bound(self._binding)

    @property
    def bound_network(self) -> BoundNetwork:
        """The network over the parameters, with the shapes and gradients that it is bound with."""
        return self._bound.network

    @property
    def input_types(self) -> Types:
        """(shape, dtype) of data, labels and states as the module was bound, by name."""
        bound = self._bound.network
        types, _ = self.network.infer(bound.shapes)
        return {n: both for n, both in types.items() if n not in self.param_names}

    @property
    def data_shapes(self) -> Descs:
        return self._bound.shapes.data

    @property
    def label_shapes(self) -> Descs:
        return self._bound.shapes.labels

    @property
    def output_shapes(self) -> list[tuple[str, Shape]]:
        return self.network.output_shapes(self._bound.shapes)

    @property
    def executor(self) -> AnyExecutor:
        """The executor of the shapes bound now."""
        bound = self._bound
        executor = bound.pool.find(bound.network, bound.shapes)
        return executor or bound.pool.use(bound.network, bound.shapes)  # it was evicted

    @property
    def executors(self) -> list[AnyExecutor]:
        """All executors that are alive, one for each set of shapes that came."""
        bound = self._binding
        return [] if bound is None else bound.pool.executors(bound.network)

    def builds(self) -> Counter[str]:
        """Return how often models were compiled, by kind ("training", "inference")."""
        bound = self._binding
        return Counter() if bound is None else bound.pool.builds(bound.network)

    def executor_stats(self) -> ExecutorStats:
        """Return which executors are alive, what they cost, and how often they were built."""
        pool = ExecutorPool(self._policy) if self._binding is None else self._binding.pool
        return pool.stats()

    # Binding ---------------------------------------------------------------------------------

    def _bind(
        self,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None,
        request: GradientRequest,
        shared_module: Any,
    ) -> ModuleBinding:
        shapes = self.network.batch_shapes(data_shapes, label_shapes)
        contexts, bound = self._contexts, self._binding
        store = ParameterStore(self.context) if bound is None else bound.store
        updater = None if bound is None else bound.updater
        if shared_module is not None:
            store = shared_module.store
            if shared_module.optimizer_initialized:
                updater = shared_module.updater
            if isinstance(shared_module, Module):
                contexts = shared_module.shared_contexts(contexts)
        network = BoundNetwork(
            self.network,
            shapes,
            request,
            store,
            contexts,
            self.options,
            self._bucket_key,
            check_names=shared_module is None,
            logger=self.logger,
        )
        pool = self._shared_pool or ExecutorPool(self._policy)
        pool.use(network, shapes, ahead=True)
        return ModuleBinding(request, store, updater, pool, network, shapes, shapes)

    def shared_contexts(self, contexts: ContextGroup) -> ContextGroup:
        """Return this module's own group of contexts if ``contexts`` has the same ones.

        Copies of parameters on the contexts are then shared too.
        """
        own = self._contexts if self._binding is None else self._binding.network.contexts
        return own if own.contexts == contexts.contexts else contexts

    @exclusive
    def reshape(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None = None
    ) -> None:
        """Make other input shapes the current ones."""
        bound = self._bound
        shapes = self.network.batch_shapes(data_shapes, label_shapes)
        bound.pool.use(bound.network, shapes)
        bound.use(shapes)

    # Optimizer -------------------------------------------------------------------------------

    def _init_optimizer(self, optimizer: Any, optimizer_params: dict[str, Any]) -> None:
        self._bound.updater = get_updater(self._make_optimizer(optimizer, optimizer_params))

    def _make_optimizer(self, optimizer: Any, params: dict[str, Any]) -> Optimizer:
        batch_size = batch_size_of(self.data_shapes)
        return make_optimizer(optimizer, params, self.symbol, list(self.store.grads), batch_size)

    def borrow_optimizer(self, shared_module: Any) -> None:
        """Use the optimizer (and its states) of another module with the same parameters.

        Raises InvalidArgumentError if it has others: states, rates and decays go by position.
        """
        self._bound.updater = lent_updater(shared_module, self.store)

    # Running ---------------------------------------------------------------------------------

    def _forward(self, batch: DataBatch, training: bool, metric: EvalMetric | None) -> None:
        bound = self._bound
        read = batch_of_network(self.network, batch, bound.shapes, bound.labelled, training)
        executor = bound.pool.use(bound.network, read.shapes)
        executor.feed(self._states)
        executor.write(read.arrays, training)  # its shapes are those of the executor
        sums = None if metric is None else bound.metric_sums(metric, read.shapes)
        if sums is None:
            executor.forward(is_train=training)
            bound.sums = None
        else:
            optimizer = None if bound.updater is None else bound.updater.optimizer
            rows = bound.store.row_sparse_names(optimizer)
            bound.sums = sums, executor.measure(training, sums.graph_metrics, rows)
        bound.use(read.shapes)
        bound.pool.evict(executor)
        if batch.label:
            self._metric_names = [d.name for d in batch.provide_label or bound.labelled.labels]

    def _backward(self, out_grads: Any) -> None:
        self.executor.backward(out_grads)

    def _update(self) -> None:
        rows, data = self.executor.row_gradients, self.data_shapes
        apply_gradients(self.updater, self.store, self.gradients(), rows, data)

    def row_gradients(self) -> Mapping[str, RowSparse]:
        return self.executor.row_gradients

    def first_failure(self) -> str | None:
        return self.executor.first_failure()

    def gradients(self) -> Mapping[str, NDArray]:
        grads, trained = self.store.grads, self.executor.grads
        return {n: grads[n] for n in self.param_names if n in trained}

    def auxiliary(self) -> Mapping[str, NDArray]:
        return {n: self.store.aux[n] for n in self.network.aux_names}

    def monitored(self, select: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        return arrays_of(self.executor)

    def watch(self, watcher: Watcher) -> None:
        self._bound.pool.watchers.append(watcher)

    @exclusive
    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        self._require_own("get_outputs")
        executor = self.executor
        return executor.outputs if merge_multi_context else executor.outputs_by_context

    @exclusive
    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        self._require_own("get_input_grads")
        if not self.inputs_need_grad:
            raise StateError(f"{self._name}: get_input_grads needs bind(inputs_need_grad=True)")
        return [self.executor.grad_dict[n] for n in self.data_names]

    @exclusive
    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        self._require(params=True)
        states = [self.executor.arg_dict[n].copy() for n in self.state_names]
        return states if merge_multi_context else [[state] for state in states]

    @exclusive
    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        self._require(params=True)
        if (states is None) == (value is None):
            raise InvalidArgumentError("set_states takes either states or value")
        arrays = {n: self.executor.arg_dict[n] for n in self.state_names}
        if states is None:
            values = {n: np.full(a.shape, value, a.dtype) for n, a in arrays.items()}
        else:
            if len(states) != len(arrays):
                raise InvalidArgumentError(
                    f"set_states: {len(states)} arrays for {', '.join(arrays) or 'no states'}"
                )
            values = {n: _whole_state(s) for n, s in zip(arrays, states)}
        self.executor.feed(values)
        self._states = values

    def take_states(self, other: Module) -> None:
        """Go on with the states that another key's module was given, those of the same shapes."""
        if other is self or not other._states:
            return
        types = self.input_types
        same = {n: s for n, s in other._states.items() if n in types and types[n][0] == np.shape(s)}
        self._states = {**self._states, **same}
        self.executor.feed(self._states)

    def carried_arrays(self) -> dict[str, Array]:
        return dict(self._states)

    def set_carried_arrays(self, arrays: Mapping[str, Array]) -> None:
        self._states = dict(arrays)

    def results(self) -> Mapping[str, Any]:
        sums = self._bound.sums
        return super().results() if sums is None else sums[1]

    @exclusive
    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        self._require_own("update_metric")
        sums = self._bound.sums
        if sums is not None and sums[0].metric is eval_metric:
            sums[0].add(sums[1])
            return
        super().update_metric(eval_metric, labels)

    def metric_parts(
        self, labels: Mapping[str, NDArray]
    ) -> Iterable[tuple[Mapping[str, NDArray], Sequence[NDArray]]]:
        bound = self._bound
        return bound.rows.by_context(self.executor, bound.shapes, labels, self._filling)

    def unpadded_outputs(self) -> list[NDArray]:
        bound = self._bound
        return bound.rows.without_filling(bound.shapes, self._filling, self.executor.outputs)

    @staticmethod
    def load(prefix: str, epoch: int, load_optimizer_states: bool = False, **kwargs: Any) -> Module:
        """Return a module from a checkpoint; its parameters are set when it is bound.

        ``kwargs`` go to ``Module``. With ``load_optimizer_states``, ``init_optimizer`` goes on
        from the saved states.
        """
        symbol, *_ = load_checkpoint(prefix, epoch)
        module = Module(symbol, **kwargs)
        module.resume_from(prefix, epoch, load_optimizer_states)
        return module


def _whole_state(state: Any) -> Array:
    """Return a state from an array, or from a list of its parts, one a context."""
    if isinstance(state, (list, tuple)) and state and isinstance(state[0], NDArray):
        return np.concatenate([part.view() for part in state])
    return np.array(state)
