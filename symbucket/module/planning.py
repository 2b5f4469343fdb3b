"""Plan a module's buckets: the shapes planned for, and buckets that fit into memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from symbucket.compiler.memory import PoolPlan
from symbucket.engine.network_interface import BatchShapes
from symbucket.engine.plan import shapes_of_key
from symbucket.errors import MemoryLimitError
from symbucket.io import BucketPlan, DataBatch, plan_buckets

ShapesOf = Callable[[Any], Any] | Mapping[Any, Any]
"""``shapes(key)`` or ``shapes[key]``: the (data_shapes, label_shapes) of a key."""
ShapesOfBatch = Callable[[Any, int], tuple[Any, Any]]
"""``shapes(key, batch_size)``: the (data_shapes, label_shapes) of a batch of this size."""
PlanMemory = Callable[[Iterable[Any], ShapesOf], PoolPlan]
"""The memory plan of training on these keys."""

_ATTEMPTS = 8  # at batch sizes that fit together


def planned_shapes(
    item: Any, shapes: ShapesOf | None, default_key: Any, default: Any
) -> tuple[Any, Any]:
    """Return the (data_shapes, label_shapes) that memory is planned for.

    Args:
        item: a batch that has them, or a bucket key.
        shapes: gives those of a key; None: those of the default module, with its key's length
            replaced by the key's.
        default_key: the default bucket key.
        default: the module of the default key, which is bound.
    """
    key = item.bucket_key if isinstance(item, DataBatch) else item
    if isinstance(item, DataBatch) and item.provide_data:
        return item.provide_data, item.provide_label
    if shapes is not None:
        data, labels = shapes(key) if callable(shapes) else shapes[key]
        return data, labels
    bound = BatchShapes(default.data_shapes, default.label_shapes)
    resized = shapes_of_key(key, default_key, bound)
    return resized.data, resized.labels


def plan_module_buckets(
    plan_memory: PlanMemory,
    lengths: Iterable[Any],
    shapes: ShapesOfBatch,
    memory_limit: int | None,
    options: dict[str, Any],
) -> BucketPlan:
    """Return a plan of buckets whose networks together need no more than ``memory_limit``.

    A single bucket's batch is made small enough first. All buckets share one pool, but each has a
    session and arrays of its own, so if all together need too much, the limit for each is lowered
    by the excess.
    """

    def plan_keys(sizes: dict[Any, int]) -> int:
        described = {key: shapes(key, size) for key, size in sizes.items()}
        return plan_memory(sizes, described).total

    alone: dict[tuple[Any, int], tuple[int, float]] = {}

    def planned_alone(key: Any, batch_size: int) -> tuple[int, float]:
        """Return what a bucket needs by itself, and the seconds that its network compiled."""
        if (key, batch_size) not in alone:
            start = time.perf_counter()
            need = plan_keys({key: batch_size})
            alone[key, batch_size] = need, time.perf_counter() - start
        return alone[key, batch_size]

    def memory(key: Any, batch_size: int) -> int:
        return planned_alone(key, batch_size)[0]

    listed = lengths if hasattr(lengths, "__len__") else list(lengths)
    limit = memory_limit
    for _ in range(_ATTEMPTS):
        within = None if limit is None else memory
        plan = plan_buckets(listed, memory_limit=limit, memory=within, **options)
        pairs = list(zip(plan.boundaries, plan.batch_sizes))
        if memory_limit is None or limit is None:
            break
        together = plan_keys(dict(pairs))
        if together <= memory_limit:
            break
        limit -= together - memory_limit
        if limit < 1:
            raise _too_large(plan, together, memory_limit)
    else:
        raise _too_large(plan, together, memory_limit)
    needs, seconds = zip(*(planned_alone(*pair) for pair in pairs))
    return replace(plan, memory=needs, compile_seconds=seconds)


def _too_large(plan: BucketPlan, together: int, memory_limit: int | None) -> MemoryLimitError:
    return MemoryLimitError(
        f"{len(plan)} buckets need {together:,} bytes together with batches of "
        f"{', '.join(map(str, plan.batch_sizes))} sentences; memory_limit is {memory_limit:,}. "
        "Allow more, or fewer buckets"
    )
