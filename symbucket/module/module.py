"""``Module``: one symbol, bound to the shapes that its batches have."""

from __future__ import annotations

import logging
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import symbucket.module.onnx_values  # noqa: F401 - registers the initializer
from symbucket.compiler import CompilerOptions, check_gradients, holds_foreign
from symbucket.compiler.memory import PoolPlan
from symbucket.context import Context, cpu
from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from symbucket.io import DataBatch, DataDesc
from symbucket.io.desc import normalize_descs
from symbucket.module import optimizer as opt
from symbucket.module.base import BaseModule, Pairs
from symbucket.module.checkpoint import load_checkpoint, save_checkpoint
from symbucket.module.devices import (
    Devices,
    ExecutorGroup,
    contexts_of,
    counted_by_part,
    parts_of,
)
from symbucket.module.executors import ExecutorCache, ExecutorStats
from symbucket.module.initializer import Initializer, Uniform
from symbucket.module.measure import Measures, graph_measures
from symbucket.module.memory import optimizer_of, plan_model, pool_of, rows_of
from symbucket.module.metric import EvalMetric
from symbucket.module.monitor import arrays_of
from symbucket.module.store import ParameterSpec, ParameterStore
from symbucket.runtime import Executor, NDArray
from symbucket.runtime.bind import grad_requests
from symbucket.symbol import Symbol
from symbucket.symbol.onnx_import import as_symbol

Descs = list[DataDesc]
Signature = tuple[tuple[str, tuple[int, ...], str], ...]


def one_context(context: Context | Sequence[Context] | None) -> Context:
    """The context where several are not supported."""
    found = contexts_of(context)
    if len(found) != 1:
        raise UnsupportedError(
            f"context={found}: this class runs on one context; Module and BucketingModule take "
            "several"
        )
    return found[0]


def _batch(desc: DataDesc) -> int:
    axis = DataDesc.get_batch_axis(desc.layout)
    return desc.shape[axis] if 0 <= axis < len(desc.shape) else -1


def _row(desc: DataDesc) -> tuple[int, ...]:
    axis = DataDesc.get_batch_axis(desc.layout)
    return tuple(d for i, d in enumerate(desc.shape) if i != axis)


def _signature(data: Descs, labels: Descs) -> Signature:
    return tuple((d.name, d.shape, d.dtype.name) for d in [*data, *labels])


