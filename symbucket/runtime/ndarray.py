"""``NDArray``: a fixed buffer that ONNX Runtime reads and writes in place.

On the CPU an OrtValue and a numpy array share the memory, so ``view()`` copies nothing and writing
through ``array[...] = x`` is a plain copy. On a GPU the buffer lives on the device and numpy sees
copies. The address never changes, which is what shared parameters and CUDA graphs need.

Contiguous parts (rows, slices of rows) and reshapes are arrays over the same memory. On a GPU they
are not memory that could be bound, but writing to them writes to the whole array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from symbucket.context import Context, current_context
from symbucket.errors import DeviceError, IndexingError, ShapeError, StateError
from symbucket.html_tables import html_line
from symbucket.ops import find
from symbucket.runtime.arithmetic import RULE_OF_UFUNC, Arithmetic, apply_rule
from symbucket.runtime.backend import ort, session_provider
from symbucket.runtime.indexing import numpy_key
from symbucket.runtime.memory import check_memory, memory_error
from symbucket.runtime.mxnet_names import MXNetNames
from symbucket.runtime.operator_methods import OperatorMethods
from symbucket.runtime.providers import provider_of
from symbucket.types import Array

_CPU = Context("cpu")
_ALIGN = 64  # bytes; a cache line, and what the runtime's vector kernels like best


def aligned_empty(shape: Sequence[int], dtype: Any, zeros: bool = False) -> Array:
    """Return a numpy array that starts on a 64-byte boundary; uninitialised unless ``zeros``.

    The system provides the memory of a large array when it is first touched, also with ``zeros``.
    Raises MemoryLimitError if it has none.
    """
    dtype = np.dtype(dtype)
    size = math.prod(map(int, shape)) * dtype.itemsize
    what = f"an array of shape {tuple(shape)} and dtype {dtype}"
    check_memory(size, what)
    try:
        raw = (np.zeros if zeros else np.empty)(size + _ALIGN, dtype=np.uint8)
    except (MemoryError, ValueError):  # ValueError: more than an address can count
        raise memory_error(size, what, "the system does not give that much now") from None
    start = -raw.ctypes.data % _ALIGN
    array: Array = raw[start : start + size].view(dtype)
    return array.reshape(tuple(shape))


class NDArray(Arithmetic, MXNetNames, OperatorMethods):
    """An array on a context, at an address that never changes.

    ``shape`` and ``dtype`` are numpy's. Arithmetic returns new arrays; ``array[...] = values`` and
    ``array += values`` write into the buffer itself. Operators are methods: ``array.sum(axis=0)``.
    """

    __slots__ = (
        "__weakref__",
        "_host",
        "_ortvalue",
        "_part",
        "_whole",
        "context",
        "dtype",
        "shape",
    )
    __array_priority__ = 1000.0

    context: Context
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _host: Array | None  # the memory, if it is the host's
    _ortvalue: Any  # made when the runtime first asks for it, in host memory
    _whole: NDArray | None  # on a device: what this is a part of
    _part: Callable[[Array], Array] | None  # and which part

    def __init__(self, values: Any, context: Context | None = None) -> None:
        values = np.asarray(values)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        self._allocate(values.shape, values.dtype, context or current_context())
        self[...] = values

    @classmethod
    def of(cls, values: Any, context: Context) -> NDArray:
        """Copy a numpy array in its own dtype (the constructor makes float64 float32)."""
        array = cls.empty(np.shape(values), np.asarray(values).dtype, context)
        array[...] = values
        return array

    def _describe(self, shape: tuple[int, ...], dtype: np.dtype[Any], context: Context) -> None:
        self.context, self.shape, self.dtype = context, shape, dtype
        self._host = self._ortvalue = self._whole = self._part = None

    def _allocate(
        self, shape: Sequence[int], dtype: Any, context: Context, zeros: bool = False
    ) -> None:
        self._describe(tuple(int(d) for d in shape), np.dtype(dtype), context)
        provider = provider_of(context)
        if provider.host_memory:
            self._host = aligned_empty(self.shape, self.dtype, zeros)
            return
        session_provider(context)  # raises if it is not installed
        try:
            self._ortvalue = ort.OrtValue.ortvalue_from_shape_and_type(
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
        array._allocate(shape, dtype, context or current_context())
        return array

    @classmethod
    def zeros(
        cls, shape: Sequence[int], dtype: Any = np.float32, context: Context | None = None
    ) -> NDArray:
        """Return an array of zeros."""
        array = cls.__new__(cls)
        array._allocate(shape, dtype, context or current_context(), zeros=True)
        return array

    @classmethod
    def over(cls, values: Array, context: Context | None = None) -> NDArray:
        """Return an array over existing host memory: a part of a pool, or a mapped file.

        ``values`` must be contiguous, and its memory must outlive every session that it is bound
        to. Read-only memory must not be bound as an output. ``context``: one in host memory, the
        CPU by default.
        """
        if not values.flags.c_contiguous:
            raise ShapeError(f"NDArray.over: memory of shape {values.shape} is not contiguous")
        array = cls.__new__(cls)
        array._describe(values.shape, values.dtype, context or _CPU)
        array._host = values
        return array

    def beside(self, values: Array) -> NDArray:
        """Return a new array on this context over ``values``, which nobody else holds."""
        if self._host is None:
            return NDArray.of(values, self.context)
        return NDArray.over(np.ascontiguousarray(values).reshape(values.shape), self.context)

    def _part_of(self, values: Array, part: Callable[[Array], Array]) -> NDArray:
        """Return ``values``, which is ``part`` of ``view()``, as a view of this array."""
        if self._host is not None:
            return NDArray.over(values, self.context)
        array = NDArray.__new__(NDArray)
        array._describe(values.shape, values.dtype, self.context)
        array._whole, array._part = self, part
        return array

    @property
    def ortvalue(self) -> Any:
        """The array as ONNX Runtime takes it."""
        if self._ortvalue is None:
            if self._host is None:
                raise StateError(
                    f"a part of an array on {self.context} has no memory of its own that could be "
                    "bound; use x.copy()"
                )
            self._ortvalue = ort.OrtValue.ortvalue_from_numpy(self._host)
        return self._ortvalue

    def bindable(self) -> NDArray:
        """Return this array, or a copy if it is a part of an array on a device."""
        return self if self._whole is None else self.copy()

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

    def asnumpy(self) -> Array:
        """Return a copy of the values, which later steps do not change."""
        return self.view().copy() if self._host is not None else self.view()

    def view(self) -> Array:
        """Return the values, without a copy if the buffer is in host memory."""
        if self._host is not None:
            return self._host
        return self._fetch()[1]

    def _fetch(self) -> tuple[Array, Array]:
        """Return a copy of the whole array on the device, and this part of it."""
        if self._whole is None:
            values = np.asarray(self._ortvalue.numpy())
            return values, values
        values, whole = self._whole._fetch()
        assert self._part is not None
        return values, self._part(whole)

    def asscalar(self) -> Any:
        """Return the value of an array of one element, as a number of numpy."""
        if self.size != 1:
            raise ShapeError(f"asscalar needs one element, the array has shape {self.shape}")
        return self.view().reshape(-1)[0]

    def copy(self) -> NDArray:
        """Return a new array with the same values on the same context."""
        other = NDArray.empty(self.shape, self.dtype, self.context)
        other[...] = self.view()
        return other

    def copyto(self, other: NDArray | Context) -> NDArray:
        """Write the values into ``other``, or into a new array on that context, and return it."""
        if isinstance(other, Context):
            other = NDArray.empty(self.shape, self.dtype, other)
        if other.shape != self.shape:
            raise ShapeError(f"copyto: the array has shape {self.shape}, the other {other.shape}")
        other[...] = self.view()
        return other

    def astype(self, dtype: Any, copy: bool = True) -> NDArray:
        """Return a new array of another dtype; this one itself if not ``copy`` and it has it."""
        if not copy and self.dtype == np.dtype(dtype):
            return self
        other = NDArray.empty(self.shape, dtype, self.context)
        other[...] = self.view()
        return other

    def reshape(self, *shape: Any, **codes: Any) -> NDArray:
        """Return a view in another shape, given as numbers, a tuple, or ``shape=``.

        The sizes are those of the operator ``Reshape``, with its codes and ``reverse=``.
        """
        sizes = codes.pop("shape", shape[0] if len(shape) == 1 else shape)
        target: Any = tuple(sizes) if isinstance(sizes, (tuple, list, np.ndarray)) else (sizes,)
        if any(d <= 0 for d in target) or codes:
            rule = find("Reshape").make({"shape": target, **codes})
            target = rule.infer_shape([self.shape], [None])[1][0]
        if math.prod(target) != self.size:
            raise ShapeError(f"cannot reshape {self.shape} ({self.size} elements) into {target}")
        return self._part_of(self.view().reshape(target), lambda whole: whole.reshape(target))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        view = self.view()
        if dtype is not None and np.dtype(dtype) != view.dtype:
            return view.astype(dtype)
        return view.copy() if copy else view

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and ufunc in RULE_OF_UFUNC:
            return apply_rule(RULE_OF_UFUNC[ufunc], *inputs)
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
        return NDArray.of(result, self.context) if keeps else NDArray(result, self.context)

    def __getitem__(self, key: Any) -> NDArray:
        plain, by_numbers = numpy_key(key, (NDArray,))
        values = self._at(self.view(), plain)
        if values.ndim == 0 and self.shape:  # as in MXNet, whose arrays have one axis or more
            return self._part_of(values.reshape(1), lambda whole: self._at(whole, plain).reshape(1))
        if by_numbers or not values.flags.c_contiguous:
            return self.beside(values if values.base is None else values.copy())
        return self._part_of(values, lambda whole: self._at(whole, plain))

    def _at(self, host: Array, key: Any) -> Array:
        try:
            part: Array = host[key]
            return part
        except IndexError as error:
            raise IndexingError(f"array of shape {self.shape}: {error}") from None

    def __setitem__(self, key: Any, values: Any) -> None:
        plain = key if key is Ellipsis else numpy_key(key, (NDArray,))[0]
        source = values.view() if isinstance(values, NDArray) else np.asarray(values)
        if source.dtype.kind in "OSUMmc":
            raise ShapeError(f"{values!r} of type {type(values).__name__} cannot be assigned")
        try:
            if source.dtype == self.dtype and self._host is not None:
                self._host[plain] = source
            else:
                self._assign(plain, source)
        except IndexError as error:
            raise IndexingError(f"array of shape {self.shape}: {error}") from None
        except ValueError as error:
            raise ShapeError(f"array of shape {self.shape}: {error}") from None

    def _assign(self, key: Any, source: Array) -> None:
        """Assign values of any dtype, or to elements of an array on a device."""
        with np.errstate(all="ignore"):  # as MXNet converts: what does not fit is undefined
            if self._host is not None:
                self._host[key] = source
                return
            if key is Ellipsis and self._whole is None:
                whole = part = np.empty(self.shape, self.dtype)  # nothing of the old values stays
            else:
                whole, part = self._fetch()
            part[key] = source
        array = self
        while array._whole is not None:
            array = array._whole
        array._ortvalue.update_inplace(np.ascontiguousarray(whole))

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray]:
        return (self[i] for i in range(len(self)))

    def __float__(self) -> float:
        return float(self.asscalar())

    def __int__(self) -> int:
        return int(self.asscalar())

    def __bool__(self) -> bool:
        if self.size > 1:
            raise ShapeError(
                f"an array of shape {self.shape} is neither true nor false; ask for one element, "
                "as x.sum(), x.max() or x.min() give it"
            )
        return bool(self.size and self.asscalar())

    def __copy__(self) -> NDArray:
        return self.copy()

    def __deepcopy__(self, _: Any) -> NDArray:
        return self.copy()

    def __reduce__(self) -> Any:
        return NDArray.of, (self.asnumpy(), self.context)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"\n{self.view()}\n<NDArray {shape} @{self.context}>"

    def _repr_html_(self) -> str:
        shape = " x ".join(map(str, self.shape))
        values = f"<pre>{escape(str(self.asnumpy()))}</pre>"
        return values + html_line(f"NDArray {shape}, {self.dtype}, {self.context}")
