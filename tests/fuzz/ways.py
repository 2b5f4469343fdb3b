"""Every way in which the library computes a network; each returns results by name.

``output 0``, ``gradient of v1`` and ``next moving_mean`` are names that many ways have; results of
one name must agree. A way raises Skip, with the reason, if a network cannot go it. Long, because it
is one list.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

import symbucket as sb
from symbucket.compiler import (
    CompilerOptions,
    Program,
    Role,
    compile_inference,
    compile_training,
    pass_names,
)
from symbucket.compiler.fit_memory_limit import bytes_needed
from symbucket.compiler.target import PORTABLE
from symbucket.context import cpu
from symbucket.errors import MemoryLimitError, ShapeError, UnsupportedError
from symbucket.export.merge import merge_step
from symbucket.runtime.ndarray import NDArray
from symbucket.serve import Request
from symbucket.symbol import Symbol
from symbucket.types import Array
from tests.fuzz.networks import ROWS, Network
from tests.ops.op_harness import Runner

Results = dict[str, Array]
DEFAULTS = CompilerOptions()


class Skip(Exception):  # noqa: N818 - no error
    """A network that cannot be computed in a way, and why."""


@dataclass(frozen=True)
class Way:
    """A way of computing a network.

    ``base`` is the way that results are compared with; ``same_step``: random numbers are those of
    the base too, since both run the same step of the same executors.
    """

    name: str
    run: Callable[[Network], Results]
    base: str
    same_step: bool = False

    @property
    def is_base(self) -> bool:
        """Whether other ways are compared with this one."""
        return not self.base


WAYS: dict[str, Way] = {}


def way(name: str, base: str, same_step: bool = False) -> Callable[..., Any]:
    """Enter a function as a way."""

    def enter(function: Callable[[Network], Results]) -> Callable[[Network], Results]:
        WAYS[name] = Way(name, function, base, same_step)
        return function

    return enter


def _options(*disable: str, **more: Any) -> CompilerOptions:
    return CompilerOptions(disable=frozenset(disable), **more)


# Executors ---------------------------------------------------------------------------------------


def _executor(
    network: Network, options: CompilerOptions = DEFAULTS, request: str = "write"
) -> sb.Executor:
    """An executor over copies of the arrays, at the first step of the network's seed."""
    sb.random.seed(network.seed)
    args = {n: sb.nd.array(a, dtype=a.dtype) for n, a in network.args.items()}
    aux = {n: sb.nd.array(a, dtype=a.dtype) for n, a in network.aux.items()}
    grads = {n: NDArray.zeros(args[n].shape, args[n].dtype, cpu()) for n in network.wanted}
    requests = {n: request if n in grads else "null" for n in args}
    return sb.Executor(network.symbol, cpu(), args, grads, requests, aux, options=options)


def _outputs(arrays: Iterable[Any]) -> Results:
    return {f"output {i}": np.array(_host(a)) for i, a in enumerate(arrays)}


def _host(array: Any) -> Array:
    return array.asnumpy() if isinstance(array, NDArray) else np.asarray(array)


def _state_of(bound: sb.Executor) -> Results:
    gradients = {
        f"gradient of {n}": a.asnumpy() for n, a in bound.grad_dict.items() if a is not None
    }
    return {**gradients, **{f"next {n}": a.asnumpy() for n, a in bound.aux_dict.items()}}


def infer(network: Network, options: CompilerOptions = DEFAULTS) -> Results:
    """Outputs with is_train false."""
    return _outputs(_executor(network, options).forward(is_train=False))


def train(network: Network, options: CompilerOptions = DEFAULTS, times: int = 1) -> Results:
    """Outputs, gradients and next states of a step; gradients of several are added up."""
    bound = _executor(network, options, "write" if times == 1 else "add")
    heads = network.heads()
    aux = network.aux
    results = {}
    for _ in range(times):
        for name, array in aux.items():
            bound.aux_dict[name][...] = array
        results = _outputs(bound.forward(is_train=True))
        bound.backward(heads)
    return {**results, **_state_of(bound)}


def _one_pass(network: Network) -> str:
    """The pass that is left out of this network."""
    passes = pass_names()
    return passes[network.seed % len(passes)]


way("inference", "")(infer)
way("training", "")(train)


@way("inference without passes", "inference", same_step=True)
def _(network: Network) -> Results:
    return infer(network, _options(*pass_names()))


@way("training without passes", "training", same_step=True)
def _(network: Network) -> Results:
    return train(network, _options(*pass_names()))


