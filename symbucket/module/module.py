"""``Module``: one symbol, bound to the shapes that its batches have."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import symbucket.module.onnx_values  # noqa: F401 - registers the initializer
from symbucket import metric as metrics
from symbucket import optimizer as opt
from symbucket.checkpoint import load_checkpoint
from symbucket.compiler import CompilerOptions
from symbucket.compiler.memory import PoolPlan
from symbucket.context import Context
from symbucket.engine import Executor
from symbucket.engine.data_parallel import Devices, contexts_of
from symbucket.engine.eviction import ExecutorCache, ExecutorStats
from symbucket.engine.executor_pool import BoundExecutors
from symbucket.engine.graph_metrics import MetricSums, metric_sums
from symbucket.engine.network import Descs, Network, Shapes, Signature
from symbucket.engine.parameters import ParameterStore
from symbucket.engine.plan import optimizer_of, plan_model, pool_of, rows_of
from symbucket.errors import InvalidArgumentError, StateError, UnsupportedError
from symbucket.initializer import Initializer, Uniform
from symbucket.io import DataBatch, DataDesc
from symbucket.module.base import BaseModule
from symbucket.module.batches import read_batch
from symbucket.module.lifecycle import Pairs
from symbucket.monitor import arrays_of
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol
from symbucket.symbol.onnx_import import as_symbol


class Module(BaseModule):
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
        name: how messages call this network; BucketingModule puts the bucket key there.
        options: what is asked of the compiler, as ``CompilerOptions(memory_limit=...)``.
        max_executors, max_executors_bytes: how many executors to keep, and how much memory they
            may take by estimate; beyond that the least recently used ones are dropped, and built
            again when they are needed. The one of the bound shapes and the one that is running
            stay. None: all are kept.

    Batches may come in other shapes than those bound (a smaller last batch); each set of shapes
    is compiled once. Outputs of all shapes lie in the same memory: what ``get_outputs`` gives is
    valid until the next ``forward``.
    """

    def __init__(
        self,
        symbol: Symbol,
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
    ) -> None:
        super().__init__(logger)
        symbol = as_symbol(symbol)
        if not isinstance(symbol, Symbol):
            raise InvalidArgumentError(f"{name}: {symbol!r} is not a Symbol")
        self._name = name
        self._devices = Devices(contexts_of(context), work_load_list)
        self.context = self._devices.contexts[0]
        self.options = options or CompilerOptions()
        self.network = Network(
            symbol, name, data_names, label_names, state_names, fixed_param_names
        )
        """What the arguments of the symbol are for."""
        self._store: ParameterStore | None = None
        self._bound: BoundExecutors | None = None
        self._shapes = Shapes([], [])  # the current ones
        self._labelled = self._shapes  # the last data and labels that came together
        self._cache = ExecutorCache(max_executors, max_executors_bytes)
        self._cache_key: Any = None  # what stands for this module's executors in its statistics
        self._pins = True  # whether the executor of the bound shapes is never dropped
        self._updater: opt.Updater | None = None
        self._states: dict[str, np.ndarray[Any, Any]] = {}
        # Of the last forward, if it returned sums of a metric in place of outputs.
        self._sums: tuple[MetricSums, Mapping[str, float]] | None = None
        self._metric_sums: dict[tuple[metrics.EvalMetric, Signature], MetricSums | None] = {}

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
    def data_shapes(self) -> Descs:
        self._require()
        return self._shapes.data

    @property
    def label_shapes(self) -> Descs:
        self._require()
        return self._shapes.labels

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        self._require()
        return self.network.output_shapes(self._shapes)

    @property
    def executor(self) -> Executor:
        """The executor of the shapes bound now."""
        self._require()
        assert self._bound is not None
        found = self._bound.find(self._shapes)
        return found or self._use(self._shapes)  # built again where it has been dropped

    @property
    def executors(self) -> list[Executor]:
        """All executors that are kept, one for each set of shapes that came."""
        return [] if self._bound is None else self._bound.all

    def builds(self) -> Counter[str]:
        """How often models were compiled, by kind ("training", "inference")."""
        return Counter() if self._bound is None else self._bound.builds()

    def executor_stats(self) -> ExecutorStats:
        """Which executors are alive, what they cost, and how often they had to be built."""
        return self._cache.stats()

    @property
    def store(self) -> ParameterStore:
        self._require()
        assert self._store is not None
        return self._store

    @property
    def updater(self) -> opt.Updater:
        self._require(optimizer=True)
        assert self._updater is not None
        return self._updater

    # Binding ---------------------------------------------------------------------------------

    def _bind(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None, shared_module: Any
    ) -> None:
        network = self.network
        shapes = network.described(data_shapes, label_shapes)
        if shared_module is None:
            network.check_grad_req(self._grad_req)
        requests = self._requests()
        params, aux = network.specs(shapes, requests)
        if self.for_training:
            network.check_gradients(shapes, requests)
        store = self._store or ParameterStore(self.context)
        if shared_module is not None:
            store = shared_module.store
            if shared_module._devices.contexts == self._devices.contexts:
                self._devices = shared_module._devices
        store.admit(self._name, params, aux)
        self._store = store
        self._metric_sums = {}
        self._bound = BoundExecutors(
            network,
            requests,
            store,
            self._devices,
            self.options,
            self._cache,
            self._cache_key,
            shapes.signature if self._pins else None,
            self.logger,
        )
        self._use(shapes, ahead=not self.binded)
        if shared_module is not None:
            self.params_initialized = shared_module.params_initialized
            if shared_module.optimizer_initialized:
                self.borrow_optimizer(shared_module)

    def _requests(self) -> dict[str, str]:
        return self.network.requests(self._grad_req, self.for_training, self.inputs_need_grad)

    def _use(self, shapes: Shapes, ahead: bool = False) -> Executor:
        """Make these shapes the current ones; build an executor where they are new."""
        assert self._bound is not None
        executor = self._bound.use(shapes, ahead)
        self._shapes = shapes
        if shapes.labels:
            self._labelled = shapes
        return executor

    def reshape(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None = None
    ) -> None:
        """Make other input shapes the current ones."""
        self._require()
        self._use(self.network.described(data_shapes, label_shapes))

    def _one_context(self, what: str) -> None:
        if len(self._devices) > 1:
            raise UnsupportedError(
                f"{self._name}: {what} works with one context, this module has "
                f"{self._devices.contexts}. Ask a module with one context and the batch size that "
                "one of them gets."
            )

    def plan_memory(
        self,
        data_shapes: Sequence[Any] | None = None,
        label_shapes: Sequence[Any] | None = None,
        eval_metric: Any = None,
        optimizer: Any = None,
        optimizer_params: Pairs = (),
    ) -> PoolPlan:
        """What training (or inference, as bound) takes, before anything runs.

        Shapes are the bound ones unless given. With ``eval_metric`` the step returns the metric's
        sums where it can, as in ``fit``; else all outputs. ``optimizer`` is as for
        ``init_optimizer``; by default the one that is there.
        """
        self._require()
        self._one_context("plan_memory")
        shapes = self._shapes
        if data_shapes is not None:
            shapes = self.network.described(data_shapes, label_shapes)
        made = optimizer_of(self, optimizer, optimizer_params)
        requests = self._requests() if self.for_training else None
        rows = rows_of(self, made)
        plan = plan_model(self.network, shapes, requests, self.options, eval_metric, rows)
        return pool_of({self._name: plan}, self, made)

    # Parameters and optimizer ----------------------------------------------------------------

    def _init_params(
        self,
        initializer: Initializer | None,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool,
        allow_extra: bool,
    ) -> None:
        given = arg_params is not None or aux_params is not None
        if initializer is None and not (given and not allow_missing):
            initializer = None if self.params_initialized else Uniform(0.01)
        self.store.initialize(initializer, arg_params, aux_params, allow_missing, allow_extra)

    def _init_optimizer(self, optimizer: Any, optimizer_params: Pairs) -> None:
        made = self._make_optimizer(optimizer, dict(optimizer_params), list(self.store.grads))
        self._updater = opt.get_updater(made)

    def _make_optimizer(
        self, optimizer: Any, params: dict[str, Any], names: Sequence[str]
    ) -> opt.Optimizer:
        rescale = 1.0 / self._batch_size()
        if isinstance(optimizer, opt.Optimizer):
            if optimizer.rescale_grad != rescale:
                warnings.warn(
                    f"The given optimizer has rescale_grad={optimizer.rescale_grad}, where the "
                    f"module would take 1 / batch size = {rescale}. Is this intended?",
                    stacklevel=4,
                )
            if not optimizer.idx2name:
                optimizer.idx2name = dict(enumerate(names))
            return optimizer
        params.setdefault("rescale_grad", rescale)
        return opt.create(
            optimizer, sym=self.symbol, param_idx2name=dict(enumerate(names)), **params
        )

    def _batch_size(self) -> int:
        first = self._shapes.data[0]
        return int(first.shape[DataDesc.get_batch_axis(first.layout)])

    def borrow_optimizer(self, shared_module: Module) -> None:
        """Use the optimizer (and its states) of another module."""
        self._updater = shared_module.updater
        self.optimizer_initialized = True

    # Running ---------------------------------------------------------------------------------

    def _forward(self, batch: DataBatch, training: bool) -> None:
        shapes, arrays = read_batch(
            self.network, batch, self._shapes.data, self._labelled, training
        )
        before = dict(vars(self))
        try:
            executor = self._use(shapes)
            executor.feed({**arrays, **self._states})
            self._sums = None
            sums = self._sums_in_graph()
            if sums is None:
                executor.forward(is_train=training)
            else:
                values = executor.measure(training, sums.graph_metrics, self._row_sparse())
                self._sums = sums, values
        except BaseException:
            vars(self).update(before)  # the last batch stays the current one
            raise
        self._cache.shrink(executor)
        if batch.label:
            described = batch.provide_label or self._labelled.labels
            self._metric_names = [d.name for d in described]

    def _sums_in_graph(self) -> MetricSums | None:
        """Return the sums for the metric that is being measured, if this network can give them."""
        if self._measured is None:
            return None
        key = self._measured, self._shapes.signature
        if key not in self._metric_sums:
            labels = {d.name: d.shape for d in self.label_shapes}
            self._metric_sums[key] = metric_sums(self._measured, dict(self.output_shapes), labels)
        return self._metric_sums[key]

    def _backward(self, out_grads: Any) -> None:
        self.executor.backward(out_grads)

    def _update(self) -> None:
        store = self.store
        index = {n: i for i, n in enumerate(store.grads)}
        by_rows = self.executor.row_gradients
        names = [n for n in self.gradients() if n not in by_rows]
        self.updater(
            [index[n] for n in names],
            [store.grads[n] for n in names],
            [store.args[n] for n in names],
        )
        for name, grad in by_rows.items():
            self.updater.update_rows(index[name], grad, store.args[name])

    def _row_sparse(self) -> list[str]:
        """The parameters that the optimizer would update exactly from the rows alone."""
        if not self.optimizer_initialized:
            return []
        optimizer = self.updater.optimizer
        return [n for i, n in enumerate(self.store.grads) if optimizer.rows_suffice(i)]

    def gradients(self) -> Mapping[str, NDArray]:
        grads, trained = self.store.grads, self.executor.grad_dict
        return {n: grads[n] for n in self.param_names if n in trained}

    def auxiliary(self) -> Mapping[str, NDArray]:
        return {n: self.store.aux[n] for n in self.network.aux_names}

    def monitored(self, wanted: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        return arrays_of(self.executor, wanted)

    def get_outputs(self, merge_multi_context: bool = True) -> list[NDArray]:
        self._require(params=True)
        return self.executor.outputs

    def get_input_grads(self, merge_multi_context: bool = True) -> list[NDArray]:
        self._require(params=True)
        if not self.inputs_need_grad:
            raise StateError(f"{self._name}: get_input_grads needs bind(inputs_need_grad=True)")
        return [self.executor.grad_dict[n] for n in self.data_names]

    def get_states(self, merge_multi_context: bool = True) -> list[NDArray]:
        self._require(params=True)
        return [self.executor.arg_dict[n].copy() for n in self.state_names]

    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        self._require(params=True)
        if (states is None) == (value is None):
            raise InvalidArgumentError("set_states takes either states or value")
        arrays = {n: self.executor.arg_dict[n] for n in self.state_names}
        if states is None:
            made = {n: np.full(a.shape, value, a.dtype) for n, a in arrays.items()}
        else:
            if len(states) != len(arrays):
                raise InvalidArgumentError(
                    f"set_states: {len(states)} arrays for {', '.join(arrays) or 'no states'}"
                )
            made = {n: np.array(s) for n, s in zip(arrays, states)}
        self.executor.feed(made)
        self._states = made

    def _results(self) -> Mapping[str, Any]:
        return super()._results() if self._sums is None else self._sums[1]

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        self._require(params=True)
        if self._sums is not None:
            sums, values = self._sums
            if sums.metric is eval_metric:
                sums.add(values)
                return
        super().update_metric(eval_metric, labels)

    @staticmethod
    def load(prefix: str, epoch: int, load_optimizer_states: bool = False, **kwargs: Any) -> Module:
        """A module from a checkpoint; its parameters are set when it is bound.

        ``kwargs`` go to ``Module``. With ``load_optimizer_states``, ``init_optimizer`` goes on
        from the saved states.
        """
        symbol, *_ = load_checkpoint(prefix, epoch)
        module = Module(symbol, **kwargs)
        module.resume_from(prefix, epoch, load_optimizer_states)
        return module
