"""``PythonModule`` and ``PythonLossModule``: modules whose computation is Python code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.context import cpu
from symbucket.errors import InvalidArgumentError, StateError
from symbucket.io import DataBatch
from symbucket.io.desc import normalize_descs
from symbucket.module.base import BaseModule
from symbucket.module.filling import Filling
from symbucket.module.interface import Pairs
from symbucket.runtime import NDArray
from symbucket.types import Shape


class PythonModule(BaseModule):
    """A module without parameters, as ``mx.mod.PythonModule``.

    A subclass defines ``forward``, ``backward``, ``get_outputs``, ``get_input_grads`` and
    ``_compute_output_shapes``; a module with parameters overrides more.

    Args:
        data_names, label_names: of what it takes; ``label_names`` may be None.
        output_names: of what it returns.
        logger: where ``fit`` logs.
    """

    def __init__(
        self,
        data_names: Sequence[str],
        label_names: Sequence[str] | None,
        output_names: Sequence[str],
        logger: Any = logging,
    ) -> None:
        super().__init__(logger)
        self._data_names = list(data_names)
        self._label_names = None if label_names is None else list(label_names)
        self._output_names = list(output_names)
        self._data_shapes: Any = None
        self._label_shapes: Any = None
        self._output_shapes: Any = None
        self._set(params_initialized=True, optimizer_initialized=True)  # there is nothing to do

    @property
    def data_names(self) -> list[str]:
        return self._data_names

    @property
    def label_names(self) -> list[str] | None:
        """Names of the labels, or None."""
        return self._label_names

    @property
    def output_names(self) -> list[str]:
        return self._output_names

    @property
    def data_shapes(self) -> Any:
        return self._data_shapes

    @property
    def label_shapes(self) -> Any:
        return self._label_shapes

    @property
    def output_shapes(self) -> Any:
        return self._output_shapes

    def get_params(self) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """Return two empty dicts."""
        return {}, {}

    def init_params(
        self,
        initializer: Any = None,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Do nothing."""

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Pairs = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Do nothing."""

    def update(self) -> None:
        """Do nothing."""

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add the outputs and ``labels`` to a metric; nothing if it is bound without labels."""
        if self._label_shapes is not None:
            eval_metric.update(labels, self.get_outputs())

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
        """Check the names, and compute the shapes of the outputs."""
        if self.binded and not force_rebind:
            self.logger.warning("Already bound, ignoring bind()")
            return
        if grad_req != "write":
            raise InvalidArgumentError(
                f'{self._name}: grad_req is {grad_req!r}; a module in Python has "write" only'
            )
        self._data_shapes = self._described("data", data_shapes, self._data_names)
        self._label_shapes = None
        if label_shapes is not None:
            self._label_shapes = self._described("label", label_shapes, self._label_names)
        self._output_shapes = self._compute_output_shapes()
        self._set(binded=True, for_training=for_training, inputs_need_grad=inputs_need_grad)

    def _described(self, kind: str, shapes: Sequence[Any], names: Sequence[str] | None) -> Any:
        descs = normalize_descs(shapes, f"{kind}_shapes")
        if [desc.name for desc in descs] != list(names or []):
            raise InvalidArgumentError(
                f"{self._name}: {kind}_shapes describe {[desc.name for desc in descs]}, the module "
                f"has {kind}_names {names}"
            )
        return descs

    def _compute_output_shapes(self) -> list[tuple[str, Shape]]:
        """Return (name, shape) of the outputs; ``data_shapes`` and ``label_shapes`` are set."""
        raise self._lacks("_compute_output_shapes")


class PythonLossModule(PythonModule):
    """A loss whose gradient is Python code, as ``mx.mod.PythonLossModule``.

    It hands on its input, the scores. It comes last in a ``SequentialModule``.

    Args:
        name: its output is ``NAME_output``.
        data_names, label_names: one name each.
        logger: where ``fit`` logs.
        grad_func: ``grad_func(scores, labels)`` takes NDArrays and returns the gradient of the
            scores, an NDArray or numpy array of their shape. A subclass may override
            ``_backward_impl`` in its place, which sets ``_scores_grad``.
    """

    def __init__(
        self,
        name: str = "pyloss",
        data_names: Sequence[str] = ("data",),
        label_names: Sequence[str] = ("softmax_label",),
        logger: Any = logging,
        grad_func: Callable[[NDArray, NDArray], Any] | None = None,
    ) -> None:
        super().__init__(data_names, label_names, [f"{name}_output"], logger)
        self._name = name
        if len(self._data_names) != 1 or len(label_names) != 1:
            raise InvalidArgumentError(f"{name}: a loss in Python takes one data and one label")
        if grad_func is not None and not callable(grad_func):
            raise InvalidArgumentError(f"{name}: grad_func is {grad_func!r}, which is no function")
        self._grad_func = grad_func
        self._scores: Any = None
        self._labels: Any = None
        self._scores_grad: Any = None
        self._pad = 0

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add scores and labels to a metric, without rows that only fill up the batch."""
        if self._label_shapes is not None:
            targets, scores = [np.asarray(label) for label in labels], np.asarray(self._scores)
            if self._pad:
                filling = Filling(scores.shape[0], self._pad)
                targets, scores = [filling.cut_label(t) for t in targets], filling.cut(scores)
            eval_metric.update([_ndarray(target) for target in targets], [_ndarray(scores)])

    def _compute_output_shapes(self) -> list[tuple[str, Shape]]:
        return [(f"{self._name}_output", self._data_shapes[0][1])]

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Keep the scores, and in training the labels."""
        self._require()
        batch = DataBatch.of(data_batch)
        self._scores, self._pad = _ndarray(batch.data[0]), batch.pad or 0
        if self.for_training if is_train is None else is_train:
            if not batch.label:
                raise StateError(f"{self._name}: the batch has no label, and training needs it")
            self._labels = _ndarray(batch.label[0])

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """Return the scores."""
        return [self._scores] if merge_multi_context else [[self._scores]]

    def backward(self, out_grads: Any = None) -> None:
        """Compute the gradient of the scores; a loss takes no ``out_grads``."""
        if out_grads is not None:
            raise InvalidArgumentError(f"{self._name}: a loss takes no out_grads")
        if self._labels is None:
            raise StateError(f"{self._name}: backward needs forward(batch, is_train=True) before")
        self._backward_impl()

    def _backward_impl(self) -> None:
        if self._grad_func is None:
            raise self._lacks("grad_func (nor _backward_impl)")
        self._scores_grad = _ndarray(self._grad_func(self._scores, self._labels))

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """Return the gradient of the scores."""
        return [self._scores_grad] if merge_multi_context else [[self._scores_grad]]


def _ndarray(values: Any) -> NDArray:
    return values if isinstance(values, NDArray) else NDArray.of(np.asarray(values), cpu())
