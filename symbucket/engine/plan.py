"""Memory of a module's networks, before anything runs."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket import metric as metrics
from symbucket import optimizer as opt
from symbucket.compiler import CompilerOptions, Program, Role
from symbucket.compiler.memory import MemoryPlan, PoolPlan, plan_graph
from symbucket.compiler.update import UpdateSpec, build_update
from symbucket.compiler.update_pieces import in_pieces, pieces_of
from symbucket.context import Context
from symbucket.engine.graph_metrics import metric_sums
from symbucket.engine.network_interface import BatchShapes, NetworkInterface
from symbucket.engine.parameters import ParameterStore
from symbucket.engine.programs import NetworkPrograms, RunRequest
from symbucket.engine.sharded_session import partial_ports
from symbucket.errors import DataError
from symbucket.io import DataDesc
from symbucket.runtime.arena import ROOM, trim
from symbucket.types import DType, Shape


@dataclass(frozen=True)
class KeyPlan:
    """One network: its models, bytes of the arrays that it has for itself, and its loops."""

    models: tuple[MemoryPlan, ...]
    data: int
    outputs: int
    loops: tuple[str, ...] = ()
    unrolled: tuple[str, ...] = ()


def plan_model(
    network: NetworkInterface,
    context: Context,
    shapes: BatchShapes,
    requests: Mapping[str, str] | None,
    options: CompilerOptions,
    eval_metric: Any,
    rows: Collection[str] = (),
) -> KeyPlan:
    """Compile a network as its executor does, and plan it.

    Args:
        network: what is compiled.
        context: where it runs.
        shapes: those of its data and labels.
        requests: what gradients are for; None: it is bound for inference.
        options: of the compiler.
        eval_metric: as for ``fit``.
        rows: the parameters that the optimizer updates from rows alone.
    """
    args, aux = network.infer(shapes)
    types = {**args, **aux}
    specs = _specs(network, shapes, eval_metric)
    differentiated = [n for n, request in (requests or {}).items() if request != "null"]
    programs = NetworkPrograms(
        network.symbol,
        context,
        types,
        differentiated,
        network.name,
        options,
        batch_axes=shapes.batch_axes,
    )
    models: Sequence[Program]
    if requests is not None:
        sparse = frozenset(n for n in rows if specs and requests.get(n) == "write")
        models = programs.training(RunRequest(specs, sparse)).models
    else:
        models = [programs.inference(RunRequest(specs))]
    shared = {*network.param_names, *aux}
    own = {n: _bytes(*args[n]) for n in args if n not in shared}  # also where no model reads them
    results: dict[str, int] = {}
    for model in models:
        for port in (*model.inputs, *model.outputs, *partial_ports(model)):
            size = _bytes(port.shape, port.dtype)
            if port.role in (Role.ARGUMENT, Role.STATE):
                continue
            if port.role is not Role.GRAD:
                results[port.name] = size
            elif port.of not in shared or (requests or {}).get(port.of) == "add":
                own[port.name] = size
    plans = tuple(m.plan for m in models if m.plan is not None)
    first = models[0]  # all have the loops of the symbol
    return KeyPlan(plans, sum(own.values()), sum(results.values()), first.loops, first.unrolled)


def _specs(network: NetworkInterface, shapes: BatchShapes, eval_metric: Any) -> tuple[Any, ...]:
    """The metric's sums that the step returns instead of outputs; none where it cannot."""
    if eval_metric is None:
        return ()
    metric = metrics.create(eval_metric)
    outputs = dict(network.output_shapes(shapes))
    sums = metric_sums(metric, outputs, {d.name: d.shape for d in shapes.labels})
    return () if sums is None else sums.graph_metrics


def shapes_of_key(key: Any, default: Any, bound: BatchShapes) -> BatchShapes:
    """The bound shapes of the default key with its length replaced by another key's."""
    if key == default:
        return bound
    numbers = all(isinstance(k, int) and not isinstance(k, bool) for k in (key, default))

    def sized(desc: DataDesc) -> DataDesc:
        if not numbers or sum(d == default for d in desc.shape) != 1:
            raise DataError(
                f"plan_memory: {desc.name} is bound with {desc.shape}; how it looks for "
                f"bucket key {key!r} cannot be told from the default key {default!r}. Give "
                "shapes=, a function of the key that gives (data_shapes, label_shapes)."
            )
        shape = tuple(key if d == default else d for d in desc.shape)
        return DataDesc(desc.name, shape, desc.dtype, desc.layout)

    return BatchShapes([sized(d) for d in bound.data], [sized(d) for d in bound.labels])


def plan_pool(
    plans: Mapping[Hashable, KeyPlan],
    store: ParameterStore,
    for_training: bool,
    optimizer: opt.Optimizer | None,
) -> PoolPlan:
    """Return the plan of all keys together, with their parameters and the optimizer's states."""
    gc.collect()  # the compiler's graphs are full of cycles
    trim()
    values = {**store.args, **store.aux}
    gradients = sum(_bytes(a.shape, a.dtype) for a in store.grads.values())
    states, update = 0, None
    if optimizer is not None and store.grads and for_training:
        states = gradients * len(optimizer.update_states())
        update = _plan_update(optimizer, [a.shape for a in store.grads.values()])
    return PoolPlan(
        {k: p.models for k, p in plans.items()},
        sum(_bytes(a.shape, a.dtype) for a in values.values()),
        gradients,
        states,
        {k: p.data for k, p in plans.items()},
        {k: p.outputs for k, p in plans.items()},
        update,
        ROOM,
        {k: p.loops for k, p in plans.items()},
        {k: p.unrolled for k, p in plans.items()},
    )


def _plan_update(optimizer: opt.Optimizer, shapes: list[Shape]) -> MemoryPlan:
    """The plan of the optimizer's model, with one row of scalars for all parameters."""
    optimizer = copy.copy(optimizer)  # some count in scalars
    scalars = tuple(optimizer.update_scalars(1, optimizer.lr, optimizer.wd))
    spec = UpdateSpec(
        tuple(shapes), tuple(optimizer.update_states()), (scalars,), (0,) * len(shapes)
    )
    spec = in_pieces(spec, pieces_of(spec, optimizer.emit_update))
    return plan_graph(build_update(spec, optimizer.emit_update, "optimizer").graph)


def _bytes(shape: Sequence[int], dtype: DType) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
