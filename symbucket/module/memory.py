"""What a module's networks take in memory, before anything runs."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from symbucket.compiler import Program, compile_inference, compile_training, output_names
from symbucket.compiler.memory import MemoryPlan, PoolPlan, plan_graph
from symbucket.module import metric as metrics
from symbucket.module import optimizer as opt
from symbucket.module.measure import graph_measures
from symbucket.runtime.arena import ROOM, trim
from symbucket.runtime.update import UpdateSpec, build_update

if TYPE_CHECKING:
    from symbucket.io import DataDesc
    from symbucket.module.module import Module


@dataclass(frozen=True)
class KeyPlan:
    """One network: its models, and bytes of the arrays that it has for itself."""

    models: tuple[MemoryPlan, ...]
    data: int
    outputs: int


def optimizer_of(module: Module, optimizer: Any, params: Any) -> opt.Optimizer | None:
    """The optimizer to plan with: a new one of that name, else the module's."""
    if optimizer is not None:
        return module._make_optimizer(optimizer, dict(params), list(module.store.grads))
    return module.updater.optimizer if module.optimizer_initialized else None


def plan_model(
    module: Module,
    data: list[DataDesc],
    labels: list[DataDesc],
    eval_metric: Any,
    rows: Collection[str] = (),
) -> KeyPlan:
    """Compile a module's network for these shapes, and plan it.

    ``rows``: the parameters that the optimizer updates from rows alone.
    """
    args, aux = module._infer(data, labels)
    requests = module._requests()
    types = {**args, **aux}
    shapes = {n: shape for n, (shape, _) in types.items()}
    dtypes = {n: dtype for n, (_, dtype) in types.items()}
    symbol = module.symbol
    specs = _specs(module, shapes, labels, eval_metric)
    fetch = () if specs else None
    models: Sequence[Program]
    if module.for_training:
        wanted = [n for n, request in requests.items() if request != "null"]
        name = f"{module._name} training"
        sparse = [n for n in rows if specs and requests.get(n) == "write"]
        models = compile_training(
            symbol, shapes, dtypes, wanted, name, fetch, specs, module.options, sparse
        ).models
    else:
        name = f"{module._name} inference"
        models = [compile_inference(symbol, shapes, dtypes, name, fetch, specs, module.options)]
    shared = {*module.param_names, *aux}
    own = {n: _bytes(*args[n]) for n in args if n not in shared}  # also where no model reads them
    results: dict[str, int] = {}
    outputs = set(output_names(symbol))
    for model in models:
        for tensor in (*model.inputs, *model.outputs):
            size = _bytes(tensor.shape, tensor.dtype)
            name, _, kind = tensor.name.rpartition(".")
            if tensor.name in types or (kind == "new" and name in aux):
                continue
            if tensor.name in outputs or kind != "grad":
                results[tensor.name] = size
            elif name not in shared or requests[name] == "add":
                own[tensor.name] = size
    plans = tuple(m.plan for m in models if m.plan is not None)
    return KeyPlan(plans, sum(own.values()), sum(results.values()))


def _specs(
    module: Module, shapes: Mapping[str, Any], labels: list[DataDesc], eval_metric: Any
) -> tuple[Any, ...]:
    """The metric's sums that the step returns instead of outputs; none where it cannot."""
    if eval_metric is None:
        return ()
    metric = metrics.create(eval_metric)
    _, found, _ = module.symbol.infer_shape(
        **{n: s for n, s in shapes.items() if n in module.symbol.list_arguments()}
    )
    outputs = dict(zip(module.output_names, found))
    measures = graph_measures(metric, outputs, {d.name: d.shape for d in labels})
    return tuple(dict.fromkeys(s for _, many in measures or [] for s in many))


def rows_of(module: Module, optimizer: opt.Optimizer | None) -> list[str]:
    """The parameters whose update needs no more than the rows that a step has read."""
    if optimizer is None:
        return []
    return [n for i, n in enumerate(module.store.grads) if optimizer.rows_suffice(i)]


def pool_of(
    plans: Mapping[Hashable, KeyPlan], module: Module, optimizer: opt.Optimizer | None
) -> PoolPlan:
    """The plan of all keys together; ``module`` has their parameters and optimizer."""
    gc.collect()  # the compiler's graphs are full of cycles
    trim()
    store = module.store
    fixed = {**store.args, **store.aux}
    gradients = sum(_bytes(a.shape, a.dtype) for a in store.grads.values())
    states, update = 0, None
    if optimizer is not None and store.grads and module.for_training:
        states = gradients * len(optimizer.state_values())
        update = _plan_update(optimizer, [a.shape for a in store.grads.values()])
    return PoolPlan(
        {k: p.models for k, p in plans.items()},
        sum(_bytes(a.shape, a.dtype) for a in fixed.values()),
        gradients,
        states,
        {k: p.data for k, p in plans.items()},
        {k: p.outputs for k, p in plans.items()},
        update,
        ROOM,
    )


def _plan_update(optimizer: opt.Optimizer, shapes: list[tuple[int, ...]]) -> MemoryPlan:
    """The plan of the optimizer's model, with one row of scalars for all parameters."""
    optimizer = copy.copy(optimizer)  # some count in scalars
    scalars = tuple(optimizer.scalars(1, optimizer.lr, optimizer.wd))
    spec = UpdateSpec(
        tuple(shapes), tuple(optimizer.state_values()), (scalars,), (0,) * len(shapes)
    )
    return plan_graph(build_update(spec, optimizer.emit, "optimizer").graph)


def _bytes(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
