"""Random arrays: shapes and dtypes as in MXNet 1.9.1, moments of the distributions."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import nd
from symbucket.errors import InvalidArgumentError, ShapeError

# Name, parameters, mean, standard deviation.
MOMENTS = [
    ("uniform", (-1, 3), 1, 4 / 12**0.5),
    ("normal", (2, 3), 2, 3),
    ("exponential", (2,), 2, 2),
    ("gamma", (2, 3), 6, 18**0.5),
    ("poisson", (4,), 4, 2),
    ("negative_binomial", (3, 0.4), 4.5, (4.5 / 0.4) ** 0.5),
    ("generalized_negative_binomial", (2, 0.5), 2, 2),
    ("generalized_negative_binomial", (4, 0), 4, 2),
    ("randint", (0, 10), 4.5, 8.25**0.5),
]


@pytest.mark.parametrize(("name", "parameters", "mean", "deviation"), MOMENTS)
def test_moments(name, parameters, mean, deviation):
    drawn = getattr(sb.random, name)(*parameters, shape=(400, 100))
    assert (drawn.shape, drawn.dtype) == ((400, 100), "int32" if name == "randint" else "float32")
    values = drawn.asnumpy()
    assert abs(values.mean() - mean) < 0.03 * deviation
    assert abs(values.std() - deviation) < 0.03 * deviation
    if name == "uniform":
        assert values.min() >= -1
        assert values.max() <= 3


def test_shapes_and_dtypes():
    assert nd.random.uniform().shape == (1,)
    assert sb.random.uniform(-1, 1, (2, 2)).shape == (2, 2)
    assert sb.random.normal(0, 1, 3).shape == (3,)
    assert nd.random.randn(2, 3).shape == (2, 3)
    assert sb.random.normal(shape=2, dtype="float64").dtype == np.float64
    assert nd.random.randint(0, 2**40, shape=(1,), dtype="int64").dtype == np.int64
    assert nd.random.uniform(shape=2, ctx=sb.cpu(2)).context == sb.cpu(2)
    x = nd.zeros((2, 3), dtype="float64")
    like = nd.random.normal_like(data=x)
    assert (like.shape, like.dtype) == ((2, 3), np.float64)


def test_parameters_that_are_arrays():
    low, high = nd.array([0, 100]), nd.array([1, 101])
    assert sb.random.uniform(low, high).shape == (2,)
    drawn = sb.random.uniform(low, high, shape=(50,)).asnumpy()
    assert drawn.shape == (2, 50)
    assert (drawn[0] < 1).all()
    assert (drawn[1] >= 100).all()
    rates = nd.random.generalized_negative_binomial(nd.array([0, 9]), nd.array([1, 0]), 30)
    assert not rates.asnumpy()[0].any()
    for wrong in (1.0, nd.array([1])):
        with pytest.raises(
            InvalidArgumentError, match="all be numbers, or all arrays of one shape"
        ):
            sb.random.uniform(low, wrong)


def test_out_is_filled():
    x = nd.zeros((50,))
    assert sb.random.uniform(2, 3, out=x) is x
    assert (x.asnumpy() >= 2).all()
    sb.random.normal(0, 0, out=x)
    assert not x.asnumpy().any()
    part = nd.zeros((2, 4))
    sb.random.uniform(1, 2, out=part[1])
    assert part.asnumpy()[0].tolist() == [0] * 4
    assert (part.asnumpy()[1] >= 1).all()
    with pytest.raises(ShapeError, match=r"random.uniform: out has shape \(50,\), not \(3,\)"):
        sb.random.uniform(shape=3, out=x)
    with pytest.raises(InvalidArgumentError, match=r"random.normal: scale < 0"):
        sb.random.normal(0, -1)


def test_the_seed_repeats_the_numbers():
    sb.random.seed(4)
    first = [sb.random.uniform(shape=3).asnumpy() for _ in range(2)]
    sb.random.seed(4, ctx=sb.cpu())
    second = [sb.random.uniform(shape=3).asnumpy() for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_multinomial():
    one = nd.array([0, 1.0])
    assert nd.random.multinomial(one).asnumpy().tolist() == [1]
    assert nd.random.multinomial(one, shape=3).asnumpy().tolist() == [1, 1, 1]
    drawn, logarithms = nd.random.multinomial(
        nd.array([[0, 1.0], [0.25, 0.75]]), shape=(500,), get_prob=True
    )
    assert (drawn.shape, drawn.dtype) == ((2, 500), np.int32)
    values = drawn.asnumpy()
    assert values[0].all()
    assert abs(values[1].mean() - 0.75) < 0.08
    np.testing.assert_allclose(logarithms.asnumpy()[1], np.log([0.25, 0.75])[values[1]], rtol=1e-6)
    assert nd.random.multinomial(nd.array([[0, 1.0], [1, 0]])).asnumpy().tolist() == [1, 0]
    for wrong in ([0.5, 0.6], [-1, 2]):
        with pytest.raises(InvalidArgumentError, match="probabilities with the sum 1"):
            nd.random.multinomial(nd.array(wrong))


def test_shuffle():
    x = nd.arange(50).reshape((25, 2))
    rows = nd.random.shuffle(x).asnumpy()
    assert not np.array_equal(rows, x.asnumpy())
    np.testing.assert_array_equal(rows[np.argsort(rows[:, 0])], x.asnumpy())


def test_an_initializer_written_with_them():
    class Mine(sb.init.Initializer):
        def _init_weight(self, name, arr):
            sb.random.uniform(3, 4, out=arr)

    network = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    module = sb.mod.Module(network, label_names=None)
    module.bind([("data", (1, 3))])
    module.init_params(Mine())
    assert (module.get_params()[0]["fc_weight"].asnumpy() >= 3).all()


def test_the_operators_take_the_rate_of_exponential_numbers():
    for name, lam in (("random_exponential", 4.0), ("sample_exponential", nd.array([4.0]))):
        draw = getattr(nd, name)
        for drawn in (draw(lam, shape=(40000,)), draw(lam=lam, shape=(40000,))):
            assert drawn.asnumpy().mean() == pytest.approx(0.25, rel=0.05)
    with pytest.raises(InvalidArgumentError, match="lam=0 must be above 0"):
        nd.random_exponential(0)


def test_rounded_uniform_numbers_stay_below_the_upper_bound():
    drawn = nd.random.uniform(-1, 2, shape=(100000,), dtype="float16").asnumpy()
    assert drawn.max() == np.nextafter(np.float16(2), np.float16(0))
    assert drawn.min() >= -1


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("uniform", {"dtype": "int32"}, "int32 holds no fractions"),
        ("uniform", {"out": nd.zeros((2,), dtype="uint8")}, "uint8 holds no fractions"),
        ("randint", {"low": 0, "high": 300, "dtype": "uint8"}, "do not fit uint8"),
        ("randint", {"low": 2**40, "high": 2**40 + 5}, "do not fit int32"),
        ("randint", {"low": 0, "high": 129, "out": nd.zeros((2,), dtype="int8")}, "not fit int8"),
    ],
)
def test_numbers_that_the_dtype_does_not_hold_are_refused(name, arguments, text):
    with pytest.raises(InvalidArgumentError, match=text):
        getattr(nd.random, name)(**arguments)


def test_whole_ranges_of_a_dtype_and_no_rows():
    assert nd.random.randint(-128, 128, shape=(3000,), dtype="int8").asnumpy().min() == -128
    drawn = nd.random.randint(2**40, 2**40 + 5, shape=(9,), dtype="int64").asnumpy()
    assert ((drawn >= 2**40) & (drawn < 2**40 + 5)).all()
    assert nd.random.multinomial(nd.zeros((0, 3)), shape=2).shape == (0, 2)
