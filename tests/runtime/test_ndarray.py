"""NDArray: a buffer with a fixed address."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import ShapeError
from symbucket.runtime import NDArray

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_the_runtime_and_numpy_see_one_buffer():
    array = NDArray(A)
    array[0, 1] = 50
    assert array.ortvalue.numpy()[0, 1] == 50
    assert array.view().ctypes.data == array.ortvalue.data_ptr()
    assert array.view().ctypes.data % 64 == 0


def test_the_constructor_and_asnumpy_copy():
    source = A.copy()
    array = NDArray(source)
    source[:] = 9
    taken = array.asnumpy()
    taken[:] = 8
    np.testing.assert_array_equal(array.asnumpy(), A)


def test_in_place_arithmetic_keeps_the_buffer():
    array = alias = NDArray(A)
    address = array.view().ctypes.data
    array += 1
    array *= NDArray(np.full((2, 3), 2.0))
    np.subtract(array, 1, out=array)
    assert array is alias
    assert array.view().ctypes.data == address
    np.testing.assert_array_equal(array.asnumpy(), (A + 1) * 2 - 1)


def test_arithmetic_gives_new_arrays():
    array = NDArray(A)
    for got, wanted in [
        (array + 1, A + 1),
        (2 - array, 2 - A),
        (array / 2, A / 2),
        (array**2, A**2),
        (-array, -A),
        (A * array, A * A),
        (np.exp(array), np.exp(A)),
        (array > 2, A > 2),
    ]:
        assert isinstance(got, NDArray)
        assert got is not array
        np.testing.assert_allclose(got.asnumpy(), wanted, rtol=1e-6)
    np.testing.assert_array_equal(array.asnumpy(), A)


def test_rows_are_views():
    array = NDArray(A)
    row = array[1]
    row[:] = 0
    np.testing.assert_array_equal(array.asnumpy(), [[0, 1, 2], [0, 0, 0]])
    assert array.ortvalue.numpy()[1].tolist() == [0, 0, 0]
    assert row.ortvalue.data_ptr() == array.ortvalue.data_ptr() + 12
    assert len(array) == 2
    assert array[0, 2].asscalar() == 2.0
    array[1:] = [[7, 8, 9]]
    assert array[1].asnumpy().tolist() == [7, 8, 9]


def test_dtypes():
    assert NDArray(np.zeros(2)).dtype == np.float32
    assert NDArray([1, 2]).dtype == np.int64
    exact = NDArray.zeros((2,), np.float64)
    exact[:] = 1 + 1e-12
    for made in (exact.copy(), exact[0:1], exact.reshape(2, 1), exact + 0, exact.copyto(sb.cpu())):
        assert made.dtype == np.float64
        assert float(made.asnumpy().reshape(-1)[0]) == 1 + 1e-12
    assert exact.astype(np.float32).dtype == np.float32


def test_scalars():
    one = NDArray([2.5])
    assert float(one) == 2.5
    assert int(one) == 2
    assert bool(one)
    with pytest.raises(ShapeError, match=r"needs one element, the array has shape \(2, 3\)"):
        NDArray(A).asscalar()


def test_sizes_and_empty_arrays():
    array = NDArray(A)
    assert (array.shape, array.size, array.ndim, array.nbytes) == ((2, 3), 6, 2, 24)
    assert NDArray.zeros((0, 3)).asnumpy().shape == (0, 3)
    assert repr(array) == "\n[[0. 1. 2.]\n [3. 4. 5.]]\n<NDArray 2x3 @cpu(0)>"


def test_copies_and_contexts():
    array, other = NDArray(A), NDArray.empty((2, 3))
    assert array.copyto(other) is other
    array[:] = 0
    np.testing.assert_array_equal(other.asnumpy(), A)
    assert array.as_in_context(sb.cpu()) is array
    moved = array.as_in_context(sb.cpu(1))
    assert moved is not array
    assert moved.context == sb.cpu(1)


def test_writing_another_shape_is_refused():
    array = NDArray(A)
    with pytest.raises(ValueError, match="broadcast"):
        array[:] = np.zeros((3, 2))
