"""Values that MXNet 1.9.1 computes, where a plain formula or another convention would differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket import ops, sym
from symbucket.types import Array
from tests.ops.op_harness import executor


def value(op: str, *arrays: Any, **attributes: Any) -> Array:
    names = "xyz"[: len(arrays)]
    home = sb.sym if hasattr(sb.sym, op) else sb.sym.contrib
    symbol = getattr(home, op)(*map(sb.sym.Variable, names), **attributes)
    inputs = {n: np.asarray(a, np.float32) for n, a in zip(names, arrays)}
    return symbol.eval(**{n: sb.nd.array(a) for n, a in inputs.items()})[0].asnumpy()


SMALL = [1e-3, -1e-3, 1e-5, -1e-5, 1e-8, 0.0, 0.3, -0.3]
LARGE = [0.5, -0.5, 0.7, 3.0, 20.0]


@pytest.mark.parametrize("op", ["expm1", "log1p"])
def test_small_numbers_keep_their_digits(op: str) -> None:
    numbers = np.array(SMALL + LARGE)
    np.testing.assert_allclose(value(op, numbers), getattr(np, op)(numbers), rtol=1e-6)
    x = sb.sym.Variable("x")
    executor = getattr(sb.sym, op)(x).simple_bind(sb.cpu(), x=numbers.shape)
    executor.forward(is_train=True, x=numbers)
    executor.backward([np.ones(numbers.shape, np.float32)])
    slope = np.exp(numbers) if op == "expm1" else 1 / (1 + numbers)
    np.testing.assert_allclose(executor.grad_dict["x"].asnumpy(), slope, rtol=1e-5)


def test_infinite_ends_of_log1p_and_expm1() -> None:
    with np.errstate(divide="ignore"):
        assert value("log1p", [-1.0]).tolist() == [-np.inf]
    assert value("expm1", [-200.0]).tolist() == [-1.0]
    assert value("expm1", [200.0]).tolist() == [np.inf]


def test_rint_takes_halves_down_and_round_away_from_zero() -> None:
    numbers = [-2.5, -0.5, 0.5, 1.5, 2.5, 1.4, -1.6]
    assert value("rint", numbers).tolist() == [-3, -1, 0, 1, 2, 1, -2]
    assert value("round", numbers).tolist() == [-3, -1, 1, 2, 3, 1, -2]


def test_remainder_of_a_division_by_zero_is_zero() -> None:
    assert value("broadcast_mod", [5, 3, -3], [0, 2, 2]).tolist() == [0, 1, 1]
    x = sb.sym.Variable("x")
    assert (x % 0).eval(x=sb.nd.array([5.0]))[0].asnumpy().tolist() == [0]
    sb.test_utils.check_numeric_gradient(
        sb.sym.broadcast_mod(x, sb.sym.Variable("y")),
        {"x": np.array([5.3, 3.4, -3.2]), "y": np.array([0.0, 2.0, 2.0])},
        grad_nodes=["x"],
        rtol=1e-2,
        atol=1.01,  # MXNet's slope by x is 1 everywhere, also where the value is 0
    )


def softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize(
    ("shape", "axis", "attributes"),
    [
        ((4, 3), 1, {}),
        ((4, 3), 1, {"grad_scale": 0.5}),
        ((2, 3, 4), 2, {"preserve_shape": True}),
        ((2, 3, 4), 1, {"multi_output": True}),
    ],
)
def test_softmax_output_of_probabilities(
    shape: tuple[int, ...], axis: int, attributes: dict[str, Any]
) -> None:
    rng = np.random.default_rng(5)
    data = rng.normal(size=shape).astype(np.float32)
    label = softmax(rng.normal(size=shape), axis).astype(np.float32)
    symbol = sb.sym.SoftmaxOutput(sb.sym.Variable("x"), sb.sym.Variable("y"), **attributes)
    executor = symbol.simple_bind(sb.cpu(), x=shape, y=shape)
    output = executor.forward(is_train=True, x=data, y=label)[0].asnumpy()
    executor.backward()
    np.testing.assert_allclose(output, softmax(data, axis), rtol=1e-5)
    expected = (softmax(data, axis) - label) * attributes.get("grad_scale", 1.0)
    np.testing.assert_allclose(executor.grad_dict["x"].asnumpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("use_ignore", [False, True])
def test_batch_normalization_of_sequences_counts_all_labels(use_ignore: bool) -> None:
    """With preserve_shape "batch" divides by the number of labels, as for labels in one row."""
    x, y = sb.sym.Variable("x"), sb.sym.Variable("y")
    options = {"normalization": "batch", "use_ignore": use_ignore, "ignore_label": 0}
    kept = sb.sym.SoftmaxOutput(x, y, preserve_shape=True, **options)
    flat = sb.sym.SoftmaxOutput(
        sb.sym.Reshape(x, shape=(-1, 2)), sb.sym.Reshape(y, shape=(-1,)), **options
    )
    gradients = []
    for symbol in (kept, flat):
        executor = symbol.simple_bind(sb.cpu(), x=(2, 3, 2), y=(2, 3))
        data = np.arange(12).reshape(2, 3, 2) / 7
        executor.forward(is_train=True, x=data, y=np.array([[0, 1, 1], [1, 0, 0]]))
        executor.backward()
        gradients.append(executor.grad_dict["x"].asnumpy().ravel())
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5)
    if not use_ignore:
        np.testing.assert_allclose(gradients[0][:2], [-0.08928, 0.08928], atol=1e-5)


def test_the_slope_of_prelu_begins_at_a_quarter() -> None:
    symbol = sb.sym.LeakyReLU(sb.sym.Variable("data"), act_type="prelu", name="p")
    module = sb.mod.Module(symbol, label_names=None)
    module.bind([("data", (2, 3))])
    module.init_params(sb.init.Xavier())
    assert module.get_params()[0]["p_gamma"].asnumpy().tolist() == [0.25] * 3


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


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3), (4, 3, 2)])
def test_a_loss_is_divided_by_the_batch_whatever_its_rank(shape: tuple[int, ...]) -> None:
    """MXNet divides by all dimensions but the last, and one number a sample by nothing."""
    loss = sym.MakeLoss(sym.Variable("x"), normalization="batch")
    step = executor(loss, {"x": np.ones(shape, np.float32)})
    step.forward(is_train=True)
    step.backward()
    np.testing.assert_array_equal(step.grad_dict["x"].asnumpy(), np.full(shape, 0.25))


def test_smoothing_counts_where_classes_are_the_second_axis() -> None:
    """MXNet passes over it there."""
    x, y = sym.Variable("x"), sym.Variable("y")
    inputs = {"x": np.zeros((1, 3, 2), np.float32), "y": np.zeros((1, 2), np.float32)}
    step = executor(sym.SoftmaxOutput(x, y, multi_output=True, smooth_alpha=0.3), inputs)
    step.forward(is_train=True)
    step.backward()
    expected = (np.full(3, 1 / 3) - [0.7, 0.15, 0.15]) / 2  # of two positions
    gradient = step.grad_dict["x"].asnumpy()
    np.testing.assert_allclose(gradient, np.repeat(expected, 2).reshape(1, 3, 2), rtol=1e-5)


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


def test_a_detector_keeps_its_best_boxes_only() -> None:
    """Rows after the first ``nms_topk`` are of class -1; what else they hold means nothing."""
    scores = [[[0.1, 0.2, 0.3, 0.9], [0.9, 0.8, 0.7, 0.1]]]
    anchors = [[[0.1 * i, 0.0, 0.1 * i + 0.05, 0.5] for i in range(4)]]
    found = value("MultiBoxDetection", scores, np.zeros((1, 16)), anchors, nms_topk=2)[0]
    assert found[:, 0].tolist() == [0, 0, -1, -1]
    assert found[:2, 1].tolist() == pytest.approx([0.9, 0.8])
    assert found[:2, 2].tolist() == pytest.approx([0.0, 0.1])


def test_limits_of_targets_and_pairs_mean_what_they_say() -> None:
    """MXNet 1.9.1 ignores the one on CPUs, and makes one pair more than the other says."""
    anchors = [[[0.25 * i, 0.0, 0.25 * i + 0.2, 0.5] for i in range(4)]]
    labels, scores = [[[0, 0.0, 0.0, 0.2, 0.5]]], np.zeros((1, 2, 4))
    for least, count in ((0, 0), (2, 2), (9, 3)):
        symbol = sb.sym.contrib.MultiBoxTarget(
            *map(sb.sym.Variable, "xyz"),
            negative_mining_ratio=0.5,
            minimum_negative_samples=least,
        )
        inputs = {n: sb.nd.array(np.asarray(a)) for n, a in zip("xyz", (anchors, labels, scores))}
        classes = symbol.eval(**inputs)[2].asnumpy()[0]
        assert classes[0] == 1
        assert (classes == 0).sum() == count
    x = sb.nd.array([[0.5, 0.5], [0.5, 0.5], [0.3, 0.4]])
    rows, columns = sb.nd.contrib.bipartite_matching(x, threshold=0.1, topk=1)
    assert rows.asnumpy().tolist() == [0, -1, -1]
    assert columns.asnumpy().tolist() == [0, -1]


def test_boxes_that_are_none_are_refused() -> None:
    with pytest.raises(sb.SymbucketError, match="6 numbers or more"):
        value("box_nms", np.zeros((2, 5)))
    with pytest.raises(sb.SymbucketError, match="no boxes of 4 numbers"):
        value("box_iou", np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(sb.SymbucketError, match="MultiProposal takes several"):
        value("Proposal", np.zeros((2, 24, 1, 1)), np.zeros((2, 48, 1, 1)), np.zeros((2, 3)))
