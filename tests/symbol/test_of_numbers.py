"""maximum, minimum, power and hypot of symbols and numbers; the modules of operators."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError

A, B = [1.0, -2.0, 3.0], [2.0, 2.0, 2.0]
FUNCTIONS = {
    "maximum": np.maximum,
    "minimum": np.minimum,
    "hypot": np.hypot,
    "power": np.power,
    "pow": np.power,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_are_symbols_or_numbers(name):
    function, expected = getattr(sym, name), FUNCTIONS[name]
    a, b = sym.Variable("a"), sym.Variable("b")
    arrays = {"a": np.array(A, np.float32), "b": np.array(B, np.float32)}
    group = sym.Group([function(a, b), function(a, 2), function(2, a)])
    outputs = group.eval(**{n: sb.nd.array(v) for n, v in arrays.items()})
    for output, operands in zip(outputs, ((A, B), (A, 2.0), (2.0, A))):
        np.testing.assert_allclose(output.asnumpy(), expected(*map(np.array, operands)), rtol=1e-6)
    assert function(2, 3.5) == pytest.approx(expected(2, 3.5))


def test_names_are_those_of_mxnet():
    with sb.name.NameManager():
        a = sym.Variable("a")
        symbols = [sym.maximum(a, a), sym.maximum(2, a), sym.power(2, a), sym.hypot(a, 3)]
    names = ["_maximum0", "_maximumscalar0", "_rpowerscalar0", "_hypotscalar0"]
    assert [s.name for s in symbols] == names


def test_other_operands_are_refused():
    with pytest.raises(InvalidArgumentError, match="maximum: 'x' is of type str"):
        sym.maximum(sym.Variable("a"), "x")


@pytest.mark.parametrize("module", ["contrib", "linalg", "image"])
def test_modules_of_operators_have_what_is_registered(module):
    names = sb.operator.get_all_registered_operators()
    namespace = getattr(sym, module)
    short = [n for n in names if n.startswith(f"_{module}_")]
    assert {n.removeprefix(f"_{module}_") for n in short} <= set(dir(namespace))
    with pytest.raises(AttributeError, match=f"sym.{module} has no operator 'nothing'"):
        namespace.nothing


def test_parameters_of_a_distribution_are_of_one_kind():
    assert sym.random.uniform(-1, 1, shape=(2, 3)).infer_shape()[1] == [(2, 3)]
    assert sym.random.randn(2, 3).infer_shape()[1] == [(2, 3)]
    with pytest.raises(InvalidArgumentError, match=r"random\.normal: loc, scale must be all"):
        sym.random.normal(sym.Variable("a"), 1.0)
