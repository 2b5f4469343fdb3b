"""Loss outputs: their gradients are the slopes of the losses that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from tests.ops.op_harness import Array, Step, apply


def _log_softmax(x: Array, axis: int) -> Array:
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def _cross_entropy(data: Array, label: Array, axis: int = 1, smooth: float = 0.0) -> Array:
    """The loss of every row, with the label's shape."""
    logs = np.moveaxis(_log_softmax(data, axis), axis, -1)
    classes = logs.shape[-1]
    target = np.eye(classes)[np.clip(label.astype(int), 0, classes - 1)]
    target = target * (1.0 - smooth) + (1.0 - target) * smooth / (classes - 1)
    return -(target * logs).sum(axis=-1)


def _softmax_output(data: Array, label: Array, **a: Any) -> float:
    axis = data.ndim - 1 if a.get("preserve_shape") else 1
    if not (a.get("multi_output") or a.get("preserve_shape")):
        data = data.reshape(len(data), -1)
    rows = _cross_entropy(data, label, axis, a.get("smooth_alpha", 0.0))
    ignored = label == a.get("ignore_label", -1)
    if a.get("use_ignore"):
        rows = np.where(ignored, 0.0, rows)
    norm = 1.0
    if a.get("normalization") == "batch":
        norm = float(len(label))
    if a.get("normalization") == "valid":
        norm = max(1.0, float((~ignored).sum()))
    elif a.get("multi_output"):
        norm *= float(np.prod(data.shape[2:]))
    return float(rows.sum()) * a.get("grad_scale", 1.0) / norm


def _per_row(data: Array, a: dict[str, Any]) -> float:
    return a.get("grad_scale", 1.0) / (data.size / len(data))


def _linear(data: Array, label: Array, **a: Any) -> float:
    return float(0.5 * ((data - label) ** 2).sum()) * _per_row(data, a)


def _logistic(data: Array, label: Array, **a: Any) -> float:
    return float((np.logaddexp(0.0, data) - data * label).sum()) * _per_row(data, a)


def _absolute(data: Array, label: Array, **a: Any) -> float:
    return float(np.abs(data - label).sum()) * _per_row(data, a)


def _made(data: Array, **a: Any) -> float:
    norm = {
        "null": 1.0,
        "batch": float(len(data)),
        "valid": max(1.0, float((data > a.get("valid_thresh", 0.0)).sum())),
    }[a.get("normalization", "null")]
    return float(data.sum()) * a.get("grad_scale", 1.0) / norm


def _blocked(data: Array, **a: Any) -> float:
    return 0.0


Loss = Callable[..., float]
CASES: list[tuple[str, dict[str, Any], tuple[int, ...], Any, Loss]] = [
    *(
        ("SoftmaxOutput", attrs, (4, 3), [0, 2, 1, 1], _softmax_output)
        for attrs in (
            {},
            {"grad_scale": 0.3, "normalization": "batch"},
            {"use_ignore": True, "ignore_label": 1},
            {"use_ignore": True, "ignore_label": 1, "normalization": "batch"},
            {"use_ignore": True, "ignore_label": 1, "normalization": "valid", "grad_scale": 2.0},
            {"ignore_label": 1, "normalization": "valid"},
            {"smooth_alpha": 0.2, "use_ignore": True, "ignore_label": 0},
        )
    ),
    ("SoftmaxOutput", {}, (2, 3, 2), [5, 0], _softmax_output),
    (
        "SoftmaxOutput",
        {"use_ignore": True, "ignore_label": -1},
        (3, 3),
        [-1, 2, -1],
        _softmax_output,
    ),
    *(
        ("SoftmaxOutput", attrs, (2, 3, 2), [[0, 2], [1, 1]], _softmax_output)
        for attrs in (
            {"multi_output": True},
            {"multi_output": True, "normalization": "batch"},
            {"multi_output": True, "use_ignore": True, "ignore_label": 2, "normalization": "valid"},
        )
    ),
    (
        "SoftmaxOutput",
        {"preserve_shape": True, "use_ignore": True, "ignore_label": 0},
        (2, 2, 3),
        [[0, 2], [1, 1]],
        _softmax_output,
    ),
    *(
        (name, {"grad_scale": scale}, shape, np.round(np.linspace(0, 1, 6)).reshape(shape), loss)
        for name, loss in (
            ("LinearRegressionOutput", _linear),
            ("LogisticRegressionOutput", _logistic),
            ("MAERegressionOutput", _absolute),
        )
        for shape, scale in (((3, 2), 1.0), ((6, 1), 0.5), ((6,), 2.0))
    ),
    *(
        ("MakeLoss", attrs, (3, 2), None, _made)
        for attrs in (
            {},
            {"grad_scale": 0.5, "normalization": "batch"},
            {"normalization": "valid"},
            {"normalization": "valid", "valid_thresh": 9.0},
        )
    ),
    ("BlockGrad", {}, (3, 2), None, _blocked),
]


