"""``FeedForward``: a network with ``fit``, ``predict`` and ``score`` in one object."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket import metric as metrics
from symbucket import random
from symbucket.checkpoint import load_checkpoint, save_checkpoint
from symbucket.context import Context
from symbucket.engine.data_parallel import ContextGroup, contexts_of
from symbucket.errors import DataError, InvalidArgumentError, StateError
from symbucket.initializer import Initializer, Uniform
from symbucket.io import DataDesc, NDArrayIter, ResizeIter
from symbucket.io.desc import normalize_descs
from symbucket.module.base import Callbacks
from symbucket.module.bucketing import BucketingModule
from symbucket.module.module import Module
from symbucket.module.sym_gen import SymGen
from symbucket.optimizer import Optimizer
from symbucket.runtime import NDArray
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
        for name, count in (("numpy_batch_size", numpy_batch_size), ("epoch_size", epoch_size)):
            if name == "epoch_size" and count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InvalidArgumentError(
                    f"FeedForward: {name}={count!r} must be a whole number of 1 or more"
                )
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
        # The module that predicts, and the very parameters that it was filled with.
        self._module: Module | BucketingModule | None = None
        self._filled: tuple[Params | None, Params | None] = (None, None)
        self._labelled = False
        # Both fit and predict ask for networks; a key's is made once for them all.
        self._network_of = None if self.sym_gen is None else functools.cache(self.sym_gen)

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
    ) -> None:
        """Train on ``X``: an iterator, or an array with its labels ``y`` (in random order).

        ``eval_data`` is an iterator or a pair (X, y). A second ``fit`` goes on from the
        parameters of the first. ``work_load_list``: how much of a batch each context takes, in
        proportion. ``kvstore`` is MXNet's and changes nothing on one machine.

        Raises InvalidArgumentError and DataError before anything is trained. Where training ends
        with an error, ``arg_params`` are those after the last whole epoch.
        """
        if self.num_epoch is None:
            raise InvalidArgumentError("FeedForward.fit: say how many epochs, num_epoch=...")
        self._contexts = ContextGroup(self.ctx, work_load_list)
        data = self._training_data(X, y)
        evaluation = None if eval_data is None else self._scored_data(eval_data, "eval_data")
        module = self._make_module(data, logging if logger is None else logger)
        network = module.symbol

        def epoch_end(epoch: int, symbol: Symbol, arg: Params, aux: Params) -> None:
            self.symbol, self.arg_params, self.aux_params = network, arg, aux
            for callback in _listed(epoch_end_callback):
                callback(epoch, network, arg, aux)

        module.fit(
            data,
            evaluation,
            eval_metric,
            epoch_end,
            batch_end_callback,
            kvstore,
            self.optimizer,
            self.kwargs,
            eval_end_callback,
            eval_batch_end_callback,
            self.initializer,
            *self._given(network),
            allow_missing=True,
            begin_epoch=self.begin_epoch,
            num_epoch=self.num_epoch,
            monitor=monitor,
        )
        self.symbol = network
        self.arg_params, self.aux_params = module.get_params()
        self._module, self._filled = module, (self.arg_params, self.aux_params)
        self._labelled = bool(data.provide_label)

    def _training_data(self, X: Any, y: Any) -> Any:
        if not _is_array(X):
            if y is not None:
                raise DataError(
                    "FeedForward.fit: y belongs to an array X; an iterator brings its own labels"
                )
            data = self._checked_iterator(X, "X")
        elif y is None:
            raise DataError("FeedForward.fit: X is an array, so its labels y must be given too")
        else:
            seed = int(random.generator().integers(1 << 62))
            options = {"shuffle": True, "last_batch_handle": "roll_over", "seed": seed}
            data = self._over_arrays(X, y, NDArrayIter, **options)
        if self.epoch_size is None:
            return data
        data = ResizeIter(data, self.epoch_size, reset_internal=False)
        data.data_iter.reset()
        return data

    # Using -----------------------------------------------------------------------------------

    def predict(
        self,
        X: Any,
        num_batch: int | None = None,
        return_data: bool = False,
        reset: bool = True,
    ) -> Any:
        """The outputs over an iterator or an array, as numpy arrays without padded rows.

        The batches are joined along the first axis. One output comes by itself, several in a list.
        With ``return_data``: (outputs, data, labels), each likewise. ``num_batch`` ends after so
        many batches; ``reset=False`` goes on where the iterator stands.

        Raises StateError where there are no parameters yet, DataError where batches cannot be
        joined (buckets whose outputs differ beyond the first axis) or there is none.
        """
        data = (
            self._over_arrays(X, None, NDArrayIter)
            if _is_array(X)
            else self._checked_iterator(X, "X")
        )
        outputs: list[list[Array]] = []
        inputs: list[list[Array]] = []
        labels: list[list[Array]] = []
        for found, _, batch in self._ready(data).iter_predict(data, num_batch, reset):
            outputs.append([np.asarray(array) for array in found])
            if return_data:
                rows = len(batch.data[0]) - (batch.pad or 0)
                # Copies, since an iterator may fill the same arrays again.
                inputs.append([np.array(array)[:rows] for array in batch.data])
                labels.append([np.array(array)[:rows] for array in batch.label or []])
        if not outputs:
            raise DataError("FeedForward.predict: the data gave no batch; is reset=False meant?")
        joined = _joined("outputs", outputs)
        if not return_data:
            return joined
        return joined, _joined("data", inputs), _joined("labels", labels)

    def score(
        self,
        X: Any,
        eval_metric: Any = "acc",
        num_batch: int | None = None,
        batch_end_callback: Callbacks = None,
        reset: bool = True,
    ) -> Any:
        """The metric's value over an iterator, or over a pair (X, y) of arrays.

        Of a composite metric: the list of values.
        """
        data = self._scored_data(X, "X")
        metric = metrics.create(eval_metric)
        self._ready(data).score(data, metric, num_batch, batch_end_callback, reset=reset)
        return metric.get_global()[1]

    def _scored_data(self, data: Any, name: str) -> Any:
        if isinstance(data, (tuple, list)) and len(data) == 2:
            X, y = data
            if y is None and not _is_array(X):
                return self._checked_iterator(X, name)
            if _is_array(X) and y is not None:
                return self._over_arrays(X, y, _EveryRowOnce)
        if _is_array(data) or isinstance(data, (tuple, list)):
            raise DataError(
                f"FeedForward: {name} needs labels: give an iterator with labels, or a pair (X, y) "
                "of arrays"
            )
        return self._checked_iterator(data, name)

    def _ready(self, data: Any) -> Module | BucketingModule:
        """A bound module that holds the current parameters."""
        if self.arg_params is None:
            raise StateError(
                "FeedForward has no parameters yet: call fit, give arg_params=, or use "
                "FeedForward.load"
            )
        module, filled = self._module, self._filled
        if module is None or (data.provide_label and not self._labelled):
            # What a module was not told of labels when it was bound, later batches do not tell.
            module, filled = self._make_module(data, logging), (None, None)
            module.bind(data.provide_data, data.provide_label or None, for_training=False)
        if filled[0] is not self.arg_params or filled[1] is not self.aux_params:
            network = module.symbol
            arg, aux = self._given(network)
            module.set_params(arg or {}, aux)
            if self.symbol is None:
                self.symbol = network
            if module is not self._module:
                self._labelled = bool(data.provide_label)
            self._module, self._filled = module, (self.arg_params, self.aux_params)
        return module

    def _make_module(self, data: Any, logger: Any) -> Module | BucketingModule:
        where = self._contexts.contexts, self._contexts.loads
        if self._network_of is not None:
            return BucketingModule(self._network_of, _bucket_key(data), logger, *where)
        assert self.symbol is not None
        names = [d.name for d in _descs(data.provide_data)]
        labels = [d.name for d in _descs(data.provide_label)]
        wanted = _labels(self.symbol)
        if labels and wanted and not {*labels} & {*self.symbol.list_arguments()}:
            raise DataError(
                f"FeedForward: the data's labels are {', '.join(labels)}, but the network's are "
                f"{', '.join(wanted)}, which would be trained as parameters; use one name "
                "(label_name= of NDArrayIter)"
            )
        return Module(self.symbol, names, labels or wanted, logger, *where)

    def _given(self, network: Symbol) -> tuple[Params | None, Params | None]:
        """The parameters to start from, without extra ones where those are allowed."""
        if not self.allow_extra_params:
            return self.arg_params, self.aux_params
        return (
            _only(self.arg_params, network.list_arguments()),
            _only(self.aux_params, network.list_auxiliary_states()),
        )

    # Data ------------------------------------------------------------------------------------

    def _checked_iterator(self, data: Any, name: str) -> Any:
        if not (hasattr(data, "provide_data") and hasattr(data, "reset")):
            raise DataError(
                f"FeedForward: {name} is a {type(data).__name__}; expected an iterator "
                "(symbucket.io.DataIter) or a numpy array"
            )
        if self.sym_gen is not None:
            _bucket_key(data)
        return data

    def _over_arrays(self, X: Any, y: Any, kind: type[NDArrayIter], **options: Any) -> NDArrayIter:
        if self.sym_gen is not None:
            raise DataError(
                "FeedForward: arrays have no bucket keys, which a sym_gen needs; give an iterator "
                "such as BucketSentenceIter, or a fixed Symbol in place of the sym_gen"
            )
        assert self.symbol is not None
        label = None if y is None else np.asarray(y)
        if label is not None:
            if label.ndim == 2 and label.shape[1] == 1:
                label = label.reshape(-1)
            if label.ndim != 1:
                raise DataError(
                    f"FeedForward: y has shape {label.shape}; expected one label for each row of X "
                    "(for others make an NDArrayIter)"
                )
        values = np.asarray(X)
        names = _labels(self.symbol)
        rows = len(values) if values.ndim else 1
        size = max(1, min(rows, self.numpy_batch_size))
        if kind is _EveryRowOnce:  # others have whole batches only
            size = self._contexts.batch_size(rows, size)
        return kind(
            values,
            label,
            size,
            label_name=names[0] if len(names) == 1 else "softmax_label",
            **options,
        )

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
        """A model from a checkpoint; ``fit`` goes on with epoch number ``epoch``.

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
        """A model that is made and trained at once; arguments as of the class and of ``fit``."""
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


