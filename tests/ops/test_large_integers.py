"""Numbers beside int64 are exact, or refused."""

import operator

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError

LARGE = 2**60 + 1  # a float64 rounds it
VALUES = np.array([LARGE, LARGE + 1, 5], np.int64)

RULES = {
    "add": lambda m, x: x + LARGE,
    "rsub": lambda m, x: LARGE - x,
    "mul": lambda m, x: x * LARGE,
    "equal": lambda m, x: x == LARGE,
    "greater": lambda m, x: x > LARGE,
    "lesser_equal": lambda m, x: x <= LARGE,
    "mod": lambda m, x: x % LARGE,
    "clip": lambda m, x: m.clip(x, 0, LARGE),
    "minimum": lambda m, x: m.minimum(x, LARGE),
    "full": lambda m, x: m.full((2,), LARGE, dtype="int64"),
    "arange": lambda m, x: m.arange(LARGE, LARGE + 3, dtype="int64"),
    "arange_like": lambda m, x: m.contrib.arange_like(x, start=LARGE),
}
EXPECTED = {
    "clip": lambda x: np.clip(x, 0, LARGE),
    "minimum": lambda x: np.minimum(x, LARGE),
    "full": lambda x: np.full(2, LARGE),
    "arange": lambda x: LARGE + np.arange(3),
    "arange_like": lambda x: LARGE + np.arange(3),
}


def of_symbol(symbol):
    arrays = {n: sb.nd.array(VALUES, dtype="int64") for n in symbol.list_arguments()}
    return symbol.bind(sb.cpu(), arrays).forward()[0].asnumpy()


@pytest.mark.parametrize("name", RULES)
def test_integers_that_a_float_rounds(name):
    rule = RULES[name]
    expected = EXPECTED.get(name, lambda x: rule(None, x))(VALUES).astype(np.int64)
    symbol = rule(sb.sym, sb.sym.Variable("x", dtype="int64", shape=(3,)))
    again = sb.sym.load_json(symbol.tojson())
    np.testing.assert_array_equal(of_symbol(symbol), expected)
    np.testing.assert_array_equal(of_symbol(again), expected)
    array = rule(sb.nd, sb.nd.array(VALUES, dtype="int64"))
    np.testing.assert_array_equal(array.asnumpy(), expected)


@pytest.mark.parametrize("compare", [operator.add, operator.lt])
def test_numbers_that_do_not_fit_are_refused(compare):
    x = sb.sym.Variable("x", dtype="int32", shape=(1,))
    arrays = {"x": sb.nd.array([1], dtype="int32")}
    with pytest.raises(InvalidArgumentError, match="does not fit an array of int32"):
        compare(x, 2**40).bind(sb.cpu(), arrays).forward()
    with pytest.raises(InvalidArgumentError, match="does not fit an array of int32"):
        of_symbol(sb.sym.full((1,), 2**40, dtype="int32"))


WHOLE = np.random.default_rng(0).integers(-(2**62), 2**62, (3, 5, 4))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("name", ["sum", "prod"])
def test_sums_and_products_are_those_of_numpy(name, dtype):
    values = WHOLE.astype(dtype)
    array = sb.nd.array(values, dtype=dtype)
    for axis, keepdims in ((None, False), (0, True), ((0, 2), False), (1, False)):
        expected = getattr(np, name)(values, axis=axis, keepdims=keepdims, dtype=dtype)
        symbol = getattr(sb.sym, name)(sb.sym.Variable("x"), axis=axis, keepdims=keepdims)
        result = symbol.bind(sb.cpu(), {"x": array}).forward()[0].asnumpy()
        np.testing.assert_array_equal(result, np.atleast_1d(expected))
        result = getattr(sb.nd, name)(array, axis=axis, keepdims=keepdims).asnumpy()
        np.testing.assert_array_equal(result, np.atleast_1d(expected))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8"])
