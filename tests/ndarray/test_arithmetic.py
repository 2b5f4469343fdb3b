"""Arithmetic of arrays: values and dtypes that MXNet 1.9.1 gives."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import nd
from symbucket.errors import InvalidArgumentError, ShapeError

NAN, INF = float("nan"), float("inf")
FLOATS, INTEGERS = ("float32", "float64", "float16"), ("int32", "int64", "uint8", "int8")

# a = [7, 8, 0], b = [2, 3, 5]: expression -> values for floats, values for integers.
SMALL = {
    "a / 2": ([3.5, 4, 0], [3, 4, 0]),
    "a / 2.5": ([2.8, 3.2, 0], [3, 4, 0]),
    "a + 1.5": ([8.5, 9.5, 1.5], [8, 9, 1]),
    "a * 1.5": ([10.5, 12, 0], [7, 8, 0]),
    "5 / b": ([2.5, 5 / 3, 1], [2, 1, 1]),
    "a % 3": ([1, 2, 0], [1, 2, 0]),
    "a % 0": ([0, 0, 0], [0, 0, 0]),
    "3 % b": ([1, 0, 3], [1, 0, 3]),
    "a ** 2": ([49, 64, 0], [49, 64, 0]),
    "a ** 0.5": ([7**0.5, 8**0.5, 0], [1, 1, 1]),
    "2 ** b": ([4, 8, 32], [4, 8, 32]),
    "2.5 ** b": ([6.25, 15.625, 97.65625], [4, 8, 32]),
    "a > 1": ([1, 1, 0], [1, 1, 0]),
    "a == b": ([0, 0, 0], [0, 0, 0]),
    "a >= 7": ([1, 1, 0], [1, 1, 0]),
    "a + True": ([8, 9, 1], [8, 9, 1]),
    "a / b": ([3.5, 8 / 3, 0], [3, 2, 0]),
    "nd.maximum(a, 7.5)": ([7.5, 8, 7.5], [7, 8, 7]),
    "nd.modulo(7, b)": ([1, 1, 2], [1, 1, 2]),
    "nd.logical_and(a, b)": ([1, 1, 0], [1, 1, 0]),
    "nd.sqrt(b)": ([2**0.5, 3**0.5, 5**0.5], [1, 1, 2]),
    "nd.clip(a, 1, 7)": ([7, 7, 1], [7, 7, 1]),
    "nd.square(b)": ([4, 9, 25], [4, 9, 25]),
    "nd.sign(a)": ([1, 1, 0], [1, 1, 0]),
    "np.float32(2) * b": ([4, 6, 10], [4, 6, 10]),
    "a + np.float64(1.5)": ([8.5, 9.5, 1.5], [8, 9, 1]),
    "a + np.int64(1)": ([8, 9, 1], [8, 9, 1]),
}


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_results_have_the_dtype_of_the_operands(dtype):
    names = {"nd": nd, "np": np, "a": nd.array([7, 8, 0], dtype=dtype)}
    names["b"] = nd.array([2, 3, 5], dtype=dtype)
    for expression, (floats, integers) in SMALL.items():
        result = eval(expression, names)
        assert result.dtype == dtype, expression
        expected = np.array(floats if dtype in FLOATS else integers).astype(dtype)
        np.testing.assert_allclose(
            result.asnumpy(), expected, rtol=2e-3 if dtype == "float16" else 1e-6
        )


ARRAYS = {
    "i": nd.array([-7, 7, -8, 0], dtype="int32"),
    "j": nd.array([2, -2, 3, 3], dtype="int32"),
    "f": nd.array([-7.5, 7.5, NAN, INF]),
    "g": nd.array([2, -2, 1, 2]),
    "u": nd.array([200, 100], dtype="uint8"),
    "l": nd.array([2**40, -(2**40) - 1], dtype="int64"),
    "t": nd.array([1, 1, 0], dtype="bool"),
}
SIGNS = {
    "i / 2": [-3, 3, -4, 0],
    "i / j": [-3, -3, -2, 0],
    "i % 2": [1, 1, 0, 0],
    "i % j": [1, -1, 1, 0],
    "3 % i": [-4, 3, -5, 0],
    "-3 % j": [1, -1, 0, 0],
    "i ** 3": [-343, 343, -512, 0],
    "i / -2": [3, -3, 4, 0],
    "i * -1.9": [7, -7, 8, 0],
    "i + (-1.9)": [-8, 6, -9, -1],
    "-i": [7, -7, 8, 0],
    "abs(i)": [7, 7, 8, 0],
    "f % 2": [0.5, 1.5, NAN, NAN],
    "f % g": [0.5, -0.5, NAN, NAN],
    "f % -2": [-1.5, -0.5, NAN, NAN],
    "5 % g": [1, -1, 0, 1],
    "f / 0": [-INF, INF, NAN, INF],
    "nd.maximum(f, 0)": [0, 7.5, NAN, INF],
    "nd.minimum(0, f)": [-7.5, 0, NAN, 0],
    "nd.maximum(f, g)": [2, 7.5, NAN, INF],
    "f == f": [1, 1, 0, 1],
    "f != f": [0, 0, 1, 0],
    "nd.sign(f)": [-1, 1, 0, 1],
    "nd.reciprocal(g)": [0.5, -0.5, 1, 0.5],
    "nd.fix(f)": [-7, 7, NAN, INF],
    "nd.power(2, g)": [4, 0.25, 2, 4],
    "nd.subtract(5, g)": [3, 7, 4, 3],
    "nd.logical_xor(g, 1)": [0, 0, 0, 0],
    "u + 100": [44, 200],
    "u * 2": [144, 200],
    "u + 300": [244, 144],
    "u - (-1)": [201, 101],
    "-u": [56, 156],
    "l + 1": [2**40 + 1, -(2**40)],
    "l % 10": [6, 3],
    "l / 10": [109951162777, -109951162777],
    "f.astype('int32')[0:2]": [-7, 7],
    "nd.array([300, -1, 2.7, -2.7]).astype('uint8')": [44, 255, 2, 254],
    "nd.array([0, 2, .5]).astype('bool')": [0, 1, 1],
    "t + 1.5": [2, 2, 1],
    "t > 1": [0, 0, 0],
    "-t": [-1, -1, 0],
}


@pytest.mark.parametrize("expression", SIGNS)
def test_signs_overflow_and_special_values(expression):
    result = eval(expression, {"nd": nd, **ARRAYS})
    np.testing.assert_array_equal(result.asnumpy(), SIGNS[expression])
    # An array of bool and a number give int64.
    first = next(name for name in expression if name in "ijfgult")
    if "astype" not in expression and "nd." not in expression:
        assert result.dtype == ("int64" if first == "t" else ARRAYS[first].dtype)


def test_dtypes_are_not_mixed():
    f, i = nd.ones((3,)), nd.ones((3,), dtype="int32")
    for left, right in [(f, i), (i, f), (f, f.astype("float64")), (f, f > 0)]:
        if left.dtype == right.dtype:
            continue
        with pytest.raises(ShapeError, match=f"add: dtypes {left.dtype} and {right.dtype} differ"):
            left + right
        with pytest.raises(ShapeError, match="differ; make them one with"):
            left += right
    t = f.astype("bool")
    with pytest.raises(ShapeError, match="arrays of bool have no arithmetic"):
        t + t
    for number in (2**40, NAN, INF, 10**30):
        with pytest.raises(InvalidArgumentError, match="does not fit an array of int32"):
            i + number


def test_shapes_broadcast():
    x = nd.arange(6).reshape((2, 3))
    np.testing.assert_array_equal((x + nd.array([1, 2, 3])).asnumpy(), [[1, 3, 5], [4, 6, 8]])
    np.testing.assert_array_equal((x + nd.ones((2, 1))).asnumpy(), [[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ShapeError, match=r"add: shapes \(2, 3\) and \(2,\) do not broadcast"):
        x + nd.ones((2,))
    with pytest.raises(ShapeError, match=r"shapes \(2, 3\) and \(1, 3\) differ; broadcast_add"):
        nd.elemwise_add(x, nd.ones((1, 3)))


def test_in_place():
    f, i = nd.array([1.5, 2, 3]), nd.array([1, 2, 3], dtype="int32")
    same = f
    f += 1
    f -= 0.5
    f *= 2
    f /= 4
    f %= 1
    f **= 2
    np.testing.assert_array_equal(same.asnumpy(), [0, 0.0625, 0.5625])
    i += 1.5
    assert i.asnumpy().tolist() == [2, 3, 4]
    i /= 2
    assert i.asnumpy().tolist() == [1, 1, 2]
    i -= 0.5
    assert i.asnumpy().tolist() == [1, 1, 2]
    x = nd.zeros((2, 3))
    with pytest.raises(ShapeError, match=r"in place: the result has shape \(2, 3\)"):
        f += x
    x += f
    assert x.asnumpy()[1].tolist() == f.asnumpy().tolist()


def test_numpy_arrays_take_the_dtype_of_the_array():
    f, i, n = nd.ones((3,)), nd.ones((3,), dtype="int32"), np.array([1.5, 2, 3])
    for left, right in [(f, n), (n, f)]:
        for result in (left + right, left * right, left > right):
            assert isinstance(result, sb.NDArray)
            assert result.dtype == np.float32
    assert (np.array([2.0, 3, 4]) + i).asnumpy().tolist() == [3, 4, 5]
    for values in (n, np.array([2**40, 2, 3]), np.array([np.nan, 2, 3])):
        with pytest.raises(ShapeError, match="1 of its numbers, the first"):
            values + i
        with pytest.raises(ShapeError, match="would become others as int32"):
            i > values  # noqa: B015
    assert np.exp(f).dtype == np.float32


def test_other_operands():
    x = nd.ones((2,))
    assert (x == None) is False  # noqa: E711
    assert x != "a"
    assert x in [x]
    for wrong in (None, "a", [1, 2]):
        with pytest.raises(TypeError):
            x + wrong
    with pytest.raises(InvalidArgumentError, match=r"nd.add: operands of types NDArray and str"):
        nd.add(x, "a")
    assert (nd.add(1, 2), nd.maximum(1, 2), nd.greater(2, 1)) == (3, 2, 1.0)


def test_a_result_lies_where_its_operand_does():
    x = nd.ones((2,), ctx=sb.cpu(1))
    for result in (x + 1, 1 - x, x > 0, -x, nd.exp(x), x[0], x.reshape((2, 1)), x.copy()):
        assert result.context == sb.cpu(1)
    mixed = nd.broadcast_add(x, nd.ones((2,)))  # CPUs share their memory
    assert (mixed.context, mixed.asnumpy().tolist()) == (sb.cpu(1), [2, 2])
