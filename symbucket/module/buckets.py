"""The modules of all bucket keys: how each is made, and which one is the current one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from symbucket.compiler import CompilerOptions
from symbucket.context import Context
from symbucket.engine.executor_pool import ExecutorPool
from symbucket.engine.network_interface import GradientRequest
from symbucket.engine.noise import NoiseClock
from symbucket.errors import DataError
from symbucket.module.binding import PooledBinding
from symbucket.module.module import Module
from symbucket.module.sym_gen import SymGen, generate, label_names_by_suffix
from symbucket.stopwatch import timed


@dataclass(frozen=True)
class BucketFactory:
    """Makes the module of a key; the attributes are BucketingModule's arguments."""

    sym_gen: SymGen
    logger: Any
    context: Sequence[Context]
    work_load_list: Any
    fixed_param_names: Sequence[str] | None
    state_names: Sequence[str] | None
    options: CompilerOptions | None

    def make(
        self,
        key: Hashable,
        pool: ExecutorPool,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None,
    ) -> Module:
        """Return the module of a key, not bound yet."""
        network = generate(self.sym_gen, key)
        data_names, label_names = network.data_names, network.label_names
        if data_names is None:
            data_names = [d[0] for d in data_shapes]
            # Without label shapes (as when predicting) a label is known by its name alone.
            label_names = [d[0] for d in label_shapes or []]
            label_names = label_names or label_names_by_suffix(network.symbol)
        return Module(
            network.symbol,
            data_names,
            label_names,
            self.logger,
            self.context,
            self.work_load_list,
            fixed_param_names=self.fixed_param_names,
            state_names=self.state_names,
            name=f"bucket key {key!r}",
            options=self.options,
            executor_pool=pool,
            bucket_key=key,
        )


@dataclass
class BucketingBinding(PooledBinding):
    """State of a BucketingModule from ``bind`` on.

    Attributes:
        factory: makes modules.
        modules: the module of each key, in the order in which the keys came; the first one is the
            default key's.
        current_key: the key that was switched to last.
        last: the module that ran last; None before the first run.
    """

    factory: BucketFactory
    modules: dict[Hashable, Module]
    current_key: Hashable
    last: Module | None = None

    @property
    def clocks(self) -> list[NoiseClock]:
        """The clock of each context, which all keys share."""
        return self.default.bound_network.contexts.clocks

    @property
    def default(self) -> Module:
        """The module of the default key."""
        return next(iter(self.modules.values()))

    @property
    def current(self) -> Module:
        """The module of the current key."""
        return self.modules[self.current_key]

    def module_for(
        self,
        key: Hashable,
        data_shapes: Sequence[Any] | None,
        label_shapes: Sequence[Any] | None,
    ) -> Module:
        """Return the module of a key; it is bound first if it is new."""
        module = self.modules.get(key)
        if module is not None:
            return module
        if data_shapes is None:  # an empty list is that of a network without inputs
            raise DataError(
                f"bucket key {key!r} is new and the batch says no shapes: give the "
                "DataBatch provide_data (and provide_label)"
            )
        with timed("compile"):
            module = self.factory.make(key, self.pool, data_shapes, label_shapes)
            bind_as(module, data_shapes, label_shapes, self.request, self.default)
        self.modules[key] = module
        return module


def bind_as(
    module: Module,
    data_shapes: Sequence[Any],
    label_shapes: Sequence[Any] | None,
    request: GradientRequest,
    shared_module: Any,
) -> None:
    """Bind a module with the gradients of ``request``."""
    module.bind(
        data_shapes,
        label_shapes,
        request.for_training,
        request.inputs_need_grad,
        shared_module=shared_module,
        grad_req=request.grad_req,
    )
