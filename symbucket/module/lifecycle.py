"""What every kind of module is asked, in which order, and what is the same for all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from symbucket.checkpoint import (
    Params,
    load_params,
    params_path,
    save_checkpoint,
    save_params,
)
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import CheckpointError, InvalidArgumentError, ParameterError, StateError
from symbucket.initializer import Initializer
from symbucket.io import DataBatch, DataDesc
from symbucket.metric import EvalMetric
from symbucket.optimizer import Updater
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol

Pairs = Mapping[str, Any] | Sequence[tuple[str, Any]]


class Lifecycle:
    """A module from ``bind`` over ``init_params`` and ``init_optimizer`` to ``update``.

    Each step has a public method here, which checks what all kinds of modules check, and a private
    one, which a kind of module fills in: ``bind`` and ``_bind``, ``forward`` and ``_forward``.
    ``BaseModule`` has the loops over them.
    """

    def __init__(self, logger: Any = logging) -> None:
        self.logger = logger
        self.binded = False
        self.for_training = False
        self.inputs_need_grad = False
        self.params_initialized = False
        self.optimizer_initialized = False
        self.keep_outputs = False
        """Whether ``fit`` and ``score`` keep what they could do without.

        By default a metric that can be computed in the graph is, and outputs are not kept; with
        plain sgd the gradient of an Embedding's table is never made as a whole.
        """
        self._name = type(self).__name__  # how messages call this module
        self._grad_req: Any = "write"
        self._trained = False  # whether the last forward was in training mode
        self._metric_names: list[str] = []  # of the labels of the last batch that had some
        self._measured: EvalMetric | None = None
        self._resume: tuple[str, tuple[Params, Params]] | None = None
        self._resume_states: str | None = None

    def _require(self, *, params: bool = False, optimizer: bool = False) -> None:
        if not self.binded:
            raise StateError("call bind(data_shapes, label_shapes) first")
        if params and not self.params_initialized:
            raise StateError("call init_params() first (after bind)")
        if optimizer and not self.optimizer_initialized:
            raise StateError("call init_optimizer() first (after init_params)")

    # Descriptions: every kind of module gives those that it has ------------------------------

    @property
    def symbol(self) -> Symbol:
        """The network (of the current bucket)."""
        raise StateError("this module has no symbol")

    @property
    def data_names(self) -> list[str]:
        """Names of the data inputs."""
        raise StateError("this module has no data")

    @property
    def label_names(self) -> list[str]:
        """Names of the labels that the network has."""
        raise StateError("this module has no labels")

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        raise StateError("this module has no outputs")

    @property
    def data_shapes(self) -> list[DataDesc]:
        """Descriptions of the data that is bound now."""
        raise StateError("this module has no data")

    @property
    def label_shapes(self) -> list[DataDesc]:
        """Descriptions of the labels that are bound now."""
        raise StateError("this module has no labels")

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """(name, shape) of the outputs for the shapes bound now."""
        raise StateError("this module has no outputs")

    @property
    def store(self) -> ParameterStore:
        """The parameters, which all modules bound to this one share."""
        raise StateError("this module has no parameters")

    @property
    def updater(self) -> Updater:
        """The optimizer with its states."""
        raise StateError("this module has no optimizer")

    # Getting ready: what is the same for all kinds, and what each does by itself --------------

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

        Args:
            data_shapes, label_shapes: lists of DataDesc or of (name, shape). Without
                ``label_shapes`` the shapes of labels are inferred where they can be.
            for_training: whether gradients are needed. inputs_need_grad: also those of the data.
            force_rebind: bind anew what is bound already, and keep the parameters; otherwise
                nothing is done then.
            shared_module: a module whose parameters (and optimizer) are used.
            grad_req: "write", "add" or "null", for all arguments or by name.

        A BucketingModule binds the default bucket key; other keys follow when they come. A
        RecurrentModule takes sequences of any length afterwards. Where this raises, nothing is
        changed.
        """
        if self.binded and not force_rebind:
            self.logger.warning("Already bound, ignoring bind()")
            return
        if inputs_need_grad and not for_training:
            raise InvalidArgumentError("inputs_need_grad=True needs for_training=True")
        before = dict(vars(self))
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self._grad_req = grad_req
        try:
            self._bind(data_shapes, label_shapes, shared_module)
            self.binded, self._trained = True, False
            self._resume_params()
        except BaseException:
            vars(self).update(before)
            raise

    def _bind(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None, shared_module: Any
    ) -> None:
        raise StateError("this module cannot be bound")

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

        Does nothing where they are filled already, unless ``force_init``. Raises ParameterError
        where given values are missing, unknown or of another shape; then nothing is changed.
        """
        if self.params_initialized and not force_init:
            return
        self._require()
        self._init_params(initializer, arg_params, aux_params, allow_missing, allow_extra)
        self.params_initialized = True

    def _init_params(
        self,
        initializer: Initializer | None,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool,
        allow_extra: bool,
    ) -> None:
        raise StateError("this module has no parameters")

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Copies of parameters and auxiliary states, in host memory."""
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
        """Write parameters and auxiliary states; all are checked before the first is written."""
        self.init_params(
            initializer=None,
            arg_params=arg_params,
            aux_params=aux_params or {},
            allow_missing=allow_missing,
            force_init=force_init,
            allow_extra=allow_extra,
        )

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Pairs = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Make the optimizer, one for all buckets; ``rescale_grad`` is 1 / batch size unless given.

        ``kvstore`` is MXNet's; on one machine there is nothing to store elsewhere.
        """
        self._require(params=True)
        if self.optimizer_initialized and not force_init:
            self.logger.warning("optimizer already initialized, ignoring...")
            return
        self._init_optimizer(optimizer, optimizer_params)
        self.optimizer_initialized = True
        self._resume_optimizer()

    def _init_optimizer(self, optimizer: Any, optimizer_params: Pairs) -> None:
        raise StateError("this module has no optimizer")

    # Running ---------------------------------------------------------------------------------

    def forward(self, data_batch: DataBatch, is_train: bool | None = None) -> None:
        """Run the network (of the batch's bucket key) on a batch.

        ``is_train`` is ``for_training`` unless given. Raises DataError or ShapeError where the
        arrays are not what the batch (or the module) says, before anything is written.
        """
        self._require(params=True)
        training = self.for_training if is_train is None else is_train
        if training and not self.for_training:
            raise StateError(f"{self._name} is bound with for_training=False")
        self._forward(data_batch, training)
        self._trained = training

    def _forward(self, batch: DataBatch, training: bool) -> None:
        raise StateError("this module cannot run")

    def backward(self, out_grads: Any = None) -> None:
        """Gradients of the last ``forward``, which must have been in training mode.

        ``out_grads``: head gradients, for outputs that are not losses.
        """
        self._require(params=True)
        if not self._trained:
            raise StateError(
                f"{self._name}: backward needs forward(batch, is_train=True) before it"
            )
        self._backward(out_grads)

    def _backward(self, out_grads: Any) -> None:
        raise StateError("this module cannot run")

    def update(self) -> None:
        """One step of the optimizer over the gradients of the last backward."""
        self._require(params=True, optimizer=True)
        self._update()

    def _update(self) -> None:
        raise StateError("this module cannot be updated")

    def get_outputs(self, merge_multi_context: bool = True) -> list[NDArray]:
        """The outputs of the last forward.

        The next forward (of any bucket key) writes into the same memory: copy what you need
        longer.
        """
        raise StateError("this module has no outputs")

    def get_input_grads(self, merge_multi_context: bool = True) -> list[NDArray]:
        """Gradients of the data inputs; needs ``bind(inputs_need_grad=True)``."""
        raise StateError("this module has no gradients of inputs")

    def get_states(self, merge_multi_context: bool = True) -> list[NDArray]:
        """The values of the arguments in ``state_names`` (of the current network)."""
        raise StateError("this module has no states")

    def set_states(self, states: Sequence[Any] | None = None, value: float | None = None) -> None:
        """Set the states from arrays (in the order of ``state_names``) or to one number."""
        raise StateError("this module has no states")

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add the last forward's outputs and ``labels`` to a metric."""
        self._require(params=True)
        names = self._metric_names or self.label_names
        eval_metric.update_dict(
            dict(zip(names, labels)), dict(zip(self.output_names, self.get_outputs()))
        )

    def gradients(self) -> Mapping[str, NDArray]:
        """The gradient buffers of the parameters that the last backward wrote."""
        return {}

    def auxiliary(self) -> Mapping[str, NDArray]:
        """The buffers of the auxiliary states, which a forward in training mode writes."""
        return {}

    def monitored(self, wanted: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        """(name, array) of all that a monitor sees: outputs, arguments, gradients, states.

        ``wanted`` says for a name if the monitor looks.
        """
        raise StateError("this module has no arrays")

    # Checkpoints: from one, parameters are set at bind, states at init_optimizer --------------

    def save_checkpoint(
        self,
        prefix: str,
        epoch: int,
        save_optimizer_states: bool = False,
        remove_amp_cast: bool = True,
    ) -> None:
        """Write symbol and parameters, and the optimizer's states to ``prefix-EPOCH.states``.

        The symbol is that of the default bucket key, where there are several.
        """
        self._require(params=True)
        if save_optimizer_states:
            self.save_optimizer_states(f"{prefix}-{epoch:04d}.states")
        save_checkpoint(prefix, epoch, self._saved_symbol(), *self.get_params())

    def _saved_symbol(self) -> Symbol:
        return self.symbol

    def save_params(self, fname: str) -> None:
        """Write parameters and auxiliary states to a file, atomically."""
        save_params(fname, *self.get_params())

    def load_params(self, fname: str) -> None:
        """Set parameters and auxiliary states from a file."""
        self.set_params(*load_params(fname))

    def save_optimizer_states(self, fname: str) -> None:
        """Write the optimizer's states to a file, atomically."""
        self.updater.save(fname)

    def load_optimizer_states(self, fname: str) -> None:
        """Set the optimizer's states from a file."""
        self.updater.load(fname)

    def resume_from(self, prefix: str, epoch: int, load_optimizer_states: bool = False) -> None:
        """Read a checkpoint now; ``bind`` and ``init_optimizer`` will set what it holds."""
        path = params_path(prefix, epoch)
        self._resume = path, load_params(path)
        self._resume_states = f"{prefix}-{epoch:04d}.states" if load_optimizer_states else None

    def _resume_params(self) -> None:
        if self._resume is None:
            return
        path, params = self._resume
        try:
            self.init_params(None, *params)
        except ParameterError as error:
            raise CheckpointError(f"{path!r} does not fit the network: {error}") from error
        self._resume = None

    def _resume_optimizer(self) -> None:
        if self._resume_states is not None:
            self.load_optimizer_states(self._resume_states)
            self._resume_states = None
