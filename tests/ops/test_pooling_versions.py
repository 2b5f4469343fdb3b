"""Average and sum pooling against plain loops: right on every runtime that the extras allow."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import helper

import symbucket as sb
from symbucket.errors import ShapeError


def windows_along(size, kernel, stride, pad, full):
    """(start, stop, elements that count) of every window; ``stop`` is cut at the padded end."""
    spare = size + 2 * pad - kernel
    count = (-(-spare // stride) if full else spare // stride) + 1
    for i in range(count):
        start = i * stride - pad
        yield max(start, 0), min(start + kernel, size), min(start + kernel, size + pad) - start


def expected_pooling(x, kernel, stride, pad, pool_type, full, count_include_pad):
    axes = [list(windows_along(*a, full)) for a in zip(x.shape[2:], kernel, stride, pad)]
    out = np.zeros((*x.shape[:2], *map(len, axes)))
    for place in np.ndindex(*out.shape[2:]):
        spans = [axes[i][p] for i, p in enumerate(place)]
        part = x[(..., *(slice(a, b) for a, b, _ in spans))]
        inside = math.prod(b - a for a, b, _ in spans)
        area = math.prod(n for _, _, n in spans) if count_include_pad else inside
        total = part.sum(axis=tuple(range(2, x.ndim)))
        out[(..., *place)] = total if pool_type == "sum" else total / max(area, 1)
    return out


CASES = [
    (size, kernel, stride, pad, full)
    for size in [(5, 4), (7, 7)]
    for kernel in [(2, 2), (3, 1), (3, 2)]
    for stride in [(1, 1), (2, 2), (2, 3)]
    for pad in itertools.product(range(2), repeat=2)
    for full in (False, True)
    if all(p < k for p, k in zip(pad, kernel))
] + [
    ((6,), (4,), (3,), (2,), False),
    ((6,), (4,), (3,), (2,), True),
    ((4, 5, 3), (2, 3, 2), (2, 1, 2), (0, 1, 1), True),
]


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("pool_type", ["avg", "sum"])
def test_pooling_of_every_padding(pool_type, count_include_pad):
    rng = np.random.default_rng(11)
    checked = 0
    for size, kernel, stride, pad, full in CASES:
        x = rng.normal(size=(2, 3, *size)).astype(np.float32)
        symbol = sb.sym.Pooling(
            sb.sym.Variable("x"),
            kernel=kernel,
            stride=stride,
            pad=pad,
            pool_type=pool_type,
            pooling_convention="full" if full else "valid",
            count_include_pad=count_include_pad,
        )
        try:
            output = symbol.simple_bind(sb.cpu(), "null", x=x.shape).forward(x=x)[0].asnumpy()
        except ShapeError:  # "full" would make a window over nothing
            assert full
            continue
        expected = expected_pooling(x, kernel, stride, pad, pool_type, full, count_include_pad)
        np.testing.assert_allclose(
            output, expected, rtol=1e-5, atol=1e-6, err_msg=f"{size} {kernel} {stride} {pad} {full}"
        )
        checked += 1
    assert checked > 100


def average(size, opset, **attributes):
    node = helper.make_node("AveragePool", ["x"], ["y"], **attributes)
    value = helper.make_tensor_value_info
    graph = helper.make_graph([node], "g", [value("x", 1, [1, 1, *size])], [value("y", 1, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [11, 13, 19, 21])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_imported_average_pool(opset, ceil_mode, count_include_pad):
    rng = np.random.default_rng(12)
    for size, kernel, stride, pad in [
        ((4, 4), (3, 3), (2, 2), (1, 1)),
        ((5, 4), (3, 2), (2, 1), (1, 0)),
        ((7, 6), (2, 3), (3, 2), (0, 1)),
        ((5,), (3,), (3,), (1,)),
    ]:
        x = rng.normal(size=(1, 1, *size)).astype(np.float32)
        model = average(
            size,
            opset,
            kernel_shape=kernel,
            strides=stride,
            pads=[*pad, *pad],
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )
        symbol = sb.sym.from_onnx(model)
        executor = symbol.simple_bind(sb.cpu(), x=x.shape)
        output = executor.forward(is_train=True, x=x)[0].asnumpy()
        expected = expected_pooling(x, kernel, stride, pad, "avg", ceil_mode, count_include_pad)
        # In ceil mode a window that begins behind the data and the padding before it is left out.
        kept = tuple(slice(n) for n in output.shape[2:])
        np.testing.assert_allclose(output, expected[(..., *kept)], rtol=1e-5, atol=1e-6)
        for n, wide, s, p in zip(output.shape[2:], size, stride, pad):
            assert (n - 1) * s < wide + p
        sb.test_utils.check_numeric_gradient(symbol, {"x": x})


def test_a_dilated_window_over_padding_alone_has_the_average_zero():
    model = average(
        (3,), 19, kernel_shape=[2], dilations=[4], pads=[3, 3], strides=[1], count_include_pad=1
    )
    x = np.array([[[1.0, 2.0, 3.0]]], np.float32)
    reference = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    output = sb.sym.from_onnx(model).eval(x=sb.nd.array(x))[0].asnumpy()
    assert np.isfinite(output).all()
    padded = np.array([0, 0, 0, 1, 2, 3, 0, 0, 0])
    assert output.ravel().tolist() == [(padded[i] + padded[i + 4]) / 2 for i in range(5)]
    assert output.shape == reference.shape
