"""``CompiledModule``: what the library's own modules have in common."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from symbucket import hooks
from symbucket import metric as metrics
from symbucket.context import cpu
from symbucket.engine.inner_values import Watcher
from symbucket.engine.ownership import exclusive
from symbucket.errors import InvalidArgumentError
from symbucket.io import DataBatch
from symbucket.module.base import BaseModule
from symbucket.module.checked import Checked
from symbucket.monitor import Monitor
from symbucket.runtime import NDArray


class CompiledModule(Checked, BaseModule):
    """A module whose network is compiled: the loops of BaseModule over its lifecycle."""

    def prepare(self, data_batch: DataBatch, sparse_row_id_fn: Any = None) -> None:
        """Prepare what the batch needs, before its turn comes."""

    def install_monitor(self, mon: Monitor) -> None:
        """Let a monitor look at this module, after ``bind``; ``fit(monitor=...)`` does it."""
        self._require()
        mon.install(self)

    @contextmanager
    def measuring(self, metric: metrics.EvalMetric | None) -> Iterator[None]:
        """Let ``forward`` compute this metric in the graph and leave out the outputs, inside.

        With None, or ``keep_outputs``, it keeps them.
        """
        outer, self._metric = self._metric, None if self.keep_outputs else metric
        try:
            yield
        finally:
            self._metric = outer

    @exclusive
    def export(
        self,
        folder: str | os.PathLike[str],
        keys: Iterable[Hashable] | None = None,
        training: bool = False,
        *,
        batch_size: int | None = None,
        padding: Mapping[str, float] | None = None,
        attach: Mapping[str, bytes] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        dynamic_batch: bool = False,
        dynamic_length: bool = False,
        carry_states: bool = False,
    ) -> Any:
        """Write the networks as ONNX files with one file of parameters: a bundle.

        Args:
            folder: where to write; a bundle that is there already is replaced. The new one is
                written beside it first, so there is never half a bundle.
            keys: which bucket keys, of those bound (all by default). Integers, strings, booleans,
                floats, None and tuples of these can be written to files.
            training: write training graphs (outputs, gradients, next auxiliary states) in place of
                inference graphs.
            batch_size: samples of a run; by default that of training.
            padding: what fills short requests, by input name. By default labels are filled with
                the label that is ignored, everything else with 0.
            attach: other files to keep with the networks (a vocabulary), by name.
            progress: called as ``progress(what, done, total)``.
            dynamic_batch: let the networks take any number of samples, up to the batch size.
            dynamic_length: write one network for all keys, of any batch and any length up to the
                largest key, where the recurrences are LSTM, GRU or RNN (and for networks without a
                recurrence). It is compared with the networks of all keys, and of a few
                lengths between and below them for which ``sym_gen`` gives one, by running them.
            carry_states: make inputs of the initial states of recurrences, and outputs of the last
                ones, for ``bundle.session()``; needs ``dynamic_length``.

        Returns:
            The manifest. ``symbucket.Bundle(folder)`` serves the result, and every inference file
            is a model by itself that any ONNX runtime runs.

        Raises:
            BundleError: the folder cannot be written or holds something else.
            InvalidArgumentError: a key is not bound, or a file cannot hold it.
            UnsupportedError: a network cannot have a dynamic size, and why.
        """
        return hooks.export_module(
            self,
            folder,
            keys,
            training,
            batch_size=batch_size,
            padding=padding,
            attach=attach,
            progress=progress,
            dynamic_batch=dynamic_batch,
            dynamic_length=dynamic_length,
            carry_states=carry_states,
        )

    @exclusive
    def export_onnx(
        self,
        path: str | os.PathLike[str],
        key: Hashable = None,
        *,
        batch_size: int | None = None,
        dynamic_batch: bool = False,
        dynamic_length: bool = False,
        carry_states: bool = False,
        opset: int = 21,
    ) -> Any:
        """Write one network as one ONNX file, with its parameters in it.

        Args:
            path: the file; one that is there already is replaced.
            key: the bucket key of the network, the default key by default. With ``dynamic_length``
                there is one network for all bound keys.
            batch_size: samples of a run; by default that of training.
            dynamic_batch: let the network take any number of samples.
            dynamic_length: let it take any number of samples and steps, as ``export`` does.
            carry_states: make inputs and outputs of the states of recurrences.
            opset: the version of ONNX's operators, for runtimes that do not know 21 yet.

        Returns:
            The model, an ``onnx.ModelProto``.

        Raises:
            BundleError: the file cannot be written.
            UnsupportedError: a size cannot be dynamic, onnx cannot convert an operator to
                ``opset``, or the parameters do not fit in one file (2 GB).
        """
        return hooks.export_onnx(
            self,
            path,
            key,
            batch_size=batch_size,
            dynamic_batch=dynamic_batch,
            dynamic_length=dynamic_length,
            carry_states=carry_states,
            opset=opset,
        )

    @exclusive
    def export_training(
        self,
        folder: str | os.PathLike[str],
        keys: Iterable[Hashable] | None = None,
        updates: int = 10_000,
    ) -> None:
        """Write a folder from which any stock ONNX Runtime goes on with the training.

        It has the gradient graph of each key, the optimizer's graph, all parameters and states, and
        ``training.json``, which describes them; all in standard operators. The numbers that an
        update needs (learning rate with its schedule, Adam's corrections) are written for so many
        updates from now on. ``docs/training-files.md`` shows the loop.

        Args:
            folder: where to write; one that this method wrote before is replaced, in one step.
            keys: which bucket keys, of those bound (all by default); they have to train the same
                parameters.
            updates: for how many updates there are numbers.

        Raises:
            BundleError: the folder cannot be written or holds something else.
            InvalidArgumentError: a key is not bound, or a file cannot hold it.
            UnsupportedError: there is no optimizer, keys train different parameters, or the
                optimizer's formula changes within these updates.
        """
        hooks.export_training(self, folder, keys, updates)

    def _unpadded(self, batch: Any) -> list[NDArray]:
        return [output.copy() for output in self.unpadded_outputs()]

    def unpadded_outputs(self) -> list[NDArray]:
        """Return the last batch's outputs without the rows that only fill it up."""
        if self._filling is None:
            return self.get_outputs()
        return [
            NDArray.of(self._filling.cut(output.view()), cpu()) for output in self.get_outputs()
        ]

    def _check_policy(self, on_divergence: str) -> None:
        """Raise InvalidArgumentError if batches cannot be left out."""
        assert self._binding is not None
        request = self._binding.request.grad_req
        requests = request.values() if isinstance(request, Mapping) else request
        if on_divergence == "skip" and ("add" in requests):
            raise InvalidArgumentError(
                'fit: on_divergence="skip" needs gradients that each batch writes; with '
                'grad_req="add" a bad batch stays in the sum. Use "raise"'
            )

    @abc.abstractmethod
    def monitored(self, select: Callable[[str], bool]) -> Iterable[tuple[str, NDArray]]:
        """Return (name, array) of what a monitor sees after a batch: arguments, gradients, states.

        ``select`` says for a name if the monitor looks. Outputs too, unless ``watch`` gives them.
        """

    def watch(self, watcher: Watcher) -> None:
        """Let ``watcher`` see outputs and inner values of forward runs from now on."""
