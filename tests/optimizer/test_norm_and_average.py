"""Clipping by the norm of all gradients, and moving averages, in the optimizer's graph."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import optimizer
from symbucket.errors import InvalidArgumentError, StateError
from tests.small_networks import numbers, same

RNG = np.random.default_rng(0)
SHAPES = [(3, 4), (5,), (200, 300)]
"""The last one is large enough to be updated in pieces."""


def arrays(scale=1.0):
    return [(scale * RNG.normal(size=shape)).astype(np.float32) for shape in SHAPES]


def updated(name, grads, steps=1, **options):
    """Weights and updater after some steps with the same gradients."""
    weights = [np.ones(shape, np.float32) for shape in SHAPES]
    updater = optimizer.get_updater(optimizer.create(name, learning_rate=0.1, **options))
    history = []
    for _ in range(steps):
        updater([0, 1, 2], grads, weights)
        history.append([w.copy() for w in weights])
    return weights, updater, history


@pytest.mark.parametrize(
    ("name", "options"), [("sgd", {}), ("sgd", {"momentum": 0.9}), ("adam", {})]
)
@pytest.mark.parametrize("rescale", [1.0, 0.25])
def test_gradients_are_scaled_down_together(name, options, rescale):
    grads = arrays()
    norm = rescale * np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads))
    for limit in (0.5 * norm, 2.0 * norm):
        factor = min(1.0, limit / norm)
        clipped, _, _ = updated(
            name, grads, 3, clip_global_norm=limit, rescale_grad=rescale, **options
        )
        plain, _, _ = updated(
            name, [g * np.float32(factor) for g in grads], 3, rescale_grad=rescale, **options
        )
        for a, b in zip(clipped, plain):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def test_gradients_of_zero_stay_zero():
    weights, _, _ = updated("sgd", [np.zeros(s, np.float32) for s in SHAPES], clip_global_norm=1)
    assert all((w == 1).all() for w in weights)


def test_a_table_is_not_updated_by_rows_then():
    for options in ({"clip_global_norm": 1.0}, {"ema_decay": 0.9}):
        made = optimizer.create("sgd", **options)
        assert made.rows_suffice(0)
        assert not made.updates_rows(0)
    assert optimizer.create("sgd").updates_rows(0)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_averages_follow_the_weights(name):
    _, updater, history = updated(name, arrays(), 4, ema_decay=0.7)
    average = [np.zeros(s) for s in SHAPES]
    for weights in history:
        average = [0.7 * a + 0.3 * w for a, w in zip(average, weights)]
    for index, a in enumerate(average):
        expected = a / (1 - 0.7**4)
        np.testing.assert_allclose(updater.averages()[index], expected, rtol=1e-5, atol=1e-6)
    assert f"{name}/ema/0" in updater.states()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_global_norm": 0}, "clip_global_norm is 0; expected a number above 0, or None"),
        ({"clip_global_norm": -1.0}, "clip_global_norm is -1"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; expected a number above 0 and below 1"),
        ({"ema_decay": "x"}, "ema_decay"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        optimizer.create("sgd", **options)


def _module(**params):
    x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=1, name="fc")
    module = sb.mod.Module(sb.sym.LinearRegressionOutput(x, name="out"), label_names=["out_label"])
    data = sb.io.NDArrayIter(np.eye(4), np.arange(4.0), 2, label_name="out_label")
    module.fit(data, num_epoch=2, eval_metric="mse", optimizer_params=params)
    return module, data


def test_a_module_uses_its_averages_in_a_block(tmp_path):
    module, data = _module(learning_rate=0.5, ema_decay=0.5)
    before = numbers(module)
    averages, _ = module.get_averages()
    assert not same(averages, before)
    score = module.score(data, "mse")
    with module.averaged():
        assert same(numbers(module), averages)
        assert module.score(data, "mse") != score
    assert same(numbers(module), before)
    assert module.score(data, "mse") == score
    # They go on where they were.
    manager = sb.CheckpointManager(tmp_path)
    manager.save(module)
    again, _ = _module(learning_rate=0.5, ema_decay=0.5)
    manager.restore(again)
    assert same(again.get_averages()[0], averages)
    with pytest.raises(StateError, match="there are no averages"):
        _module(learning_rate=0.5)[0].get_averages()


def test_averages_begin_with_the_first_update_that_is_made():
    """Updates that count as made already are none of the average, also after a resume."""

    def steps(updater, weight, count):
        for _ in range(count):
            updater(0, np.ones(2), weight)
        return updater.averages()[0]

    def new(begin):
        options = {"learning_rate": 0.1, "ema_decay": 0.9, "begin_num_update": begin}
        return optimizer.get_updater(optimizer.create("sgd", **options))

    plain, late, resumed = new(0), new(50), new(50)
    weight, other = np.array([1 / 3, 2.0]), np.array([1 / 3, 2.0])
    first = steps(plain, weight, 1)
    np.testing.assert_allclose(first, weight, rtol=1e-14)  # in float64, as the weight
    np.testing.assert_array_equal(steps(late, other, 1), first)
    resumed.set_states(late.get_states())
    expected = steps(plain, weight.copy(), 2)
    for updater in (late, resumed):
        np.testing.assert_array_equal(steps(updater, other.copy(), 2), expected)