@way("training without one pass", "training", same_step=True)
def _(network: Network) -> Results:
    return train(network, _options(_one_pass(network)))


@way("training without some passes", "training", same_step=True)
def _(network: Network) -> Results:
    rng = np.random.default_rng([network.seed, 13])
    return train(network, _options(*(n for n in pass_names() if rng.random() < 0.4)))


@way("training, loops expanded", "training", same_step=True)
def _(network: Network) -> Results:
    return train(network, _options("roll-loops"))


@way("training, loops rolled and no LSTM operator", "training", same_step=True)
def _(network: Network) -> Results:
    return train(network, _options("use-recurrent-operators"))


@way("outputs of training", "inference")
def _(network: Network) -> Results:
    if network.has_modes:
        raise Skip("training computes other outputs")
    results = train(network)
    return {n: a for n, a in results.items() if n.startswith("output")}


@way("gradients added up", "training")
def _(network: Network) -> Results:
    results = train(network, times=2)
    return {n: a / 2 if n.startswith("gradient") else a for n, a in results.items()}


@way("output layer in chunks", "training", same_step=True)
def _(network: Network) -> Results:
    return train(network, _options(loss_chunks=2))


@way("less memory", "training", same_step=True)
def _(network: Network) -> Results:
    if len(network.operators) < (8 if network.everywhere else 30):
        raise Skip("small")
    programs = compile_training(network.symbol, network.shapes, network.dtypes, network.wanted)
    try:
        return train(network, _options(memory_limit=bytes_needed(programs) - 1))
    except MemoryLimitError:
        raise Skip("needs its memory") from None


@way("from the cache", "training", same_step=True)
def _(network: Network) -> Results:
    with tempfile.TemporaryDirectory() as folder:
        options = _options(cache_dir=folder)
        train(network, options)
        return train(network, options)


@way("symbol through JSON", "training", same_step=True)
def _(network: Network) -> Results:
    return train(network.of(sb.sym.load_json(network.symbol.tojson())))


@way("inner values returned too", "inference", same_step=True)
def _(network: Network) -> Results:
    count = len(network.symbol)
    inner = network.symbol.get_internals()
    group = sb.sym.Group([*network.symbol, *inner])
    results = infer(network.of(group))
    return {f"output {i}": results[f"output {i}"] for i in range(count)}


@way("head gradients inside", "training")
def _(network: Network) -> Results:
    """Gradients of a loss that multiplies outputs with head gradients: one model, not two."""
    losses, inputs = [], dict(network.inputs)
    for i, (output, head) in enumerate(zip(network.symbol, network.heads())):
        node, _ = output.heads[0]
        if node.op is not None and node.op.is_loss:
            losses.append(output)
            continue
        name = f"head{i}"
        dtype = output.complete_types(**{n: network.dtypes[n] for n in output.list_arguments()})[1][
            0
        ]
        inputs[name] = head.astype(dtype)
        losses.append(sb.sym.MakeLoss(sb.sym.elemwise_mul(output, sb.sym.Variable(name))))
    whole = dataclasses.replace(network, symbol=sb.sym.Group(losses), inputs=inputs)
    results = train(whole)
    return {n: a for n, a in results.items() if not n.startswith("output")}


@way("slopes of the outputs", "training")
def _(network: Network) -> Results:
    """Gradients, moved to where differences of the outputs say they are if that is elsewhere.

    Differences are taken along one direction for each variable, in float32; at kinks and where they
    are not steady they say nothing.
    """
    passed_through = ("_contrib_round_ste", "_contrib_sign_ste")
    if network.has_modes or any(
        op.is_loss or op.op_name in passed_through for op in network.operators
    ):
        raise Skip("gradients are not those of the outputs")
    if any(op.op_name in ("max", "min") for op in network.operators):
        raise Skip("elements that tie get the whole gradient each, as in MXNet")
    gradients = {n: a for n, a in train(network).items() if n.startswith("gradient")}
    bound, heads = _executor(network), network.heads()
    rng = np.random.default_rng([network.seed, 17])

    def value(name: str, moved: Array) -> tuple[float, float]:
        bound.arg_dict[name][...] = moved
        terms = [
            a.asnumpy().astype(np.float64) * h for a, h in zip(bound.forward(is_train=False), heads)
        ]
        return sum(float(t.sum()) for t in terms), sum(float(np.abs(t).sum()) for t in terms)

    for name in network.wanted:
        start, key = network.inputs[name], f"gradient of {name}"
        along = rng.choice([-1.0, 1.0], start.shape) * rng.uniform(0.5, 1.0, start.shape)
        here, scale = value(name, start)
        step = 2e-3
        below, above, low, high = (
            value(name, start + k * step * along)[0] for k in (-1.0, 1.0, -4.0, 4.0)
        )
        value(name, start)
        sides = (here - below) / step, (above - here) / step
        slope, wide = sum(sides) / 2, (high - low) / (8 * step)
        expected = float((gradients[key] * along).sum())
        doubt = 3e-6 * scale / step + 0.03 * max(abs(slope), abs(expected))
        steady = max(abs(sides[0] - sides[1]), abs(slope - wide)) <= doubt
        if steady and abs(slope - expected) > 2 * doubt:
            shift = along * (slope - expected) / float((along * along).sum())
            gradients[key] = gradients[key] + shift
    return gradients


