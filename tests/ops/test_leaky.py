from __future__ import annotations

import math

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, ShapeError
from tests.ops.differences import apply, check, check_node, draw

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805


def leaky(slope):
    return lambda data: np.where(data > 0, data, slope * data)


def elu(slope):
    return lambda data: np.where(data > 0, data, slope * np.expm1(data))


def selu(data):
    return SCALE * np.where(data > 0, data, ALPHA * np.expm1(data))


def gelu(data):
    return data * 0.5 * (1 + np.vectorize(math.erf)(data / math.sqrt(2)))


@pytest.mark.parametrize(
    ("attributes", "reference"),
    [
        ({}, leaky(0.25)),
        ({"act_type": "leaky", "slope": 0.01}, leaky(0.01)),
        ({"act_type": "elu"}, elu(0.25)),
        ({"act_type": "elu", "slope": 1.7}, elu(1.7)),
        ({"act_type": "selu"}, selu),
        ({"act_type": "gelu"}, gelu),
    ],
)
def test_values_and_gradients(attributes, reference):
    inputs = {"data": draw(1, (3, 4, 2))[0] * 2}
    check(apply("LeakyReLU", inputs, **attributes), reference, inputs, ["data"])


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize("one", [False, True])
def test_prelu(shape, one):
    data, gamma = draw(2, shape, (1 if one else 3,))

    def reference(data, gamma):
        column = gamma.reshape((1, -1) + (1,) * (len(shape) - 2))
        return np.where(data > 0, data, column * data)

    inputs = {"data": data, "gamma": gamma}
    check(apply("LeakyReLU", inputs, act_type="prelu"), reference, inputs, ["data", "gamma"])


def test_only_prelu_has_a_gamma():
    data = sb.sym.Variable("data")
    assert sb.sym.LeakyReLU(data, act_type="prelu", name="a").list_arguments() == [
        "data",
        "a_gamma",
    ]
    assert sb.sym.LeakyReLU(data, act_type="elu", name="a").list_arguments() == ["data"]


def test_gamma_is_inferred_from_the_channels():
    symbol = sb.sym.LeakyReLU(sb.sym.Variable("data"), act_type="prelu", name="a")
    args, outs, _ = symbol.infer_shape(data=(4, 7, 5))
    assert args == [(4, 7, 5), (7,)]
    assert outs == [(4, 7, 5)]
    args, _, _ = symbol.infer_shape_partial(data=(0, 7, 5))
    assert args == [(0, 7, 5), (7,)]


def test_prelu_of_a_vector_says_what_to_do():
    symbol = sb.sym.LeakyReLU(sb.sym.Variable("data"), act_type="prelu", name="a")
    with pytest.raises(ShapeError, match=r"a slope for each channel.*shape \(5,\).*give gamma"):
        symbol.infer_shape(data=(5,))
    with pytest.raises(ShapeError, match=r"shapes \(3,\) and \(7,\) differ"):
        symbol.infer_shape(data=(4, 7), a_gamma=(3,))


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(
        InvalidArgumentError, match=r"act_type='relu6' is not one of 'leaky', 'elu'"
    ):
        sb.sym.LeakyReLU(sb.sym.Variable("data"), act_type="relu6")


def test_gradients_of_foreign_nodes():
    x = draw(3, (4, 5))[0] * 2
    root = math.sqrt(2 / math.pi)
    check_node(
        "Gelu",
        lambda at: 0.5 * at * (1 + np.tanh(root * (at + 0.044715 * at**3))),
        x,
        approximate="tanh",
    )
    check_node(
        "Selu",
        lambda at: 1.5 * np.where(at > 0, at, 2.0 * np.expm1(at)),
        x,
        alpha=2.0,
        gamma=1.5,
    )


def test_random_slopes_lie_between_their_bounds():
    x = -draw(3, (50, 40))[0].__abs__() - 0.1
    x[0] = 2.0
    symbol = sb.sym.LeakyReLU(
        sb.sym.Variable("x"), act_type="rrelu", lower_bound=0.2, upper_bound=0.4, name="r"
    )
    assert symbol.list_outputs() == ["r_output", "r_mask"]
    step = symbol.bind(None, {"x": x}, {"x": np.zeros_like(x)})
    y, _ = step.forward(is_train=False)
    np.testing.assert_allclose(y.asnumpy(), np.where(x > 0, x, 0.3 * x), rtol=1e-6)
    y, mask = (o.asnumpy().copy() for o in step.forward(is_train=True))
    assert (mask[0] == 1.0).all()
    assert 0.2 <= mask[1:].min() < 0.21
    assert 0.39 < mask[1:].max() <= 0.4
    np.testing.assert_allclose(y, x * mask, rtol=1e-6)
    step.backward([np.ones_like(x), np.zeros_like(x)])
    np.testing.assert_allclose(step.grad_dict["x"].asnumpy(), mask, rtol=1e-6)
