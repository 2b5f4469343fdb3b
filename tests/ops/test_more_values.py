"""Values of MXNet 1.9.1 that are no rows of the recorded tables."""

from __future__ import annotations

import numpy as np

import symbucket as sb
from symbucket import ops, sym
from tests.ops.op_harness import executor


def test_softmax_activation_takes_the_last_axis() -> None:
    x = sym.Variable("x")
    y = sym.SoftmaxActivation(x).eval(x=sb.nd.zeros((1, 2, 3)))[0].asnumpy()
    np.testing.assert_allclose(y, np.full((1, 2, 3), 1 / 3), rtol=1e-6)


def test_hinge_losses() -> None:
    x, y = sym.Variable("x"), sym.Variable("y")
    inputs = {"x": np.array([[0.3, -0.4, 1.2], [0.1, 2.0, -3.0]], np.float32), "y": [2.0, 0.0]}
    inputs["y"] = np.array(inputs["y"], np.float32)
    expected = {
        True: [[0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]],
        False: [[1.3, 0.6, 0.0], [-0.9, 3.0, 0.0]],
    }
    for linear, gradient in expected.items():
        symbol = sym.SVMOutput(x, y, use_linear=linear, regularization_coefficient=0.5)
        step = executor(symbol, inputs)
        np.testing.assert_array_equal(step.forward(is_train=True)[0].asnumpy(), inputs["x"])
        step.backward()
        np.testing.assert_allclose(step.grad_dict["x"].asnumpy(), gradient, atol=1e-6)


def test_a_loss_may_count_what_is_valid() -> None:
    """MakeLoss of a square: 4 of 6 elements are above the threshold."""
    x = sym.Variable("x")
    data = np.array([[0.0, 0.5, -1.0], [2.0, 0.0, 3.0]], np.float32)
    for normalization, divisor in (("null", 1.0), ("batch", 2.0), ("valid", 4.0)):
        loss = sym.MakeLoss(
            sym.square(x), normalization=normalization, valid_thresh=0.1, grad_scale=2
        )
        step = executor(loss, {"x": data})
        step.forward(is_train=True)
        step.backward()
        np.testing.assert_allclose(step.grad_dict["x"].asnumpy(), 4.0 * data / divisor, rtol=1e-6)


def test_splits_and_histograms_choose_attributes_by_values() -> None:
    x = sym.Variable("x")
    parts = sym.split_v2(x, (1, 3), axis=2, name="s")
    assert parts.infer_shape(x=(2, 3, 4))[1] == [(2, 3, 1), (2, 3, 2), (2, 3, 1)]
    assert parts.list_outputs() == ["s_output0", "s_output1", "s_output2"]
    assert x.split_v2(3, axis=1, squeeze_axis=True).infer_shape(x=(2, 3, 4))[1] == [(2, 4)] * 3
    counts, edges = sym.histogram(x, bins=4, range=(0, 2)).eval(
        x=sb.nd.array([0, 0.5, 1, 1, 2, 2.5])
    )
    assert counts.asnumpy().tolist() == [1, 1, 2, 1]
    assert edges.asnumpy().tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert sym.eye(2, 3, k=1).eval()[0].asnumpy().tolist() == [[0, 1, 0], [0, 0, 1]]
    assert sym.linspace(0, 1, 5, endpoint=False).eval()[0].asnumpy().tolist() == [
        np.float32(n) for n in (0.0, 0.2, 0.4, 0.6, 0.8)
    ]


def test_positions_are_no_way_back_for_a_gradient() -> None:
    """Outputs that nothing flows back from take head gradients too."""
    both = sym.topk(sym.Variable("x"), k=2, ret_typ="both")
    step = executor(both, {"x": np.array([[3.0, 1.0, 2.0]], np.float32)})
    values, places = step.forward(is_train=True)
    assert values.asnumpy().tolist() == [[3.0, 2.0]]
    assert places.asnumpy().tolist() == [[0.0, 2.0]]
    step.backward([np.array([[5.0, 7.0]]), np.ones((1, 2))])
    assert step.grad_dict["x"].asnumpy().tolist() == [[5.0, 0.0, 7.0]]


def test_names_of_arithmetic_in_old_files() -> None:
    for old, new in {
        "_Plus": "elemwise_add",
        "_Not_Equal": "_not_equal",
        "_RMinusScalar": "_rminus_scalar",
        "_GreaterEqualScalar": "_greater_equal_scalar",
    }.items():
        assert ops.find(old) is ops.find(new)


def test_flips_and_tensors_of_images() -> None:
    """MXNet leaves the middle of an odd width unset, and has the slopes of a copy for both."""
    x = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    data = sym.Variable("data")
    flipped, turned, tensor = (
        symbol.eval(data=sb.nd.array(x))[0].asnumpy()
        for symbol in (
            sym.image.flip_left_right(data),
            sym.image.flip_top_bottom(data),
            sym.image.to_tensor(data),
        )
    )
    np.testing.assert_array_equal(flipped, x[:, ::-1])
    np.testing.assert_array_equal(turned, x[::-1])
    np.testing.assert_allclose(tensor, x.transpose(2, 0, 1) / 255, rtol=1e-6)
