"""Operators that draw: rates, repetition from a seed, independence of nodes and of runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import symbucket as sb
from symbucket import random
from symbucket.compiler import compile_inference, compile_training
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


def test_only_booleans_wait_for_the_backward_pass() -> None:
    programs = compile_training(sb.sym.Dropout(x, p=0.4), {"x": (3, 4)}, {}, ["x"])
    assert programs.forward is not None
    stash = [t for t in programs.forward.outputs if t.name.startswith("stash/")]
    assert [t.dtype for t in stash] == [np.bool_]


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
    again = draw(bind(symbol, (8, 8)), 3)
    np.testing.assert_array_equal(first, again)
    random.seed(8)
    assert (draw(bind(symbol, (8, 8)), 3) != first).any()


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
    symbol = sb.sym.Dropout(x, name="d")
    models = [
        compile_training(symbol, {"x": (4, 4)}, {}, ["x"], name=name).forward for name in ("5", "6")
    ]
    seeds = {
        attribute.f
        for program in models
        if program is not None
        for node in program.proto().graph.node
        for attribute in node.attribute
        if attribute.name == "seed"
    }
    assert len(seeds) == 2


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
