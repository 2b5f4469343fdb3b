"""What ``init_optimizer`` and ``update`` do with a store of parameters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from symbucket import optimizer as opt
from symbucket.engine.parameters import ParameterStore
from symbucket.io import DataDesc
from symbucket.runtime import RowSparse
from symbucket.symbol import Symbol


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
    first: DataDesc,
) -> None:
    """Take one step over the gradients of ``names``: those in the store, or those by rows.

    ``first`` describes the first data of the batch, whose size the optimizer may divide by.
    """
    if updater.optimizer.rescale_by_batch:
        updater.optimizer.rescale_grad = 1.0 / (updater.samples or first.shape[first.batch_axis])
    updater.samples = None
    index = {n: i for i, n in enumerate(store.grads)}
    dense = [n for n in names if n not in row_gradients]
    updater.step(
        [(index[n], store.grads[n], store.args[n]) for n in dense],
        [(index[n], gradient, store.args[n]) for n, gradient in row_gradients.items()],
    )
