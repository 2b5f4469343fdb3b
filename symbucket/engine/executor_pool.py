"""The executors of a module, one for each set of shapes that came."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

from symbucket.compiler import CompilerOptions
from symbucket.context import cpu
from symbucket.engine import Executor
from symbucket.engine.data_parallel import Devices, ExecutorGroup, counted_by_part, parts_of
from symbucket.engine.eviction import ExecutorCache
from symbucket.engine.network import Network, Shapes, Signature
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import ShapeError
from symbucket.io import DataDesc
from symbucket.runtime import NDArray


class BoundExecutors:
    """Builds the executors of a network over the shared parameters, and keeps them.

    Args:
        network: what they run. requests: what every argument's gradient is for.
        store: the parameters. devices: the contexts.
        options: of the compiler.
        cache: knows the executors of all modules that share memory, and drops some.
        key: what stands for the executors in the cache's statistics; None: their shapes.
        pinned: the shapes whose executor is never dropped.
        logger: hears of losses that several contexts divide by counts of their own.
    """

    def __init__(
        self,
        network: Network,
        requests: Mapping[str, str],
        store: ParameterStore,
        devices: Devices,
        options: CompilerOptions,
        cache: ExecutorCache,
        key: Hashable,
        pinned: Signature | None,
        logger: Any,
    ) -> None:
        self._network = network
        self._requests = dict(requests)
        self._store = store
        self._devices = devices
        self._options = options
        self._cache = cache
        self._key = key
        self._pinned = pinned
        self._logger = logger
        self._executors: dict[Signature, Executor] = {}
        self._dropped_builds: Counter[str] = Counter()

    @property
    def all(self) -> list[Executor]:
        """Those that are kept."""
        return list(self._executors.values())

    def builds(self) -> Counter[str]:
        """How often models were compiled, by kind, also for executors that were dropped."""
        return sum((e.builds for e in self.all), Counter(self._dropped_builds))

    def find(self, shapes: Shapes) -> Executor | None:
        """The executor of these shapes, where it is there."""
        return self._executors.get(shapes.signature)

    def use(self, shapes: Shapes, ahead: bool = False) -> Executor:
        """The executor of these shapes; built where they are new.

        ``ahead``: it is made for a run that comes later.
        """
        found = self.find(shapes)
        if found is None:
            found = self._executors[shapes.signature] = self._build(shapes)
            self._remember(found, shapes.signature, ahead)
        else:
            self._cache.used(found)
        return found

    def _remember(self, executor: Executor, signature: Signature, ahead: bool) -> None:
        store = self._store
        arrays = [a for n, a in executor.arg_dict.items() if n not in store.args]
        arrays += [a for n, a in executor.grad_dict.items() if n not in store.grads]
        me = weakref.ref(self)

        def drop() -> None:
            kept = me()
            if kept is not None:
                kept._drop(signature)

        self._cache.add(
            executor,
            signature if self._key is None else self._key,
            sum(a.nbytes for a in arrays),
            signature == self._pinned,
            drop,
            ahead,
        )

    def _drop(self, signature: Signature) -> None:
        """Forget an executor; parameters, optimizer and what batches are made of stay."""
        executor = self._executors.pop(signature, None)
        if executor is not None:
            self._dropped_builds += executor.builds

    def _build(self, shapes: Shapes) -> Executor:
        store = self._store
        types, _ = self._network.infer(shapes)
        requests = dict(self._requests)
        args, grads = {}, {}
        for name, (shape, dtype) in types.items():
            if name in store.args:
                if store.args[name].shape != shape:
                    raise ShapeError(
                        f"{self._network.name}: with data {[tuple(d) for d in shapes.data]} "
                        f"parameter {name!r} would have shape {shape}, it is "
                        f"{store.args[name].shape}"
                    )
                args[name] = store.args[name]
                if requests[name] != "null" and name in store.grads:
                    grads[name] = store.grads[name]
                elif requests[name] != "null":
                    requests[name] = "null"
                continue
            context = self._devices.contexts[0] if len(self._devices) == 1 else cpu()
            args[name] = NDArray.zeros(shape, dtype, context)
            if requests[name] != "null":
                grads[name] = NDArray.zeros(shape, dtype, context)
        aux = {n: store.aux[n] for n in self._network.aux_names}
        if len(self._devices) > 1:
            return self._build_group(shapes, args, grads, requests, aux)
        return Executor(
            self._network.symbol,
            self._devices.contexts[0],
            args,
            grads,
            requests,
            aux,
            self._network.name,
            self._options,
            self._cache.pool,
        )

    def _build_group(
        self,
        shapes: Shapes,
        args: dict[str, NDArray],
        grads: dict[str, NDArray],
        requests: dict[str, str],
        aux: dict[str, NDArray],
    ) -> ExecutorGroup:
        """The executor of several contexts."""
        network, devices = self._network, self._devices
        sizes, axes, parts = parts_of(shapes.all, devices, network.name)
        count = len(shapes.data)
        types = [network.infer(Shapes(part[:count], part[count:]))[0] for part in parts]
        counted = counted_by_part(network.symbol)
        if counted and not self._executors:
            self._logger.warning(
                "%s: %s divide by a count over the batch; on %d contexts each part is divided by "
                "its own count and the gradients are summed.",
                network.name,
                ", ".join(counted),
                len(devices),
            )
        return ExecutorGroup(
            network.symbol,
            devices,
            args,
            grads,
            requests,
            aux,
            [n for n in args if n in network.param_names],
            (sizes, axes, types),
            DataDesc.get_batch_axis(shapes.data[0].layout) > 0,
            network.name,
            self._options,
            self._cache.pool,
        )
