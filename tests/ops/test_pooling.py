"""Pooling, against a reimplementation in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, ShapeError
from tests.ops.differences import apply, bound, check, check_node, draw, run


def full(value, rank, default):
    return tuple(value) if value else (default,) * rank


def pool(x, kind, kernel, stride=(), pad=(), convention="valid", count_include_pad=True):
    rank = len(kernel)
    stride, pad = full(stride, rank, 1), full(pad, rank, 0)
    size = x.shape[2:]
    rounded = math.ceil if convention == "full" else math.floor
    counts = [rounded((n + 2 * p - k) / s) + 1 for n, p, k, s in zip(size, pad, kernel, stride)]
    out = np.zeros((*x.shape[:2], *counts))
    for place in np.ndindex(*counts):
        starts = [i * s - p for i, s, p in zip(place, stride, pad)]
        inside = tuple(slice(max(b, 0), min(b + k, n)) for b, k, n in zip(starts, kernel, size))
        seen = x[(slice(None), slice(None), *inside)].reshape(*x.shape[:2], -1)
        if kind == "max":
            value = seen.max(axis=2)
        else:
            value = seen.sum(axis=2)
            padded = [min(b + k, n + p) - b for b, k, n, p in zip(starts, kernel, size, pad)]
            if kind == "avg":
                value = value / (math.prod(padded) if count_include_pad else seen.shape[2])
        out[(slice(None), slice(None), *place)] = value
    return out


def test_gradients_of_foreign_pooling_nodes():
    x = draw(7, (2, 2, 5))[0]
    # Without Indices, padded by one element at the end.
    check_node(
        "MaxPool",
        lambda at: pool(at, "max", (2,), convention="valid", pad=(1,))[:, :, 1:],
        x,
        kernel_shape=[2],
        auto_pad="SAME_UPPER",
    )
    check_node(
        "AveragePool",
        lambda at: pool(at, "avg", (3,), (2,), (1,), count_include_pad=False),
        x,
        kernel_shape=[3],
        strides=[2],
        pads=[1, 1],
    )
    check_node("GlobalAveragePool", lambda at: at.mean(axis=2, keepdims=True), x)


WINDOWS = [
    ((2, 3, 8), {"kernel": (3,)}),
    ((2, 2, 7), {"kernel": (3,), "stride": (2,), "pad": (1,)}),
    ((1, 2, 5, 6), {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)}),
    ((2, 1, 5, 5), {"kernel": (3, 3)}),
    ((1, 1, 3, 4, 3), {"kernel": (2, 2, 2), "stride": (1, 2, 1)}),
]


@pytest.mark.parametrize("kind", ["max", "avg", "sum"])
@pytest.mark.parametrize(
    ("convention", "shape", "settings"),
    [(c, *window) for c in ("valid", "full") for window in WINDOWS]
    # Stepping over elements: "full" would put a last window behind the data.
    + [("valid", (1, 2, 4, 4), {"kernel": (2, 2), "stride": (3, 3)})],
)
def test_pooling(kind, convention, shape, settings):
    inputs = {"data": draw(4, shape)[0]}
    symbol = apply("Pooling", inputs, pool_type=kind, pooling_convention=convention, **settings)

    def reference(data):
        return pool(data, kind, convention=convention, **settings)

    check(symbol, reference, inputs, ["data"])
    (output,), expected = run(symbol, inputs), reference(inputs["data"])
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("convention", ["valid", "full"])
@pytest.mark.parametrize("include", [True, False])
def test_average_with_and_without_padding(convention, include):
    inputs = {"data": draw(5, (1, 2, 6, 5))[0]}
    settings = {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1), "count_include_pad": include}
    symbol = apply("Pooling", inputs, pool_type="avg", pooling_convention=convention, **settings)
    check(
        symbol, lambda data: pool(data, "avg", convention=convention, **settings), inputs, ["data"]
    )


def test_full_convention_differs_from_valid():
    symbol = sb.sym.Pooling(sb.sym.Variable("data"), kernel=(3, 3), stride=(2, 2))
    assert symbol.infer_shape(data=(1, 2, 6, 7))[1] == [(1, 2, 2, 3)]
    symbol = sb.sym.Pooling(
        sb.sym.Variable("data"), kernel=(3, 3), stride=(2, 2), pooling_convention="full"
    )
    assert symbol.infer_shape(data=(1, 2, 6, 7))[1] == [(1, 2, 3, 3)]


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 2, 3, 4), (1, 2, 2, 3, 2)])
@pytest.mark.parametrize("kind", ["max", "avg", "sum"])
def test_global_pooling_ignores_the_window(shape, kind):
    inputs = {"data": draw(6, shape)[0]}
    symbol = apply("Pooling", inputs, pool_type=kind, global_pool=True, kernel=(2,), stride=(7,))
    check(symbol, lambda data: pool(data, kind, shape[2:]), inputs, ["data"])


@pytest.mark.parametrize("settings", [{"kernel": (3,), "pad": (1,)}, {"global_pool": True}])
def test_the_first_of_equal_elements_takes_the_gradient(settings):
    inputs = {"data": np.array([[[2, 2, 1, 5, 5, 5]]], np.float32)}
    executor = bound(apply("Pooling", inputs, **settings), inputs, ["data"])
    out = executor.forward(is_train=True)[0].asnumpy()
    head = np.arange(1, out.size + 1, dtype=np.float32).reshape(out.shape)
    executor.backward([head])
    expected = np.zeros(6, np.float32)
    windows = [range(6)] if "global_pool" in settings else [range(i - 1, i + 2) for i in range(6)]
    for window, h in zip(windows, head.reshape(-1)):
        inside = [i for i in window if 0 <= i < 6]
        expected[max(inside, key=lambda i: (inputs["data"][0, 0, i], -i))] += h
    np.testing.assert_array_equal(executor.grad_dict["data"].asnumpy().reshape(-1), expected)


def test_pooling_shapes_may_be_partial():
    symbol = sb.sym.Pooling(sb.sym.Variable("data"), kernel=(2, 2), stride=(2, 2))
    args, outs, _ = symbol.infer_shape_partial(data=(0, 3, 8, 0))
    assert args == [(0, 3, 8, 0)]
    assert outs == [(0, 3, 4, 0)]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, r"Pooling: attribute 'kernel' is missing.*global_pool=True"),
        ({"kernel": (2, 2), "stride": (2,)}, r"stride=\(2,\) must have one number for each of"),
        ({"kernel": (2, 2), "pad": (2, 0)}, r"pad=\(2, 0\) must be below kernel=\(2, 2\)"),
        ({"kernel": (2,), "pool_type": "l2"}, r"pool_type='l2' is not one of 'max', 'avg', 'sum'"),
        ({"kernel": (2,), "pool_type": "lp"}, r"pool_type='lp' needs p_value 1, 2 or 3"),
        ({"kernel": (2,), "pooling_convention": "some"}, r"is not one of 'valid', 'full'"),
        ({"kernel": (2,), "pad": (1,), "pooling_convention": "same"}, r"pad=\(1,\) must be 0"),
    ],
)
def test_wrong_attributes_of_a_pooling(attributes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        sb.sym.Pooling(sb.sym.Variable("data"), **attributes)


@pytest.mark.parametrize(
    ("attributes", "shape", "message"),
    [
        ({"kernel": (2, 2)}, (1, 2, 3), r"kernel=\(2, 2\) has 2 axes, so data must have 4"),
        ({"kernel": (5,)}, (1, 2, 3), r"the window covers 5 elements .* has only 3"),
        (
            {"global_pool": True},
            (2, 3),
            r"data must be \(n, c, d1, \.\.\.\), it has shape \(2, 3\)",
        ),
    ],
)
def test_data_that_does_not_fit_a_pooling(attributes, shape, message):
    symbol = sb.sym.Pooling(sb.sym.Variable("data"), name="pool", **attributes)
    with pytest.raises(ShapeError, match=r"Node 'pool' \(Pooling; .*" + message):
        symbol.infer_shape(data=shape)