class _EveryRowOnce(NDArrayIter):
    """Ends with a smaller batch in place of a padded one, so that metrics count no row twice."""

    def getindex(self) -> Any:
        rows = super().getindex()
        return rows[: len(rows) - super().getpad()]

    def getpad(self) -> int:
        return 0


def _is_array(data: Any) -> bool:
    return isinstance(data, (np.ndarray, NDArray))


def _descs(descs: Any) -> list[DataDesc]:
    return normalize_descs(descs or [], "the iterator's descriptions")


def _labels(network: Symbol) -> list[str]:
    """Arguments that are labels, by their names alone."""
    return [name for name in network.list_arguments() if name.endswith("label")]


def _bucket_key(data: Any) -> Hashable:
    key: Hashable = getattr(data, "default_bucket_key", None)
    if key is None:
        raise DataError(
            f"FeedForward: the {type(data).__name__} has no default_bucket_key, which a sym_gen "
            "needs; give an iterator over buckets, such as BucketSentenceIter"
        )
    return key


def _only(params: Params | None, names: Sequence[str]) -> Params | None:
    return None if params is None else {n: v for n, v in params.items() if n in names}


def _listed(callbacks: Callbacks) -> Sequence[Callable[..., Any]]:
    if callbacks is None:
        return []
    return callbacks if isinstance(callbacks, Sequence) else [callbacks]


def _joined(what: str, batches: list[list[Array]]) -> Any:
    """Arrays joined over the batches; one by itself, several as a list."""
    try:
        joined = [np.concatenate(parts) for parts in zip(*batches)]
    except ValueError as error:
        raise DataError(
            f"FeedForward.predict cannot join the {what} of batches with different shapes "
            f"({error}); predict one bucket at a time, or use BucketingModule.iter_predict"
        ) from None
    return joined[0] if len(joined) == 1 else joined