# Models run by other means -----------------------------------------------------------------------


def _portable(network: Network) -> Program:
    return compile_inference(network.symbol, network.shapes, network.dtypes, target=PORTABLE)


def _numbered(results: Mapping[str, Array], program: Program) -> Results:
    ports = program.outputs_of(Role.OUTPUT)
    return {f"output {i}": results[p.name] for i, p in enumerate(ports)}


@way("portable model", "inference")
def _(network: Network) -> Results:
    program = _portable(network)
    return _numbered(Runner(program.model).run(network.inputs), program)


@way("portable model of training", "training")
def _(network: Network) -> Results:
    programs = compile_training(
        network.symbol,
        network.shapes,
        network.dtypes,
        network.wanted,
        options=_options(value_info=True),  # as an export does it: names stay
        target=PORTABLE,
    )
    program = programs.step
    if program is None:
        assert programs.forward is not None
        assert programs.backward is not None
        program = merge_step(programs.forward, programs.backward)
    ports = program.inputs_of(Role.HEAD)
    names = [p.name for p in program.outputs_of(Role.OUTPUT)]
    heads = {f"{n}.head": h for n, h in zip(names, network.heads())}
    feeds = {p.name: heads[p.name].astype(p.dtype) for p in ports}
    results = Runner(program.model).run({**network.inputs, **feeds})
    named = _numbered(results, program)
    named.update({f"gradient of {p.of}": results[p.name] for p in program.outputs_of(Role.GRAD)})
    named.update({f"next {p.of}": results[p.name] for p in program.outputs_of(Role.NEXT_STATE)})
    return named


@way("reference evaluator", "inference")
def _(network: Network) -> Results:
    from onnx.reference import ReferenceEvaluator

    program = _portable(network)
    proto = program.proto()
    operators = {node.op_type for node in proto.graph.node}
    if operators & {"MaxPool", "AveragePool", "LpPool"}:
        raise Skip("onnx's evaluator takes pads of pools in another order than the standard's")
    if any(n.op_type == "ConvTranspose" and _groups_of(n) > 1 for n in proto.graph.node):
        raise Skip("onnx's evaluator has no groups of transposed convolutions")
    feeds = {p.name: network.inputs[p.name] for p in program.inputs}
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(proto).run(None, feeds)
    except ValueError as error:
        # np.choose takes a few dozen arrays; the evaluator then tries a way that is wrong.
        if (
            "GatherElements" not in operators
            or "array objects" not in f"{error} {error.__context__}"
        ):
            raise
        raise Skip("onnx's evaluator gathers from few elements only") from None
    return _numbered(dict(zip((p.name for p in program.outputs), results)), program)


def _groups_of(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "group"), 1)


@way("imported", "inference")
def _(network: Network) -> Results:
    """The portable model, read as an ONNX model and compiled again."""
    program = _portable(network)
    symbol = sb.sym.from_onnx(program.proto(), name="net", params=[])
    return infer(dataclasses.replace(network, symbol=symbol, wanted=[]))


# Modules -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """The variables of a network as a module divides them."""

    data: dict[str, Array]
    params: dict[str, Array]


def _parts(network: Network, rows: int | None = None) -> _Parts:
    """Indices and one float input are data, the others parameters; all data have ``rows`` rows."""
    data = {n: a for n, a in network.args.items() if n not in network.wanted}
    if rows == ROWS:
        data.update({n: a for n, a in network.args.items() if a.shape[:1] == (ROWS,)})
    for name, array in network.args.items():
        if name in network.wanted and array.ndim and rows in (None, array.shape[0]):
            data[name] = array
            break
    if not data or any(a.ndim == 0 for a in data.values()):
        raise Skip("no input could be data")
    return _Parts(data, {n: a for n, a in network.args.items() if n not in data})


