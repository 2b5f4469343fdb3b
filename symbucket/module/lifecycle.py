"""``Lifecycle``: what every module does step by step, from ``bind`` to ``update``."""

from __future__ import annotations

import abc
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.checks import listing
from symbucket.context import cpu
from symbucket.engine.network_interface import GradientRequest
from symbucket.engine.ownership import exclusive
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import InvalidArgumentError, StateError
from symbucket.initializer import Initializer, Uniform
from symbucket.io import DataBatch
from symbucket.kvstore import DistributedKVStore, as_kvstore
from symbucket.metric import EvalMetric
from symbucket.module.binding import Binding, PendingCheckpoint, unbound
from symbucket.module.described import Described
from symbucket.module.filling import Filling, filling_of
from symbucket.module.interface import Pairs
from symbucket.module.optimization import join_workers
from symbucket.module.snapshot import Snapshot
from symbucket.optimizer import Optimizer, Updater
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol


class Lifecycle(Described):
    """A module from ``bind`` over ``init_params`` and ``init_optimizer`` to ``update``.

    Each step has a public method here, which checks what all kinds of modules check, and an
    abstract one for what differs between them: ``forward`` and ``_forward``. What a step computes
    becomes part of the module when it has succeeded. ``CompiledModule`` adds the loops over the
    steps.
    """

    def __init__(self, logger: Any = logging) -> None:
        self.logger = logger
        self.keep_outputs = False
        """Whether ``fit`` and ``score`` keep what they could do without.

        By default a metric that can be computed in the graph is, and outputs are not kept; with
        plain sgd the gradient of an Embedding's table is never made as a whole.
        """
        self.accumulates = False
        """Whether ``fit`` adds up gradients, and sets them back after each update."""
        self._name = type(self).__name__  # how messages call this module
        self._binding: Binding | None = None
        self._lock = threading.RLock()  # of the parameters, once there are any
        self._trained = False  # whether the last forward was in training mode
        self._before: Snapshot | None = None  # what the last forward can be undone to
        self._metric_names: list[str] = []  # of the labels of the last batch that had some
        self._filling: Filling | None = None  # of the last batch
        # Of the loop that runs now; forward may compute its sums in place of the outputs.
        self._metric: EvalMetric | None = None
        self._pending: PendingCheckpoint | None = None

    # State -----------------------------------------------------------------------------------

    @property
    def binded(self) -> bool:
        """Whether ``bind`` was called."""
        return self._binding is not None

    @property
    def for_training(self) -> bool:
        """Whether the module is bound for training."""
        return self._binding is not None and self._binding.request.for_training

    @property
    def inputs_need_grad(self) -> bool:
        """Whether the module is bound with gradients of its data."""
        return self._binding is not None and self._binding.request.inputs_need_grad

    @property
    def params_initialized(self) -> bool:
        """Whether the parameters have values."""
        return self._binding is not None and self._binding.store.filled

    @property
    def optimizer_initialized(self) -> bool:
        """Whether the module has an optimizer."""
        return self._binding is not None and self._binding.updater is not None

    def _require(self, *, params: bool = False, optimizer: bool = False) -> None:
        binding = self._binding
        if binding is None:
            raise unbound()
        if params:
            binding.store.require_filled()
        if optimizer and binding.updater is None:
            raise StateError("call init_optimizer() first (after init_params)")

    def _require_own(self, call: str) -> None:
        """Raise StateError unless the results of the last forward are this thread's."""
        self._require(params=True)
        assert self._binding is not None
        self._binding.runs.check(self._name, call)

    @property
    def store(self) -> ParameterStore:
        """The parameters, which all modules bound to this one share."""
        if self._binding is None:
            raise unbound()
        return self._binding.store

    @property
    def updater(self) -> Updater:
        """The optimizer with its states."""
        self._require(optimizer=True)
        assert self._binding is not None
        assert self._binding.updater is not None
        return self._binding.updater

    # Getting ready ---------------------------------------------------------------------------

    @exclusive
    def bind(
        self,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None = None,
        for_training: bool = True,
        inputs_need_grad: bool = False,
        force_rebind: bool = False,
        shared_module: Any = None,
        grad_req: Any = "write",
    ) -> None:
        """Allocate the parameters and make the network ready for these shapes.

        A BucketingModule binds the default bucket key; other keys follow when they come. A
        RecurrentModule takes sequences of any length afterwards.

        Args:
            data_shapes, label_shapes: lists of DataDesc or of (name, shape). Without
                ``label_shapes`` the shapes of labels are inferred if they can be.
            for_training: whether gradients are needed.
            inputs_need_grad: also those of the data.
            force_rebind: bind again what is bound already, and keep the parameters; otherwise
                nothing is done then.
            shared_module: a module whose parameters (and optimizer) are used.
            grad_req: "write", "add" or "null", for all arguments or by name.

        Raises:
            SymbucketError: the network cannot be bound so; nothing is changed then.
        """
        if self.binded and not force_rebind:
            self.logger.warning("Already bound, ignoring bind()")
            return
        if inputs_need_grad and not for_training:
            raise InvalidArgumentError("inputs_need_grad=True needs for_training=True")
        request = GradientRequest(for_training, inputs_need_grad, grad_req)
        binding = self._bind(data_shapes, label_shapes, request, shared_module)
        if self._pending is not None:
            self._pending.fill(binding.store)
        self._binding, self._trained, self._lock = binding, False, binding.store.lock

    @abc.abstractmethod
    def _bind(
        self,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None,
        request: GradientRequest,
        shared_module: Any,
    ) -> Binding:
        """Return what ``bind`` makes; the module itself stays as it is."""

    @exclusive
    def init_params(
        self,
        initializer: Initializer | None = None,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Fill the parameters from the given values, else by the initializer (Uniform(0.01)).

        Does nothing if they are filled already, unless ``force_init``. As in MXNet, given values
        that the network does not have are passed over, with a warning unless ``allow_extra``.
        Raises ParameterError if given values are missing or of another shape; then nothing is
        changed.
        """
        if self.params_initialized and not force_init:
            return
        extra = [] if allow_extra else self.store.extra_names(arg_params, aux_params)
        if extra:
            self.logger.warning(
                "%s: %s given, which the network does not have", self._name, listing(extra)
            )
        complete = (arg_params is not None or aux_params is not None) and not allow_missing
        if initializer is None and not complete and not self.params_initialized:
            initializer = Uniform(0.01)
        self.store.initialize(initializer, arg_params, aux_params, allow_missing, True)

    @exclusive
    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Return copies of parameters and auxiliary states, in host memory."""
        self._require(params=True)
        return self.store.copies()

    def set_params(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:
        """Write parameters and auxiliary states; all are checked before the first is written.

        As in MXNet, values that the network does not have are an error only if ``allow_missing``
        is set and ``allow_extra`` is not; otherwise they are passed over, with a warning.
        """
        if self.params_initialized and not force_init:
            self.logger.warning("Parameters already initialized and force_init=False; ignored")
            return
        if allow_missing and not allow_extra:
            self.store.initialize(None, arg_params, aux_params or {}, True, False)
            return
        self.init_params(
            initializer=None,
            arg_params=arg_params,
            aux_params=aux_params or {},
            allow_missing=allow_missing,
            force_init=force_init,
            allow_extra=allow_extra,
        )

    @exclusive
    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Pairs = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Make the optimizer, one for all buckets; ``rescale_grad`` is 1 / batch size unless given.

        ``kvstore`` is MXNet's. "local", "device", a local KVStore and None are the same: in one
        process there is nothing to store elsewhere. "dist_sync" trains in step with all processes
        that ``mpirun`` started: parameters become those of worker 0, gradients are summed at each
        update, and the batch of ``rescale_grad`` is that of all workers. Raises UnsupportedError
        for asynchronous kinds, InvalidArgumentError for other words, WorkerError if workers differ.
        """
        workers = as_kvstore(kvstore, f"{self._name}.init_optimizer: kvstore")
        self._require(params=True)
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring...")
            return
        params = dict(optimizer_params)
        self._init_optimizer(optimizer, params)
        if self._pending is not None:
            self._pending.set_states(self.updater)
        if isinstance(workers, DistributedKVStore):
            has_rescale_grad = "rescale_grad" in params or isinstance(optimizer, Optimizer)
            join_workers(workers, self.updater, self.store, self._saved_symbol(), has_rescale_grad)

    def _saved_symbol(self) -> Symbol:
        """Return the symbol that checkpoints hold, and that workers compare."""
        return self.symbol

    @abc.abstractmethod
    def _init_optimizer(self, optimizer: Any, optimizer_params: dict[str, Any]) -> None:
        """Make the optimizer."""

    # Running ---------------------------------------------------------------------------------

    @exclusive
    def forward(self, data_batch: DataBatch, is_train: bool | None = None) -> None:
        """Run the network (of the batch's bucket key) on a batch.

        ``is_train`` is ``for_training`` unless given. Raises DataError or ShapeError if the arrays
        are not what the batch (or the module) says, before anything is written.
        """
        self.run(data_batch, is_train, self._metric)

    @exclusive
    def run(self, batch: DataBatch, is_train: bool | None, metric: EvalMetric | None) -> None:
        """Run a batch; the sums of ``metric`` may be computed in place of the outputs.

        A run that fails leaves auxiliary states and random numbers as they were.
        """
        self._require(params=True)
        assert self._binding is not None
        binding, training = self._binding, self.for_training if is_train is None else is_train
        self._before = Snapshot.take(self.auxiliary(), binding.clocks, training)
        binding.begin_run()
        try:
            self.run_batch(batch, training, metric)
        except BaseException:
            self._before.restore()
            raise

    def run_batch(self, batch: DataBatch, training: bool, metric: EvalMetric | None) -> None:
        """Run a batch; see ``run``, which also undoes what fails."""
        self._require(params=True)
        batch = DataBatch.of(batch)
        if training and not self.for_training:
            raise StateError(f"{self._name} is bound with for_training=False")
        filling = filling_of(batch, batch.provide_data or self.data_shapes)
        if metric is not None and filling is not None:
            # Sums in the graph are over all rows. Unless the metric ignores those that fill the
            # batch up, it needs the outputs.
            metric = metric if filling.is_ignored(list(batch.label or []), metric) else None
        self._forward(batch, training, metric)
        self._trained, self._filling = training, filling

    @abc.abstractmethod
    def _forward(self, batch: DataBatch, training: bool, metric: EvalMetric | None) -> None:
        """Run a batch, see ``run``."""

    @exclusive
    def backward(self, out_grads: Any = None) -> None:
        """Compute the gradients of the last ``forward``, which must have been in training mode.

        ``out_grads``: head gradients, for outputs that are not losses.
        """
        self._require_own("backward")
        if not self._trained:
            raise StateError(
                f"{self._name}: backward needs forward(batch, is_train=True) before it"
            )
        self._backward(out_grads)

    @abc.abstractmethod
    def _backward(self, out_grads: Any) -> None:
        """Compute the gradients."""

    @exclusive
    def forward_backward(self, data_batch: DataBatch) -> None:
        """Run forward in training mode, and backward."""
        self.forward(data_batch, is_train=True)
        try:
            self.backward()
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        """Make auxiliary states and random numbers as they were before the last forward."""
        if self._before is not None:
            self._before.restore()

    @exclusive
    def update(self) -> None:
        """Take one step of the optimizer over the gradients of the last backward."""
        self._require(params=True, optimizer=True)
        self._require_own("update")
        self._update()

    @abc.abstractmethod
    def _update(self) -> None:
        """Take one step of the optimizer."""

    @abc.abstractmethod
    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """Return the outputs of the last forward, as NDArrays.

        With ``merge_multi_context=False``, each output is a list of its parts, one a context.
        The next forward (of any bucket key) writes into the same memory: copy what you need
        longer.
        """

    @abc.abstractmethod
    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """Return the gradients of the data inputs; needs ``bind(inputs_need_grad=True)``.

        None stands for an input whose ``grad_req`` is "null".
        """

    @abc.abstractmethod
    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """Return the values of the arguments in ``state_names`` (of the current network)."""

    @abc.abstractmethod
    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        """Set the states from arrays (in the order of ``state_names``) or to one number.

        As in MXNet, an array may be a list of its parts, one a context.
        """

    @exclusive
    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add the last forward's outputs and ``labels`` to a metric.

        Rows that only fill up the batch (``DataBatch.pad``) are left out.
        """
        self._require_own("update_metric")
        names = self._metric_names or self.label_names
        outputs = self.get_outputs()
        # As in MXNet, a metric sees NDArrays.
        labels = [v if isinstance(v, NDArray) else NDArray.of(np.asarray(v), cpu()) for v in labels]
        if self._filling is not None:
            labels = [self._filling.cut(label) for label in labels]
            outputs = [self._filling.cut(output) for output in outputs]
        eval_metric.update_dict(dict(zip(names, labels)), dict(zip(self.output_names, outputs)))

    def results(self) -> Mapping[str, Any]:
        """Return what the last forward computed, outputs or the sums of a metric, by name."""
        return {f"output {n}": a for n, a in zip(self.output_names, self.get_outputs())}

    @abc.abstractmethod
    def gradients(self) -> Mapping[str, NDArray]:
        """Return the gradient buffers of the parameters that the last backward wrote."""

    @abc.abstractmethod
    def auxiliary(self) -> Mapping[str, NDArray]:
        """Return the buffers of the auxiliary states, which a forward in training mode writes."""
