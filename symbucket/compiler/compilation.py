"""The steps of a compilation that are no passes; ``pipeline.py`` says in which order they run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir

from symbucket.compiler.autodiff import row_sparse, split
from symbucket.compiler.autodiff.differentiate import differentiate, needs_head
from symbucket.compiler.capture_inputs import capture_inputs
from symbucket.compiler.loops.group import grouped
from symbucket.compiler.loops.grouped import Grouped
from symbucket.compiler.lower import Lowered, lower, outputs_that_depend
from symbucket.compiler.memory import plan_graph, recompute
from symbucket.compiler.metrics import emit_metrics
from symbucket.compiler.noise_inputs import NoiseInput, noise_to_inputs
from symbucket.compiler.ports import Port, PortedGraph, PortId, Role, check_names, distinct_values
from symbucket.compiler.program import Program, ValueType
from symbucket.compiler.request import CompileRequest
from symbucket.compiler.shards.plan import of_all_shards
from symbucket.compiler.shards.shard_rows import shard
from symbucket.compiler.shorten_names import shorten_names
from symbucket.ir import IR_VERSION, body_of, dtype_of, shape_of
from symbucket.symbol.symbol import Symbol

PRODUCER = "symbucket"


@dataclass
class Compilation:
    """A compilation under way. Every step takes it and changes it.

    Attributes:
        request: what is asked.
        network: the symbol with loops in the place of equal steps; None: as the user wrote it.
        lowered: the forward graph with the symbol's values.
        graphs: the graphs of the models; one, or after the split those of forward and backward.
        forward_nodes: the nodes that are no part of the gradients.
        heads: the outputs whose head gradients are inputs.
        noise: what to draw for the inputs that are noise.
        programs: the ready models.
    """

    request: CompileRequest
    network: Grouped | None = None
    lowered: Lowered = field(init=False)
    graphs: list[PortedGraph] = field(default_factory=list)
    forward_nodes: list[ir.Node] = field(default_factory=list)
    heads: tuple[str, ...] = ()
    noise: list[NoiseInput] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)


def roll_loops(c: Compilation) -> None:
    """Put loops into the place of equal steps, if the target runs or unrolls them."""
    if c.request.target.compiles_loops:
        c.network = grouped(c.request.symbol)


def lower_symbol(c: Compilation) -> None:
    """Translate the symbol into a forward graph."""
    request = c.request
    c.lowered = lower(
        request.symbol,
        request.shapes,
        request.dtypes,
        request.trains,
        request.name,
        c.network,
        labels_in_range=request.options.out_of_range == "error",
    )
    states = set(request.symbol.list_auxiliary_states())
    inputs = {
        value: PortId(Role.STATE if name in states else Role.ARGUMENT, name)
        for name, value in c.lowered.variables.items()
    }
    names = output_names(request.symbol)
    outputs = {PortId(Role.OUTPUT, name): v for name, v in zip(names, c.lowered.outputs)}
    c.graphs = [PortedGraph(c.lowered.graph, inputs, outputs)]


def bind_noise(c: Compilation) -> None:
    """Make inputs of random numbers, unless the model has to draw them itself."""
    if c.request.target.binds_noise:
        (ported,) = c.graphs
        c.noise = noise_to_inputs(ported, c.request.trains)


def add_metrics(c: Compilation) -> None:
    """Append the sums of metrics and the next auxiliary states to the outputs."""
    (ported,) = c.graphs
    by_name = {port.of: value for port, value in ported.outputs.items()}
    sums = emit_metrics(c.lowered.emitter, c.request.metrics, by_name, c.lowered.variables)
    if not c.request.training:
        _keep_fetched(ported, c.request.fetch)
    for metric, (total, count) in sums.items():
        ported.outputs[PortId(Role.METRIC_TOTAL, metric)] = total
        ported.outputs[PortId(Role.METRIC_COUNT, metric)] = count
    if c.request.training:
        for name, value in c.lowered.aux_updates.items():
            ported.outputs[PortId(Role.NEXT_STATE, name)] = value
    ported.outputs = distinct_values(c.lowered.emitter, ported.outputs)


def add_gradients(c: Compilation) -> None:
    """Append the backward graph: gradients are outputs, head gradients inputs."""
    if not c.request.training:
        return
    (ported,) = c.graphs
    g = c.lowered.emitter
    outputs = {p.of: v for p, v in ported.outputs.items() if p.role is Role.OUTPUT}
    variables = {name: c.lowered.variables[name] for name in c.request.gradients}
    flags = needs_head(list(outputs.values()), variables.values())
    # A loop's stack depends on more than each of its steps does.
    depends = outputs_that_depend(c.request.symbol, set(variables))
    flags = [flag and depending for flag, depending in zip(flags, depends)]
    heads: dict[ir.Value, ir.Value] = {}
    for (name, value), flag in zip(outputs.items(), flags):
        if flag:
            port = PortId(Role.HEAD, name)
            heads[value] = g.input(port.name, shape_of(value), dtype_of(value))
            ported.inputs[heads[value]] = port
    c.heads = tuple(name for name, flag in zip(outputs, flags) if flag)
    c.forward_nodes = list(ported.graph)
    gradients = differentiate(g, list(outputs.values()), heads, list(variables.values()))
    _keep_fetched(ported, c.request.fetch)
    for name, variable in variables.items():
        gradient = gradients.get(variable)
        if gradient is None:
            gradient = g.filled(shape_of(variable), 0.0, dtype_of(variable))
        ported.outputs[PortId(Role.GRAD, name)] = gradient
    check_names(ported)


def split_at_heads(c: Compilation) -> None:
    """Make two graphs of one, if head gradients come in between."""
    if c.heads:
        (ported,) = c.graphs
        c.graphs = list(split.split_at_heads(ported, c.forward_nodes))


def take_rows(c: Compilation) -> None:
    """Return gradients by rows, if they were asked for and head gradients are not."""
    if c.request.training and not c.heads:
        (ported,) = c.graphs
        row_sparse.take_rows(ported.outputs, c.request.row_sparse)
        ported.outputs = distinct_values(c.lowered.emitter, ported.outputs)


def shard_rows(c: Compilation) -> None:
    """Make a training step that of a part of the batch's rows, if that was asked and is right."""
    request = c.request
    if request.training and request.batch_axes and request.target.shards > 1:
        for ported in c.graphs:
            shard(ported, request, heads=bool(c.heads))


