"""Samplers: moments of what they draw, in all three forms, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError
from symbucket.types import Array
from tests.ops.op_harness import executor

COUNT = 6_000

# Parameters -> mean and variance.
MOMENTS = {
    "uniform": [((-1.0, 3.0), 1.0, 16 / 12)],
    "normal": [((2.0, 0.5), 2.0, 0.25)],
    "exponential": [((4.0,), 0.25, 1 / 16)],
    "gamma": [((0.4, 2.0), 0.8, 1.6), ((9.0, 0.5), 4.5, 2.25)],
    "poisson": [((0.3,), 0.3, 0.3), ((7.0,), 7.0, 7.0), ((300.0,), 300.0, 300.0)],
    "negative_binomial": [((3.0, 0.4), 4.5, 11.25)],
    "generalized_negative_binomial": [((4.0, 0.5), 4.0, 12.0), ((2.0, 0.0), 2.0, 2.0)],
}
NAMES = {
    "uniform": ("low", "high"),
    "normal": ("loc", "scale"),
    "exponential": ("lam",),
    "gamma": ("alpha", "beta"),
    "poisson": ("lam",),
    "negative_binomial": ("k", "p"),
    "generalized_negative_binomial": ("mu", "alpha"),
}
CASES = [(name, *row) for name, rows in MOMENTS.items() for row in rows]


def check_moments(numbers: Array, mean: float, variance: float) -> None:
    """Within five standard errors; that of the variance for a distribution with a long tail."""
    assert np.isfinite(numbers).all()
    error = np.sqrt(variance / numbers.size)
    assert abs(numbers.mean(dtype=np.float64) - mean) < 5 * error
    assert abs(numbers.var(dtype=np.float64) / variance - 1.0) < 0.12


@pytest.mark.parametrize(("name", "parameters", "mean", "variance"), CASES)
def test_moments(name: str, parameters: tuple[float, ...], mean: float, variance: float) -> None:
    named = dict(zip(NAMES[name], parameters))
    numbers = getattr(sym, f"random_{name}")(**named, shape=(COUNT,))
    like = getattr(sym.random, f"{name}_like")(sym.Variable("x"), **named)
    inputs = [sym.Variable(n) for n in named]
    sample = getattr(sym, f"sample_{name}")(*inputs, shape=(COUNT,))
    arrays = {n: np.full((2,), value, np.float32) for n, value in named.items()}
    group = sym.Group([numbers, like, sample])
    results = executor(group, {**arrays, "x": np.zeros((COUNT // 10, 10), np.float32)}).forward()
    shapes = [(COUNT,), (COUNT // 10, 10), (2, COUNT)]
    for result, shape in zip(results, shapes):
        assert result.shape == shape
        check_moments(result.asnumpy(), mean, variance)
    first, second = results[2].asnumpy()
    assert (first != second).any()


def test_each_run_draws_anew_and_a_seed_draws_again() -> None:
    step = sym.random.gamma(2.0, shape=(5,)).simple_bind()
    sb.random.seed(3)
    first, second = (step.forward()[0].asnumpy().tolist() for _ in range(2))
    assert first != second
    sb.random.seed(3)
    assert step.forward()[0].asnumpy().tolist() == first


def test_whole_numbers() -> None:
    numbers = sym.random.randint(-2, 3, shape=(1000,)).eval()[0].asnumpy()
    assert numbers.dtype == np.int32
    assert set(numbers.tolist()) == {-2, -1, 0, 1, 2}
    wide = sym.random.randint(0, 2**40, shape=(1000,), dtype="int64").eval()[0].asnumpy()
    assert len({*(wide % 2**17).tolist()}) > 900  # no bits that are always 0


def test_shuffle_keeps_the_slices_together() -> None:
    data = np.arange(60).reshape(30, 2)
    rows = sym.random.shuffle(sym.Variable("x")).eval(x=sb.nd.array(data))[0].asnumpy()
    assert rows.tolist() != data.tolist()
    assert sorted(rows.tolist()) == data.tolist()


def test_classes_of_probabilities() -> None:
    p = np.array([[0.1, 0.2, 0.7], [0.0, 1.0, 0.0]], np.float32)
    symbol = sym.random.multinomial(sym.Variable("p"), shape=(4000,), get_prob=True, name="m")
    step = executor(symbol, {"p": p})
    classes, logs = (o.asnumpy() for o in step.forward(is_train=True))
    assert classes.dtype == np.int32
    share = np.bincount(classes[0], minlength=3) / 4000
    np.testing.assert_allclose(share, p[0], atol=0.04)
    assert (classes[1] == 1).all()
    np.testing.assert_allclose(logs[0], np.log(p[0][classes[0]]), rtol=1e-6)
    heads = np.zeros((2, 4000))
    heads[0, :2] = 1.0, 2.0
    step.backward([np.zeros((2, 4000)), heads])
    expected = np.zeros((2, 3))
    np.add.at(expected[0], classes[0, :2], [1.0, 2.0] / p[0][classes[0, :2]])
    np.testing.assert_allclose(step.grad_dict["p"].asnumpy(), expected, rtol=1e-5)
    assert sym.random.multinomial(sym.Variable("p")).infer_shape(p=(4,))[1] == [(1,)] * 2


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("random_exponential", {"lam": -1.0}, "lam=-1 must be 0 or more"),
        ("random_negative_binomial", {"k": 0}, "k=0 must be positive"),
        ("random_negative_binomial", {"p": 1.5}, r"p=1\.5 must be at most 1"),
        ("random_randint", {"low": 3, "high": 3}, "low=3 must be below high=3"),
    ],
)
def test_parameters_of_no_distribution(
    name: str, attributes: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        getattr(sym, name)(**attributes)
