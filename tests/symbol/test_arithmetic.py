"""Operators of Python on symbols, against numpy through eval."""

import operator

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import NameConflictError

RNG = np.random.default_rng(11)
A = RNG.uniform(0.5, 3.0, (2, 3)).astype(np.float32)
B = RNG.uniform(0.5, 3.0, (2, 3)).astype(np.float32)
B[0, 0] = A[0, 0]  # so that comparisons meet equal elements

BINARY = ["add", "sub", "mul", "truediv", "mod", "pow", "gt", "ge", "lt", "le", "eq", "ne"]


@pytest.mark.parametrize("name", BINARY)
def test_two_symbols(name):
    function = getattr(operator, name)
    (out,) = function(sym.Variable("a"), sym.Variable("b")).eval(a=A, b=B)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.asnumpy(), function(A, B).astype(np.float32), rtol=1e-5)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("number", [2, 1.5, np.float32(0.75)])
def test_symbol_and_number_either_way(name, number):
    function = getattr(operator, name)
    a = sym.Variable("a")
    (right,) = function(a, number).eval(a=A)
    (left,) = function(number, a).eval(a=A)
    np.testing.assert_allclose(right.asnumpy(), function(A, number).astype("f"), rtol=1e-5)
    np.testing.assert_allclose(left.asnumpy(), function(number, A).astype("f"), rtol=1e-5)


def test_modulo_has_the_sign_of_the_divisor_as_in_python():
    (out,) = (sym.Variable("a") % 3).eval(a=np.array([-4.0, 4.0, -3.0]))
    assert out.asnumpy().tolist() == [2.0, 1.0, 0.0]


def test_unary():
    a = sym.Variable("a")
    for made, wanted in ((-a, -(A - 1)), (abs(a), np.abs(A - 1))):
        (out,) = made.eval(a=A - 1)
        np.testing.assert_array_equal(out.asnumpy(), wanted)


def test_methods_are_operators():
    a = sym.Variable("a")
    (out,) = a.sum(axis=1).sqrt().eval(a=A)
    np.testing.assert_allclose(out.asnumpy(), np.sqrt(A.sum(1)), rtol=1e-6)
    (out,) = a.reshape(shape=(-1,)).slice_axis(axis=0, begin=1, end=3).eval(a=A)
    np.testing.assert_array_equal(out.asnumpy(), A.reshape(-1)[1:3])
    with pytest.raises(AttributeError, match="no attribute 'summ'"):
        a.summ()


@pytest.mark.parametrize("other", ["a", None, A, [1, 2]])
def test_arithmetic_with_other_things_is_a_type_error(other):
    with pytest.raises(TypeError):
        sym.Variable("a") * other
    with pytest.raises(TypeError):
        other * sym.Variable("a")


def test_an_expression_and_its_gradient():
    a, b = sym.Variable("a"), sym.Variable("b")
    net = (2 - a) * b / (a + 1) - b**2
    executor = net.simple_bind(a=A.shape, b=B.shape)
    (out,) = executor.forward(is_train=True, a=A, b=B)
    expected = (2 - A) * B / (A + 1) - B**2
    np.testing.assert_allclose(out.asnumpy(), expected, rtol=1e-5, atol=5e-6)
    executor.backward(np.ones_like(A))
    np.testing.assert_allclose(executor.grad_dict["a"].asnumpy(), -3 * B / (A + 1) ** 2, rtol=1e-4)
    np.testing.assert_allclose(
        executor.grad_dict["b"].asnumpy(), (2 - A) / (A + 1) - 2 * B, rtol=1e-4
    )


def test_outputs_may_be_variables_and_repeat():
    x = sym.Variable("x")
    y = x + 1
    net = sym.Group([x, y, y, x])
    arrays = [out.asnumpy() for out in net.eval(x=A)]
    for got, wanted in zip(arrays, [A, A + 1, A + 1, A]):
        np.testing.assert_allclose(got, wanted)
    internals = sym.FullyConnected(x, num_hidden=1, no_bias=True, name="fc").get_internals()
    found = internals.simple_bind(x=A.shape, fc_weight=(1, 3))
    found.forward(x=A, fc_weight=np.ones((1, 3)))
    assert list(found.output_dict) == ["x", "fc_weight", "fc_output"]
    np.testing.assert_allclose(found.output_dict["fc_output"].asnumpy()[:, 0], A.sum(1), rtol=1e-6)


@pytest.mark.parametrize("name", ["const", "const_1", "fc_output", "fc/Gemm", "x.head"])
def test_any_variable_name_works_beside_inner_names(name):
    net = sym.FullyConnected(sym.Variable("x") + 1, no_bias=True, num_hidden=2, name="fc")
    net = net * sym.Variable(name) * 3
    executor = net.simple_bind(sb.cpu(), x=(2, 3), **{name: (2, 2)})
    feed = {"x": A, "fc_weight": np.ones((2, 3)), name: np.full((2, 2), 2.0)}
    (out,) = executor.forward(is_train=True, **feed)
    np.testing.assert_allclose(out.asnumpy()[:, 0], 6 * (A + 1).sum(1), rtol=1e-5)
    executor.backward(np.ones((2, 2)))
    np.testing.assert_allclose(
        executor.grad_dict[name].asnumpy()[:, 1], 3 * (A + 1).sum(1), rtol=1e-5
    )


def test_a_variable_named_like_a_gradient_is_refused():
    net = sym.Variable("x") * sym.Variable("x.grad")
    executor = net.simple_bind(**{"x": (2,), "x.grad": (2,)})
    with pytest.raises(NameConflictError, match=r"'x\.grad' has the name of a result"):
        executor.forward(is_train=True)
