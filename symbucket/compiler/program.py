"""The compiler's result: a ready model and what its inputs and outputs mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from symbucket.compiler.autodiff.differentiate import differentiate, needs_head
from symbucket.compiler.autodiff.row_sparse import take_rows
from symbucket.compiler.autodiff.split import Split, split_at_heads
from symbucket.compiler.cache import remembered
from symbucket.compiler.fit_memory_limit import within_limit
from symbucket.compiler.gc_pause import paused_collector
from symbucket.compiler.lower import Lowered, lower
from symbucket.compiler.memory import Buffer, MemoryPlan, plan_graph, recompute
from symbucket.compiler.metrics import emit_metrics
from symbucket.compiler.options import CompilerOptions
from symbucket.compiler.rewrite import run_passes
from symbucket.compiler.rewrite.chunk_output_layer import CHUNKS_META
from symbucket.compiler.shorten_names import shorten_names
from symbucket.errors import NameConflictError
from symbucket.ir import IR_VERSION, Builder, dtype_of, shape_of
from symbucket.metric import GraphMetric
from symbucket.symbol.symbol import Symbol

PRODUCER = "symbucket"
DEFAULTS = CompilerOptions()


@dataclass(frozen=True)
class Tensor:
    """Name, shape and dtype of a model's input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Program:
    """A serialized ONNX model whose inputs and outputs go by these names.

    Inputs are the symbol's variables (data, labels, parameters, auxiliary states), all of them
    plain graph inputs: a runtime folds and pre-packs constants, and would go on with old weights
    after an update in place. ``X.head`` is the head gradient of output X. Outputs are the symbol's
    outputs, ``P.grad`` the gradient of argument P, ``S.new`` the next value of auxiliary state S.
    ``passes`` says how much each pass changed, ``plan`` what memory the model takes.
    """

    model: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    passes: Mapping[str, int] = field(default_factory=dict)
    plan: MemoryPlan | None = None

    def proto(self) -> onnx.ModelProto:
        """The model as a protobuf message, to look at or to save."""
        proto = onnx.ModelProto()
        proto.ParseFromString(self.model)
        return proto


@dataclass(frozen=True)
class TrainingPrograms:
    """A training step, whole or cut in two.

    ``step`` computes outputs, gradients and auxiliary updates in one run where no head gradients
    are needed. Otherwise ``forward`` gives outputs and the stash (``stash/...`` values that the
    backward part reads) and ``backward`` the gradients. ``heads`` names the outputs whose head
    gradients ``backward`` wants.
    """

    step: Program | None
    forward: Program | None
    backward: Program | None
    heads: tuple[str, ...]

    @property
    def models(self) -> list[Program]:
        """The models that there are."""
        return [p for p in (self.step, self.forward, self.backward) if p is not None]


_STORED = (TrainingPrograms, Program, Tensor, MemoryPlan, Buffer)


def compile_inference(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any] | None = None,
    name: str = "inference",
    fetch: Iterable[str] | None = None,
    metrics: Sequence[GraphMetric] = (),
    options: CompilerOptions = DEFAULTS,
) -> Program:
    """The model that computes the outputs of ``symbol`` with is_train false.

    ``fetch`` names the outputs to return (all by default), ``metrics`` are sums to return too.
    Raises MemoryLimitError where ``options.memory_limit`` is too small.
    """
    names = None if fetch is None else list(fetch)

    def build(tried: CompilerOptions) -> Program:
        return _inference(symbol, shapes, dtypes, name, names, metrics, tried)

    def made() -> Program:
        with paused_collector():
            return within_limit(build, lambda made: _need([made]), options, name)

    asked = symbol, shapes, dtypes or {}, name, names, metrics
    return remembered(made, _STORED[1:], options, "inference", *asked)


