"""Choose bucket boundaries and batch sizes for the lengths of a corpus."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbucket.checks import check_fraction, check_integer, is_integer
from symbucket.errors import DataError, InvalidArgumentError, MemoryLimitError
from symbucket.io.boundaries import least_cost_partitions
from symbucket.io.boxes import assign_boxes, merged_boxes, move_edges
from symbucket.io.bucket_plan import BucketKey, BucketPlan, positions_of

StepCost = Callable[[Any, int], float]
"""``cost(key, batch_size)``: what one step takes, in any unit that is the same for all keys."""
BatchMemory = Callable[[Any, int], int]
"""``memory(key, batch_size)``: bytes that training on batches of this size needs."""

_BatchRule = Callable[[Any], int]  # the batch size of a key

_AUTO_GAIN = 0.01  # a further bucket has to save this share of the cost, if nobody says how many
_MOST_BUCKETS = 256


def plan_buckets(
    lengths: Iterable[Any],
    count: int | None = None,
    *,
    padding: float | None = None,
    batch: str | int = "sequences:32",
    memory_limit: int | None = None,
    memory: BatchMemory | None = None,
    multiple_of: int | Sequence[int] = 1,
    cost: StepCost | None = None,
    full_batches: bool = True,
) -> BucketPlan:
    """Return the boundaries that cost least for these lengths, and a batch size for each bucket.

    For one length a sentence the choice is exact: no other boundaries cost less (dynamic
    programming over the histogram). For pairs, triples, ... of lengths boxes are merged and then
    improved edge by edge, which is close to the least cost but not proven to be it.

    Args:
        lengths: of the sentences: integers, or tuples of as many integers each (an array of shape
            (sentences, axes)).
        count: the number of buckets; fewer if there are fewer different lengths. By default as
            many as are worth it: until a further one would save less than 1 % of the cost.
        padding: instead of ``count``: as few buckets as keep the share of padding at or below it.
        batch: ``'sequences:32'`` (or 32) gives each batch 32 sentences, ``'tokens:2000'`` as many
            as have at most 2,000 positions together, at least one.
        memory_limit: bytes that training may need: batches are made smaller until ``memory`` says
            that they fit.
        memory: ``memory(key, batch_size)`` in bytes, asked a few times for each bucket chosen.
        multiple_of: boundaries are multiples of it, one for all axes or one each.
        cost: ``cost(key, batch_size)`` of one step, measured or predicted. By default a step
            costs its positions, so that padding is what is made least. Give seconds, and the time
            of an epoch is.
        full_batches: no bucket holds fewer sentences than one batch, if that can be (one length a
            sentence only).

    Raises:
        DataError: there are no lengths, or some are no positive integers.
        InvalidArgumentError: another argument is out of range, or two contradict each other.
        MemoryLimitError: a bucket does not fit with a batch of one sentence.
    """
    if count is not None and padding is not None:
        raise InvalidArgumentError(
            f"count is {count!r} and padding is {padding!r}; give one, the other follows from it"
        )
    if (memory_limit is None) != (memory is None):
        raise InvalidArgumentError(
            "memory_limit needs memory, a function of key and batch size that returns bytes, and "
            f"memory needs a limit; found memory_limit={memory_limit!r} and memory={memory!r}"
        )
    number = None if count is None else check_integer(count, "count", 1)
    most_padding = None if padding is None else check_fraction(padding, "padding")
    costs = _Costs(batch_rule(batch), cost)
    histogram = _histogram(lengths, multiple_of)
    boxes = _choose(histogram, costs, number, most_padding, full_batches)
    plan = _plan(histogram, boxes, costs)
    if memory_limit is None or memory is None:
        return plan
    limit = check_integer(memory_limit, "memory_limit", 1)
    fitted = [_fitting(k, b, limit, memory) for k, b in zip(plan.boundaries, plan.batch_sizes)]
    return replace(
        plan, batch_sizes=tuple(b for b, _ in fitted), memory=tuple(m for _, m in fitted)
    )


@dataclass(frozen=True)
class _Histogram:
    """The different bucket keys that samples ask for, ascending, and what would be in them.

    ``keys``: (keys, axes); ``counts`` and ``tokens``: samples of each, and their lengths together.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    tokens: NDArray[np.int64]