def test_powers_are_those_of_numpy(dtype):
    base = WHOLE[0].astype(dtype)
    exponent = (np.arange(20).reshape(5, 4) % (7 if dtype.endswith("t8") else 45)).astype(dtype)
    arrays = {"a": sb.nd.array(base, dtype=dtype), "b": sb.nd.array(exponent, dtype=dtype)}
    a, b = sb.sym.Variable("a"), sb.sym.Variable("b")
    for symbol, expected in (
        (a**b, base**exponent),
        (a**5, base ** np.array(5, dtype)),
        (3**b, np.array(3, dtype) ** exponent),
    ):
        bound = {n: arrays[n] for n in symbol.list_arguments()}
        result = symbol.bind(sb.cpu(), bound).forward()[0].asnumpy()
        np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal((arrays["a"] ** arrays["b"]).asnumpy(), base**exponent)
    ones = sb.nd.array([1, -1, -1], dtype="int32") ** sb.nd.array([-3, -3, -2], dtype="int32")
    np.testing.assert_array_equal(ones.asnumpy(), [1, -1, 1])


def test_sums_of_arrays_and_limits_out_of_range():
    array = sb.nd.array(VALUES, dtype="int64")
    np.testing.assert_array_equal(sb.nd.add_n(array, array, array).asnumpy(), VALUES * 3)
    for dtype in ("uint8", "int32"):
        small = sb.nd.array([1, 2, 100], dtype=dtype)
        np.testing.assert_array_equal(sb.nd.clip(small, -1e30, 1e10).asnumpy(), [1, 2, 100])
        np.testing.assert_array_equal(sb.nd.clip(small, 2, np.inf).asnumpy(), [2, 2, 100])


def test_slices_and_random_numbers_that_do_not_fit_are_refused():
    array = sb.nd.array(VALUES, dtype="int64")
    with pytest.raises(InvalidArgumentError, match=r"poisson: \d+ was drawn, which uint8"):
        sb.nd.random.poisson(1000, shape=3, dtype="uint8")
    with pytest.raises(InvalidArgumentError, match="int8 does not hold all numbers"):
        sb.sym.random.poisson(3, shape=(3,), dtype="int8").eval()
    with pytest.raises(InvalidArgumentError, match="do not fit int32"):
        sb.sym.random.randint(0, 2**40, shape=(3,), dtype="int32")
    drawn = sb.sym.random.randint(LARGE, LARGE + 3, shape=(50,), dtype="int64").eval()[0].asnumpy()
    assert set(drawn) == {LARGE, LARGE + 1, LARGE + 2}
    assign = sb.nd._internal._slice_assign_scalar
    result = assign(array, begin=(0,), end=(1,), scalar=LARGE + 4).asnumpy()
    np.testing.assert_array_equal(result, [LARGE + 4, *VALUES[1:]])
    with pytest.raises(InvalidArgumentError, match="does not fit an array of int32"):
        assign(array.astype("int32"), begin=(0,), end=(1,), scalar=2**40)


def test_ranges_that_do_not_fit_are_refused():
    for make in (sb.nd.arange, lambda *a, **k: sb.sym.arange(*a, **k).eval()[0]):
        with pytest.raises(InvalidArgumentError, match="2147483649 does not fit an array of int32"):
            make(2**31 - 2, 2**31 + 2, dtype="int32")
        assert make(250, 258, dtype="uint8").asnumpy().tolist() == [
            250,
            251,
            252,
            253,
            254,
            255,
            0,
            1,
        ]
        with pytest.raises(InvalidArgumentError, match="must be finite"):
            make(0, float("inf"))
    with pytest.raises(InvalidArgumentError, match="does not fit an array of int32"):
        sb.nd.one_hot(sb.nd.array([1]), 3, on_value=2**31, dtype="int32")


def test_edges_of_histograms_of_integers_are_those_that_were_counted_with():
    values = np.array([0, 1, 1, 2, 3, 3])
    for dtype in ("int32", "int64", "uint8"):
        array = sb.nd.array(values, dtype=dtype)
        for bins, ends in ((2, (0, 3)), (7, None), (3, (0, 3))):
            counts, edges = sb.nd.histogram(array, bins=bins, range=ends)
            expected = np.histogram(values, bins, ends)
            np.testing.assert_array_equal(counts.asnumpy(), expected[0])
            np.testing.assert_allclose(edges.asnumpy(), expected[1], rtol=1e-6)
            assert edges.dtype == (dtype if bins == 3 else "float32")
    with pytest.raises(InvalidArgumentError, match="not finite"):
        sb.nd.histogram(sb.nd.array([1, np.nan]), bins=2)
