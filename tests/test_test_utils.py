"""``symbucket.test_utils``: what is right passes, what is wrong is refused."""

from __future__ import annotations

import os

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
    assert not tu.almost_equal(np.ones(2), np.ones((2, 2)), use_broadcast=False)
    assert tu.almost_equal(np.ones(2), np.ones((2, 2)))
    assert not tu.almost_equal(np.ones(2), np.ones(3))
    assert tu.almost_equal([np.nan], [np.nan], equal_nan=True)
    with pytest.raises(AssertionError, match="left and right differ"):
        tu.assert_almost_equal([1.0], [2.0], names=("left", "right"))
    with pytest.raises(AssertionError, match="shapes"):
        tu.assert_almost_equal([1.0], [[1.0]], use_broadcast=False)
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


def test_arrays_in_another_dtype():
    exact = {name: array.astype(np.float64) for name, array in LOCATION.items()}
    output = exact["data"] @ exact["fc_weight"].T + exact["fc_bias"]
    (result,) = tu.check_symbolic_forward(dense(), exact, [output], 1e-15, 1e-15, dtype=np.float64)
    assert result.dtype == np.float64
    bend = sb.sym.tanh(dense())
    tu.check_numeric_gradient(bend, exact, numeric_eps=1e-5, rtol=1e-6, dtype=np.float64)
    (result,) = tu.check_symbolic_forward(dense(), exact, [output])
    assert result.dtype == np.float32
    (result,) = tu.check_symbolic_forward(dense(), exact, [output], dtype="asnumpy")
    assert result.dtype == np.float64
    with pytest.raises(ValueError, match="row_sparse"):
        tu.check_numeric_gradient(dense(), LOCATION, grad_stype_dict={"data": "row_sparse"})


def test_one_symbol_is_compared_with_another():
    ways = [
        {"ctx": sb.cpu(), "data": (2, 4), "type_dict": {"data": np.float64}},
        {"ctx": sb.cpu(), "data": (2, 4), "type_dict": {"data": np.float32}},
    ]
    tu.check_consistency(dense(), ways)
    x = sb.sym.Variable("x")
    same_way = [{"ctx": sb.cpu(), "x": (3, 2)}] * 2
    twice, doubled = sb.sym.broadcast_add(x, x, name="y"), sb.sym.elemwise_add(x, x, name="y")
    truth = tu.check_consistency([twice, doubled], same_way, arg_params={"x": np.ones((3, 2))})
    assert truth["y_output"].asnumpy().tolist() == [[2.0, 2.0]] * 3
    assert truth["x"].asnumpy().tolist() == [[4.0, 4.0]] * 3
    wrong = sb.sym.square(x, name="y")
    with pytest.raises(AssertionError, match="y_output"):
        tu.check_consistency([twice, wrong], same_way)
    with pytest.raises(ValueError, match="1 ways to bind"):
        tu.check_consistency(twice, same_way[:1])
    assert tu.same_symbol_structure(twice, sb.sym.load_json(twice.tojson()))
    assert not tu.same_symbol_structure(twice, wrong)
    assert tu.check_speed(twice, N=2, x=(3, 2)) > 0


def test_optimizers_are_compared():
    tu.compare_optimizer(
        sb.optimizer.SGD(momentum=0.9), sb.optimizer.SGD(momentum=0.9), (3, 2), "f4"
    )
    with pytest.raises(AssertionError):
        tu.compare_optimizer(sb.optimizer.SGD(wd=0.5), sb.optimizer.SGD(), (3, 2), "float32")


def test_comparisons_of_parts():
    holes = np.array([1.0, np.nan, 3.0])
    tu.assert_almost_equal_ignore_nan(holes, [1.0, 2.0, 3.0])
    with pytest.raises(AssertionError):
        tu.assert_almost_equal_ignore_nan(holes, [1.0, 2.0, 4.0])
    tu.assert_almost_equal_with_err([1.0, 2, 3, 4], [1.0, 2, 3, 5], etol=0.3)
    with pytest.raises(AssertionError, match=r"25\.00%"):
        tu.assert_almost_equal_with_err([1.0, 2, 3, 4], [1.0, 2, 3, 5], etol=0.2)
    whole = sb.nd.zeros((2, 3))
    assert tu.same_array(whole, whole.reshape((6,))[:].reshape((2, 3)))
    assert not tu.same_array(whole, whole.copy())
    assert tu.get_tols(np.float16([1]), np.float64([1])) == (1e-2, 1e-1)
    assert tu.get_tols(np.float32([1]), 1.0, rtol={np.float32: 0.5}, atol=2.0) == (0.5, 2.0)


def test_reductions_and_functions():
    x = np.arange(24.0).reshape(2, 3, 4)
    assert np.array_equal(tu.np_reduce(x, (0, -1), True, np.sum), x.sum((0, 2), keepdims=True))
    assert np.array_equal(tu.np_reduce(x, None, False, np.max), x.max())
    assert tu.collapse_sum_like(x, (3, 1)).tolist() == [[60.0], [92.0], [124.0]]
    assert tu.assign_each([[1, 2]], lambda v: v * 10).tolist() == [[10.0, 20.0]]
    assert tu.assign_each2([1, 2], [3, 4], lambda v, w: v * w).tolist() == [3.0, 8.0]
    assert sorted(tu.random_sample([4, 5, 6], 3)) == [4, 5, 6]


def test_the_process_around_a_test(monkeypatch, capfd):
    monkeypatch.setenv("SB_ONE", "before")
    with tu.environment({"SB_ONE": "1", "SB_TWO": "2"}):
        assert (os.environ["SB_ONE"], os.environ["SB_TWO"]) == ("1", "2")
    assert os.environ["SB_ONE"] == "before"
    assert "SB_TWO" not in os.environ
    with tu.environment("SB_ONE", None):
        assert "SB_ONE" not in os.environ
    with tu.discard_stderr():
        os.write(2, b"noise")
    os.write(2, b"word")
    assert capfd.readouterr().err == "word"
    tries = []

    @tu.retry(3)
    def shaky():
        tries.append(1)
        assert len(tries) == 2

    shaky()
    assert len(tries) == 2


def test_an_iterator_of_one_batch():
    real = sb.io.NDArrayIter(np.arange(8.0).reshape(4, 2), np.zeros(4), batch_size=2)
    dummy = tu.DummyIter(real)
    assert dummy.provide_data[0].shape == (2, 2)
    first, second = dummy.next(), dummy.next()
    assert first is second
    assert first.data[0].asnumpy().tolist() == [[0.0, 1.0], [2.0, 3.0]]