class Module(BaseModule):
    """A network with its parameters and optimizer, as ``mx.mod.Module``.

    Args:
        symbol: the network; an ONNX model or its path works too (see ``sym.from_onnx``).
        data_names: arguments that are data. label_names: arguments that are labels.
        logger: where ``fit`` logs.
        context: ``cpu()`` or ``gpu(i)``, or a list: then each batch is split over these contexts
            along its batch axis (``layout`` of DataDesc) and gradients are summed. BatchNorm and
            losses with ``normalization=`` see each part by itself (``symbucket.module.devices``).
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
        self._symbol = symbol
        self._name = name
        self._devices = Devices(contexts_of(context), work_load_list)
        self.context = self._devices.contexts[0]
        self.options = options or CompilerOptions()
        arguments = symbol.list_arguments()
        self._data_names = list(data_names or [])
        self._label_names = [n for n in label_names or [] if n in arguments]
        self._state_names = list(state_names or [])
        self._fixed = list(fixed_param_names or [])
        for kind, names in (
            ("data_names", self._data_names),
            ("state_names", self._state_names),
            ("fixed_param_names", self._fixed),
        ):
            unknown = [n for n in names if n not in arguments]
            if unknown:
                raise InvalidArgumentError(
                    f"{name}: {kind} has {', '.join(map(repr, unknown))}, but the symbol's "
                    f"arguments are {', '.join(arguments)}"
                )
        inputs = {*self._data_names, *self._label_names, *self._state_names}
        self._param_names = [n for n in arguments if n not in inputs]
        self._aux_names = symbol.list_auxiliary_states()
        self._output_names = symbol.list_outputs()
        self._store: ParameterStore | None = None
        self._executors: dict[Signature, Executor] = {}
        self._executor: Executor | None = None
        self._cache = ExecutorCache(max_executors, max_executors_bytes)
        self._cache_key: Any = None  # what stands for this module's executors in its statistics
        self._pins = True  # whether the executor of the bound shapes is never dropped
        self._pinned: Signature | None = None
        self._dropped_builds: Counter[str] = Counter()
        self._data_shapes: Descs = []
        self._label_shapes: Descs = []
        self._labelled: tuple[Descs, Descs] = ([], [])  # the last data and labels that came with it
        self._metric_names: list[str] = []
        self._grad_req: Any = "write"
        self._updater: opt.Updater | None = None
        self._states: dict[str, np.ndarray[Any, Any]] = {}
        self._trained = False
        self._sums: tuple[EvalMetric, Measures, dict[str, float]] | None = None
        self._measure_cache: dict[tuple[int, int], tuple[Any, Any, Measures | None]] = {}

    # Descriptions ----------------------------------------------------------------------------

    @property
    def symbol(self) -> Symbol:
        """The network."""
        return self._symbol

    @property
    def data_names(self) -> list[str]:
        """Names of the data inputs."""
        return self._data_names

    @property
    def label_names(self) -> list[str]:
        """Names of the labels that the network has."""
        return self._label_names

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return self._output_names

    @property
    def state_names(self) -> list[str]:
        """Names of the inputs that ``set_states`` sets."""
        return self._state_names

    @property
    def param_names(self) -> list[str]:
        """Names of the parameters."""
        return self._param_names

    @property
    def data_shapes(self) -> Descs:
        """Descriptions of the data that is bound now."""
        self._require()
        return self._data_shapes

    @property
    def label_shapes(self) -> Descs:
        """Descriptions of the labels that are bound now."""
        self._require()
        return self._label_shapes

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """(name, shape) of the outputs for the shapes bound now."""
        self._require()
        given = {d.name: d.shape for d in [*self._data_shapes, *self._label_shapes]}
        _, shapes, _ = self._symbol.infer_shape(**given)
        return list(zip(self._output_names, shapes))

    @property
    def executor(self) -> Executor:
        """The executor of the shapes bound now."""
        self._require()
        if self._executor is None:  # dropped since it was the current one
            self._use(self._data_shapes, self._label_shapes)
        assert self._executor is not None
        return self._executor

    @property
    def executors(self) -> list[Executor]:
        """All executors that are kept, one for each set of shapes that came."""
        return list(self._executors.values())

    def builds(self) -> Counter[str]:
        """How often models were compiled, by kind ("training", "inference")."""
        return sum((e.builds for e in self.executors), Counter(self._dropped_builds))

    def executor_stats(self) -> ExecutorStats:
        """Which executors are alive, what they cost, and how often they had to be built."""
        return self._cache.stats()

    @property
    def store(self) -> ParameterStore:
        """The parameters, shared with other modules bound to this one."""
        self._require()
        assert self._store is not None
        return self._store

    @property
    def updater(self) -> opt.Updater:
        """The optimizer with its states."""
        self._require(optimizer=True)
        assert self._updater is not None
        return self._updater

    # Binding ---------------------------------------------------------------------------------

    def bind(
        self,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None = None,
        for_training: bool = True,
        inputs_need_grad: bool = False,
        force_rebind: bool = False,
        shared_module: Module | None = None,
        grad_req: Any = "write",
    ) -> None:
        """Allocate parameters (or share those of ``shared_module``) for these shapes.

        ``data_shapes`` and ``label_shapes`` are DataDesc or (name, shape) lists. Without
        ``label_shapes`` the shapes of labels are inferred. ``grad_req`` is "write", "add" or
        "null", for all arguments or by name. Does nothing where the module is bound already,
        unless ``force_rebind``; that keeps the parameters.
        """
        if self.binded and not force_rebind:
            self.logger.warning("Already bound, ignoring bind()")
            return
        if inputs_need_grad and not for_training:
            raise InvalidArgumentError("inputs_need_grad=True needs for_training=True")
        data, labels = self._described(data_shapes, label_shapes)
        before = dict(vars(self))
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self._grad_req = grad_req
        try:
            if shared_module is None:
                self._check_grad_req()
            arg_specs, aux_specs = self._specs(data, labels)
            self._check_gradients(data, labels)
            store = self._store or ParameterStore(self.context)
            if shared_module is not None:
                store = shared_module.store
                if shared_module._devices.contexts == self._devices.contexts:
                    self._devices = shared_module._devices
            store.admit(self._name, arg_specs, aux_specs)
            self._store = store
            self._executors = {}
            self._measure_cache = {}
            self._pinned = _signature(data, labels) if self._pins else None
            self._use(data, labels)
        except BaseException:
            vars(self).update(before)
            raise
        self.binded, self._trained = True, False
        if shared_module is not None:
            self.params_initialized = shared_module.params_initialized
            if shared_module.optimizer_initialized:
                self.borrow_optimizer(shared_module)
        try:
            self._resume_params()
        except BaseException:
            vars(self).update(before)
            raise

    def _described(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None
    ) -> tuple[Descs, Descs]:
        data = normalize_descs(data_shapes, "data_shapes")
        labels = normalize_descs(label_shapes or [], "label_shapes")
        names = [d.name for d in data]
        if sorted(names) != sorted(self._data_names):
            raise DataError(
                f"{self._name}: data_shapes describe {', '.join(names)}, but the data inputs are "
                f"{', '.join(self._data_names)} (data_names)"
            )
        return data, [d for d in labels if d.name in self._label_names]

    def _check_grad_req(self) -> None:
        if isinstance(self._grad_req, Mapping):
            arguments = self._symbol.list_arguments()
            unknown = [n for n in self._grad_req if n not in arguments]
            if unknown:
                raise InvalidArgumentError(
                    f"{self._name}: grad_req names {', '.join(map(repr, unknown))}, but the "
                    f"arguments are {', '.join(arguments)}"
                )

    def _requests(self) -> dict[str, str]:
        """What every argument's gradient is for; names that a dict leaves out are written."""
        arguments = self._symbol.list_arguments()
        asked = self._grad_req
        if isinstance(asked, Mapping):
            asked = {n: asked.get(n, "write") for n in arguments}
        found = grad_requests(arguments, asked)
        data = self._data_names if self.inputs_need_grad else []
        for name in found:
            trained = name in self._param_names and name not in self._fixed
            if not self.for_training or not (trained or name in data):
                found[name] = "null"
        return found

    def _infer(
        self, data: Descs, labels: Descs
    ) -> tuple[dict[str, tuple[tuple[int, ...], np.dtype[Any]]], ...]:
        """(shape, dtype) of every argument and of every auxiliary state."""
        descs = [*data, *labels]
        try:
            arg_shapes, _, aux_shapes = self._symbol.infer_shape(**{d.name: d.shape for d in descs})
        except ShapeError as error:
            hint = ""
            if "cannot be inferred" in str(error) and len(labels) < len(self._label_names):
                absent = set(self._label_names) - {d.name for d in labels}
                hint = (
                    f" (The shape of the label {', '.join(sorted(absent))} was not given: "
                    "label_shapes of bind, provide_label of a batch.)"
                )
            raise ShapeError(f"{self._name}: {error}{hint}") from None
        arg_types, _, aux_types = self._symbol.infer_type(**{d.name: d.dtype for d in descs})
        return (
            dict(zip(self._symbol.list_arguments(), zip(arg_shapes, arg_types))),
            dict(zip(self._aux_names, zip(aux_shapes, aux_types))),
        )

    def _specs(self, data: Descs, labels: Descs) -> tuple[list[ParameterSpec], list[ParameterSpec]]:
        args, aux = self._infer(data, labels)
        attrs = self._symbol.attr_dict()
        requests = self._requests()
        return (
            [ParameterSpec(n, *args[n], requests[n], attrs.get(n, {})) for n in self._param_names],
            [ParameterSpec(n, *aux[n], "null", attrs.get(n, {})) for n in self._aux_names],
        )

    def _check_gradients(self, data: Descs, labels: Descs) -> None:
        """Say now what a graph from elsewhere has no gradient for, not at the first step."""
        if not self.for_training or not holds_foreign(self._symbol):
            return
        types = {n: both for group in self._infer(data, labels) for n, both in group.items()}
        check_gradients(
            self._symbol,
            {n: shape for n, (shape, _) in types.items()},
            {n: dtype for n, (_, dtype) in types.items()},
            [n for n, request in self._requests().items() if request != "null"],
            self._name,
        )

    def _use(self, data: Descs, labels: Descs) -> None:
        """Make these shapes the current ones; build an executor where they are new."""
        signature = _signature(data, labels)
        executor = self._executors.get(signature)
        if executor is None:
            executor = self._make_executor(data, labels)
            self._executors[signature] = executor
            self._remember(executor, signature)
        else:
            self._cache.used(executor)
        self._executor = executor
        self._data_shapes, self._label_shapes = data, labels
        if labels:
            self._labelled = data, labels

    def _remember(self, executor: Executor, signature: Signature) -> None:
        store = self._store
        assert store is not None
        arrays = [a for n, a in executor.arg_dict.items() if n not in store.args]
        arrays += [a for n, a in executor.grad_dict.items() if n not in store.grads]
        me = weakref.ref(self)

        def drop() -> None:
            module = me()
            if module is not None:
                module._drop(signature)

        self._cache.add(
            executor,
            signature if self._cache_key is None else self._cache_key,
            sum(a.nbytes for a in arrays),
            signature == self._pinned,
            drop,
            not self.binded,
        )

    def _drop(self, signature: Signature) -> None:
        """Forget an executor; parameters, optimizer and what batches are made of stay."""
        executor = self._executors.pop(signature, None)
        if executor is None:
            return
        self._dropped_builds += executor.builds
        if self._executor is executor:
            self._executor = None
        for key in [k for k, kept in self._measure_cache.items() if kept[1] is executor]:
            del self._measure_cache[key]

    def _make_executor(self, data: Descs, labels: Descs) -> Executor:
        store = self._store
        assert store is not None
        shapes, _ = self._infer(data, labels)
        requests = self._requests()
        args, grads = {}, {}
        for name, (shape, dtype) in shapes.items():
            if name in store.args:
                if store.args[name].shape != shape:
                    raise ShapeError(
                        f"{self._name}: with data {[tuple(d) for d in data]} parameter {name!r} "
                        f"would have shape {shape}, it is {store.args[name].shape}"
                    )
                args[name] = store.args[name]
                if requests[name] != "null" and name in store.grads:
                    grads[name] = store.grads[name]
                elif requests[name] != "null":
                    requests[name] = "null"
                continue
            context = self.context if len(self._devices) == 1 else cpu()
            args[name] = NDArray.zeros(shape, dtype, context)
            if requests[name] != "null":
                grads[name] = NDArray.zeros(shape, dtype, context)
        aux = {n: store.aux[n] for n in self._aux_names}
        if len(self._devices) > 1:
            return self._make_group(data, labels, args, grads, requests, aux)
        return Executor(
            self._symbol,
            self.context,
            args,
            grads,
            requests,
            aux,
            self._name,
            self.options,
            self._cache.pool,
        )

    def _make_group(
        self,
        data: Descs,
        labels: Descs,
        args: dict[str, NDArray],
        grads: dict[str, NDArray],
        requests: dict[str, str],
        aux: dict[str, NDArray],
    ) -> ExecutorGroup:
        """The executor of several contexts."""
        sizes, axes, parts = parts_of([*data, *labels], self._devices, self._name)
        types = [self._infer(part[: len(data)], part[len(data) :])[0] for part in parts]
        counted = counted_by_part(self._symbol)
        if counted and not self._executors:
            self.logger.warning(
                "%s: %s divide by a count over the batch; on %d contexts each part is divided by "
                "its own count and the gradients are summed.",
                self._name,
                ", ".join(counted),
                len(self._devices),
            )
        return ExecutorGroup(
            self._symbol,
            self._devices,
            args,
            grads,
            requests,
            aux,
            [n for n in args if n in self._param_names],
            (sizes, axes, types),
            DataDesc.get_batch_axis(data[0].layout) > 0,
            self._name,
            self.options,
            self._cache.pool,
        )

    def reshape(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None = None
    ) -> None:
        """Make other input shapes the current ones."""
        self._require()
        self._use(*self._described(data_shapes, label_shapes))

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
        data, labels = self._data_shapes, self._label_shapes
        if data_shapes is not None:
            data, labels = self._described(data_shapes, label_shapes)
        made = optimizer_of(self, optimizer, optimizer_params)
        plan = plan_model(self, data, labels, eval_metric, rows_of(self, made))
        return pool_of({self._name: plan}, self, made)

    # Parameters and optimizer ----------------------------------------------------------------

    def init_params(
        self,
        initializer: Initializer | None = None,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Fill parameters from the given values, else by the initializer (Uniform(0.01)).

        Does nothing where they are filled already, unless ``force_init``. Raises ParameterError
        where given values are missing, unknown or of another shape; then nothing is changed.
        """
        if self.params_initialized and not force_init:
            return
        self._require()
        given = arg_params is not None or aux_params is not None
        if initializer is None and not (given and not allow_missing):
            initializer = None if self.params_initialized else Uniform(0.01)
        self.store.initialize(initializer, arg_params, aux_params, allow_missing, allow_extra)
        self.params_initialized = True

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Copies of parameters and auxiliary states, in host memory."""
        self._require(params=True)
        return self.store.copies()

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Pairs = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Make the optimizer; ``rescale_grad`` is 1 / batch size unless given.

        ``kvstore`` is MXNet's; on one device there is nothing to store elsewhere.
        """
        self._require(params=True)
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring...")
            return
        names = list(self.store.grads)
        made = self._make_optimizer(optimizer, dict(optimizer_params), names)
        self._updater = opt.get_updater(made)
        self.optimizer_initialized = True
        self._resume_optimizer()

    def _make_optimizer(
        self, optimizer: Any, params: dict[str, Any], names: Sequence[str]
    ) -> opt.Optimizer:
        rescale = 1.0 / self._batch_size()
        if isinstance(optimizer, opt.Optimizer):
            if optimizer.rescale_grad != rescale:
                warnings.warn(
                    f"The given optimizer has rescale_grad={optimizer.rescale_grad}, where the "
                    f"module would take 1 / batch size = {rescale}. Is this intended?",
                    stacklevel=3,
                )
            if not optimizer.idx2name:
                optimizer.idx2name = dict(enumerate(names))
            return optimizer
        params.setdefault("rescale_grad", rescale)
        return opt.create(
            optimizer, sym=self._symbol, param_idx2name=dict(enumerate(names)), **params
        )

    def _batch_size(self) -> int:
        first = self._data_shapes[0]
        return int(first.shape[DataDesc.get_batch_axis(first.layout)])

    def borrow_optimizer(self, shared_module: Module) -> None:
        """Use the optimizer (and its states) of another module."""
        self._updater = shared_module.updater
        self.optimizer_initialized = True

    # Running ---------------------------------------------------------------------------------

    def forward(self, data_batch: DataBatch, is_train: bool | None = None) -> None:
        """Run the network on a batch; ``is_train`` is ``for_training`` unless given.

        Raises DataError or ShapeError where the arrays are not what the batch (or the module)
        says, before anything is written.
        """
        self._require(params=True)
        training = self.for_training if is_train is None else is_train
        if training and not self.for_training:
            raise StateError(f"{self._name} is bound with for_training=False")
        data, labels, arrays = self._read(data_batch, training)
        before = dict(vars(self))
        try:
            self._use(data, labels)
            executor = self.executor
            executor.feed({**arrays, **self._states})
            self._sums = None
            measures = self._measures() if self._measured is not None else None
            if measures is None:
                executor.forward(is_train=training)
            else:
                assert self._measured is not None
                specs = tuple(dict.fromkeys(s for _, many in measures for s in many))
                sums = executor.measure(training, specs, self._row_sparse())
                self._sums = self._measured, measures, sums
        except BaseException:
            vars(self).update(before)  # the last batch stays the current one
            raise
        self._trained = training
        self._cache.shrink(executor)
        if data_batch.label:
            described = data_batch.provide_label or self._labelled[1]
            self._metric_names = [d.name for d in described]

    def _read(self, batch: DataBatch, training: bool) -> tuple[Descs, Descs, dict[str, Any]]:
        """Descriptions and arrays by name of a batch."""
        data = batch.provide_data or self._redescribed(self._data_shapes, batch.data)
        labels = batch.provide_label
        given = batch.label or []
        if labels is None:
            labels = self._redescribed(self._labelled[1], given) if given else []
        arrays: dict[str, Any] = {}
        for kind, descs, values in (("data", data, batch.data), ("label", labels, given)):
            if kind == "label" and not values:
                continue
            if len(descs) != len(values):
                raise DataError(
                    f"{self._name}: the batch has {len(values)} {kind} arrays, described are "
                    f"{len(descs)}: {', '.join(d.name for d in descs)} (provide_{kind})"
                )
            for desc, array in zip(descs, values):
                try:
                    shape = tuple(np.shape(array))
                except ValueError as error:
                    raise DataError(
                        f"{self._name}: the batch's {kind} {desc.name!r} is no array: {error}"
                    ) from None
                if shape != desc.shape:
                    raise DataError(
                        f"{self._name}: the batch's {kind} array {desc.name!r} has shape {shape}, "
                        f"its provide_{kind} says {desc.shape}"
                    )
                arrays[desc.name] = array
        data, labels = self._described(data, labels if given else [])
        absent = [n for n in self._label_names if n not in arrays]
        if training and absent:
            raise DataError(
                f"{self._name}: the batch has no label {', '.join(map(repr, absent))}, and "
                "training needs it (label= and provide_label= of DataBatch)"
            )
        known = {*self._data_names, *self._label_names}
        return (
            data,
            labels or self._labels_for(data),
            {n: a for n, a in arrays.items() if n in known},
        )

    def _labels_for(self, data: Descs) -> Descs:
        """Label shapes for data without labels: as last time, but for the batch size.

        What the labels hold does not matter then; without shapes many networks cannot be inferred.
        """
        before, labels = self._labelled
        by_name = {d.name: d for d in before}
        changed = {(_batch(by_name[d.name]), _batch(d)) for d in data if d.name in by_name}
        same = all(d.name in by_name and _row(by_name[d.name]) == _row(d) for d in data)
        if not same or len(changed) != 1:
            return []
        old, new = next(iter(changed))
        found = []
        for desc in labels:
            axis = DataDesc.get_batch_axis(desc.layout)
            shape = list(desc.shape)
            if 0 <= axis < len(shape) and shape[axis] == old:
                shape[axis] = new
            found.append(DataDesc(desc.name, shape, desc.dtype, desc.layout))
        return found

    @staticmethod
    def _redescribed(descs: Descs, arrays: Sequence[Any]) -> Descs:
        """The bound descriptions with the shapes that arrived, as for a smaller last batch."""
        if len(descs) != len(arrays):
            return descs
        return [
            DataDesc(d.name, tuple(np.shape(a)), d.dtype, d.layout) for d, a in zip(descs, arrays)
        ]

    def backward(self, out_grads: Any = None) -> None:
        """Gradients of the last ``forward`` in training mode.

        ``out_grads``: head gradients, for outputs that are not losses.
        """
        self._require(params=True)
        if not self._trained:
            raise StateError(
                f"{self._name}: backward needs forward(batch, is_train=True) before it"
            )
        self.executor.backward(out_grads)

    def update(self) -> None:
        """One step of the optimizer over the gradients of the last backward."""
        self._require(params=True, optimizer=True)
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
        """The gradient buffers of the parameters that this network trains, by name."""
        grads, trained = self.store.grads, self.executor.grad_dict
        return {n: grads[n] for n in self._param_names if n in trained}

    def auxiliary(self) -> Mapping[str, NDArray]:
        """The buffers of the auxiliary states by name."""
        return {n: self.store.aux[n] for n in self._aux_names}

    def monitored(self, wanted: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        """(name, array) of outputs, arguments, gradients and auxiliary states."""
        return arrays_of(self.executor, wanted)

    def get_outputs(self, merge_multi_context: bool = True) -> list[NDArray]:
        """The outputs of the last forward; the next forward writes into the same arrays."""
        self._require(params=True)
        return self.executor.outputs

    def get_input_grads(self, merge_multi_context: bool = True) -> list[NDArray]:
        """Gradients of the data inputs; needs ``bind(inputs_need_grad=True)``."""
        self._require(params=True)
        if not self.inputs_need_grad:
            raise StateError(f"{self._name}: get_input_grads needs bind(inputs_need_grad=True)")
        return [self.executor.grad_dict[n] for n in self._data_names]

    def get_states(self, merge_multi_context: bool = True) -> list[NDArray]:
        """The values of the arguments in ``state_names``."""
        self._require(params=True)
        return [self.executor.arg_dict[n].copy() for n in self._state_names]

    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        """Set the states from arrays (in the order of ``state_names``) or to one number."""
        self._require(params=True)
        if (states is None) == (value is None):
            raise InvalidArgumentError("set_states takes either states or value")
        arrays = {n: self.executor.arg_dict[n] for n in self._state_names}
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

    def _measures(self) -> Measures | None:
        """How the metric that is being measured can be computed in this network's graph."""
        metric, executor = self._measured, self.executor
        assert metric is not None
        key = id(metric), id(executor)
        if key not in self._measure_cache:
            labels = {d.name: d.shape for d in self._label_shapes}
            found = graph_measures(metric, dict(self.output_shapes), labels)
            # Kept with what the ids stand for, so that no other object can take them.
            self._measure_cache[key] = metric, executor, found
        return self._measure_cache[key][2]

    def _results(self) -> Mapping[str, Any]:
        if self._sums is not None:
            return self._sums[2]
        return super()._results()

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add the last forward's outputs and ``labels`` to a metric."""
        self._require(params=True)
        if self._sums is not None and self._sums[0] is eval_metric:
            _, measures, sums = self._sums
            for leaf, specs in measures:
                total = sum(sums[f"{s.name}.total"] for s in specs)
                leaf.update_sums(total, sum(sums[f"{s.name}.count"] for s in specs))
            return
        names = self._metric_names or self._label_names
        eval_metric.update_dict(
            dict(zip(names, labels)), dict(zip(self._output_names, self.get_outputs()))
        )

    # Files -----------------------------------------------------------------------------------

    def save_checkpoint(
        self,
        prefix: str,
        epoch: int,
        save_optimizer_states: bool = False,
        remove_amp_cast: bool = True,
    ) -> None:
        """Write symbol and parameters, and the optimizer's states to ``prefix-EPOCH.states``."""
        self._require(params=True)
        if save_optimizer_states:
            self.save_optimizer_states(f"{prefix}-{epoch:04d}.states")
        save_checkpoint(prefix, epoch, self._symbol, *self.get_params())

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

    def save_optimizer_states(self, fname: str) -> None:
        """Write the optimizer's states to a file, atomically."""
        self.updater.save(fname)

    def load_optimizer_states(self, fname: str) -> None:
        """Set the optimizer's states from a file."""
        self.updater.load(fname)
