"""Operators that draw: rates, repetition from a seed, independence of nodes and of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket import random
from symbucket.compiler import CompilerOptions, Role, compile_inference, compile_training
from symbucket.compiler.target import PORTABLE
from symbucket.errors import InvalidArgumentError
from symbucket.symbol import Symbol
from tests.ops.op_harness import Array

x = sb.sym.Variable("x")


@pytest.fixture(autouse=True)
def _the_seed() -> Iterator[None]:
    random.seed(7)
    yield
    random.seed(0)


def bind(symbol: Symbol, shape: tuple[int, ...]) -> sb.Executor:
    bound = symbol.simple_bind(sb.cpu(), x=shape)
    bound.arg_dict["x"][...] = 1.0
    return bound


def draw(bound: sb.Executor, count: int = 1) -> Array:
    """Outputs of several training runs."""
    return np.stack([bound.forward(is_train=True)[0].asnumpy().copy() for _ in range(count)])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_the_share_p_and_scales_the_rest(p: float) -> None:
    masks = draw(bind(sb.sym.Dropout(x, p=p, name="d"), (100, 100)))
    assert set(np.unique(masks)) <= {np.float32(0.0), np.float32(1.0 / (1.0 - p))}
    assert abs((masks == 0).mean() - p) < 0.02


def test_the_gradient_goes_where_the_data_went() -> None:
    bound = bind(sb.sym.Dropout(x, p=0.4), (30, 20))
    head = np.random.default_rng(1).normal(size=(30, 20)).astype(np.float32)
    for _ in range(3):
        mask = draw(bound)[0]
        bound.backward(head)
        np.testing.assert_allclose(bound.grad_dict["x"].asnumpy(), head * mask, rtol=1e-6)


def test_masks_are_inputs_of_booleans_that_both_halves_read() -> None:
    programs = compile_training(sb.sym.Dropout(x, p=0.4), {"x": (3, 4)}, {}, ["x"])
    assert programs.forward is not None
    assert programs.backward is not None
    for program in (programs.forward, programs.backward):
        (port,) = program.inputs_of(Role.NOISE)
        assert (port.shape, port.dtype) == ((3, 4), np.bool_)
    assert not programs.forward.outputs_of(Role.STASH)
    (noise,) = programs.forward.noise
    assert (noise.distribution, noise.probability) == ("bernoulli", pytest.approx(0.6))


def test_masks_of_one_shape_are_parts_of_one_input() -> None:
    parts = [sb.sym.Dropout(x * float(i), p=0.5) for i in range(5)]
    program = compile_training(sb.sym.MakeLoss(sb.sym.add_n(*parts)), {"x": (3, 4)}).step
    assert program is not None
    assert [port.shape for port in program.inputs_of(Role.NOISE)] == [(5, 3, 4)]


def test_a_model_for_other_runtimes_draws_by_itself() -> None:
    symbol = sb.sym.Dropout(x, p=0.5, mode="always")
    symbol = symbol + sb.sym.random_uniform(shape=(3, 4)) + sb.sym.random_normal(shape=(3, 4))
    program = compile_inference(symbol, {"x": (3, 4)}, target=PORTABLE)
    assert not program.inputs_of(Role.NOISE)
    kinds = [node.op_type for node in program.proto().graph.node]
    assert kinds.count("RandomUniform") == 2
    assert kinds.count("RandomNormal") == 1


def test_inference_is_the_identity_unless_the_mode_is_always() -> None:
    data = np.ones((50, 40), np.float32)
    plain = bind(sb.sym.Dropout(x, p=0.5), data.shape)
    np.testing.assert_array_equal(plain.forward(is_train=False)[0].asnumpy(), data)
    always = bind(sb.sym.Dropout(x, p=0.5, mode="always"), data.shape)
    assert 0.4 < (always.forward(is_train=False)[0].asnumpy() == 0).mean() < 0.6
    none = bind(sb.sym.Dropout(x, p=0.0), data.shape)
    np.testing.assert_array_equal(none.forward(is_train=True)[0].asnumpy(), data)


def test_along_axes_one_choice_holds() -> None:
    out = draw(bind(sb.sym.Dropout(x, p=0.5, axes=(0, 2)), (5, 200, 3)))[0]
    assert (out == out[:1, :, :1]).all()
    assert 0.35 < (out[0, :, 0] == 0).mean() < 0.65


def test_a_seed_repeats_exactly_and_another_does_not() -> None:
    symbol = sb.sym.Dropout(x, name="d")
    first = draw(bind(symbol, (8, 8)), 3)
    random.seed(7)
    again = draw(bind(symbol, (8, 8)), 3)
    np.testing.assert_array_equal(first, again)
    random.seed(8)
    assert (draw(bind(symbol, (8, 8)), 3) != first).any()


def test_executors_and_evaluations_of_one_symbol_draw_different_numbers() -> None:
    symbol = sb.sym.Dropout(x, name="d")
    executors = [bind(symbol, (8, 8)) for _ in range(3)]
    masks = [draw(executor, 2) for executor in executors]
    samples = [sb.sym.random_uniform(shape=(9,), name="u").eval()[0].asnumpy() for _ in range(3)]
    assert len({mask.tobytes() for pair in masks for mask in pair}) == 6
    assert len({sample.tobytes() for sample in samples}) == 3
    random.seed(7)
    np.testing.assert_array_equal(masks, [draw(executor, 2) for executor in executors])


def test_watching_an_executor_changes_none_of_its_numbers() -> None:
    symbol = sb.sym.Dropout(x * 2, name="d") * 3
    expected = draw(bind(symbol, (8, 8)), 3)
    random.seed(7)
    watched, seen = bind(symbol, (8, 8)), {}
    watched.set_monitor_callback(lambda name, array: seen.update({name: array.asnumpy().copy()}))
    np.testing.assert_array_equal(draw(watched, 3), expected)
    np.testing.assert_array_equal(seen["d_output"] * 3, expected[-1])


def test_nodes_and_runs_are_independent() -> None:
    count = 400
    symbol = sb.sym.Concat(
        sb.sym.Dropout(x, name="a"), sb.sym.Dropout(x, name="b"), sb.sym.Dropout(x, name="a"), dim=1
    )
    zeros = (draw(bind(symbol, (10, 10)), count) == 0).astype(np.float64) - 0.5
    a, b, twin = (zeros[:, :, i : i + 10] for i in (0, 10, 20))
    limit = 6.0 / np.sqrt(count * 100)
    for left, right in ((a, b), (a, twin), (b, twin)):
        assert abs((left * right).mean() * 4.0) < limit
    # At every position by itself: neither stuck nor following the run before. (The runtime's own
    # Dropout kernel fails here: it starts a generator anew at every run, from neighbouring seeds.)
    assert (abs(a.mean(axis=0)) * 2.0 < 6.0 / np.sqrt(count)).all()
    for lag in (1, 2, 3):
        assert (abs((a[lag:] * a[:-lag]).mean(axis=0)) * 4.0 < 6.0 / np.sqrt(count)).all()


def test_dropout_of_a_constant_draws_anew_at_every_run() -> None:
    # The runtime folds what depends on constants only; zoneout is made of such a mask.
    outs = draw(bind(sb.sym.Dropout(sb.sym.ones_like(x), p=0.5) * x, (20, 20)), 2)
    assert 0.3 < (outs[0] != outs[1]).mean() < 0.7


def test_two_graphs_of_one_network_draw_differently() -> None:
    # Executors of two bucket keys have two names; equal masks would tie their batches together.
    first, second = (bind(sb.sym.Dropout(x, name=name), (8, 8)) for name in ("5", "6"))
    assert (draw(first) != draw(second)).any()
    models = [
        compile_training(sb.sym.Dropout(x), {"x": (4, 4)}, {}, ["x"], name=n, target=PORTABLE)
        for n in ("5", "6")
    ]
    seeds = {
        attribute.f
        for programs in models
        if programs.forward is not None
        for node in programs.forward.proto().graph.node
        for attribute in node.attribute
        if attribute.name == "seed"
    }
    assert len(seeds) == 2


def dropout_module(**options: Any) -> sb.mod.BucketingModule:
    """A module of Dropout alone: its outputs for data of ones are its masks."""

    def sym_gen(key: int) -> Any:
        return sb.sym.MakeLoss(sb.sym.Dropout(sb.sym.Variable("data"), p=0.5)), ["data"], []

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=64, **options)
    module.bind([("data", (2, 64))], None)
    module.init_params()
    module.keep_outputs = True
    return module


def mask(module: sb.mod.BucketingModule, key: int, is_train: bool = True) -> bytes:
    batch = sb.io.DataBatch(
        [np.ones((2, key))], [], bucket_key=key, provide_data=[("data", (2, key))]
    )
    module.forward(batch, is_train=is_train)
    return module.get_outputs()[0].asnumpy().tobytes()


KEYS = [32, 48, 64, 32, 32, 48, 16, 64, 48, 32] * 3


def test_masks_do_not_depend_on_what_is_evicted() -> None:
    kept = [mask(module, key) for module in [dropout_module()] for key in KEYS]
    for limit in (1, 2, 3):
        evicted = [mask(m, key) for m in [dropout_module(max_executors=limit)] for key in KEYS]
        assert evicted == kept
    assert len(set(kept)) == len(KEYS)  # no mask comes twice


def test_masks_do_not_depend_on_inference_in_between_nor_on_binding_ahead() -> None:
    expected = [mask(module, key) for module in [dropout_module()] for key in KEYS]
    module = dropout_module()
    batches = []
    for key in KEYS:
        mask(module, 48, is_train=False)
        batches.append(mask(module, key))
    assert batches == expected


def test_seed_starts_the_masks_anew() -> None:
    module = dropout_module()
    first = [mask(module, key) for key in KEYS]
    random.seed(7)
    assert [mask(module, key) for key in KEYS] == first
    random.seed(8)
    assert [mask(module, key) for key in KEYS] != first


def test_a_thousand_steps_have_the_right_rate_in_every_element_and_no_mask_twice() -> None:
    bound = bind(sb.sym.Dropout(x, p=0.3), (10, 10))
    zeros = draw(bound, 1000) == 0
    deviation = np.sqrt(0.3 * 0.7 / 1000)
    assert abs(zeros.mean(axis=0) - 0.3).max() < 5 * deviation
    assert len({step.tobytes() for step in zeros}) == 1000


def kolmogorov_smirnov(values: Array, distribution: Callable[[float], float]) -> float:
    """The largest distance to a distribution function, times the root of the count."""
    ordered = np.sort(values.reshape(-1).astype(np.float64))
    expected = np.array([distribution(v) for v in ordered])
    steps = np.arange(len(ordered) + 1) / len(ordered)
    distance = max((steps[1:] - expected).max(), (expected - steps[:-1]).max())
    return distance * np.sqrt(len(ordered))


def test_distributions() -> None:
    uniform = bind(sb.sym.random_uniform(low=-1.0, high=3.0, shape=(50, 40)) + 0 * x, (50, 40))
    normal = bind(sb.sym.random_normal(loc=2.0, scale=0.5, shape=(50, 40)) + 0 * x, (50, 40))
    for training in (True, False):
        values = np.stack([uniform.forward(training)[0].asnumpy() for _ in range(3)])
        assert kolmogorov_smirnov(values, lambda v: (v + 1) / 4) < 1.95  # one in a thousand
        values = np.stack([normal.forward(training)[0].asnumpy() for _ in range(3)])
        assert (
            kolmogorov_smirnov(values, lambda v: 0.5 + 0.5 * math.erf((v - 2) / 0.5 / 2**0.5))
            < 1.95
        )


def test_random_operators_of_onnx_models_draw_anew_and_repeat_by_seed() -> None:
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    nodes = [
        node("RandomUniformLike", ["x"], ["u"], low=1.0, high=2.0),
        node("RandomNormal", [], ["n"], shape=[40, 50], mean=3.0, scale=0.1),
        node("Sigmoid", ["x"], ["p"]),
        node("Bernoulli", ["p"], ["b"]),
    ]
    graph = onnx.helper.make_graph(
        nodes, "g", [value("x", 1, [40, 50])], [value(n, 1, [40, 50]) for n in "unb"]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    executor = sb.sym.from_onnx(model, name="m").simple_bind(sb.cpu(), "null", x=(40, 50))
    first = [o.asnumpy() for o in executor.forward()]
    second = [o.asnumpy() for o in executor.forward()]
    assert all((a != b).any() for a, b in zip(first, second))
    assert 1 <= first[0].min() < first[0].max() < 2
    assert abs(first[1].mean() - 3) < 0.02
    assert set(np.unique(first[2])) == {0.0, 1.0}
    assert abs(first[2].mean() - 0.5) < 0.05
    random.seed(7)
    assert [o.asnumpy().tobytes() for o in executor.forward()] == [a.tobytes() for a in first]


def test_random_numbers_have_the_distribution_that_was_asked_for() -> None:
    uniform = sb.sym.random_uniform(low=-1.0, high=3.0, shape=(100, 100)) + 0 * x
    normal = sb.sym.random_normal(loc=2.0, scale=0.5, shape=(100, 100)) + 0 * x
    for training in (True, False):
        values = bind(uniform, (100, 100)).forward(is_train=training)[0].asnumpy()
        assert -1.0 <= values.min() < -0.9
        assert 2.9 < values.max() <= 3.0
        assert abs(values.mean() - 1.0) < 0.05
        values = bind(normal, (100, 100)).forward(is_train=training)[0].asnumpy()
        assert abs(values.mean() - 2.0) < 0.03
        assert abs(values.std() - 0.5) < 0.03


def test_random_numbers_take_their_shape_from_their_use_and_change_every_run() -> None:
    bound = bind(x + sb.sym.random_uniform(shape=(0, 0)), (6, 5))
    first, second = draw(bound, 2)
    assert first.shape == (6, 5)
    assert (first != second).all()


def test_dropout_keeps_shapes_both_ways() -> None:
    weight = sb.sym.Variable("w")
    symbol = sb.sym.FullyConnected(x, sb.sym.Dropout(weight, p=0.5), num_hidden=3, no_bias=True)
    shapes, _, _ = symbol.infer_shape(x=(2, 4))
    assert dict(zip(symbol.list_arguments(), shapes)) == {"x": (2, 4), "w": (3, 4)}


def test_a_share_of_one_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"Dropout: p=1\.0 must be from 0 up to below 1"):
        sb.sym.Dropout(x, p=1.0)


def test_inference_models_have_no_dropout_left() -> None:
    program = compile_inference(sb.sym.Dropout(x, p=0.5) * 2.0, {"x": (2, 2)})
    assert [n.op_type for n in program.proto().graph.node] == ["Mul"]


@pytest.mark.parametrize("disable", [(), ("roll-loops",)])
def test_masks_that_the_last_step_does_not_read_leave_the_others_alone(disable) -> None:
    x, weight = sb.sym.Variable("x"), sb.sym.Variable("w")
    state, cut = sb.sym.Variable("state"), sb.sym.SliceChannel(x, num_outputs=6, axis=1)
    for t in range(6):
        product = sb.sym.FullyConnected(state, weight, num_hidden=3, no_bias=True)
        state = sb.sym.tanh(product + sb.sym.Reshape(cut[t], shape=(0, -1)))
        if t < 5:  # nothing is dropped at the end
            state = sb.sym.Dropout(state, p=0.5)
    rng = np.random.default_rng(3)
    arrays = {"x": (4, 6, 3), "w": (3, 3), "state": (4, 3)}
    args = {n: sb.nd.array(rng.normal(size=s)) for n, s in arrays.items()}
    results = []
    for left_out in (disable, ("roll-loops",)):
        options = CompilerOptions(disable=frozenset(left_out))
        sb.random.seed(5)
        bound = sb.Executor(
            state, sb.cpu(), args, {}, dict.fromkeys(args, "null"), {}, options=options
        )
        results.append([bound.forward(is_train=True)[0].asnumpy() for _ in range(3)])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)
