"""New arrays: from values, or filled by a rule. ``ctx`` is the current context by default."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket.casts import lost_numbers
from symbucket.context import Context, current_context
from symbucket.elements import as_element
from symbucket.errors import InvalidArgumentError, ShapeError, UnsupportedError
from symbucket.ops.create import range_of
from symbucket.runtime import NDArray
from symbucket.types import Array

Shape = int | Sequence[int]


def array(
    source_array: Any, ctx: Context | None = None, dtype: npt.DTypeLike | None = None
) -> NDArray:
    """A new array with the values of a number, nested list, numpy array or NDArray.

    The dtype is float32 unless given, or that of an NDArray. Raises InvalidArgumentError where the
    values are no numbers of one shape.
    """
    if dtype is None and isinstance(source_array, NDArray):
        dtype = source_array.dtype
    checked_dtype = as_dtype(dtype)
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(source_array).astype(checked_dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"nd.array: {type(source_array).__name__} cannot be made an array of "
            f"{checked_dtype} ({error}); expected numbers in lists of equal lengths"
        ) from error
    return holding(values, ctx)


_LENT: dict[int, weakref.ref[Array]] = {}
"""By id, the numpy arrays that are read-only because arrays of ours share their memory."""


def from_numpy(ndarray: Array, zero_copy: bool = True) -> NDArray:
    """An array over the memory of a numpy array, or with ``zero_copy=False`` a copy.

    Where the memory is shared, the numpy array shows what the new array writes, and is read-only
    from then on, as in MXNet. Raises ShapeError if the memory is not contiguous.
    """
    if not zero_copy:
        return holding(ndarray, None)
    key = id(ndarray)
    if key in _LENT:
        ndarray.flags.writeable = True
    shared = NDArray.over(ndarray.view())
    if ndarray.flags.writeable:
        ndarray.flags.writeable = False
        _LENT[key] = weakref.ref(ndarray, lambda _: _LENT.pop(key, None))
    return shared


class _Capsule:
    """A capsule of DLPack as the object that numpy reads it from."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def from_dlpack(dlpack: Any) -> NDArray:
    """An array over memory of the host that another library exports.

    ``dlpack``: a capsule, such as ``to_dlpack_for_write`` gives, or an object that makes one. The
    array can be written only if numpy may write memory it gets this way.
    """
    exporter = dlpack if hasattr(dlpack, "__dlpack__") else _Capsule(dlpack)
    return NDArray.over(np.from_dlpack(exporter))


def to_dlpack_for_read(data: NDArray) -> Any:
    """A DLPack capsule of an array's memory, for reading; one use."""
    return data.to_dlpack_for_read()


def to_dlpack_for_write(data: NDArray) -> Any:
    """A DLPack capsule of an array's memory, for writing; one use."""
    return data.to_dlpack_for_write()


def empty(shape: Shape, ctx: Context | None = None, dtype: npt.DTypeLike | None = None) -> NDArray:
    """A new array whose values are not set."""
    return NDArray.empty(as_shape(shape), as_dtype(dtype), ctx)