@pytest.mark.parametrize(
    ("op", "attrs", "shape", "label", "loss"),
    CASES,
    ids=[f"{op}-{attrs}-{shape}" for op, attrs, shape, _, _ in CASES],
)
def test_gradient_is_the_slope_of_the_loss(
    op: str, attrs: dict[str, Any], shape: tuple[int, ...], label: Any, loss: Loss
) -> None:
    seed = 11
    data = np.random.default_rng(seed).normal(size=shape)
    inputs = {"data": data}
    if label is not None:
        inputs["label"] = np.array(label, dtype=np.float64)
    step = Step(apply(op, attrs, list(inputs)), inputs, ["data"], np.float64)
    assert step.programs.step is not None, "a loss needs no head gradient"
    slope = np.zeros(shape)
    for place in np.ndindex(shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = {**inputs, "data": data.copy()}
            moved["data"][place] += sign * 1e-6
            ends.append(loss(**moved, **attrs))
        slope[place] = (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(
        step.gradients([])["data"], slope, rtol=1e-5, atol=1e-7, err_msg=f"seed {seed}"
    )


def test_out_grad_multiplies_the_gradient_of_softmax_output() -> None:
    data = np.random.default_rng(3).normal(size=(2, 3))
    inputs = {"data": data, "label": np.array([0.0, 2.0])}
    plain = Step(apply("SoftmaxOutput", {}, list(inputs)), inputs, ["data"], np.float64)
    headed = Step(
        apply("SoftmaxOutput", {"out_grad": True}, list(inputs)), inputs, ["data"], np.float64
    )
    head = np.random.default_rng(4).normal(size=(2, 3))
    np.testing.assert_allclose(
        headed.gradients([head])["data"], plain.gradients([])["data"] * head, rtol=1e-12
    )


def test_a_loss_ignores_what_comes_after_it() -> None:
    x = sb.sym.Variable("x")
    made = sb.sym.MakeLoss(sb.sym.square(x), grad_scale=3.0) * 100.0
    bound = made.simple_bind(sb.cpu(), x=(4,))
    bound.arg_dict["x"][:] = [1.0, -2.0, 0.5, 3.0]
    bound.forward(is_train=True)
    bound.backward()
    np.testing.assert_allclose(bound.grad_dict["x"].asnumpy(), [6.0, -12.0, 3.0, 18.0], rtol=1e-6)


def test_block_grad_stops_only_its_own_path() -> None:
    x = sb.sym.Variable("x")
    both = x * sb.sym.BlockGrad(x)
    bound = both.simple_bind(sb.cpu(), x=(3,))
    bound.arg_dict["x"][:] = [1.0, 2.0, 3.0]
    bound.forward(is_train=True)
    bound.backward(np.ones(3, np.float32))
    np.testing.assert_allclose(bound.grad_dict["x"].asnumpy(), [1.0, 2.0, 3.0])
