"""``BaseModule``: the loops ``fit``, ``score`` and ``predict`` over any kind of module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from symbucket import metric as metrics
from symbucket.callback import BatchEndParam
from symbucket.callback.early_stopping import EarlyStopping
from symbucket.checks import check_choice, check_integer
from symbucket.context import cpu
from symbucket.engine.ownership import exclusive
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.initializer import Initializer, Uniform
from symbucket.io import DataBatch
from symbucket.io.iterator import check_iterator
from symbucket.kvstore import as_kvstore
from symbucket.module.interface import ModuleInterface, Pairs
from symbucket.module.optimization import divided_by_batch
from symbucket.module.training.callbacks import Callbacks, call_all
from symbucket.module.training.epochs import epoch_batches, labels_of, limited
from symbucket.module.training.fit_loop import FitLoop
from symbucket.module.training.observers import Observers
from symbucket.module.training.run import TrainingRun
from symbucket.monitor import Monitor
from symbucket.runtime import NDArray


class BaseModule(ModuleInterface):
    """Base of all modules, as ``mx.mod.BaseModule``.

    A module is used in this order: ``bind``, ``init_params``, ``init_optimizer``, then
    ``forward``, ``backward``, ``update`` for each batch. ``fit`` does all of it.

    A subclass of your own defines what ``ModuleInterface`` lists, sets ``binded``,
    ``params_initialized`` and ``optimizer_initialized`` as it goes, and gets ``fit``, ``score`` and
    ``predict``.
    """

    _epoch_line: str | None = None  # what ``fit`` logs of an epoch in place of training values

    @exclusive
    def score(
        self,
        eval_data: Any,
        eval_metric: Any,
        num_batch: int | None = None,
        batch_end_callback: Callbacks = None,
        score_end_callback: Callbacks = None,
        reset: bool = True,
        epoch: int = 0,
        sparse_row_id_fn: Any = None,
    ) -> list[tuple[str, float]]:
        """Run forward over ``eval_data`` and return the metric's (name, value) pairs."""
        self._require(params=True)
        check_iterator(eval_data, "score: eval_data")
        if reset:
            eval_data.reset()
        eval_metric = metrics.create(eval_metric)
        eval_metric.reset()
        count = 0
        for nbatch, eval_batch in enumerate(limited(eval_data, num_batch)):
            with self.measuring(eval_metric):
                self.forward(eval_batch, is_train=False)
            self.update_metric(eval_metric, labels_of(eval_batch))
            call_all(batch_end_callback, BatchEndParam(epoch, nbatch, eval_metric, locals()))
            count = nbatch + 1
        call_all(score_end_callback, BatchEndParam(epoch, count, eval_metric, locals()))
        return list(eval_metric.get_global_name_value())

    def iter_predict(
        self,
        eval_data: Any,
        num_batch: int | None = None,
        reset: bool = True,
        sparse_row_id_fn: Any = None,
    ) -> Iterator[tuple[list[NDArray], int, Any]]:
        """Yield (outputs without padding, batch number, batch) for every batch."""
        self._require(params=True)
        check_iterator(eval_data, "iter_predict: eval_data")
        if reset:
            eval_data.reset()
        for nbatch, batch in enumerate(limited(eval_data, num_batch)):
            self.forward(batch, is_train=False)
            yield self._unpadded(batch), nbatch, batch

    @exclusive
    def predict(
        self,
        eval_data: Any,
        num_batch: int | None = None,
        merge_batches: bool = True,
        reset: bool = True,
        always_output_list: bool = False,
        sparse_row_id_fn: Any = None,
    ) -> Any:
        """Return the outputs over ``eval_data`` (an iterator, or an array for one batch).

        Padding is cut off. ``merge_batches`` joins the batches along the first axis, which needs
        outputs of one shape beyond it; otherwise a list of lists is returned. One output comes by
        itself unless ``always_output_list``.
        """
        self._require(params=True)
        if not hasattr(eval_data, "reset"):
            array = np.asarray(eval_data)
            batch = DataBatch([array], None, pad=0)
            self.forward(batch, is_train=False)
            return self._unpadded(batch)[0]
        parts = [list(o) for o, _, _ in self.iter_predict(eval_data, num_batch, reset)]
        if not parts or not merge_batches:
            return parts
        if len({len(p) for p in parts}) != 1:
            raise DataError(
                "predict cannot merge batches with different numbers of outputs; use "
                "merge_batches=False"
            )
        try:
            joined = [
                NDArray.of(np.concatenate([p[i].view() for p in parts]), cpu())
                for i in range(len(parts[0]))
            ]
        except ValueError as error:
            raise DataError(
                f"predict cannot merge outputs of different shapes ({error}); use "
                "merge_batches=False"
            ) from None
        return joined[0] if len(joined) == 1 and not always_output_list else joined

    @exclusive
    def fit(
        self,
        train_data: Any,
        eval_data: Any = None,
        eval_metric: Any = "acc",
        epoch_end_callback: Callbacks = None,
        batch_end_callback: Callbacks = None,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Pairs = (("learning_rate", 0.01),),
        eval_end_callback: Callbacks = None,
        eval_batch_end_callback: Callbacks = None,
        initializer: Initializer | None = None,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_rebind: bool = False,
        force_init: bool = False,
        begin_epoch: int = 0,
        num_epoch: int | None = None,
        validation_metric: Any = None,
        monitor: Monitor | None = None,
        sparse_row_id_fn: Any = None,
        on_divergence: str = "raise",
        checkpoint: Any = None,
        resume: str | None = None,
        early_stopping: EarlyStopping | None = None,
        accumulate: int = 1,
        progress: str = "auto",
        trackers: Any = None,
        report: Any = None,
    ) -> None:
        """Train on ``train_data``; arguments are those of MXNet's ``fit``.

        Logs the training metrics of every epoch, and the validation metrics if there is
        ``eval_data``. Shows a bar in terminals and notebooks (``progress="auto"``; "bar", "lines"
        or "none" choose), and prints what it logs if the program has not configured ``logging``.
        ``trackers`` (a ``symbucket.callback.CSVTracker``, ...) get the values of each epoch.
        ``report="run.html"`` writes a page with curves, and where time and memory went; of several
        workers, that of the first is written.
        ``monitor`` is a ``symbucket.mon.Monitor``.

        ``on_divergence`` says what to do if a gradient, an output or an auxiliary state has NaN or
        infinity: "raise"; "skip" the batch, with a warning: it changes neither parameters nor
        auxiliary states, counts in no metric, and is no update of the optimizer; or "ignore": do
        not look. Parameters are looked at at the end of each epoch.

        An iterator that has an ``epoch`` and was not used yet begins with the order of
        ``begin_epoch``, as if the epochs before it had been run.

        ``checkpoint`` is a ``CheckpointManager``, or a folder: everything that training depends on
        is written at the end of each epoch, and in between as the manager says. With
        ``resume="auto"`` a killed program that is run again goes on from the newest checkpoint:
        parameters end up the same to the last bit. SIGTERM and Ctrl-C finish the batch and write
        one, too. One that cannot be written does not end training; neither does an
        ``epoch_end_callback`` whose file cannot be written.

        ``early_stopping`` is a ``symbucket.callback.EarlyStopping``. ``accumulate`` batches, of
        whatever bucket keys, make one update with the sum of their gradients, divided by all of
        their samples; what is left at the end of an epoch makes one too.

        Raises:
            DivergenceError: a gradient, an output or an auxiliary state has NaN or infinity. All
                is as before the batch; the message names epoch, batch, bucket key, parameters, and
                the first node whose output is not finite. Or a trained parameter has NaN at the
                end of an epoch, before anything of that epoch is saved.
            DataError: ``train_data`` yields no batch, in the first epoch before anything is bound.
        """
        if num_epoch is None:
            raise InvalidArgumentError("fit: say how many epochs, num_epoch=...")
        check_integer(begin_epoch, "fit: begin_epoch", 0)
        check_integer(num_epoch, "fit: num_epoch", 0)
        check_iterator(train_data, "fit: train_data", "provide_data", "provide_label")
        if eval_data is not None:
            check_iterator(eval_data, "fit: eval_data")
        if monitor is not None and not all(
            hasattr(monitor, name) for name in ("install", "tic", "toc_print")
        ):
            raise InvalidArgumentError(
                f"fit: monitor is {monitor!r}; expected a symbucket.mon.Monitor, or None"
            )
        kvstore = as_kvstore(kvstore, "fit: kvstore")
        check_choice(on_divergence, "fit: on_divergence", ("raise", "skip", "ignore"))
        eval_metric = metrics.create(eval_metric)
        check_integer(accumulate, "fit: accumulate", 1)
        if validation_metric is None:
            validation_metric = eval_metric
        validation_metric = metrics.create(validation_metric)
        report = report if getattr(kvstore, "rank", 0) == 0 else None
        watch = Observers(
            self, train_data, eval_metric, validation_metric, num_epoch, progress, trackers, report
        )
        run = TrainingRun.begin(
            self, checkpoint, resume, train_data, eval_data, eval_metric, early_stopping
        )
        batches: Iterator[Any] | None = None
        if run.earlier is not None:
            begin_epoch = run.earlier.epoch
        elif begin_epoch < num_epoch:
            if getattr(train_data, "epoch", None) == 0:  # untouched: the order of that epoch
                train_data.epoch = begin_epoch
            run.begin_epoch()
            # Fetched before anything is changed, since there may be no batch.
            batches = epoch_batches(train_data, begin_epoch)
        self.bind(
            train_data.provide_data,
            train_data.provide_label,
            for_training=True,
            force_rebind=force_rebind,
            grad_req="add" if accumulate > 1 else "write",
        )
        self.init_params(
            initializer if initializer is not None else Uniform(0.01),
            arg_params,
            aux_params,
            allow_missing,
            force_init,
        )
        params = divided_by_batch(optimizer_params, optimizer, train_data, accumulate)
        self.init_optimizer(kvstore, optimizer, params)
        self._check_policy(on_divergence)
        run.check(accumulate)
        if monitor is not None:
            self.install_monitor(monitor)
        run.restore()
        loop = FitLoop(
            self,
            run,
            watch,
            train_data,
            eval_data,
            eval_metric,
            validation_metric,
            epoch_end_callback,
            batch_end_callback,
            eval_end_callback,
            eval_batch_end_callback,
            monitor,
            on_divergence,
            accumulate,
            names=locals(),
        )
        loop.train(begin_epoch, num_epoch, batches)
