"""``ModuleInterface``: the methods of a module, as ``mx.mod.BaseModule`` has them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from symbucket import metric as metrics
from symbucket.context import cpu
from symbucket.errors import StateError, UnsupportedError
from symbucket.module.shown import module_html, module_text
from symbucket.runtime import NDArray

Pairs = Mapping[str, Any] | Sequence[tuple[str, Any]]


class ModuleInterface:
    """What the loops ``fit``, ``score`` and ``predict`` call.

    A module of one's own overrides ``bind``, ``forward``, ``backward``, ``update``,
    ``get_outputs`` and whatever else it needs; the others raise UnsupportedError.
    """

    if TYPE_CHECKING:  # a subclass may set them, or have properties in their place

        @property
        def binded(self) -> bool: ...  # noqa: D102
        @property
        def for_training(self) -> bool: ...  # noqa: D102
        @property
        def inputs_need_grad(self) -> bool: ...  # noqa: D102
        @property
        def params_initialized(self) -> bool: ...  # noqa: D102
        @property
        def optimizer_initialized(self) -> bool: ...  # noqa: D102
        @property
        def _symbol(self) -> Any: ...

    else:
        binded = for_training = inputs_need_grad = False
        params_initialized = optimizer_initialized = False
        _symbol = None

    def __init__(self, logger: Any = logging) -> None:
        self.logger = logger
        self._name = type(self).__name__
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return module_text(self)

    def _repr_html_(self) -> str:
        return module_html(self)

    def _set(self, **flags: bool) -> None:
        """Set ``binded``, ``for_training`` and the like."""
        vars(self).update(flags)

    def _lacks(self, method: str) -> UnsupportedError:
        return UnsupportedError(f"{type(self).__name__} defines no {method}, which is needed here")

    def _require(self, *, params: bool = False, optimizer: bool = False) -> None:
        """Raise StateError unless the module is bound (and has parameters, and an optimizer)."""
        if not self.binded:
            raise StateError("call bind(data_shapes, label_shapes) first")
        if params and not self.params_initialized:
            raise StateError("call init_params() first (after bind)")
        if optimizer and not self.optimizer_initialized:
            raise StateError("call init_optimizer() first (after init_params)")

    # Descriptions ----------------------------------------------------------------------------

    @property
    def symbol(self) -> Any:
        """The network, or None."""
        return self._symbol

    @property
    def data_names(self) -> list[str]:
        """Names of the data inputs."""
        raise self._lacks("data_names")

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        raise self._lacks("output_names")

    @property
    def data_shapes(self) -> Any:
        """Descriptions of the data that is bound."""
        raise self._lacks("data_shapes")

    @property
    def label_shapes(self) -> Any:
        """Descriptions of the labels that are bound."""
        raise self._lacks("label_shapes")

    @property
    def output_shapes(self) -> Any:
        """(name, shape) of the outputs."""
        raise self._lacks("output_shapes")

    # Getting ready ---------------------------------------------------------------------------

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
        """Make the module ready for these shapes."""
        raise self._lacks("bind")

    def init_params(
        self,
        initializer: Any = None,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Fill the parameters."""
        raise self._lacks("init_params")

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Return copies of parameters and auxiliary states."""
        raise self._lacks("get_params")

    def set_params(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:
        """Write parameters and auxiliary states."""
        self.init_params(
            initializer=None,
            arg_params=arg_params,
            aux_params=aux_params,
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
        """Make the optimizer."""
        raise self._lacks("init_optimizer")

    def install_monitor(self, mon: Any) -> None:
        """Let a monitor look at this module."""
        raise self._lacks("install_monitor")

    # Running ---------------------------------------------------------------------------------

    def prepare(self, data_batch: Any, sparse_row_id_fn: Any = None) -> None:
        """Prepare what the batch needs, before its turn comes."""

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Run the network on a batch."""
        raise self._lacks("forward")

    def backward(self, out_grads: Any = None) -> None:
        """Compute the gradients of the last ``forward``."""
        raise self._lacks("backward")

    def forward_backward(self, data_batch: Any) -> None:
        """Run forward in training mode, and backward."""
        self.forward(data_batch, is_train=True)
        self.backward()

    def update(self) -> None:
        """Take one step of the optimizer."""
        raise self._lacks("update")

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """Return the outputs of the last forward."""
        raise self._lacks("get_outputs")

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """Return the gradients of the data inputs."""
        raise self._lacks("get_input_grads")

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add the last forward's outputs and ``labels`` to a metric."""
        raise self._lacks("update_metric")

    def save_checkpoint(
        self,
        prefix: str,
        epoch: int,
        save_optimizer_states: bool = False,
        remove_amp_cast: bool = True,
    ) -> None:
        """Write symbol and parameters."""
        raise self._lacks("save_checkpoint")

    # What the loops ask besides; a module need not define it ----------------------------------

    @contextmanager
    def measuring(self, metric: metrics.EvalMetric | None) -> Iterator[None]:
        """Let ``forward`` compute the sums of a metric in place of the outputs, if it can."""
        yield

    def failures(self) -> list[str]:
        """Return what has NaN or infinity after the last backward, in words."""
        return []

    def lost_parameters(self) -> list[str]:
        """Return which trained parameters have NaN, in words."""
        return []

    def first_failure(self) -> str | None:
        """Return the first node that gives NaN or infinity, in words; None if it is not known."""
        return None

    def _undo(self) -> None:
        """Make everything as it was before the last forward."""

    def _check_policy(self, on_divergence: str) -> None:
        """Raise InvalidArgumentError if batches cannot be left out."""

    def _saved_symbol(self) -> Any:
        return self.symbol

    def _unpadded(self, batch: Any) -> list[NDArray]:
        """Return copies of the last batch's outputs without the rows that only fill it up."""
        pad = getattr(batch, "pad", None) or 0
        outputs = (np.asarray(output) for output in self.get_outputs())
        return [NDArray.of(values[: len(values) - pad], cpu()) for values in outputs]