def check_dtypes(network: Network, parts: _Parts) -> None:
    """Skip networks whose data do not say in which dtype a module binds the parameters."""
    types = {n: a.dtype for n, a in parts.data.items()}
    inferred = zip(network.symbol.list_arguments(), network.symbol.complete_types(**types)[0])
    if any(dtype != network.dtypes[name] for name, dtype in inferred):
        raise Skip("the data do not say the dtypes of the parameters")


def _bucketing(network: Network, parts: _Parts, most: int | None, **bind: Any) -> Any:
    """A module with the network as the default key and as "a", and a sibling as "b"."""
    check_dtypes(network, parts)
    network = network.with_shapes([*parts.params, *network.aux])
    sibling = sb.sym.Group([*reversed(list(network.symbol)), network.symbol.get_internals()[0]])
    names = list(parts.data)

    def generate(key: str) -> tuple[Symbol, list[str], list[str]]:
        return (sibling if key == "b" else network.symbol), names, []

    sb.random.seed(network.seed)
    module = sb.mod.BucketingModule(generate, default_bucket_key="default", max_executors=most)
    module.bind(_descs(parts.data), None, **bind)
    args, aux = ({n: sb.nd.array(a, dtype=a.dtype) for n, a in d.items()} for d in _given(network))
    args = {n: a for n, a in args.items() if n in parts.params}
    module.init_params(arg_params=args, aux_params=aux)
    return module


def _given(network: Network) -> tuple[dict[str, Array], dict[str, Array]]:
    return network.args, network.aux


def _descs(data: Mapping[str, Array]) -> list[Any]:
    return [sb.io.DataDesc(n, a.shape, a.dtype) for n, a in data.items()]


def _batch(data: Mapping[str, Array], key: Any) -> Any:
    return sb.io.DataBatch(
        list(data.values()), bucket_key=key, provide_data=_descs(data), provide_label=None
    )


def _step(module: Any, network: Network, parts: _Parts, key: str, prefix: str) -> Results:
    heads = network.heads()
    if key == "b":
        inner = network.symbol.get_internals()[0]
        known = {n: network.args[n].shape for n in inner.list_arguments()}
        heads = [*reversed(heads), np.ones(inner.complete_shapes(**known)[1][0])]
    module.forward(_batch(parts.data, key), is_train=True)
    results = _outputs(module.get_outputs())
    module.backward([sb.nd.array(h) for h in heads])
    results.update(
        {f"gradient of {n}": a.asnumpy() for n, a in module.current_module.gradients().items()}
    )
    results.update({f"next {n}": a.asnumpy() for n, a in module.auxiliary().items()})
    return {prefix + n: a for n, a in results.items()}


def _steps(network: Network, most: int | None) -> Results:
    parts = _parts(network)
    module = _bucketing(network, parts, most)
    results = _step(module, network, parts, "a", "")
    for i, key in enumerate(("b", "a", "b", "a"), 1):
        results.update(_step(module, network, parts, key, f"step {i}: "))
        module.forward(_batch(parts.data, key), is_train=False)
        outputs = _outputs(module.get_outputs())
        results.update({f"step {i}: scored {n}": a for n, a in outputs.items()})
    return results


@way("module", "training")
def _(network: Network) -> Results:
    return _steps(network, None)


@way("bucketing, all kept", "")
def _(network: Network) -> Results:
    return _steps(network, None)


@way("bucketing, evicted", "bucketing, all kept", same_step=True)
def _(network: Network) -> Results:
    return _steps(network, 1)


