"""Weights of float64: all of an update in float64."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import optimizer
from symbucket.errors import UnsupportedError

NAMES = "adadelta adagrad adam adamax adamw dcasgd ftml ftrl lamb lars nadam nag rmsprop sgd signum"


def _trained(name: str, dtype: type, large: bool = False) -> np.ndarray:
    shape = (1100, 512) if large else (3, 4)
    draw = np.random.default_rng(4)
    weight = sb.nd.array(draw.normal(size=shape), dtype=dtype)
    updater = optimizer.get_updater(optimizer.create(name, learning_rate=0.01, wd=0.01))
    for _ in range(2):
        updater(0, sb.nd.array(draw.normal(size=shape), dtype=dtype), weight)
    assert all(state.dtype == dtype for state in updater.states().values())
    return weight.asnumpy()


@pytest.mark.parametrize("name", NAMES.split())
def test_every_optimizer_gives_the_numbers_of_float32(name):
    double = _trained(name, np.float64)
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, _trained(name, np.float32), rtol=1e-4, atol=1e-5)


def test_pieces_of_large_weights_are_alike():
    expected = _trained("adam", np.float32, large=True)
    weights_after = _trained("adam", np.float64, large=True)
    np.testing.assert_allclose(weights_after, expected, rtol=1e-4, atol=1e-6)


def test_steps_below_the_precision_of_float32_count():
    weight, grad = (sb.nd.array([1.0], dtype="float64") for _ in range(2))
    updater = optimizer.get_updater(optimizer.SGD(learning_rate=1e-9, wd=0))
    for _ in range(3):
        updater(0, grad, weight)
    assert weight.asnumpy()[0] == pytest.approx(1 - 3e-9, abs=1e-14)


def test_states_are_saved_and_loaded_as_they_are(tmp_path):
    grad, weights = sb.nd.array([0.3, -0.2], dtype="float64"), []
    updaters = [optimizer.get_updater(optimizer.SGD(learning_rate=0.1, momentum=0.9)) for _ in "ab"]
    for updater in updaters:
        weights.append(sb.nd.array([1, 2], dtype="float64"))
        updater(0, grad, weights[-1])
    updaters[1] = optimizer.get_updater(optimizer.SGD(learning_rate=0.1, momentum=0.9))
    updaters[1].set_states(updaters[0].get_states())
    for updater, weight in zip(updaters, weights):
        updater(0, grad, weight)
    assert weights[0].asnumpy().tolist() == weights[1].asnumpy().tolist()


def test_states_made_for_a_weight_have_its_dtype():
    sgd = optimizer.SGD(learning_rate=0.1, momentum=0.9)
    weight, grad = sb.nd.ones(2, dtype="float64"), sb.nd.ones(2, dtype="float64")
    state = sgd.create_state(0, weight)
    for expected in (-0.1, -0.19):
        sgd.update(0, weight, grad, state)
        assert state.asnumpy() == pytest.approx([expected] * 2)
    single = sb.nd.zeros(2)
    with pytest.raises(UnsupportedError, match="has dtype float64, its state 'mom' float32"):
        sgd.update(0, weight, grad, single)
    assert weight.asnumpy() == pytest.approx([1 - 0.1 - 0.19] * 2)


def test_one_update_has_one_dtype():
    single, double = sb.nd.ones(2), sb.nd.ones(2, dtype="float64")
    updater = optimizer.get_updater(optimizer.SGD())
    with pytest.raises(UnsupportedError, match="here float32"):
        updater([0, 1], [single, double], [single.copy(), double.copy()])
    updater(0, np.ones(2, np.float32), np.ones(2, np.float32))
    weight = np.ones(2)
    updater(0, np.ones(2), weight)
    assert weight.dtype == np.float64
    assert weight.tolist() != [1, 1]
