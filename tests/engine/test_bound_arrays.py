"""Arrays that an executor is bound to: their memory, what is written into them, other arrays."""

import copy

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import DataError, InvalidArgumentError

DATA = np.arange(12, dtype=np.float32).reshape(4, 3)
HEAD = np.ones((4, 2), np.float32)


def _layer():
    return sym.FullyConnected(sym.Variable("data"), num_hidden=2, no_bias=True, name="fc")


def _product():
    return sym.Variable("a") * sym.Variable("b")


def test_a_gradient_that_would_be_written_over_what_backward_reads_is_refused():
    arrays = {"data": sb.nd.array(DATA), "fc_weight": sb.nd.ones((2, 3))}
    with pytest.raises(InvalidArgumentError, match=r"array of '\w+' and the gradient of '\w+'"):
        _layer().bind(sb.cpu(), arrays, arrays)
    with pytest.raises(InvalidArgumentError, match=r"'data'.* lie in the same memory"):
        _layer().bind(sb.cpu(), arrays, {"fc_weight": arrays["data"][0:2]})
    whole = sb.nd.zeros((6,))
    values = {"a": sb.nd.ones((4,)), "b": sb.nd.ones((4,))}
    with pytest.raises(InvalidArgumentError, match="gradient of 'a' and the gradient of 'b'"):
        _product().bind(sb.cpu(), values, {"a": whole[0:4], "b": whole[2:6]})


@pytest.mark.parametrize("dtype", ["int32", "float16", "float64"])
def test_a_gradient_of_another_dtype_is_refused(dtype):
    grads = {"a": sb.nd.zeros((2,), dtype=dtype)}
    values = {"a": sb.nd.ones((2,)), "b": sb.nd.ones((2,))}
    with pytest.raises(InvalidArgumentError, match=f"gradient of 'a' has dtype {dtype}, the array"):
        sym.MakeLoss(_product()).bind(sb.cpu(), values, grads)
    sym.MakeLoss(_product()).bind(sb.cpu(), values, grads, "null").forward()


def test_gradients_may_be_parts_of_one_array_and_those_that_are_added_the_same():
    whole = sb.nd.zeros((8,))
    values = {"a": sb.nd.array([1, 2, 3, 4]), "b": sb.nd.array([5, 6, 7, 8])}
    executor = _product().bind(sb.cpu(), values, {"a": whole[0:4], "b": whole[4:8]})
    executor.forward(is_train=True)
    executor.backward(sb.nd.ones((4,)))
    assert whole.asnumpy().tolist() == [5, 6, 7, 8, 1, 2, 3, 4]
    total = sb.nd.zeros((4,))
    executor = _product().bind(sb.cpu(), values, {"a": total, "b": total}, "add")
    executor.forward(is_train=True)
    executor.backward(sb.nd.ones((4,)))
    assert total.asnumpy().tolist() == [6, 8, 10, 12]


def test_one_array_may_be_two_arguments():
    values, grads = sb.nd.array([1, 2]), {"a": sb.nd.zeros((2,)), "b": sb.nd.zeros((2,))}
    a, b = sym.Variable("a"), sym.Variable("b")
    executor = (a * b + a).bind(sb.cpu(), {"a": values, "b": values}, grads)
    assert executor.forward(is_train=True)[0].asnumpy().tolist() == [2, 6]
    executor.backward(sb.nd.ones((2,)))
    assert grads["a"].asnumpy().tolist() == [2, 3]
    assert grads["b"].asnumpy().tolist() == [1, 2]


@pytest.mark.parametrize("value", [3e9, -3e9, np.nan, np.inf, 2**32 + 1])
def test_numbers_that_an_integer_argument_does_not_hold_are_refused(value):
    data = sym.Variable("data")
    executor = (data * 2).simple_bind(sb.cpu(), type_dict={"data": np.int32}, data=(2,))
    with pytest.raises(DataError, match=r"data has numbers .* bound as int32"):
        executor.forward(data=np.array([value, 1]))
    (out,) = executor.forward(data=np.array([2**31 - 1, -(2**31)]))
    assert executor.arg_dict["data"].asnumpy().tolist() == [2**31 - 1, -(2**31)]
    (out,) = executor.forward(data=np.array([1.0, -7.0]))
    assert out.asnumpy().tolist() == [2, -14]


def test_the_largest_integers_are_told_from_the_number_after_them():
    executor = (sym.Variable("data") * 1).simple_bind(
        sb.cpu(), type_dict={"data": np.int64}, data=(1,)
    )
    with pytest.raises(DataError, match="bound as int64"):
        executor.forward(data=np.array([2.0**63]))
    with pytest.raises(DataError, match="bound as int64"):
        executor.forward(data=np.array([2**63], np.uint64))
    executor.forward(data=np.array([-(2.0**63)]))
    assert executor.arg_dict["data"].asnumpy().tolist() == [-(2**63)]


def test_another_array_in_place_of_a_bound_one_is_refused():
    executor = _layer().simple_bind(sb.cpu(), data=(4, 3))
    for arrays in (executor.arg_dict, executor.grad_dict):
        with pytest.raises(InvalidArgumentError, match=r"Write into .*: \['data'\]\[:\] ="):
            arrays["data"] = sb.nd.array(DATA)
        with pytest.raises(InvalidArgumentError, match="bound to its arrays"):
            arrays.update(fc_weight=sb.nd.ones((2, 3)))
    executor.arg_dict["fc_weight"] += 1
    executor.arg_dict["data"][:] = DATA
    np.testing.assert_array_equal(
        executor.forward()[0].asnumpy(), np.repeat(DATA.sum(1, keepdims=True), 2, axis=1)
    )
    assert type(copy.copy(executor.arg_dict)) is dict


def test_a_shape_after_another_draws_further_numbers():
    sb.random.seed(3)
    executor = sym.Dropout(sym.Variable("data")).simple_bind(sb.cpu(), data=(100,))
    executor.arg_dict["data"][:] = 1
    first = executor.forward(is_train=True)[0].asnumpy()
    again = executor.reshape(data=(100,)).forward(is_train=True)[0].asnumpy()
    assert (first != again).any()