class _Costs:
    """Cost of buckets: their positions, or the user's cost of a step times the steps."""

    def __init__(self, batch_size: _BatchRule, step_cost: StepCost | None) -> None:
        self.batch_size, self._step_cost = batch_size, step_cost

    def of_bucket(self, key: BucketKey) -> Callable[[Any], Any]:
        """Return the cost of a bucket as a function of its number of samples."""
        if self._step_cost is None:
            size = float(positions_of(key))
            return lambda samples: samples * size
        batch = self.batch_size(key)
        step = float(self._step_cost(key, batch))
        if not step > 0 or not np.isfinite(step):
            raise InvalidArgumentError(
                f"cost({key!r}, {batch}) is {step!r}; expected a finite number above 0"
            )
        return lambda samples: np.ceil(samples / batch) * step

    def of_sample(self, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cost of one sample in each box, a full batch of it supposed."""
        if self._step_cost is None:
            return np.asarray(boxes.sum(axis=1), dtype=np.float64)
        keys = [_key(box) for box in boxes]
        batches = [self.batch_size(key) for key in keys]
        return np.array([self.of_bucket(k)(b) / b for k, b in zip(keys, batches)], dtype=float)


def _choose(
    histogram: _Histogram,
    costs: _Costs,
    number: int | None,
    most_padding: float | None,
    full_batches: bool,
) -> NDArray[np.int64]:
    """Return boxes, (buckets, axes): a number of them, within a share of padding, or worth it."""
    keys, counts = histogram.keys, histogram.counts
    exact = keys.shape[1] == 1
    if exact:
        choices = _runs(histogram, costs, full_batches)
    else:
        choices = iter(merged_boxes(keys, counts, costs.of_sample))

    def improved(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
        return boxes if exact else move_edges(keys, counts, boxes, costs.of_sample)

    def padding(boxes: NDArray[np.int64]) -> float:
        return _plan(histogram, boxes, costs).padding

    tried: list[NDArray[np.int64]] = []
    least = math.inf
    for boxes in choices:
        if number is None and most_padding is None:
            total = _total(histogram, boxes, costs)
            if total > least * (1 - _AUTO_GAIN):
                break
            least = total
        tried.append(boxes)
        enough = most_padding is not None and padding(boxes) <= most_padding
        if enough or len(tried) == (number or _MOST_BUCKETS):
            break
    chosen = improved(tried[-1])
    if most_padding is None:
        return chosen
    if padding(chosen) > most_padding:
        raise InvalidArgumentError(
            f"padding is {most_padding}; even {len(tried)} buckets have {padding(chosen):.4f}. "
            "Allow more padding" + ("" if len(tried) == _MOST_BUCKETS else ", or a smaller batch")
        )
    while len(tried) > 1 and padding(fewer := improved(tried[-2])) <= most_padding:
        chosen = fewer
        tried.pop()
    return chosen


def _runs(histogram: _Histogram, costs: _Costs, full_batches: bool) -> Iterator[NDArray[np.int64]]:
    """Yield the least-cost boundaries for 1, 2, ... buckets of one length a sentence."""
    keys = histogram.keys[:, 0].tolist()
    minimum = np.array([costs.batch_size(key) if full_batches else 1 for key in keys])
    if minimum[-1] > histogram.counts.sum():
        minimum[:] = 1  # there is no full batch at all
    buckets = [costs.of_bucket(key) for key in keys]
    partitions = least_cost_partitions(
        histogram.counts, lambda j, samples: buckets[j](samples), minimum
    )
    for partition in partitions:
        yield histogram.keys[partition]


def _assign(histogram: _Histogram, boxes: NDArray[np.int64], costs: _Costs) -> NDArray[np.int64]:
    return assign_boxes(histogram.keys, boxes, costs.of_sample(boxes))


def _total(histogram: _Histogram, boxes: NDArray[np.int64], costs: _Costs) -> float:
    """Return what an epoch costs."""
    samples = np.bincount(_assign(histogram, boxes, costs), histogram.counts, len(boxes))
    return float(sum(costs.of_bucket(_key(box))(n) for box, n in zip(boxes, samples)))


def _plan(histogram: _Histogram, boxes: NDArray[np.int64], costs: _Costs) -> BucketPlan:
    assigned = _assign(histogram, boxes, costs)
    samples = np.bincount(assigned, histogram.counts, len(boxes)).astype(np.int64)
    tokens = np.bincount(assigned, histogram.tokens, len(boxes)).astype(np.int64)
    used = [int(i) for i in np.lexsort(boxes.T[::-1]) if samples[i]]
    keys = tuple(_key(boxes[i]) for i in used)
    return BucketPlan(
        keys,
        tuple(map(costs.batch_size, keys)),
        tuple(int(samples[i]) for i in used),
        tuple(int(tokens[i]) for i in used),
    )


def _histogram(lengths: Iterable[Any], multiple_of: int | Sequence[int]) -> _Histogram:
    try:
        array = np.asarray(lengths if isinstance(lengths, np.ndarray) else list(lengths))
    except (TypeError, ValueError):
        array = np.empty(0, object)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iu" or not array.size:
        raise DataError(
            f"lengths has shape {array.shape} and dtype {array.dtype}; expected positive integers, "
            "one or a tuple of equally many for each sentence"
        )
    table = array.reshape(len(array), -1).astype(np.int64)
    if table.min() < 1:
        position = int(np.argmax((table < 1).any(axis=1)))
        raise DataError(f"lengths[{position}] is {array[position]}; expected positive integers")
    axes = table.shape[1]
    factors = [multiple_of] * axes if is_integer(multiple_of) else list(multiple_of)  # type: ignore[arg-type]
    if len(factors) != axes:
        raise InvalidArgumentError(
            f"multiple_of has {len(factors)} numbers, but lengths have {axes} axes; give one for "
            "all or one for each"
        )
    multiples = np.array([check_integer(m, "multiple_of", 1) for m in factors])
    rounded = -(-table // multiples) * multiples
    keys, inverse = np.unique(rounded, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    tokens = np.bincount(inverse, table.sum(axis=1)).astype(np.int64)
    return _Histogram(keys, np.bincount(inverse).astype(np.int64), tokens)


def batch_rule(batch: str | int) -> _BatchRule:
    """Return the batch size of a key as a function of it."""
    unit, _, amount = ("sequences", "", batch) if is_integer(batch) else str(batch).partition(":")
    match = re.fullmatch(r"\s*([1-9]\d*)\s*", str(amount))
    if unit not in ("sequences", "tokens") or match is None:
        raise InvalidArgumentError(
            f"batch is {batch!r}; expected 'sequences:32' (or 32), or 'tokens:2000'"
        )
    number = int(match[1])
    if unit == "sequences":
        return lambda key: number
    return lambda key: max(1, number // positions_of(key))


def _fitting(key: BucketKey, batch: int, limit: int, memory: BatchMemory) -> tuple[int, int]:
    """Return the largest batch size up to ``batch`` that fits, and its bytes.

    Memory grows about linearly with the batch: the next size tried is where a line through the
    two sizes known would meet the limit.
    """
    if (need := memory(key, batch)) <= limit:
        return batch, need
    fits, need_fits, above, need_above = 1, memory(key, 1), batch, need
    if need_fits > limit:
        raise MemoryLimitError(
            f"bucket {key!r} needs {need_fits:,} bytes with a batch of one sentence; memory_limit "
            f"is {limit:,}. Cut longer sentences, or allow more"
        )
    while above - fits > 1:
        slope = (need_above - need_fits) / (above - fits)
        tried = fits + int((limit - need_fits) / slope) if slope > 0 else (fits + above) // 2
        tried = min(max(tried, fits + 1), above - 1)
        need = memory(key, tried)
        if need <= limit:
            fits, need_fits = tried, need
        else:
            above, need_above = tried, need
    return fits, need_fits


def _key(box: NDArray[np.int64]) -> BucketKey:
    return int(box[0]) if len(box) == 1 else tuple(map(int, box))
