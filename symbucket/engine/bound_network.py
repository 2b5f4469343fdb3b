"""``BoundNetwork``: a network over shared parameters, from which executors are built."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import Any

from symbucket.compiler import CompilerOptions
from symbucket.context import cpu
from symbucket.engine.batch_split import split_batch
from symbucket.engine.bound_arrays import ExecutorArrays
from symbucket.engine.contexts import ContextGroup
from symbucket.engine.data_parallel import ExecutorGroup, normalized_losses
from symbucket.engine.make_executor import ExecutorOnContext, make_executor
from symbucket.engine.network_interface import BatchShapes, GradientRequest, NetworkInterface
from symbucket.engine.parameters import ParameterStore
from symbucket.errors import ShapeError
from symbucket.runtime import NDArray
from symbucket.runtime.buffers import Pool

AnyExecutor = ExecutorOnContext | ExecutorGroup


class BoundNetwork:
    """A network whose parameters are in a store.

    Args:
        network: what it computes.
        shapes: of the first batches.
        request: which gradients it has.
        store: the parameters. The network's own are added if it is the first one.
        contexts: where it runs.
        options: of the compiler.
        key: what stands for it in statistics; None: the shapes of its executors.
        check_names: raise for names in ``grad_req`` that are no arguments of this network.
        logger: is told of losses that are normalized on each context by itself.

    Raises:
        ParameterError: the store has other parameters. ShapeError, UnsupportedError,
            InvalidArgumentError, DataError: the network cannot be bound. The store is as before.
    """

    def __init__(
        self,
        network: NetworkInterface,
        shapes: BatchShapes,
        request: GradientRequest,
        store: ParameterStore,
        contexts: ContextGroup,
        options: CompilerOptions,
        key: Hashable = None,
        check_names: bool = False,
        logger: Any = logging,
    ) -> None:
        self.network = network
        self.shapes = shapes
        """What it was bound with; executors for other shapes may come and go."""
        self.request = request
        self.store = store
        self.contexts = contexts
        self.options = options
        self.key = key
        self._logger = logger
        self._warned = False
        if check_names:
            network.check_grad_req(request.grad_req)
        self.requests = network.grad_requests(request)
        """"write", "add" or "null" for every argument."""
        params, aux = network.specs(shapes, self.requests)
        if request.for_training:
            network.check_gradients(shapes, self.requests)
        if len(contexts) > 1:
            split_batch(shapes.all, contexts, network.name)
        store.check_file_constants(network.name, network.param_names, network.file_constant)
        store.admit(network.name, params, aux)

    def arrays(self, shapes: BatchShapes) -> ExecutorArrays:
        """Return the shared parameters, and new arrays of zeros for everything else."""
        network, store = self.network, self.store
        types, _ = network.infer(shapes)
        requests = dict(self.requests)
        context = self.contexts.contexts[0] if len(self.contexts) == 1 else cpu()
        args, grads = {}, {}
        for name, (shape, dtype) in types.items():
            parameter = store.args.get(name)
            if parameter is None:
                args[name] = NDArray.zeros(shape, dtype, context)
                if requests[name] != "null":
                    grads[name] = NDArray.zeros(shape, dtype, context)
                continue
            if parameter.shape != shape:
                raise ShapeError(
                    f"{network.name}: with data {[tuple(d) for d in shapes.data]} parameter "
                    f"{name!r} would have shape {shape}, it is {parameter.shape}"
                )
            args[name] = parameter
            if name not in store.grads:
                requests[name] = "null"
            if requests[name] != "null":
                grads[name] = store.grads[name]
        aux = {n: store.aux[n] for n in network.aux_names}
        return ExecutorArrays(args, grads, requests, aux)

    def build(self, shapes: BatchShapes, buffers: Pool) -> AnyExecutor:
        """Return a new executor; outputs and step buffers lie in ``buffers``."""
        network, contexts = self.network, self.contexts
        arrays = self.arrays(shapes)
        if len(contexts) == 1:
            return make_executor(
                network.symbol,
                contexts.contexts[0],
                arrays.args,
                arrays.grads,
                arrays.requests,
                arrays.aux,
                network.name,
                self.options,
                buffers,
                noise_clock=contexts.clocks[0],
                batch_axes=shapes.batch_axes,
            )
        self._warn_of_normalization()
        split = split_batch(shapes.all, contexts, network.name)
        count = len(shapes.data)
        types = [network.infer(BatchShapes(p[:count], p[count:]))[0] for p in split.parts]
        return ExecutorGroup(
            network.symbol,
            contexts,
            arrays,
            split,
            network.param_names,
            types,
            network.name,
            self.options,
            buffers,
        )

    def _warn_of_normalization(self) -> None:
        losses = normalized_losses(self.network.symbol)
        if losses and not self._warned:
            self._warned = True
            self._logger.warning(
                "%s: %s divide by a count over the batch; on %d contexts each part is divided by "
                "its own count and the gradients are summed.",
                self.network.name,
                ", ".join(losses),
                len(self.contexts),
            )

    def own_bytes(self, executor: AnyExecutor) -> int:
        """Return the bytes of an executor's arguments and gradients that are not in the store."""
        store = self.store
        arrays = [a for n, a in executor.arg_dict.items() if n not in store.args]
        arrays += [a for n, a in executor.grads.items() if n not in store.grads]
        return sum(a.nbytes for a in arrays)