def _inference(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any] | None,
    name: str,
    fetch: Iterable[str] | None,
    metrics: Sequence[GraphMetric],
    options: CompilerOptions,
) -> Program:
    lowered = lower(symbol, shapes, dtypes or {}, training=False, name=name)
    names = output_names(symbol)
    fetched = set(names if fetch is None else fetch)
    outputs = dict(zip(names, lowered.outputs))
    measured = emit_metrics(lowered.emitter, metrics, outputs, lowered.variables)
    kept = {n: v for n, v in outputs.items() if n in fetched}
    outputs, changes = _forward(lowered, {**kept, **measured}, options)
    return _finish(lowered.graph, outputs, options, changes)


def compile_training(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any] | None = None,
    wanted: Iterable[str] = (),
    name: str = "training",
    fetch: Iterable[str] | None = None,
    metrics: Sequence[GraphMetric] = (),
    options: CompilerOptions = DEFAULTS,
    row_sparse: Collection[str] = (),
) -> TrainingPrograms:
    """The models of a training step with gradients of the arguments ``wanted``.

    ``fetch`` names the symbol outputs to return (all by default); what only others need is left
    out. ``metrics`` are sums that are computed in the graph and returned. ``row_sparse`` names
    gradients that may come as ``P.rows`` and ``P.values`` in place of ``P.grad``.

    Raises UnsupportedError that names every node without a gradient, MemoryLimitError where no way
    is found to stay under ``options.memory_limit``.
    """
    names = None if fetch is None else list(fetch)
    gradients = list(wanted)

    def build(tried: CompilerOptions) -> TrainingPrograms:
        return _training(symbol, shapes, dtypes, gradients, name, names, metrics, tried, row_sparse)

    def made() -> TrainingPrograms:
        with paused_collector():
            return within_limit(build, lambda made: _need(made.models), options, name)

    asked = symbol, shapes, dtypes or {}, gradients, name, names, metrics, frozenset(row_sparse)
    return remembered(made, _STORED, options, "training", *asked)


def _need(models: Sequence[Program]) -> tuple[int, bool]:
    """Bytes that models take together, one running at a time, and whether a loss is in chunks."""
    arrays: dict[str, int] = {}
    arena = 0
    for model in models:
        if model.plan is not None:
            arrays.update({**model.plan.inputs, **model.plan.outputs})
            arena = max(arena, model.plan.arena)
    return sum(arrays.values()) + arena, any(m.passes.get("chunk-output-layer") for m in models)


def _training(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any] | None,
    wanted: Iterable[str],
    name: str,
    fetch: Iterable[str] | None,
    metrics: Sequence[GraphMetric],
    options: CompilerOptions,
    row_sparse: Collection[str],
) -> TrainingPrograms:
    lowered = lower(symbol, shapes, dtypes or {}, training=True, name=name)
    names = output_names(symbol)
    fetched = set(names if fetch is None else fetch)
    forward = dict(zip(names, lowered.outputs))
    forward.update(emit_metrics(lowered.emitter, metrics, forward, lowered.variables))
    forward.update({f"{n}.new": v for n, v in lowered.aux_updates.items()})
    forward, changes = _forward(lowered, forward, options)
    variables = {n: lowered.variables[n] for n in wanted}
    outputs = [forward[n] for n in names]
    flags = needs_head(outputs, variables.values())
    headed = {n: forward[n] for n, flag in zip(names, flags) if flag}
    g = lowered.emitter
    heads = {v: g.input(f"{n}.head", shape_of(v), dtype_of(v)) for n, v in headed.items()}
    forward_nodes = list(lowered.graph)
    found = differentiate(g, outputs, heads, list(variables.values()))
    gradients = {}
    for n, v in variables.items():
        grad = found.get(v)
        gradients[f"{n}.grad"] = g.filled(shape_of(v), 0.0, dtype_of(v)) if grad is None else grad
    results = {n: v for n, v in forward.items() if n in fetched or n not in names}
    taken = [n for n in [*results, *gradients] if n in lowered.variables]
    if taken:
        raise NameConflictError(
            f"The variable {taken[0]!r} has the name of a result of the training step (P.grad is "
            "the gradient of P, S.new the next value of S). Give the variable another name."
        )
    if not headed:
        take_rows(g, gradients, row_sparse)
        whole = _own_values(g, {**results, **gradients})
        return TrainingPrograms(_finish(lowered.graph, whole, options, changes), None, None, ())
    cut: Split = split_at_heads(lowered.graph, forward_nodes, results, gradients)
    return TrainingPrograms(
        None,
        _finish(cut.forward, cut.forward_outputs, options, changes),
        _finish(cut.backward, cut.backward_outputs, options),
        tuple(headed),
    )