def zeros(
    shape: Shape,
    ctx: Context | None = None,
    dtype: npt.DTypeLike | None = None,
    stype: str | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """A new array of zeros, or ``out`` filled with them."""
    if stype not in (None, "default"):
        raise UnsupportedError(f"nd.zeros: stype={stype!r}; every array is dense here")
    return full(shape, 0, ctx, dtype, out)


def ones(
    shape: Shape,
    ctx: Context | None = None,
    dtype: npt.DTypeLike | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """A new array of ones, or ``out`` filled with them."""
    return full(shape, 1, ctx, dtype, out)


def full(
    shape: Shape,
    val: float,
    ctx: Context | None = None,
    dtype: npt.DTypeLike | None = None,
    out: NDArray | None = None,
) -> NDArray:
    """A new array in which every element is ``val``, or ``out`` filled with it."""
    filled = empty(shape, ctx, dtype) if out is None else out
    if filled.shape != as_shape(shape):
        raise ShapeError(f"out has shape {filled.shape}; expected {as_shape(shape)}")
    filled[...] = as_element(val, filled.dtype)
    return filled


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1.0,
    repeat: int = 1,
    infer_range: bool | None = None,
    ctx: Context | None = None,
    dtype: npt.DTypeLike | None = None,
) -> NDArray:
    """``start, start + step, ...`` up to below ``stop``, each number ``repeat`` times, float32.

    With one number given, that is ``stop`` and the numbers start at 0.
    """
    if infer_range:
        raise UnsupportedError("nd.arange: infer_range=True has nothing to infer from; give stop")
    if step == 0 or repeat < 1:
        raise InvalidArgumentError(
            f"nd.arange: step={step} must not be 0, repeat={repeat} must be 1 or more"
        )
    first, last = (0, start) if stop is None else (start, stop)
    return holding(range_of(first, last, step, repeat, as_dtype(dtype)), ctx)


def linspace(
    start: float,
    stop: float,
    num: int,
    endpoint: bool = True,
    ctx: Context | None = None,
    dtype: npt.DTypeLike | None = None,
) -> NDArray:
    """``num`` numbers at equal distances from ``start`` to ``stop``, float32."""
    return holding(np.linspace(start, stop, num, endpoint).astype(as_dtype(dtype)), ctx)


def eye(
    N: int,
    M: int = 0,
    k: int = 0,
    ctx: Context | None = None,
    dtype: npt.DTypeLike | None = None,
) -> NDArray:
    """Ones on diagonal ``k``, zeros elsewhere: (N, M), or (N, N) if M is 0."""
    return holding(np.eye(N, M or None, k, as_dtype(dtype)), ctx)


def onehot_encode(indices: NDArray, out: NDArray) -> NDArray:
    """Write 1 at column ``indices[i]`` of every row i of ``out`` (n, k), 0 elsewhere; return it."""
    columns = np.arange(out.shape[1])
    out[...] = indices.view().astype(np.int64)[:, None] == columns
    return out


def histogram(
    a: NDArray, bins: int | NDArray = 10, range: tuple[float, float] | None = None
) -> tuple[NDArray, NDArray]:
    """Return how many values lie in each of the ``bins``, int64, and the bins' edges.

    ``bins``: their number, between the bounds ``range`` (the smallest and the largest value by
    default), or the edges. Edges have the dtype of ``a``, or float32 if it does not hold them.
    """
    edges = bins.view() if isinstance(bins, NDArray) else bins
    try:
        counts, at = np.histogram(a.view(), edges, range)
    except ValueError as error:  # no finite range, edges that do not ascend
        raise InvalidArgumentError(f"nd.histogram: {error}") from error
    dtype = np.dtype(np.float32) if lost_numbers(at, a.dtype)[0] else a.dtype
    return holding(counts.astype(np.int64), a.context), holding(at.astype(dtype), a.context)


def waitall() -> None:
    """Wait until all results are there. They always are: calls return when their work is done."""


def holding(values: Array, ctx: Context | None) -> NDArray:
    """Return a new array with these values in their dtype."""
    return NDArray.of(values, ctx or current_context())


def as_dtype(dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    """Return a dtype of numpy; None is float32."""
    try:
        return np.dtype(np.float32 if dtype is None else dtype)
    except TypeError as error:
        raise InvalidArgumentError(f"dtype={dtype!r} is no dtype of numpy: {error}") from error


def as_shape(shape: Any) -> tuple[int, ...]:
    """Return a number or a sequence of sizes as a shape."""
    sizes = shape if isinstance(shape, (tuple, list, np.ndarray)) else (shape,)
    try:
        if any(isinstance(size, (bool, str)) for size in sizes):
            raise TypeError
        checked = tuple(operator.index(size) for size in sizes)
    except TypeError:
        checked = (-1,)
    if any(size < 0 for size in checked):
        raise InvalidArgumentError(
            f"shape={shape!r} must be a whole number of 0 or more, or a tuple of them"
        )
    return checked