def _halves(network: Network) -> tuple[_Parts, list[Network]]:
    """The network on each half of its data, which must have an even number of rows."""
    rows = _rows(network)
    parts = _parts(network, rows)
    if rows % 2 or any(a.shape[0] != rows for a in parts.data.values()):
        raise Skip("the data have no two halves")
    halves = []
    for half in (slice(0, rows // 2), slice(rows // 2, rows)):
        inputs = {n: a[half] for n, a in parts.data.items()}
        halves.append(network.with_inputs(inputs))
    return parts, halves


def _rows(network: Network) -> int:
    if any(a.shape[:1] == (ROWS,) for a in network.args.values()):
        return ROWS
    fixed = [a for n, a in network.args.items() if n not in network.wanted]
    free = [a for n, a in network.args.items() if n in network.wanted and a.ndim]
    for array in [*fixed, *free]:
        if array.ndim and (fixed or array.shape[0] % 2 == 0):
            return array.shape[0]
    raise Skip("no input could be data")


@way("two halves by hand", "")
def _(network: Network) -> Results:
    """The base of several contexts: the network on each half, joined."""
    parts, halves = _halves(network)
    try:
        whole, *shapes = (
            n.symbol.complete_shapes(**{k: a.shape for k, a in n.args.items()})[1]
            for n in (network, *halves)
        )
    except (ShapeError, UnsupportedError):
        raise Skip("the network has a fixed number of rows") from None
    for total, *each in zip(whole, *shapes):
        lengths = (sum(s[0] for s in each if s), *total[1:])
        if not total or lengths != total or any(s[1:] != total[1:] for s in each):
            raise Skip("outputs are not made of rows")
    heads, first = network.heads(), [s[0] for s in shapes[0]]
    results: list[Results] = []
    for i, half in enumerate(halves):
        bound = _executor(half)
        bound_heads = [h[:n] if i == 0 else h[n:] for h, n in zip(heads, first)]
        outputs = _outputs(bound.forward(is_train=True))
        bound.backward(bound_heads)
        results.append({**outputs, **_state_of(bound)})
    joined: Results = {}
    for name in results[0]:
        both = [r[name] for r in results]
        if name.startswith("output"):
            joined[name] = np.concatenate(both)
        elif name.startswith("next"):
            joined[name] = (both[0] + both[1]) / 2
        elif name.removeprefix("gradient of ") in parts.params:
            joined[name] = both[0] + both[1]
    return joined


@way("two contexts", "two halves by hand")
def _(network: Network) -> Results:
    parts, _ = _halves(network)
    WAYS["two halves by hand"].run(network)  # raises Skip
    check_dtypes(network, parts)
    names = list(parts.data)
    network = network.with_shapes([*parts.params, *network.aux])
    module = sb.mod.Module(network.symbol, names, [], context=[cpu(0), cpu(1)])
    module.bind(_descs(parts.data), None)
    args, aux = ({n: sb.nd.array(a, dtype=a.dtype) for n, a in d.items()} for d in _given(network))
    module.init_params(arg_params={n: args[n] for n in parts.params}, aux_params=aux)
    module.forward(_batch(parts.data, None), is_train=True)
    results = _outputs(module.get_outputs())
    module.backward([sb.nd.array(h) for h in network.heads()])
    results.update({f"gradient of {n}": a.asnumpy() for n, a in module.gradients().items()})
    results.update({f"next {n}": a.asnumpy() for n, a in module.auxiliary().items()})
    return results


@way("one ONNX file", "inference")
def _(network: Network) -> Results:
    """Parameters are constants in it, which the runtime folds into each other."""
    parts = _parts(network)
    module = _bucketing(network, parts, None, for_training=False)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/network.onnx"
        module.export_onnx(path)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    results = session.run(None, {n: parts.data[n] for n in inputs})
    return {f"output {i}": a for i, a in enumerate(results)}


@way("exported and served", "inference")
def _(network: Network) -> Results:
    rows = _rows(network)
    parts = _parts(network, rows)
    if any(a.shape[0] != rows for a in parts.data.values()):
        raise Skip("the data have no common number of rows")
    module = _bucketing(network, parts, None, for_training=False)
    with tempfile.TemporaryDirectory() as folder:
        module.export(folder)
        bundle = sb.Bundle(folder)
        live = sb.Bundle.live(module)
        read = {t.name for t in bundle.networks["default"].inputs}
        requests = [
            Request({n: a[row] for n, a in parts.data.items() if n in read}, key="default")
            for row in range(rows)
        ]
        try:
            answers = bundle.run(requests)
        except ShapeError:
            raise Skip("outputs are not computed sample by sample") from None
        for one, other in zip(answers, live.run(requests)):
            for name in one:
                # The two may sum products in another order, and some of these sums cancel.
                atol = 1e-6 * (1.0 + 10.0 * float(np.abs(other[name]).max(initial=0.0)))
                np.testing.assert_allclose(
                    one[name], other[name], rtol=1e-5, atol=atol, err_msg="live bundle"
                )
    results = {}
    spec = bundle.networks["default"]
    for i, output in enumerate(spec.outputs):
        # With samples slowest, an output is its samples' answers one after the other.
        if output.name in answers[0] and output.factors(0)[:1] == ["batch"]:
            served = np.concatenate([np.ravel(a[output.name]) for a in answers])
            results[f"output {i}"] = served.reshape(output.shape)
    return results
