"""``symbucket.test_utils``: what is right passes, what is wrong is refused."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import test_utils as tu


def dense():
    return sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=3, name="fc")


LOCATION = {
    "data": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32),
    "fc_weight": np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, 1.0]], np.float32),
    "fc_bias": np.array([0.1, 0.2, 0.3], np.float32),
}
OUTPUT = LOCATION["data"] @ LOCATION["fc_weight"].T + LOCATION["fc_bias"]


def test_comparisons():
    assert tu.same([1, 2], sb.nd.array([1, 2]))
    assert not tu.same([1, 2], [1, 3])
    assert tu.almost_equal(np.float32([1.0]), np.float32([1.0005]))
    assert not tu.almost_equal(np.float32([1.0]), np.float32([1.1]))
    assert not tu.almost_equal(np.ones(2), np.ones((2, 1)))
    assert tu.almost_equal([np.nan], [np.nan], equal_nan=True)
    with pytest.raises(AssertionError, match="left and right differ"):
        tu.assert_almost_equal([1.0], [2.0], names=("left", "right"))
    with pytest.raises(AssertionError, match="shapes"):
        tu.assert_almost_equal([1.0], [[1.0]])
    tu.assert_exception(int, ValueError, "x")
    with pytest.raises(AssertionError, match="did not raise ValueError"):
        tu.assert_exception(int, ValueError, "1")


def test_random_shapes_and_arrays_repeat_by_seed():
    def draw():
        sb.random.seed(5)
        shape = tu.rand_shape_nd(3, 4)
        return shape, tu.rand_ndarray(shape).asnumpy().tolist(), tu.rand_shape_2d(1, 7)

    assert draw() == draw()
    shape, _, pair = draw()
    assert all(1 <= size <= 4 for size in shape)
    assert pair[0] == 1
    assert len(tu.rand_shape_3d()) == 3


def test_forward_is_compared():
    assert np.allclose(tu.simple_forward(dense(), **LOCATION), OUTPUT)
    tu.check_symbolic_forward(dense(), list(LOCATION.values()), [OUTPUT])
    with pytest.raises(AssertionError, match="output fc_output"):
        tu.check_symbolic_forward(dense(), LOCATION, [OUTPUT + 0.1])


@pytest.mark.parametrize("grad_req", ["write", "add"])
def test_backward_is_compared(grad_req):
    head = np.ones_like(OUTPUT)
    expected = {"fc_weight": head.T @ LOCATION["data"], "data": head @ LOCATION["fc_weight"]}
    check = {"rtol": 1e-5, "atol": 1e-5, "grad_req": grad_req}
    tu.check_symbolic_backward(dense(), LOCATION, [head], expected, **check)
    with pytest.raises(AssertionError, match="gradient of"):
        tu.check_symbolic_backward(dense(), LOCATION, [2 * head], expected, **check)


def test_numeric_gradients_agree_and_a_wrong_gradient_is_noticed():
    tu.check_numeric_gradient(dense(), LOCATION)
    tu.check_numeric_gradient(dense(), LOCATION, grad_nodes={"fc_weight": "add"})
    bend = sb.sym.tanh(dense())
    tu.check_numeric_gradient(bend, LOCATION, grad_nodes=["data"])
    # BlockGrad's gradient is zero; that of its value is not.
    with pytest.raises(AssertionError, match="gradient of data"):
        tu.check_numeric_gradient(sb.sym.BlockGrad(bend), LOCATION, grad_nodes=["data"])


def test_auxiliary_states():
    network = sb.sym.BatchNorm(sb.sym.Variable("data"), fix_gamma=False, name="bn")
    location = {
        "data": np.random.default_rng(3).normal(size=(6, 2)).astype(np.float32),
        "bn_gamma": np.array([1.5, 0.5], np.float32),
        "bn_beta": np.zeros(2, np.float32),
    }
    states = {"bn_moving_mean": np.zeros(2), "bn_moving_var": np.ones(2)}
    tu.check_numeric_gradient(network, location, states, numeric_eps=1e-2)


def test_default_context():
    assert tu.default_context() == sb.cpu()
    tu.set_default_context(sb.cpu(1))
    try:
        assert tu.default_context() == sb.cpu(1)
    finally:
        tu.set_default_context(None)
    assert isinstance(tu.list_gpus(), list)
