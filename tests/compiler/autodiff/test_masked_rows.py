"""A row of a loss that a mask of minus infinity covers whole, and whose label is ignored."""

import numpy as np
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket.ir import Builder, new_graph
from symbucket.ir.minus_infinity import can_be_minus_infinity


def ran(data, **attributes):
    mask = sb.sym.Variable("mask")
    low = sb.sym.full(shape=data.shape, value=float("-inf"))
    bias = sb.sym.where(mask, sb.sym.zeros(shape=data.shape), low)
    masked = sb.sym.Variable("data") * 2.0 + bias
    out = sb.sym.SoftmaxOutput(masked, sb.sym.Variable("label"), name="out", **attributes)
    args = {
        "data": data,
        "mask": np.array([[1, 1, 0], [0, 0, 0]], np.float32),
        "label": np.array([1, -1], np.float32),
    }
    grads = {"data": np.zeros_like(data)}
    executor = out.bind(None, args, grads)
    executor.forward(is_train=True)
    executor.backward()
    return executor.grad_dict["data"].asnumpy()


def test_large_constants_are_seen():
    g = Builder(new_graph("large"))
    for fill, expected in ((float("-inf"), True), (0.0, False)):
        large = g.filled((64, 64), fill, ir.DataType.FLOAT)
        assert large.producer() is not None
        assert can_be_minus_infinity(g.op("Neg", large), unknown=True) == expected


@pytest.mark.parametrize("normalization", ["null", "valid"])
def test_an_ignored_row_has_no_gradient_though_it_is_nan(normalization):
    data = np.array([[0.5, 1.0, 2.0], [1.0, 2.0, 3.0]], np.float32)
    gradient = ran(data, normalization=normalization, use_ignore=True, ignore_label=-1)
    p = np.exp(2 * data[0, :2]) / np.exp(2 * data[0, :2]).sum()
    np.testing.assert_allclose(gradient[0], [2 * p[0], 2 * (p[1] - 1), 0.0], rtol=1e-5)
    np.testing.assert_array_equal(gradient[1], np.zeros(3))
