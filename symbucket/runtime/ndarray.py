"""``NDArray``: a fixed buffer that ONNX Runtime reads and writes in place.

On the CPU an OrtValue and a numpy array share the memory, so ``view()`` copies nothing and writing
through ``array[...] = x`` is a plain copy. On a GPU the buffer lives on the device and numpy sees
copies. The address never changes, which is what shared parameters and CUDA graphs need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from symbucket.context import Context, cpu
from symbucket.errors import DeviceError, ShapeError
from symbucket.runtime.backend import ort, session_provider
from symbucket.runtime.providers import provider_of

_ALIGN = 64  # bytes; a cache line, and what the runtime's vector kernels like best


def aligned_empty(shape: Sequence[int], dtype: Any, zeros: bool = False) -> np.ndarray[Any, Any]:
    """Return a numpy array that starts on a 64-byte boundary; uninitialised unless ``zeros``.

    The system provides the memory of a large array when it is first touched, also with ``zeros``.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = (np.zeros if zeros else np.empty)(size + _ALIGN, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGN
    array: np.ndarray[Any, Any] = raw[start : start + size].view(dtype)
    return array.reshape(tuple(shape))


class NDArray(NDArrayOperatorsMixin):
    """An array on a context, at an address that never changes.

    ``shape`` and ``dtype`` are numpy's. Arithmetic runs in numpy and returns new NDArrays on the
    CPU; ``array[...] = values`` and ``array += values`` write into the buffer itself.
    """

    __slots__ = ("_host", "context", "dtype", "ortvalue", "shape")
    __array_priority__ = 1000.0

    def __init__(self, values: Any, context: Context | None = None) -> None:
        values = np.asarray(values)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        self._allocate(values.shape, values.dtype, context or cpu())
        self[...] = values

    @classmethod
    def of(cls, values: Any, context: Context) -> NDArray:
        """Copy a numpy array in its own dtype (the constructor makes float64 float32)."""
        array = cls.empty(np.shape(values), np.asarray(values).dtype, context)
        array[...] = values
        return array

    def _allocate(
        self, shape: Sequence[int], dtype: Any, context: Context, zeros: bool = False
    ) -> None:
        self.context = context
        self.shape = tuple(int(d) for d in shape)
        self.dtype = np.dtype(dtype)
        self._host: np.ndarray[Any, Any] | None = None
        provider = provider_of(context)
        if provider.host_memory:
            self._host = aligned_empty(self.shape, self.dtype, zeros)
            self.ortvalue = ort.OrtValue.ortvalue_from_numpy(self._host)
            return
        session_provider(context)  # raises if it is not installed
        try:
            self.ortvalue = ort.OrtValue.ortvalue_from_shape_and_type(
                list(self.shape), self.dtype.type, provider.memory, context.device_id
            )
        except RuntimeError as error:
            raise DeviceError(f"cannot allocate {self.shape} on {context}: {error}") from error
        if zeros:
            self[...] = 0

    @classmethod
    def empty(
        cls, shape: Sequence[int], dtype: Any = np.float32, context: Context | None = None
    ) -> NDArray:
        """Return an uninitialised array."""
        array = cls.__new__(cls)
        array._allocate(shape, dtype, context or cpu())
        return array

    @classmethod
    def zeros(
        cls, shape: Sequence[int], dtype: Any = np.float32, context: Context | None = None
    ) -> NDArray:
        """Return an array of zeros."""
        array = cls.__new__(cls)
        array._allocate(shape, dtype, context or cpu(), zeros=True)
        return array

    @classmethod
    def over(cls, values: np.ndarray[Any, Any]) -> NDArray:
        """Return an array on the CPU over existing memory: a part of a pool, or a mapped file.

        ``values`` must be contiguous, and its memory must outlive every session that it is bound
        to. Read-only memory must not be bound as an output.
        """
        if not values.flags.c_contiguous:
            raise ShapeError(f"NDArray.over: memory of shape {values.shape} is not contiguous")
        array = cls.__new__(cls)
        array.context, array.shape, array.dtype = cpu(), values.shape, values.dtype
        array._host = values
        array.ortvalue = ort.OrtValue.ortvalue_from_numpy(values)
        return array

    @property
    def size(self) -> int:
        """The number of elements."""
        count: int = math.prod(self.shape)
        return count

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes of the buffer."""
        return int(self.size * self.dtype.itemsize)

    def asnumpy(self) -> np.ndarray[Any, Any]:
        """Return a copy of the values, which later steps do not change."""
        return self.view().copy() if self._host is not None else self.view()

    def view(self) -> np.ndarray[Any, Any]:
        """Return the values, without a copy if the buffer is in host memory."""
        if self._host is not None:
            return self._host
        return np.asarray(self.ortvalue.numpy())

    def asscalar(self) -> Any:
        """Return the value of an array of one element."""
        if self.size != 1:
            raise ShapeError(f"asscalar needs one element, the array has shape {self.shape}")
        return self.view().reshape(-1)[0].item()

    def copy(self) -> NDArray:
        """Return a new array with the same values on the same context."""
        other = NDArray.empty(self.shape, self.dtype, self.context)
        other[...] = self.view()
        return other

    def copyto(self, other: NDArray | Context) -> NDArray:
        """Write the values into ``other``, or into a new array on that context, and return it."""
        if isinstance(other, Context):
            other = NDArray.empty(self.shape, self.dtype, other)
        other[...] = self.view()
        return other

    def as_in_context(self, context: Context) -> NDArray:
        """Return this array if it is on ``context``, else a copy there."""
        return self if context == self.context else self.copyto(context)

    def astype(self, dtype: Any) -> NDArray:
        """Return a new array of another dtype."""
        other = NDArray.empty(self.shape, dtype, self.context)
        other[...] = self.view().astype(dtype)
        return other

    def reshape(self, *shape: Any) -> NDArray:
        """Return a new array with the same values in another shape."""
        return NDArray.of(self.view().reshape(*shape), self.context)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        view = self.view()
        if dtype is not None and np.dtype(dtype) != view.dtype:
            return view.astype(dtype)
        return view.copy() if copy else view

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [x.view() if isinstance(x, NDArray) else x for x in inputs]
        out = kwargs.pop("out", None)
        result = getattr(ufunc, method)(*plain, **kwargs)
        if out is not None:
            (target,) = out
            target[...] = result
            return target
        if not isinstance(result, np.ndarray):
            return result
        keeps = any(getattr(x, "dtype", None) == np.float64 for x in plain)
        return NDArray.of(result, cpu()) if keeps else NDArray(result)

    def __getitem__(self, key: Any) -> NDArray:
        return NDArray.of(self.view()[key], self.context)

    def __setitem__(self, key: Any, values: Any) -> None:
        values = values.view() if isinstance(values, NDArray) else np.asarray(values)
        if self._host is not None:
            self._host[key] = values
            return
        host = self.view()
        host[key] = values
        self.ortvalue.update_inplace(np.ascontiguousarray(host))

    def __len__(self) -> int:
        return self.shape[0]

    def __float__(self) -> float:
        return float(self.asscalar())

    def __int__(self) -> int:
        return int(self.asscalar())

    def __bool__(self) -> bool:
        return bool(self.asscalar())

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{self.view()}\n<NDArray {shape} {self.dtype} @{self.context}>"