def _forward(
    lowered: Lowered, outputs: dict[str, ir.Value], options: CompilerOptions
) -> tuple[dict[str, ir.Value], dict[str, int]]:
    """Run the forward passes; gives the outputs as they are afterwards, and what was changed."""
    graph = lowered.graph
    graph.outputs.extend(_own_values(lowered.emitter, outputs).values())
    changes = run_passes(graph, "forward", options.disable)
    found = dict(zip(outputs, graph.outputs))
    graph.outputs.clear()
    return found, changes


def output_names(symbol: Symbol) -> list[str]:
    """The symbol's output names, made unique: a model's inputs and outputs all differ in name.

    An output named like an input (a variable is an output of its own name) becomes ``NAME.out``,
    the second one of a name ``NAME.1``.
    """
    inputs = set(symbol.list_inputs())
    seen: dict[str, int] = {}
    names = []
    for name in symbol.list_outputs():
        if name in inputs:
            name = f"{name}.out"
        count = seen.get(name, 0)
        seen[name] = count + 1
        names.append(name if not count else f"{name}.{count}")
    return names


def _own_values(g: Builder, outputs: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
    """Outputs as values of their own: inputs and values named twice go through an Identity."""
    taken: set[ir.Value] = set()
    own = {}
    for name, value in outputs.items():
        plain = value.producer() is None or value in taken
        own[name] = g.op("Identity", value) if plain else value
        taken.add(own[name])
    return own


def _finish(
    graph: ir.Graph,
    outputs: Mapping[str, ir.Value],
    options: CompilerOptions,
    before: Mapping[str, int] | None = None,
) -> Program:
    """Run the remaining passes, name the outputs, drop unused inputs, plan and serialize.

    ``before`` are the changes that passes have made to the graph already.
    """
    graph.outputs.extend(outputs.values())
    changes = dict(before or {})
    graph.meta[CHUNKS_META] = options.loss_chunks
    for stage in ("training", "final"):
        for name, count in run_passes(graph, stage, options.disable).items():
            changes[name] = changes.get(name, 0) + count
    inputs = [v for v in graph.inputs if v.uses()]
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    finals = list(graph.outputs)
    for name, value in zip(outputs, finals):
        value.name = name
    plan = plan_graph(graph)
    limit = options.memory_limit
    if limit is not None and plan.total > limit:
        changes["recompute"] = recompute(graph, limit - plan.arrays)
        plan = plan_graph(graph)
    tensors = tuple(map(_tensor, inputs)), tuple(map(_tensor, finals))
    if not options.value_info:
        _forget_types(graph)
    proto = ir.serde.serialize_model(ir.Model(graph, ir_version=IR_VERSION, producer_name=PRODUCER))
    if not options.value_info:
        shorten_names(proto.graph)
    return Program(
        proto.SerializeToString(),
        *tensors,
        changes,
        plan,
    )


def _forget_types(graph: ir.Graph) -> None:
    """Static types of inner values are not written; the runtime infers them itself.

    Sizes known only at run time keep their names: without them the runtime cannot tell that two
    values are of one size, and writes none of them in place (a second [rows, classes]).
    """
    outputs = set(graph.outputs)
    for node in graph:
        for value in node.outputs:
            if value not in outputs and value.shape is not None and value.shape.is_static():
                value.shape = value.type = None


def _tensor(value: ir.Value) -> Tensor:
    assert value.name is not None
    return Tensor(value.name, shape_of(value), np.dtype(dtype_of(value).numpy()))
