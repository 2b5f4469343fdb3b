"""The compiler's result: a ready model and what its inputs and outputs mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from symbucket.compiler.differentiate import differentiate, needs_head
from symbucket.compiler.lower import Lowered, lower
from symbucket.compiler.metrics import MetricSpec, emit_metrics
from symbucket.compiler.options import CompilerOptions
from symbucket.compiler.passes import run_passes
from symbucket.compiler.split import Split, split_at_heads
from symbucket.errors import NameConflictError
from symbucket.ir import IR_VERSION, Builder, dtype_of, shape_of
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
    """

    model: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    passes: Mapping[str, int] = field(default_factory=dict)

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


def compile_inference(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any] | None = None,
    name: str = "inference",
    fetch: Iterable[str] | None = None,
    metrics: Sequence[MetricSpec] = (),
    options: CompilerOptions = DEFAULTS,
) -> Program:
    """The model that computes the outputs of ``symbol`` with is_train false.

    ``fetch`` names the outputs to return (all by default), ``metrics`` are sums to return too.
    """
    lowered = lower(symbol, shapes, dtypes or {}, training=False, name=name)
    names = output_names(symbol)
    fetched = set(names if fetch is None else fetch)
    outputs = dict(zip(names, lowered.outputs))
    measured = emit_metrics(lowered.emitter, metrics, outputs, lowered.variables)
    kept = {n: v for n, v in outputs.items() if n in fetched}
    return _finish(lowered.graph, _forward(lowered, {**kept, **measured}, options), options)


def compile_training(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any] | None = None,
    wanted: Iterable[str] = (),
    name: str = "training",
    fetch: Iterable[str] | None = None,
    metrics: Sequence[MetricSpec] = (),
    options: CompilerOptions = DEFAULTS,
) -> TrainingPrograms:
    """The models of a training step with gradients of the arguments ``wanted``.

    ``fetch`` names the symbol outputs to return (all by default); what only others need is left
    out. ``metrics`` are sums that are computed in the graph and returned. Raises UnsupportedError
    that names every node without a gradient.
    """
    lowered = lower(symbol, shapes, dtypes or {}, training=True, name=name)
    names = output_names(symbol)
    fetched = set(names if fetch is None else fetch)
    forward = dict(zip(names, lowered.outputs))
    forward.update(emit_metrics(lowered.emitter, metrics, forward, lowered.variables))
    forward.update({f"{n}.new": v for n, v in lowered.aux_updates.items()})
    forward = _forward(lowered, forward, options)
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
        whole = _own_values(g, {**results, **gradients})
        return TrainingPrograms(_finish(lowered.graph, whole, options), None, None, ())
    cut: Split = split_at_heads(lowered.graph, forward_nodes, results, gradients)
    return TrainingPrograms(
        None,
        _finish(cut.forward, cut.forward_outputs, options),
        _finish(cut.backward, cut.backward_outputs, options),
        tuple(headed),
    )


def _forward(
    lowered: Lowered, outputs: dict[str, ir.Value], options: CompilerOptions
) -> dict[str, ir.Value]:
    """Run the forward passes; gives the outputs as they are afterwards."""
    graph = lowered.graph
    graph.outputs.extend(_own_values(lowered.emitter, outputs).values())
    run_passes(graph, "forward", options.disable)
    found = dict(zip(outputs, graph.outputs))
    graph.outputs.clear()
    return found


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


def _finish(graph: ir.Graph, outputs: Mapping[str, ir.Value], options: CompilerOptions) -> Program:
    """Run the remaining passes, name the outputs, drop unused inputs and serialize."""
    graph.outputs.extend(outputs.values())
    changes = run_passes(graph, "training", options.disable)
    for name, count in run_passes(graph, "final", options.disable).items():
        changes[name] = changes.get(name, 0) + count
    inputs = [v for v in graph.inputs if v.uses()]
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    finals = list(graph.outputs)
    for name, value in zip(outputs, finals):
        value.name = name
    proto = ir.serde.serialize_model(ir.Model(graph, ir_version=IR_VERSION, producer_name=PRODUCER))
    if not options.value_info:
        del proto.graph.value_info[:]
    return Program(
        proto.SerializeToString(),
        tuple(_tensor(v) for v in inputs),
        tuple(_tensor(v) for v in finals),
        changes,
    )


def _tensor(value: ir.Value) -> Tensor:
    assert value.name is not None
    return Tensor(value.name, shape_of(value), np.dtype(dtype_of(value).numpy()))
