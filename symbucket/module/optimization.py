"""What ``init_optimizer`` and ``update`` do with a store of parameters."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from symbucket import optimizer as opt
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import InvalidArgumentError
from symbucket.io import DataDesc
from symbucket.io.desc import batch_size_of
from symbucket.kvstore import DistributedKVStore
from symbucket.kvstore.exchange import Exchange
from symbucket.optimizer.updater import Rows
from symbucket.runtime import NDArray, RowSparse
from symbucket.symbol import Symbol
from symbucket.version import __version__


def make_optimizer(
    optimizer: Any, params: Mapping[str, Any], symbol: Symbol, names: Sequence[str], batch_size: int
) -> opt.Optimizer:
    """Return an optimizer for the parameters ``names``, from its name or as it is.

    ``rescale_grad`` is 1 / ``batch_size`` unless ``params`` say otherwise; a ready optimizer with
    another one is used with a warning.
    """
    rescale = 1.0 / batch_size
    if not isinstance(optimizer, opt.Optimizer):
        options = {"rescale_grad": rescale, **params}
        index_names = dict(enumerate(names))
        return opt.create(optimizer, sym=symbol, param_idx2name=index_names, **options)
    if optimizer.rescale_grad != rescale and not optimizer.rescale_by_batch:
        warnings.warn(
            f"The given optimizer has rescale_grad={optimizer.rescale_grad}, where the "
            f"module would take 1 / batch size = {rescale}. Is this intended?",
            stacklevel=4,
        )
    if not optimizer.idx2name:
        optimizer.idx2name = dict(enumerate(names))
    return optimizer


def lent_updater(lender: Any, store: ParameterStore) -> opt.Updater:
    """Return the optimizer of a module, for the parameters in ``store``.

    Raises InvalidArgumentError if the module trains other parameters.
    """
    if not hasattr(lender, "updater"):
        raise InvalidArgumentError(
            f"borrow_optimizer: {lender!r} is no module with an optimizer of its own"
        )
    updater: opt.Updater = lender.updater
    lent, own = ([(n, s.args[n].shape) for n in s.grads] for s in (lender.store, store))
    if lender.store is not store and lent != own:
        (other, mine) = next(p for p in zip_longest(lent, own) if p[0] != p[1])
        raise InvalidArgumentError(
            "borrow_optimizer: an optimizer keeps its states, rates and decays by the position of "
            f"a parameter, and the modules differ in one: {mine or 'none'} here, "
            f"{other or 'none'} there. Make an optimizer for each (init_optimizer)"
        )
    return updater


def divided_by_batch(
    params: Mapping[str, Any] | Iterable[tuple[str, Any]],
    optimizer: Any,
    train_data: Any,
    accumulate: int = 1,
) -> dict[str, Any]:
    """Return an optimizer's parameters for data whose buckets may have batches of several sizes.

    Each gradient is then divided by the size of its own batch, and a sum over several batches by
    all their samples, unless ``params`` or a ready optimizer say otherwise.
    """
    options = dict(params)
    sizes = getattr(train_data, "batch_sizes", None)
    varied = isinstance(sizes, Mapping) and len({*sizes.values()}) > 1
    if (varied or accumulate > 1) and not isinstance(optimizer, opt.Optimizer):
        options.setdefault("rescale_grad", "batch")
    return options


def apply_gradients(
    updater: opt.Updater,
    store: ParameterStore,
    names: Iterable[str],
    row_gradients: Mapping[str, RowSparse],
    data: Sequence[DataDesc],
) -> None:
    """Take one step over the gradients of ``names``: those in the store, or those by rows.

    ``data`` describes the data of the batch, whose size the optimizer may divide by.
    """
    exchange = updater.exchange
    if updater.optimizer.rescale_by_batch:
        workers = 1 if exchange is None else exchange.num_workers
        samples = updater.samples or batch_size_of(data)
        updater.optimizer.rescale_grad = 1.0 / (workers * samples)
    updater.samples = None
    index = {n: i for i, n in enumerate(store.grads)}
    dense: list[tuple[int, NDArray, NDArray]] = []
    by_rows: list[Rows] = []
    for name in names:
        i, weight, rows = index[name], store.args[name], row_gradients.get(name)
        if rows is not None and updater.optimizer.updates_rows(i):
            by_rows.append((i, rows, weight))
            continue
        if rows is not None:
            updater.make_dense(i, rows, store.grads[name])
        dense.append((i, store.grads[name], weight))
    if exchange is not None:
        by_rows = exchange(dense, by_rows, ", ".join(map(repr, data[:1])))
    updater.step(dense, by_rows)


def join_workers(
    kvstore: DistributedKVStore,
    updater: opt.Updater,
    store: ParameterStore,
    symbol: Symbol,
    rescale_given: bool,
) -> None:
    """Let an updater's gradients be summed over all workers; start from worker 0's parameters.

    The default ``rescale_grad`` becomes 1 / (batch size * workers), as in MXNet: the update is that
    of one process on the joint batch.

    Raises:
        WorkerError: workers differ in network, versions or optimizer.
    """
    exchange = Exchange(kvstore.group, store.args, store.aux, kvstore.check_every)
    if not rescale_given:
        updater.optimizer.rescale_grad /= exchange.num_workers
    shapes = {n: a.shape for n, a in (*store.args.items(), *store.aux.items())}
    described = {
        "the version of symbucket": __version__,
        "the network": _digest(symbol.tojson()),
        "the shapes of parameters": _digest(repr(sorted(shapes.items()))),
    }
    exchange.begin(described, updater)
    updater.exchange = exchange


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
