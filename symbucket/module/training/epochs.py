"""The batches of an epoch, for the loops over them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from symbucket.errors import DataError


def labels_of(batch: Any) -> list[Any]:
    """Return the labels of a batch; none if it has none."""
    return list(getattr(batch, "label", None) or [])


def epoch_batches(data: Any, epoch: int) -> Iterator[Any]:
    """Return the batches of a new epoch; raise DataError if there is none."""
    data.reset()
    batches = iter(data)
    first = next(batches, None)
    if first is None:
        raise DataError(
            f"fit: train_data, a {type(data).__name__}, yields no batch in epoch {epoch}, so there "
            "is nothing to train on; the module is as it was before it. Look whether its source is "
            "empty or used up, whether a batch_size is more than there is, and whether its reset() "
            "goes back to the first batch"
        )
    return itertools.chain([first], batches)


def limited(data: Any, num_batch: int | None) -> Iterable[Any]:
    """Return the first ``num_batch`` batches, or all."""
    for i, batch in enumerate(data):
        if num_batch is not None and i >= num_batch:
            return
        yield batch
