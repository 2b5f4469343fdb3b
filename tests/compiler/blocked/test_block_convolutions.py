"""Convolutions over blocks of channels: the numbers of plain ones, for every kind of window."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from symbucket import sym
from symbucket.compiler import (
    CompileRequest,
    CompilerOptions,
    compile_inference,
    compile_request,
    compile_training,
)
from symbucket.compiler.fingerprint import fingerprint
from symbucket.compiler.target import CPU, INFERENCE_FILE, PORTABLE
from symbucket.context import Context
from symbucket.ir import BLOCKED_DOMAIN
from symbucket.runtime import NDArray, Session
from symbucket.runtime.channel_block import channel_block
from symbucket.runtime.session import run_model
from symbucket.runtime.target import target_of
from symbucket.visualization.from_onnx import from_program
from tests.compiler.blocked.by_numpy import evaluate
from tests.compiler.verify_graph import verify

PLAIN = CompilerOptions(disable=["block-convolutions"])
needs_blocks = pytest.mark.skipif(not channel_block(), reason="the processor has no such kernels")


@dataclass(frozen=True)
class Case:
    """A convolution of pictures of ``size``; channels and filters are multiples of 16, or few."""

    samples: int = 2
    channels: int = 16
    filters: int = 16
    size: tuple = (6, 5)
    kernel: tuple = (3, 3)
    stride: tuple = (1, 1)
    pad: tuple = (1, 1)
    dilate: tuple = (1, 1)
    bias: bool = True
    transposed: bool = False
    group: int = 1

    def network(self):
        operator = sym.Deconvolution if self.transposed else sym.Convolution
        y = operator(
            sym.Variable("data"),
            kernel=self.kernel,
            stride=self.stride,
            pad=self.pad,
            dilate=self.dilate,
            num_filter=self.filters,
            num_group=self.group,
            no_bias=not self.bias,
            name="c",
        )
        square = sym.square(y, name="square")
        return sym.MakeLoss(sym.sum(square + y * 0.5, name="sum"), name="loss")

    @property
    def shapes(self):
        return {"data": (self.samples, self.channels, *self.size)}

    @property
    def fits(self):
        extents = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilate)]
        if self.transposed:
            return all(e > 2 * p for e, p in zip(extents, self.pad))
        return all(n + 2 * p >= e for n, p, e in zip(self.size, self.pad, extents))

    def step(self, target, options=CompilerOptions()):  # noqa: B008 - it is immutable
        net = self.network()
        return compile_training(
            net, self.shapes, wanted=net.list_arguments(), options=options, target=target
        ).step


CASES = [
    Case(),
    Case(channels=3, filters=32, size=(9, 4)),
    Case(samples=1, channels=32, filters=48, bias=False),
    Case(samples=16, channels=32, kernel=(1, 1), pad=(0, 0)),
    Case(samples=32, channels=5, filters=16, kernel=(5, 3), pad=(2, 0)),
    Case(samples=16, filters=32, stride=(2, 2), size=(8, 7)),
    Case(samples=16, channels=7, kernel=(7, 7), stride=(2, 2), pad=(3, 3), size=(9, 10)),
    Case(samples=16, stride=(3, 1), kernel=(2, 3), pad=(0, 2), size=(10, 3)),
    Case(samples=16, dilate=(2, 3), pad=(2, 0), size=(6, 9)),
    Case(samples=3, dilate=(1, 2), stride=(2, 1), pad=(0, 1)),
    Case(samples=32, kernel=(3, 2), size=(1, 1), channels=48),
    Case(samples=4, kernel=(5, 5), size=(2, 3), pad=(3, 4)),
    Case(samples=20, channels=32, stride=(2, 1), size=(7, 4)),
    Case(samples=17, dilate=(2, 1), size=(8, 4)),
    Case(transposed=True, samples=16, filters=32),
    Case(transposed=True, samples=2, kernel=(4, 3), pad=(1, 0), dilate=(2, 1)),
    Case(samples=3, channels=32, filters=32, group=32),
    Case(samples=2, group=16, kernel=(5, 2), stride=(2, 3), size=(8, 9), pad=(2, 1)),
    Case(samples=1, group=16, dilate=(2, 1), bias=False),
    Case(transposed=True, samples=2, channels=32, filters=32, group=32, kernel=(3, 4)),
    Case(3, 16, 32, size=(17,), kernel=(5,), pad=(2,), stride=(1,), dilate=(1,)),
    Case(samples=2, channels=32, size=(9,), kernel=(3,), pad=(0,), stride=(2,), dilate=(2,)),
    Case(samples=2, group=16, size=(9,), kernel=(3,), pad=(1,), stride=(1,), dilate=(1,)),
]


def arrays_for(program, seed=0):
    rng = np.random.default_rng(seed)
    return {p.name: rng.normal(size=p.shape).astype(np.float32) for p in program.inputs}


def run(program, arrays):
    session = Session(program.model, Context("cpu"), "blocked")
    session.bind_inputs({n: NDArray(a, Context("cpu")) for n, a in arrays.items()})
    outputs = {p.name: NDArray(np.zeros(p.shape, p.dtype), Context("cpu")) for p in program.outputs}
    session.bind_outputs(outputs)
    session.run()
    return {name: array.asnumpy() for name, array in outputs.items()}


def blocked_nodes(program):
    return [n.op_type for n in program.proto().graph.node if n.domain == BLOCKED_DOMAIN]


def assert_same(actual, expected, note):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        atol = 2e-6 * max(1.0, float(np.abs(value).max()))
        np.testing.assert_allclose(
            actual[name], value, rtol=2e-5, atol=atol, err_msg=f"{note} {name}"
        )


@needs_blocks
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_plain_convolutions(case):
    target = target_of(Context("cpu"))
    blocked, plain = case.step(target), case.step(target, PLAIN)
    assert "Conv" in blocked_nodes(blocked)
    assert not blocked_nodes(plain)
    arrays = arrays_for(plain)
    assert_same(run(blocked, arrays), run(plain, arrays), case)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("block", [8, 16])
def test_blocks_of_either_size_by_their_definition(block):
    """Without the kernels: every processor can tell whether the graph is right for another one."""
    depthwise = Case(samples=1, group=16, size=(4, 3))
    for case in (CASES[1], Case(samples=16, size=(3, 4)), depthwise):
        blocked, plain = case.step(replace(CPU, channel_block=block)), case.step(CPU)
        assert "Conv" in blocked_nodes(blocked)
        arrays = arrays_for(plain)
        assert_same(evaluate(blocked, arrays, block), run(plain, arrays), case)


def random_case(rng):
    axes = int(rng.choice([1, 2, 2, 2]))
    channels, filters = int(rng.choice([1, 3, 12, 16, 32, 48])), int(rng.choice([16, 32, 80]))
    depthwise = rng.random() < 0.25

    def pair(low, high):
        return tuple(int(n) for n in rng.integers(low, high, axes))

    return Case(
        samples=int(rng.choice([1, 2, 5, 16, 19, 28, 32])),
        channels=filters if depthwise else channels,
        filters=filters,
        group=filters if depthwise else 1,
        size=pair(1, 14),
        kernel=pair(1, 6),
        stride=pair(1, 4),
        pad=pair(0, 5),
        dilate=pair(1, 3),
        bias=bool(rng.integers(2)),
        transposed=bool(rng.random() < 0.2),
    )


@needs_blocks
@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.usefixtures("always")
def test_random_convolutions(seed):
    rng, count = np.random.default_rng(seed), 0
    while count < 60:
        case = random_case(rng)
        if case.fits:
            count += 1
            blocked, plain = case.step(target_of(Context("cpu"))), case.step(CPU)
            arrays = arrays_for(plain, count)
            assert_same(run(blocked, arrays), run(plain, arrays), f"seed {seed}, {case}")


@needs_blocks
@pytest.mark.usefixtures("always")
def test_the_graph_between_passes_and_the_shapes_that_the_runtime_finds():
    case = Case(samples=16, channels=32, filters=48)
    net, target = case.network(), target_of(Context("cpu"))
    request = CompileRequest(
        net,
        case.shapes,
        training=True,
        gradients=net.list_arguments(),
        options=CompilerOptions(value_info=True),
        target=target,
    )
    step = compile_request(request, lambda _, graph: verify(graph)).step
    # What the planner believes of sizes is what the runtime computes.
    proto = step.proto()
    planned = {v.name: v for v in proto.graph.value_info}
    names = [n.output[0] for n in proto.graph.node if n.output[0] in planned]
    assert len(blocked_nodes(step)) > 10
    proto.graph.output.extend(planned[name] for name in names)
    for name, array in run_model(proto.SerializeToString(), arrays_for(step)).items():
        if name in planned:
            dims = planned[name].type.tensor_type.shape.dim
            assert array.shape == tuple(d.dim_value for d in dims), name
    plain = case.step(target, PLAIN)
    assert step.plan.peak < 2 * plain.plan.peak


def test_small_convolutions_stay_plain():
    target = replace(CPU, channel_block=16)
    few_positions = Case(samples=1, channels=64, filters=64, size=(4, 4))
    little_work = Case(samples=8, channels=3, filters=16, size=(32, 32))
    points = Case(samples=16, channels=64, filters=64, kernel=(1, 1), pad=(0, 0), size=(16, 16))
    odd = Case(samples=32, channels=24, filters=24, size=(32, 32))
    groups = Case(samples=32, channels=64, filters=64, group=2, size=(32, 32))
    for case in (few_positions, little_work, points, odd, groups):
        net = case.network()
        assert not blocked_nodes(compile_inference(net, case.shapes, target=target)), case
    large = Case(samples=16, channels=32, filters=32, size=(16, 16))
    step = large.step(target)
    assert blocked_nodes(step).count("Conv") == 4  # one pads what the weight's gradient reads
    assert any("nchwc" in box.op for box in from_program(step).boxes)  # pictures show them
    depthwise = Case(samples=16, channels=32, filters=32, size=(16, 16), group=32)
    assert blocked_nodes(depthwise.step(target)).count("Conv") == 3


def test_files_and_other_devices_never_have_blocks():
    assert not any(
        t.channel_block for t in (CPU, PORTABLE, INFERENCE_FILE, target_of(Context("gpu")))
    )
    case = Case(samples=16, channels=32, filters=32, size=(16, 16))
    assert not blocked_nodes(case.step(PORTABLE))


def test_a_model_in_the_cache_is_for_one_size_of_blocks():
    net, shapes = Case().network(), Case().shapes
    keys = {
        fingerprint(CompileRequest(net, shapes, target=replace(CPU, channel_block=block)))
        for block in (0, 8, 16)
    }
    assert len(keys) == 3


def test_compiling_twice_gives_the_same_model():
    case = Case(samples=16, channels=32, size=(16, 16))
    net, target = case.network(), replace(CPU, channel_block=16)
    models = [
        compile_training(net, case.shapes, wanted=["c_weight", "data"], target=target).step.model
        for _ in range(2)
    ]
    assert models[0] == models[1]
