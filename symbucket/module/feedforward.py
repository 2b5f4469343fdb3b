"""``FeedForward``: a network with ``fit``, ``predict`` and ``score`` in one object."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket import metric as metrics
from symbucket.callback import BatchEndParam
from symbucket.callback.early_stopping import EarlyStopping
from symbucket.checkpoint import load_checkpoint, save_checkpoint
from symbucket.checks import check_integer, listing
from symbucket.context import Context
from symbucket.engine.contexts import ContextGroup, contexts_of
from symbucket.errors import DataError, InvalidArgumentError, ParameterError, StateError
from symbucket.initializer import Initializer, Uniform
from symbucket.io import DataBatch, DataDesc
from symbucket.io.desc import normalize_descs
from symbucket.module.bucketing import BucketingModule
from symbucket.module.feedforward_data import DataReader, default_bucket_key, join_batches
from symbucket.module.filling import filling_of
from symbucket.module.module import Module
from symbucket.module.sym_gen import SymGen, label_names_by_suffix
from symbucket.module.training.callbacks import Callbacks, callback_list
from symbucket.optimizer import Optimizer
from symbucket.symbol import Symbol
from symbucket.types import Array

Params = Mapping[str, Any]


class FeedForward:
    """A network and its training, as ``mx.model.FeedForward``; a Module does the work.

    Args:
        symbol: the network, or ``sym_gen(bucket_key)`` that gives the network of a key (a Symbol,
            or (symbol, data_names, label_names)); data then come from an iterator with a
            ``default_bucket_key``.
        ctx: ``cpu()`` or ``gpu(i)``, or a list: then each batch is split over these contexts, as
            by ``Module``.
        num_epoch: ``fit`` ends after this epoch. begin_epoch: number of its first epoch.
        epoch_size: batches of an epoch; data that end earlier start over, and the next epoch goes
            on where this one stopped. None: an epoch is one pass over the data.
        optimizer: a name, or an optimizer. kwargs: the named optimizer's arguments
            (``learning_rate=``, ``momentum=``, ``wd=``); ``rescale_grad`` is 1 / batch size unless
            given.
        initializer: fills the parameters that ``arg_params`` and ``aux_params`` lack.
        numpy_batch_size: rows of a batch where data are arrays.
        arg_params, aux_params: parameters and auxiliary states to begin with.
        allow_extra_params: pass over given parameters that the network does not have.

    Attributes:
        symbol: the network; with a sym_gen that of the default key, None before the first use.
        arg_params, aux_params: after every epoch of ``fit``, the trained values. Set them to use
            others.

    Data are an iterator (``provide_data``, ``provide_label``, ``reset``), or arrays whose axis 0
    counts the examples; arrays come to the network as ``data`` and its one label.
    """

    def __init__(
        self,
        symbol: Symbol | SymGen,
        ctx: Context | Sequence[Context] | None = None,
        num_epoch: int | None = None,
        epoch_size: int | None = None,
        optimizer: str | Optimizer = "sgd",
        initializer: Initializer | None = None,
        numpy_batch_size: int = 128,
        arg_params: Params | None = None,
        aux_params: Params | None = None,
        allow_extra_params: bool = False,
        begin_epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        if not isinstance(symbol, Symbol) and not callable(symbol):
            raise InvalidArgumentError(
                f"FeedForward: symbol is a {type(symbol).__name__}; expected a Symbol, or a "
                "function of the bucket key that gives one"
            )
        if isinstance(optimizer, Optimizer) and kwargs:
            raise InvalidArgumentError(
                f"FeedForward: {', '.join(map(repr, kwargs))} are arguments of an optimizer, but "
                f"optimizer= is a ready {type(optimizer).__name__}; give them to it, or pass its "
                "name"
            )
        check_integer(numpy_batch_size, "FeedForward: numpy_batch_size", 1)
        if epoch_size is not None:
            check_integer(epoch_size, "FeedForward: epoch_size", 1)
        self.symbol: Symbol | None = symbol if isinstance(symbol, Symbol) else None
        self.sym_gen: SymGen | None = None if isinstance(symbol, Symbol) else symbol
        self.ctx = contexts_of(ctx)
        self._contexts = ContextGroup(self.ctx)  # with their shares, as the last fit said
        self.num_epoch = num_epoch
        self.epoch_size = epoch_size
        self.optimizer = optimizer
        self.initializer = Uniform(0.01) if initializer is None else initializer
        self.numpy_batch_size = numpy_batch_size
        self.arg_params = arg_params
        self.aux_params = aux_params
        self.allow_extra_params = allow_extra_params
        self.begin_epoch = begin_epoch
        self.kwargs = kwargs
        # The module that predicts, and the parameters that it holds, by identity.
        self._module: Module | BucketingModule | None = None
        self._module_params: tuple[Params | None, Params | None] = (None, None)
        self._labelled = False
        # Both fit and predict ask for networks; that of a key is made once for all modules.
        self._cached_sym_gen = None if self.sym_gen is None else functools.cache(self.sym_gen)

    @property
    def _reader(self) -> DataReader:
        symbol = None if self.sym_gen is not None else self.symbol
        return DataReader(symbol, self._contexts, self.numpy_batch_size)

    # Training --------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        eval_data: Any = None,
        eval_metric: Any = "acc",
        epoch_end_callback: Callbacks = None,
        batch_end_callback: Callbacks = None,
        kvstore: Any = "local",
        logger: Any = None,
        work_load_list: Any = None,
        monitor: Any = None,
        eval_end_callback: Callbacks = None,
        eval_batch_end_callback: Callbacks = None,
        on_divergence: str = "raise",
        checkpoint: Any = None,
        resume: str | None = None,
        early_stopping: EarlyStopping | None = None,
    ) -> None:
        """Train on ``X``: an iterator, or an array with its labels ``y`` (in random order).

        ``eval_data`` is an iterator or a pair (X, y). A second ``fit`` goes on from the
        parameters of the first. ``work_load_list``: how much of a batch each context takes, in
        proportion. ``kvstore`` is checked and changes nothing on one machine. ``on_divergence``,
        ``checkpoint``, ``resume`` and ``early_stopping`` are those of ``Module.fit``.

        As in MXNet, ``batch_end_callback`` counts batches from 1, and the log has validation values
        but none of training.

        Raises InvalidArgumentError and DataError before anything is trained. If training ends with
        an error, ``arg_params`` are those after the last whole epoch.
        """
        if self.num_epoch is None:
            raise InvalidArgumentError("FeedForward.fit: say how many epochs, num_epoch=...")
        self._contexts = ContextGroup(self.ctx, work_load_list)
        data = self._reader.for_training(X, y, self.epoch_size)
        evaluation = None if eval_data is None else self._reader.for_scoring(eval_data, "eval_data")
        module = self._make_module(data, logging if logger is None else logger)
        network = module.symbol

        def epoch_end(epoch: int, symbol: Symbol, arg: Params, aux: Params) -> None:
            self.symbol, self.arg_params, self.aux_params = network, arg, aux
            for callback in callback_list(epoch_end_callback):
                callback(epoch, network, arg, aux)

        module._epoch_line = "Epoch[%d] Resetting Data Iterator"
        (logger or logging).info("Start training with %s", list(self.ctx))
        module.fit(
            data,
            evaluation,
            eval_metric,
            epoch_end,
            [_counting_from_one(callback) for callback in callback_list(batch_end_callback)],
            kvstore,
            self.optimizer,
            self.kwargs,
            eval_end_callback,
            eval_batch_end_callback,
            self.initializer,
            *self._initial_params(network),
            allow_missing=True,
            begin_epoch=self.begin_epoch,
            num_epoch=self.num_epoch,
            monitor=monitor,
            on_divergence=on_divergence,
            checkpoint=checkpoint,
            resume=resume,
            early_stopping=early_stopping,
        )
        self.symbol = network
        self.arg_params, self.aux_params = module.get_params()
        self._module, self._module_params = module, (self.arg_params, self.aux_params)
        self._labelled = bool(data.provide_label)

    # Using -----------------------------------------------------------------------------------

    def predict(
        self,
        X: Any,
        num_batch: int | None = None,
        return_data: bool = False,
        reset: bool = True,
    ) -> Any:
        """Return the outputs over an iterator or an array, as numpy arrays without padded rows.

        The batches are joined along the first axis. One output comes by itself, several in a list.
        With ``return_data``: (outputs, data, labels), each likewise. ``num_batch`` ends after so
        many batches; ``reset=False`` goes on where the iterator stands.

        Raises StateError if there are no parameters yet, DataError if batches cannot be joined
        (buckets whose outputs differ beyond the first axis) or there is none.
        """
        data = self._reader.for_prediction(X)
        outputs: list[list[Array]] = []
        inputs: list[list[Array]] = []
        labels: list[list[Array]] = []
        for arrays, _, batch in self._ready(data).iter_predict(data, num_batch, reset):
            outputs.append([np.asarray(array) for array in arrays])
            if return_data:
                # Copies, since an iterator may fill the same arrays again.
                copies = [[np.array(array) for array in a] for a in (batch.data, batch.label or [])]
                described = getattr(batch, "provide_data", None) or data.provide_data
                filling = filling_of(DataBatch.of(batch), normalize_descs(described))
                if filling is not None:
                    copies = [[filling.cut(array) for array in arrays] for arrays in copies]
                inputs.append(copies[0])
                labels.append(copies[1])
        if not outputs:
            raise DataError("FeedForward.predict: the data gave no batch; is reset=False meant?")
        joined = join_batches("outputs", outputs)
        if not return_data:
            return joined
        return joined, join_batches("data", inputs), join_batches("labels", labels)

    def score(
        self,
        X: Any,
        eval_metric: Any = "acc",
        num_batch: int | None = None,
        batch_end_callback: Callbacks = None,
        reset: bool = True,
    ) -> Any:
        """Return the metric's value over an iterator, or over a pair (X, y) of arrays.

        A composite metric gives the list of its values.
        """
        data = self._reader.for_scoring(X, "X")
        metric = metrics.create(eval_metric)
        self._ready(data).score(data, metric, num_batch, batch_end_callback, reset=reset)
        return metric.get_global()[1]

    def _ready(self, data: Any) -> Module | BucketingModule:
        """Return a bound module that holds the current parameters."""
        if self.arg_params is None:
            raise StateError(
                "FeedForward has no parameters yet: call fit, give arg_params=, or use "
                "FeedForward.load"
            )
        module, params = self._module, self._module_params
        if module is None or (data.provide_label and not self._labelled):
            # Labels unknown at bind time cannot be added later.
            module, params = self._make_module(data, logging), (None, None)
            module.bind(data.provide_data, data.provide_label or None, for_training=False)
        if params[0] is not self.arg_params or params[1] is not self.aux_params:
            network = module.symbol
            arg, aux = self._initial_params(network)
            module.set_params(arg or {}, aux)
            if self.symbol is None:
                self.symbol = network
            if module is not self._module:
                self._labelled = bool(data.provide_label)
            self._module, self._module_params = module, (self.arg_params, self.aux_params)
        return module

    def _make_module(self, data: Any, logger: Any) -> Module | BucketingModule:
        placement = self._contexts.contexts, self._contexts.loads
        if self._cached_sym_gen is not None:
            return BucketingModule(
                self._cached_sym_gen, default_bucket_key(data), logger, *placement
            )
        assert self.symbol is not None
        names = [d.name for d in _descs(data.provide_data)]
        labels = [d.name for d in _descs(data.provide_label)]
        network_labels = label_names_by_suffix(self.symbol)
        if labels and network_labels and not {*labels} & {*self.symbol.list_arguments()}:
            raise DataError(
                f"FeedForward: the data's labels are {', '.join(labels)}, but the network's are "
                f"{', '.join(network_labels)}, which would be trained as parameters; use one name "
                "(label_name= of NDArrayIter)"
            )
        return Module(self.symbol, names, labels or network_labels, logger, *placement)

    def _initial_params(self, network: Symbol) -> tuple[Params | None, Params | None]:
        """Return the parameters to start from, without extra ones if those are allowed."""
        own = (
            _only(self.arg_params, network.list_arguments()),
            _only(self.aux_params, network.list_auxiliary_states()),
        )
        params = self.arg_params, self.aux_params
        extra = [n for all_, part in zip(params, own) for n in all_ or () if n not in (part or ())]
        if extra and not self.allow_extra_params:
            raise ParameterError(
                f"FeedForward: the given parameters have {listing(extra)}, which the network does "
                "not have. allow_extra_params=True passes over them."
            )
        return own

    # Files -----------------------------------------------------------------------------------

    def save(self, prefix: str, epoch: int | None = None) -> None:
        """Write ``prefix-symbol.json`` and ``prefix-EPOCH.params``; the epoch is ``num_epoch``.

        With a sym_gen the symbol is that of the default key.
        """
        epoch = self.num_epoch if epoch is None else epoch
        if epoch is None:
            raise InvalidArgumentError("FeedForward.save: say which epoch, epoch=...")
        if self.arg_params is None:
            raise StateError("FeedForward.save: there are no parameters yet; call fit first")
        save_checkpoint(prefix, epoch, self.symbol, self.arg_params, self.aux_params or {})

    @staticmethod
    def load(
        prefix: str, epoch: int, ctx: Context | Sequence[Context] | None = None, **kwargs: Any
    ) -> FeedForward:
        """Return a model from a checkpoint; ``fit`` goes on with epoch number ``epoch``.

        ``kwargs`` go to ``FeedForward``. A checkpoint holds one key's symbol only; for buckets give
        the parameters of ``load_checkpoint`` to ``FeedForward(sym_gen, arg_params=...)``.
        """
        symbol, arg_params, aux_params = load_checkpoint(prefix, epoch)
        return FeedForward(
            symbol,
            ctx=ctx,
            arg_params=arg_params,
            aux_params=aux_params,
            begin_epoch=epoch,
            **kwargs,
        )

    @staticmethod
    def create(
        symbol: Symbol | SymGen,
        X: Any,
        y: Any = None,
        ctx: Context | Sequence[Context] | None = None,
        num_epoch: int | None = None,
        epoch_size: int | None = None,
        optimizer: str | Optimizer = "sgd",
        initializer: Initializer | None = None,
        eval_data: Any = None,
        eval_metric: Any = "acc",
        epoch_end_callback: Callbacks = None,
        batch_end_callback: Callbacks = None,
        kvstore: Any = "local",
        logger: Any = None,
        work_load_list: Any = None,
        eval_end_callback: Callbacks = None,
        eval_batch_end_callback: Callbacks = None,
        **kwargs: Any,
    ) -> FeedForward:
        """Return a trained model; arguments are those of the class and of ``fit``."""
        model = FeedForward(
            symbol,
            ctx=ctx,
            num_epoch=num_epoch,
            epoch_size=epoch_size,
            optimizer=optimizer,
            initializer=initializer,
            **kwargs,
        )
        model.fit(
            X,
            y,
            eval_data=eval_data,
            eval_metric=eval_metric,
            epoch_end_callback=epoch_end_callback,
            batch_end_callback=batch_end_callback,
            kvstore=kvstore,
            logger=logger,
            work_load_list=work_load_list,
            eval_end_callback=eval_end_callback,
            eval_batch_end_callback=eval_batch_end_callback,
        )
        return model


def _counting_from_one(callback: Callable[[BatchEndParam], Any]) -> Callable[[BatchEndParam], Any]:
    return lambda param: callback(param._replace(nbatch=param.nbatch + 1))


def _descs(descs: Any) -> list[DataDesc]:
    return normalize_descs(descs or [], "the iterator's descriptions")


def _only(params: Params | None, names: Sequence[str]) -> Params | None:
    return None if params is None else {n: v for n, v in params.items() if n in names}
