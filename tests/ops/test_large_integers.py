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
