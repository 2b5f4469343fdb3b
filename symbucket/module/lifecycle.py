"""``Lifecycle``: what every module does for a batch, from ``forward`` to ``update``."""

from __future__ import annotations

import abc
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.context import cpu
from symbucket.engine.ownership import exclusive
from symbucket.errors import StateError
from symbucket.io import DataBatch
from symbucket.metric import EvalMetric
from symbucket.module.filling import Filling, filling_of
from symbucket.module.prepared import Prepared
from symbucket.module.snapshot import Snapshot
from symbucket.runtime import NDArray


class Lifecycle(Prepared):
    """A module from ``forward`` over ``backward`` to ``update`` and ``update_metric``.

    As in ``Prepared``, each step has a public method and an abstract one: ``forward`` and
    ``_forward``. ``CompiledModule`` adds the loops over the steps.
    """

    def __init__(self, logger: Any = logging) -> None:
        super().__init__(logger)
        self.keep_outputs = False
        """Whether ``fit`` and ``score`` keep what they could do without.

        By default a metric that can be computed in the graph is, and outputs are not kept; with
        plain sgd the gradient of an Embedding's table is never made as a whole.
        """
        self.accumulates = False
        """Whether ``fit`` adds up gradients, and sets them back after each update."""
        self._differentiates_inference = True
        """Whether ``backward`` may follow a forward that was not in training mode."""
        self._before: Snapshot | None = None  # what the last forward can be undone to
        self._metric_names: list[str] = []  # of the labels of the last batch that had some
        self._filling: Filling | None = None  # of the last batch
        # Of the loop that runs now; forward may compute its sums in place of the outputs.
        self._metric: EvalMetric | None = None

    def _require_own(self, call: str) -> None:
        """Raise StateError unless the results of the last forward are this thread's."""
        self._require(params=True)
        assert self._binding is not None
        self._binding.runs.check(self._name, call)

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
        """Compute the gradients of the last ``forward``.

        After ``forward(is_train=False)`` they are those of what inference computes.

        ``out_grads``: head gradients, for outputs that are not losses.
        """
        self._require_own("backward")
        if not self.for_training:
            raise StateError(
                f"{self._name}: backward needs bind(for_training=True); the module is bound for "
                "inference"
            )
        if self._trained is None or not (self._trained or self._differentiates_inference):
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
        # As in MXNet, a metric sees NDArrays.
        labels = [v if isinstance(v, NDArray) else NDArray.of(np.asarray(v), cpu()) for v in labels]
        for of_part, outputs in self.metric_parts(dict(zip(names, labels))):
            eval_metric.update_dict(of_part, dict(zip(self.output_names, outputs)))

    def metric_parts(
        self, labels: Mapping[str, NDArray]
    ) -> Iterable[tuple[Mapping[str, NDArray], Sequence[NDArray]]]:
        """Yield labels and outputs of the last batch, without rows that fill it up.

        One pair for each context that has such rows: a metric is updated once for each of them.
        """
        if self._filling is None:
            yield labels, self.get_outputs()
        else:
            filling = self._filling
            cut = {n: filling.cut_label(a) for n, a in labels.items()}
            yield cut, [filling.cut(o) for o in self.get_outputs()]

    def results(self) -> Mapping[str, Any]:
        """Return what the last forward computed, outputs or the sums of a metric, by name."""
        return {f"output {n}": a for n, a in zip(self.output_names, self.get_outputs())}

    @abc.abstractmethod
    def gradients(self) -> Mapping[str, NDArray]:
        """Return the gradient buffers of the parameters that the last backward wrote."""

    @abc.abstractmethod
    def auxiliary(self) -> Mapping[str, NDArray]:
        """Return the buffers of the auxiliary states, which a forward in training mode writes."""
