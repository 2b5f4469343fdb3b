"""Gradients that are not those of the value: numbers of MXNet 1.9.1."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import UnsupportedError


def trained(symbol, aux=None, **data):
    arrays = {name: sb.nd.array(values) for name, values in data.items()}
    grads = {name: sb.nd.zeros(array.shape) for name, array in arrays.items()}
    executor = symbol.bind(sb.cpu(), arrays, grads, aux_states=aux)
    outputs = executor.forward(is_train=True)
    executor.backward([np.ones(output.shape, np.float32) for output in outputs])
    return outputs[0].asnumpy(), grads["x"].asnumpy()


@pytest.mark.parametrize(
    ("symbol", "values", "slope"),
    [
        (sym.contrib.round_ste(sym.Variable("x")), [-2, -1, 0, 1, 2, 2], 1.0),
        (sym.contrib.sign_ste(sym.Variable("x")), [-1, -1, 0, 1, 1, 1], 1.0),
        (
            sym.contrib.gradientmultiplier(sym.Variable("x"), scalar=-0.5),
            [-1.5, -0.5, 0, 0.5, 1.5, 2.4],
            -0.5,
        ),
    ],
)
def test_values_and_slopes(symbol, values, slope):
    y, dx = trained(symbol, x=[[-1.5, -0.5, 0, 0.5, 1.5, 2.4]])
    np.testing.assert_allclose(y, [values], rtol=1e-6)
    assert dx.tolist() == [[slope] * 6]


def test_the_penalty_of_busy_units():
    x = sym.Variable("x")
    symbol = sym.IdentityAttachKLSparseReg(x, sparseness_target=0.1, penalty=0.01, name="k")
    assert symbol.list_auxiliary_states() == ["k_moving_avg"]
    aux = {"k_moving_avg": sb.nd.array([0.5, 0.5])}
    data = [[0.2, 0.3], [0.4, 0.6], [0.1, 0.9]]
    y, dx = trained(symbol, aux, x=data)
    np.testing.assert_allclose(y, data, rtol=1e-6)
    np.testing.assert_allclose(dx, [[1.014976, 1.016407]] * 3, rtol=1e-6)
    np.testing.assert_allclose(aux["k_moving_avg"].asnumpy(), [0.473333, 0.51], rtol=1e-5)
    moving = aux["k_moving_avg"].asnumpy()
    executor = symbol.bind(sb.cpu(), {"x": sb.nd.array(data)}, aux_states=aux)
    np.testing.assert_allclose(executor.forward()[0].asnumpy(), data, rtol=1e-6)
    assert aux["k_moving_avg"].asnumpy().tolist() == moving.tolist()


def test_statistics_of_the_whole_batch_need_it_on_one_context():
    symbol = sym.contrib.SyncBatchNorm(sym.Variable("data"), key="bn", ndev=2)
    module = sb.mod.Module(symbol, label_names=None, context=[sb.cpu(0), sb.cpu(1)])
    with pytest.raises(UnsupportedError, match=r"computes over the whole batch.*Use one context"):
        module.bind([("data", (4, 3))])


def test_density_outside_of_a_range():
    """0, where MXNet 1.9.1 gives that of the inside."""
    x = sb.nd.array([[0.5, 3.0]])
    low, high = sb.nd.array([0]), sb.nd.array([2])
    assert sb.nd.random_pdf_uniform(x, low, high).asnumpy().tolist() == [[0.5, 0.0]]
    logs = sb.nd.random_pdf_uniform(x, low, high, is_log=True).asnumpy()[0]
    assert logs.tolist() == [pytest.approx(-np.log(2)), -np.inf]
    with pytest.raises(sb.SymbucketError, match="do not fit samples"):
        sb.nd.random_pdf_normal(x, sb.nd.zeros((1, 2, 3)), sb.nd.ones((1, 2, 3)))


def test_inputs_of_several_dtypes():
    """Parameters and boxes may have another dtype than what they are for."""
    x = sb.nd.array([[0, 1.0]])
    wide = sb.nd.array([2.0], dtype="float64")
    expected = sb.nd.random_pdf_poisson(x, sb.nd.array([2.0])).asnumpy()
    np.testing.assert_allclose(sb.nd.random_pdf_poisson(x, wide).asnumpy(), expected, rtol=1e-6)
    boxes = sb.nd.array([[0, 0, 2, 2.0]])
    others = sb.nd.array([[1, 1, 3, 3.0]], dtype="float64")
    assert sb.nd.contrib.box_iou(boxes, others).asnumpy() == pytest.approx(1 / 7)
