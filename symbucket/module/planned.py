"""``plan_memory`` of modules: what training takes, before anything runs."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from symbucket.compiler.memory import PoolPlan
from symbucket.engine.plan import KeyPlan, plan_model, plan_pool
from symbucket.errors import UnsupportedError
from symbucket.io import BucketPlan, DataBatch
from symbucket.module.interface import Pairs
from symbucket.module.planning import ShapesOf, ShapesOfBatch, plan_module_buckets, planned_shapes
from symbucket.optimizer import Optimizer


class ModulePlans:
    """``plan_memory`` of a Module."""

    def plan_memory(
        self: Any,
        data_shapes: Sequence[Any] | None = None,
        label_shapes: Sequence[Any] | None = None,
        eval_metric: Any = None,
        optimizer: Any = None,
        optimizer_params: Pairs = (),
    ) -> PoolPlan:
        """Return what training (or inference, as bound) takes, before anything runs.

        Shapes are the bound ones unless given. With ``eval_metric`` the step returns the metric's
        sums if it can, as in ``fit``; else all outputs. ``optimizer`` is as for
        ``init_optimizer``; by default the one that is there.
        """
        bound = self._bound
        shapes = bound.shapes
        if data_shapes is not None:
            shapes = self.network.batch_shapes(data_shapes, label_shapes)
        planned = self.planned_optimizer(optimizer, optimizer_params)
        requests = bound.network.requests if self.for_training else None
        rows = bound.store.row_sparse_names(planned)
        store, options = bound.store, self.options
        plan = plan_model(self.network, store.context, shapes, requests, options, eval_metric, rows)
        return plan_pool({self._name: plan}, store, self.for_training, planned)

    def planned_optimizer(self: Any, optimizer: Any, optimizer_params: Pairs) -> Optimizer | None:
        """Return what ``plan_memory`` plans with: a new optimizer, or the one that is there.

        Raises UnsupportedError if the module has several contexts.
        """
        contexts = self._contexts.contexts
        if len(contexts) > 1:
            raise UnsupportedError(
                f"{self._name}: plan_memory works with one context, this module has {contexts}. "
                "Ask a module with one context and the batch size that one of them gets."
            )
        current: Optimizer | None
        if optimizer is not None:
            current = self._make_optimizer(optimizer, dict(optimizer_params))
        else:
            current = self.updater.optimizer if self.optimizer_initialized else None
        return current


class BucketingPlans:
    """``plan_memory`` and ``plan_buckets`` of a BucketingModule."""

    def plan_memory(
        self: Any,
        keys: Iterable[Any],
        shapes: ShapesOf | None = None,
        eval_metric: Any = None,
        optimizer: Any = None,
        optimizer_params: Pairs = (),
    ) -> PoolPlan:
        """Return what training on these keys takes, in whatever order, before anything runs.

        Every key's models are compiled to know.

        Args:
            keys: bucket keys, or batches that have one and their shapes.
            shapes: ``shapes(key)`` (or ``shapes[key]``) gives (data_shapes, label_shapes). Without
                it, the bound shapes with the default key's length replaced by the key's; that
                needs keys that are integers.
            eval_metric: as for ``fit``: the step returns its sums if it can; else all outputs.
            optimizer, optimizer_params: as for ``init_optimizer``; by default the one that is
                there.

        Raises:
            MemoryLimitError: a key does not fit under ``options.memory_limit``.
        """
        bound, default = self._bound, self.default_module
        planned = default.planned_optimizer(optimizer, optimizer_params)
        rows = bound.store.row_sparse_names(planned)
        plans: dict[Hashable, KeyPlan] = {}
        for item in keys:
            key = item.bucket_key if isinstance(item, DataBatch) else item
            data, labels = planned_shapes(item, shapes, self._default_key, default)
            module = bound.modules.get(key) or self._factory.make(key, bound.pool, data, labels)
            network = module.network
            requests = network.grad_requests(bound.request) if self.for_training else None
            described = network.batch_shapes(data, labels)
            plans[key] = plan_model(
                network,
                bound.store.context,
                described,
                requests,
                module.options,
                eval_metric,
                rows,
            )
        return plan_pool(plans, bound.store, self.for_training, planned)

    def plan_buckets(
        self: Any,
        lengths: Iterable[Any],
        shapes: ShapesOfBatch,
        count: int | None = None,
        *,
        memory_limit: int | None = None,
        eval_metric: Any = None,
        optimizer: Any = None,
        optimizer_params: Pairs = (),
        **options: Any,
    ) -> BucketPlan:
        """Return buckets for these lengths with the memory and compile time of each.

        The module has to be bound, for training or not; networks of the buckets are compiled to
        know, and nothing runs.

        Args:
            lengths, count, options: as for ``sb.io.plan_buckets``: ``padding=``, ``batch=``,
                ``multiple_of=``, ``cost=``, ``full_batches=``.
            shapes: ``shapes(key, batch_size)`` gives (data_shapes, label_shapes).
            memory_limit: bytes that training on all buckets together may need.
            eval_metric, optimizer, optimizer_params: as for ``plan_memory``.

        Raises:
            MemoryLimitError: the buckets do not fit under ``memory_limit``.
        """

        params = {"optimizer": optimizer, "optimizer_params": optimizer_params}
        plan_memory = functools.partial(self.plan_memory, eval_metric=eval_metric, **params)
        options["count"] = count
        return plan_module_buckets(plan_memory, lengths, shapes, memory_limit, options)
