"""Values that MXNet 1.9.1 computes, where a plain formula or another convention would differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket.types import Array


def value(op: str, *arrays: Any, **attributes: Any) -> Array:
    names = "xyz"[: len(arrays)]
    symbol = getattr(sb.sym, op)(*map(sb.sym.Variable, names), **attributes)
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
