"""Arrays by MXNet's names (``mx.nd``): making them, and files of them.

Everything runs at once: an array's values are there when the call that makes them returns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save as to_bytes

from symbucket.context import Context
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.files import write_checkpoint
from symbucket.runtime import NDArray

__all__ = ["NDArray", "array", "empty", "full", "load", "ones", "save", "waitall", "zeros"]

Shape = int | Sequence[int]
_FORMAT = "symbucket-nd"


def array(
    source_array: Any, ctx: Context | None = None, dtype: npt.DTypeLike | None = None
) -> NDArray:
    """A new array with the values of a number, nested list, numpy array or NDArray.

    The dtype is float32 unless given, or that of an NDArray. Raises InvalidArgumentError where the
    values are no numbers of one shape.
    """
    if dtype is None and isinstance(source_array, NDArray):
        dtype = source_array.dtype
    checked_dtype = _dtype(dtype)
    try:
        values = np.asarray(source_array).astype(checked_dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"nd.array: {type(source_array).__name__} cannot be made an array of "
            f"{checked_dtype} ({error}); expected numbers in lists of equal lengths"
        ) from error
    return _holding(values, ctx)


def empty(shape: Shape, ctx: Context | None = None, dtype: npt.DTypeLike | None = None) -> NDArray:
    """A new array whose values are not set."""
    return NDArray.empty(_shape(shape), _dtype(dtype), ctx)


def zeros(shape: Shape, ctx: Context | None = None, dtype: npt.DTypeLike | None = None) -> NDArray:
    """A new array of zeros."""
    return full(shape, 0, ctx, dtype)


def ones(shape: Shape, ctx: Context | None = None, dtype: npt.DTypeLike | None = None) -> NDArray:
    """A new array of ones."""
    return full(shape, 1, ctx, dtype)


def full(
    shape: Shape,
    val: float,
    ctx: Context | None = None,
    dtype: npt.DTypeLike | None = None,
) -> NDArray:
    """A new array in which every element is ``val``."""
    filled = empty(shape, ctx, dtype)
    filled[...] = val
    return filled


def save(
    fname: str, data: NDArray | list[NDArray] | tuple[NDArray, ...] | Mapping[str, NDArray]
) -> None:
    """Write one array, a list or a dict of arrays to a file, atomically, as safetensors.

    A single array is written as a list of one. Raises InvalidArgumentError, with nothing written,
    where ``data`` holds something else.
    """
    if isinstance(data, NDArray):
        data = [data]
    if isinstance(data, Mapping):
        kind, named = "dict", dict(data)
    elif isinstance(data, (list, tuple)):
        kind, named = "list", {str(i): value for i, value in enumerate(data)}
    else:
        raise InvalidArgumentError(
            f"nd.save: data is a {type(data).__name__}; expected an NDArray, a list or a dict"
        )
    for name, value in named.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise InvalidArgumentError(
                f"nd.save: the key {name!r} cannot name an array; use another string"
            )
        if not isinstance(value, NDArray):
            raise InvalidArgumentError(
                f"nd.save: the entry {name!r} is a {type(value).__name__}; expected an NDArray "
                "(nd.array makes one)"
            )
    plain = {name: np.ascontiguousarray(value.view()) for name, value in named.items()}
    write_checkpoint(fname, to_bytes(plain, {"format": _FORMAT, "version": "1", "kind": kind}))


def load(fname: str) -> list[NDArray] | dict[str, NDArray]:
    """Read what ``save`` wrote: a list or a dict, in host memory.

    Other safetensors files, such as a checkpoint's ``.params``, give a dict. Raises CheckpointError
    where there is no such file or it is damaged.
    """
    if not os.path.exists(fname):
        raise CheckpointError(f"nd.load: there is no file {fname!r}")
    try:
        with safetensors.safe_open(fname, "numpy") as file:
            about = file.metadata() or {}
            loaded = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"nd.load: {fname!r} is damaged or no such file: {error}") from error
    arrays = {name: _holding(values, None) for name, values in loaded.items()}
    if about.get("format") != _FORMAT or about.get("kind") != "list":
        return arrays
    try:
        return [arrays[str(i)] for i in range(len(arrays))]
    except KeyError as error:
        raise CheckpointError(
            f"nd.load: {fname!r} holds a list of {len(arrays)} arrays, but entry {error} is missing"
        ) from None


def waitall() -> None:
    """Wait until all results are there. They always are: calls return when their work is done."""


def _holding(values: np.ndarray[Any, Any], ctx: Context | None) -> NDArray:
    array = NDArray.empty(values.shape, values.dtype, ctx)
    array[...] = values
    return array


def _dtype(dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    try:
        return np.dtype(np.float32 if dtype is None else dtype)
    except TypeError as error:
        raise InvalidArgumentError(f"dtype={dtype!r} is no dtype of numpy: {error}") from error


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    if not all(isinstance(d, (int, np.integer)) and not isinstance(d, bool) for d in sizes) or any(
        d < 0 for d in sizes
    ):
        raise InvalidArgumentError(
            f"shape={shape!r} must be a whole number of 0 or more, or a tuple of them"
        )
    return tuple(int(d) for d in sizes)
