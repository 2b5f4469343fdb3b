"""Comparisons of arrays, and small functions on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symbucket.runtime import NDArray
from symbucket.test_utils.settings import get_tols, numpy_of
from symbucket.types import Array


def same(a: Any, b: Any) -> bool:
    """Return whether two arrays have equal elements (NaN equals nothing)."""
    return bool(np.array_equal(numpy_of(a), numpy_of(b)))


def same_array(array1: NDArray, array2: NDArray) -> bool:
    """Return whether two NDArrays are one memory: what is written to one is read from the other."""
    before = array1.asnumpy()
    array1[:] += 1
    changed = same(array1, array2) and not same(array1, before)
    array1[:] = before
    return changed and same(array1, array2)


def almost_equal(
    a: Any,
    b: Any,
    rtol: Any = None,
    atol: Any = None,
    equal_nan: bool = False,
    use_broadcast: bool = True,
) -> bool:
    """Return whether ``abs(a - b) <= atol + rtol * abs(b)`` everywhere.

    Without tolerances those of the less precise of the two dtypes are used. Shapes may differ as
    in numpy's broadcasting, unless ``use_broadcast`` is False.
    """
    left, right = numpy_of(a), numpy_of(b)
    rtol, atol = get_tols(left, right, rtol, atol)
    if not _comparable(left, right, use_broadcast):
        return False
    return bool(np.allclose(left, right, rtol=rtol, atol=atol, equal_nan=equal_nan))


def assert_almost_equal(
    a: Any,
    b: Any,
    rtol: Any = None,
    atol: Any = None,
    names: tuple[str, str] = ("a", "b"),
    equal_nan: bool = False,
    use_broadcast: bool = True,
    mismatches: tuple[int, int] = (10, 10),
) -> None:
    """Raise AssertionError, with the largest differences, unless ``almost_equal``.

    ``mismatches``, how many elements MXNet prints, changes nothing here.
    """
    left, right = numpy_of(a), numpy_of(b)
    rtol, atol = get_tols(left, right, rtol, atol)
    title = f"{names[0]} and {names[1]} differ"
    if not _comparable(left, right, use_broadcast):
        raise AssertionError(f"{title}: shapes {left.shape} and {right.shape}")
    left, right = np.broadcast_arrays(left, right)
    np.testing.assert_allclose(
        left, right, rtol=rtol, atol=atol, equal_nan=equal_nan, err_msg=title
    )


def assert_almost_equal_ignore_nan(
    a: Any, b: Any, rtol: Any = None, atol: Any = None, names: tuple[str, str] = ("a", "b")
) -> None:
    """Raise AssertionError unless ``almost_equal`` where neither array is NaN."""
    left, right = (np.array(numpy_of(values)) for values in (a, b))
    unknown = np.isnan(left) | np.isnan(right)
    left[unknown] = 0
    right[unknown] = 0
    assert_almost_equal(left, right, rtol, atol, names)


def assert_almost_equal_with_err(
    a: Any,
    b: Any,
    rtol: Any = None,
    atol: Any = None,
    etol: float | None = None,
    names: tuple[str, str] = ("a", "b"),
    equal_nan: bool = False,
    mismatches: tuple[int, int] = (10, 10),
) -> None:
    """Raise AssertionError if more than the fraction ``etol`` of the elements differ."""
    left, right = numpy_of(a), numpy_of(b)
    if not etol:
        assert_almost_equal(left, right, rtol, atol, names, equal_nan)
        return
    rtol, atol = get_tols(left, right, rtol, atol)
    close = np.isclose(left, right, rtol=rtol, atol=atol, equal_nan=equal_nan)
    wrong = 1.0 - float(np.mean(close)) if close.size else 0.0
    if wrong > etol:
        raise AssertionError(
            f"{names[0]} and {names[1]} differ in {wrong:.2%} of their elements; at most "
            f"{etol:.2%} may"
        )


def assert_exception(
    f: Callable[..., Any], exception_type: type[BaseException], *args: Any, **kwargs: Any
) -> None:
    """Raise AssertionError unless ``f(*args, **kwargs)`` raises ``exception_type``."""
    try:
        f(*args, **kwargs)
    except exception_type:
        return
    name = getattr(f, "__name__", repr(f))
    raise AssertionError(f"{name} did not raise {exception_type.__name__}")


def np_reduce(dat: Any, axis: Any, keepdims: bool, numpy_reduce_func: Callable[..., Any]) -> Array:
    """Reduce over one axis after the other, from the last, with a function that takes one axis.

    ``axis`` is a number, a sequence, or None for all axes. The sum of one axis' norms is no norm:
    the function must be one that may be applied axis by axis.
    """
    values = np.asarray(dat)
    axes = range(values.ndim) if axis is None else np.atleast_1d(axis).tolist()
    result = values
    for each in sorted((a % values.ndim for a in axes), reverse=True):
        result = numpy_reduce_func(result, axis=each)
    if keepdims:
        gone = {a % values.ndim for a in axes}
        result = np.reshape(result, [1 if i in gone else n for i, n in enumerate(values.shape)])
    return np.asarray(result)


def collapse_sum_like(a: Any, shape: Sequence[int]) -> Array:
    """Return ``a`` summed down to ``shape``: the gradient of a broadcast from that shape."""
    values = np.asarray(a)
    if 0 in shape or not values.size:
        return np.zeros(tuple(shape), values.dtype)
    lead = values.ndim - len(shape)
    axes = [i for i in range(values.ndim) if i < lead or shape[i - lead] != values.shape[i]]
    return np.asarray(np.sum(values, axis=tuple(axes)).reshape(tuple(shape)))


def assign_each(the_input: Any, function: Callable[[Any], Any] | None) -> Array:
    """Return the array of ``function(element)``; None copies."""
    values = np.array(the_input)
    if function is None:
        return values
    return np.array([function(v) for v in values.ravel()], np.float64).reshape(values.shape)


def assign_each2(input1: Any, input2: Any, function: Callable[[Any, Any], Any] | None) -> Array:
    """Return the array of ``function(element1, element2)``; None copies the first array."""
    left, right = np.array(input1), np.array(input2)
    if function is None:
        return left
    pairs = zip(left.ravel(), right.ravel(), strict=True)
    return np.array([function(x, y) for x, y in pairs], np.float64).reshape(left.shape)


def _comparable(left: Array, right: Array, use_broadcast: bool) -> bool:
    if left.shape == right.shape:
        return True
    if not use_broadcast:
        return False
    try:
        np.broadcast_shapes(left.shape, right.shape)
    except ValueError:
        return False
    return True