def plan_memory(c: Compilation) -> None:
    """Name the outputs, drop unused inputs, plan; recompute activations to meet the limit."""
    for ported in c.graphs:
        check_names(ported)
        graph = ported.graph
        used = [v for v in graph.inputs if v.uses()]
        graph.inputs.clear()
        graph.inputs.extend(used)
        for port, value in ported.outputs.items():
            value.name = port.name
        graph.outputs.extend(ported.outputs.values())
        if c.network is not None:
            loops = sum(body_of(node) is not None for node in graph)
            operators = ported.changes.get("use-recurrent-operators", 0)
            ported.changes["roll-loops"] = loops + operators
        gradients = [port.name for port in ported.outputs if port.role is Role.GRAD]
        plan = plan_graph(graph, gradients)
        limit = c.request.options.memory_limit
        if limit is not None and plan.total > limit:
            ported.changes["recompute"] = recompute(graph, limit - plan.arrays)
            plan = plan_graph(graph, gradients)
        ported.plan = plan if ported.sharding is None else of_all_shards(plan, ported.sharding)


def serialize(c: Compilation) -> None:
    """Write the models."""
    value_info = c.request.options.value_info
    for ported in c.graphs:
        graph = ported.graph
        shapes = ported.whole_shapes
        inputs = tuple(Port.of_value(ported.inputs[v], v, shapes) for v in graph.inputs)
        outputs = tuple(Port.of_value(port, v, shapes) for port, v in ported.outputs.items())
        names = {port.name for port in inputs}
        sharding = ported.sharding
        if sharding is not None:
            sharding = sharding.only(port.name for port in (*inputs, *outputs))
        noise = tuple(draw for draw in c.noise if draw.name in names)
        capture_inputs(graph)
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name=PRODUCER)
        proto = ir.serde.serialize_model(model)
        values: tuple[ValueType, ...] = ()
        if not value_info:
            shorten_names(proto.graph)
            values = _take_types(proto.graph)
        c.programs.append(
            Program(
                proto.SerializeToString(),
                inputs,
                outputs,
                noise,
                ported.changes,
                ported.plan,
                c.lowered.loops,
                c.lowered.unrolled,
                values,
                sharding,
                ported.unsharded,
            )
        )


def output_names(symbol: Symbol) -> list[str]:
    """Return the symbol's output names, made unique: a model's inputs and outputs all differ.

    An output named like an input (a variable is an output of its own name) becomes ``NAME.out``,
    the second one of a name ``NAME.1``.
    """
    inputs = set(symbol.list_inputs())
    counts: dict[str, int] = {}
    names = []
    for name in symbol.list_outputs():
        if name in inputs:
            name = f"{name}.out"
        count = counts.get(name, 0)
        counts[name] = count + 1
        names.append(name if not count else f"{name}.{count}")
    return names


def _keep_fetched(ported: PortedGraph, fetch: Collection[str] | None) -> None:
    """Drop the symbol outputs that the model does not return."""
    if fetch is not None:
        ported.outputs = {
            port: value
            for port, value in ported.outputs.items()
            if port.role is not Role.OUTPUT or port.of in fetch
        }


def _take_types(graph: onnx.GraphProto) -> tuple[ValueType, ...]:
    """Remove the static types of inner values, which the runtime infers itself, and return them.

    Sizes known only at run time keep their names: without them the runtime cannot tell that two
    values are of one size, and writes none of them in place (a second [rows, classes]).
    """
    values: list[ValueType] = []
    rest: list[onnx.ValueInfoProto] = []
    for value in graph.value_info:
        tensor = value.type.tensor_type
        if all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shape = tuple(dim.dim_value for dim in tensor.shape.dim)
            values.append((value.name, tensor.elem_type, shape))
        else:
            rest.append(value)
    del graph.value_info[:]
    graph.value_info.extend(rest)
    return tuple(values)
