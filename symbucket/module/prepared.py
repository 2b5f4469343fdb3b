"""``Prepared``: what every module does before it runs: ``bind``, parameters, the optimizer."""

from __future__ import annotations

import abc
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from symbucket.checks import listing
from symbucket.engine.network_interface import GradientRequest
from symbucket.engine.ownership import exclusive
from symbucket.engine.parameters import ParameterStore, Writes
from symbucket.errors import InvalidArgumentError, StateError
from symbucket.initializer import Initializer, Uniform
from symbucket.kvstore import DistributedKVStore, as_kvstore
from symbucket.module.binding import Binding, PendingCheckpoint, require_bound
from symbucket.module.described import Described
from symbucket.module.interface import Pairs
from symbucket.module.optimization import join_workers
from symbucket.optimizer import Optimizer, Updater
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol


class Prepared(Described):
    """A module from ``bind`` over ``init_params`` to ``init_optimizer``.

    Each step has a public method here, which checks what all kinds of modules check, and an
    abstract one for what differs between them: ``bind`` and ``_bind``. What a step makes becomes
    part of the module when it has succeeded.
    """

    def __init__(self, logger: Any = logging) -> None:
        self.logger = logger
        self._name = type(self).__name__  # how messages call this module
        self._binding: Binding | None = None
        self._lock = threading.RLock()  # of the parameters, once there are any
        self._trained: bool | None = None  # if the last forward was in training mode
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
        binding = require_bound(self._binding)
        if params:
            binding.store.require_filled()
        if optimizer and binding.updater is None:
            raise StateError("call init_optimizer() first (after init_params)")

    @property
    def store(self) -> ParameterStore:
        """The parameters, which all modules bound to this one share."""
        return require_bound(self._binding).store

    @property
    def updater(self) -> Updater:
        """The optimizer with its states."""
        self._require(optimizer=True)
        updater = require_bound(self._binding).updater
        assert updater is not None
        return updater

    # Steps -----------------------------------------------------------------------------------

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
        self._binding, self._trained, self._lock = binding, None, binding.store.lock
        if self._pending is not None and for_training:
            self._pending.tell_network(self._saved_symbol())

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
        self.store.fill(self._first_values(initializer, arg_params, aux_params, allow_missing))

    @exclusive
    def _first_values(
        self,
        initializer: Initializer | None,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool,
    ) -> Writes:
        """Return what ``init_params`` writes into the store, checked."""
        complete = (arg_params is not None or aux_params is not None) and not allow_missing
        if initializer is None and not complete and not self.params_initialized:
            initializer = Uniform(0.01)
        return self.store.first_values(initializer, arg_params, aux_params, allow_missing, True)

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
            self.logger.warning(
                "optimizer already initialized, ignoring... (%s goes on; "
                "init_optimizer(force_init=True) makes another)",
                type(self.updater.optimizer).__name__,
            )
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
