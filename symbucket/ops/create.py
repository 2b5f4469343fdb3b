"""Operators that make data from nothing or from a shape: zeros, full, arange, linspace, eye."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.elements import as_element
from symbucket.errors import InvalidArgumentError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, unify
from symbucket.types import Array, InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "New arrays"


class _Fill(Operator):
    """A tensor of one value; 0 or -1 in ``shape`` is a dimension to be inferred from its use.

    Without ``dtype`` it has the dtype that its use asks for, and float32 if nothing does.
    """

    shapes = "-> (*shape)"

    shape: tuple[int, ...] = ()
    dtype: str | None = None

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return [], [unify(outs[0], tuple(max(d, 0) for d in self.shape) or None)]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return [], [outs[0] if self.dtype is None else np.dtype(self.dtype)]

    def emit(self, g: Emitter) -> ir.Value:
        dtype, number = g.out_dtypes[0], self.fill()
        if dtype.kind in "iu":
            number = as_element(number, dtype).item()
        return g.filled(g.out_shapes[0], number, ir.DataType.from_numpy(dtype))

    def fill(self) -> float:
        """The value."""
        return 0.0


@operator("_zeros", "zeros")
class Zeros(_Fill):
    """A tensor of zeros; 0 or -1 in ``shape`` is a dimension to be inferred from its use.

    Without ``dtype`` it has the dtype that its use asks for, and float32 if nothing does.
    """

    formula = "y[i] = 0"
    example = "zeros((2,)) -> [0, 0]"

    shape: tuple[int, ...] = ()
    dtype: str | None = None


@operator("_ones", "ones")
class Ones(_Fill):
    """A tensor of ones; 0 or -1 in ``shape`` is a dimension to be inferred from its use.

    Without ``dtype`` it has the dtype that its use asks for, and float32 if nothing does.
    """

    formula = "y[i] = 1"
    example = "ones((2,)) -> [1, 1]"

    shape: tuple[int, ...] = ()
    dtype: str | None = None

    def fill(self) -> float:
        return 1.0


@operator("_full", "full")
class Full(_Fill):
    """A tensor filled with ``value``; 0 or -1 in ``shape`` is a dimension to be inferred."""

    formula = "y[i] = value"
    example = "full((2,), 7) -> [7, 7]"
    always_written = ("value",)

    shape: tuple[int, ...] = ()
    value: float = 0.0
    dtype: str = "float32"

    def fill(self) -> float:
        return self.value


def _exact(number: float) -> float:
    """Return a whole number as an int, with which sums are exact."""
    return int(number) if number == number // 1 and math.isfinite(number) else number


def range_of(start: float, stop: float, step: float, repeat: int, dtype: np.dtype[Any]) -> Array:
    """Return ``start + i * step`` below ``stop``, each ``repeat`` times; shape (k * repeat,).

    For integers ``start`` and ``step`` lose their fractions first, as in MXNet; how many numbers
    there are is reckoned with them. 8-bit integers wrap around, as in MXNet; what wider ones cannot
    hold is refused, as are limits that are not finite.
    """
    if not all(map(math.isfinite, (start, stop, step))):
        raise InvalidArgumentError(
            f"arange: start={start}, stop={stop} and step={step} must be finite"
        )
    if dtype.kind in "iu":
        start, stop, step = map(_exact, (start, stop, step))
    count = max(0, math.ceil((stop - start) / step))
    if dtype.kind in "iu":
        start, step = math.trunc(start), math.trunc(step)
        if count and dtype.itemsize > 1:
            as_element(start, dtype)
            as_element(start + step * (count - 1), dtype)
    with np.errstate(over="ignore"):
        return np.repeat(start + step * np.arange(count), repeat).astype(dtype)


@operator("_arange", "arange")
class Arange(Operator):
    """``start, start + step, ...`` up to below ``stop``, each number ``repeat`` times.

    With one number given, that is ``stop`` and the numbers start at 0; with ``infer_range`` and no
    ``stop`` it is ``start``, and what the output is used for says how many there are.
    """

    formula = "y[i] = start + (i // repeat) step"
    example = "arange(0, 2, 0.5) -> [0, 0.5, 1, 1.5]"
    shapes = "-> (k,)"
    always_written = ("start",)

    start: float = 0.0
    stop: float | None = None
    step: float = 1.0
    repeat: int = 1
    infer_range: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self.check(self.step != 0, "step must not be 0")
        self.check(self.repeat > 0, f"repeat={self.repeat} must be positive")
        self.check(
            self._is_open() or len(self._numbers()) > 0,
            f"start={self.start}, stop={self.stop}, step={self.step} leave no numbers",
        )

    def _is_open(self) -> bool:
        """Return whether what the output is used for says how many numbers there are."""
        return self.infer_range and self.stop is None

    def _numbers(self, length: int = 0) -> Array:
        start, stop = self.start, self.stop
        if self._is_open():
            stop = start + self.step * math.ceil(length / self.repeat)
        elif stop is None:
            start, stop = 0.0, start
        return range_of(start, stop, self.step, self.repeat, np.dtype(self.dtype))

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        if self._is_open():
            return [], [unify(outs[0], (0,))]
        return [], [unify(outs[0], self._numbers().shape)]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return [], [np.dtype(self.dtype)]

    def emit(self, g: Emitter) -> ir.Value:
        length = g.out_shapes[0][0]
        return g.const(self._numbers(length)[:length])


@operator("_linspace", "linspace")
class Linspace(Operator):
    """``num`` numbers from ``start`` to ``stop`` at equal distances, ``stop`` among them if
    ``endpoint``."""

    formula = "y[i] = start + i (stop - start) / (num - 1)"
    example = "linspace(0, 1, num=3) -> [0, 0.5, 1]"
    shapes = "-> (num,)"

    start: float
    stop: float
    num: int
    endpoint: bool = True
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self.check(self.num > 0, f"num={self.num} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return [], [unify(outs[0], (self.num,))]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return [], [np.dtype(self.dtype)]

    def emit(self, g: Emitter) -> ir.Value:
        numbers = np.linspace(self.start, self.stop, self.num, endpoint=self.endpoint)
        return g.const(numbers.astype(self.dtype))


@operator("_eye", "eye")
class Eye(Operator):
    """A matrix of N rows and M columns (N if M is 0) with ones on its diagonal ``k``."""

    formula = "y[i, j] = 1 if j = i + k, else 0"
    example = "eye(2, 3, k=1) -> [[0, 1, 0], [0, 0, 1]]"
    shapes = "-> (N, m)"

    N: int
    M: int = 0
    k: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self.check(self.N > 0 and self.M >= 0, f"N={self.N}, M={self.M} must be positive")

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return [], [unify(outs[0], (self.N, self.M or self.N))]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return [], [np.dtype(self.dtype)]

    def emit(self, g: Emitter) -> ir.Value:
        return g.const(np.eye(self.N, self.M or None, self.k, dtype=self.dtype))


class _Sizes(Operator):
    """What is known of the data before it is there."""

    no_gradient = ("data",)

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return ins, [np.dtype(np.int64)]


@operator("shape_array", method="shape_array")
class ShapeArray(_Sizes):
    """The shape of the data, int64."""

    formula = "y = shape of x"
    example = "shape_array([[1, 2, 3]]) -> [1, 3]"
    shapes = "(*d) -> (k,)"
    no_gradient = ("data",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return ins, outs if ins[0] is None else [unify(outs[0], (len(ins[0]),))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.ints(*shape_of(data))


@operator("size_array", method="size_array")
class SizeArray(_Sizes):
    """The number of elements of the data, int64."""

    formula = "y = product of the shape of x"
    example = "size_array([[1, 2, 3]]) -> [3]"
    shapes = "(*d) -> (1,)"
    no_gradient = ("data",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return ins, [unify(outs[0], (1,))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.ints(math.prod(shape_of(data)))


@operator("_contrib_arange_like")
class ArangeLike(Operator):
    """``start, start + step, ...`` (each number ``repeat`` times) as many as the data has elements.

    The shape is the data's; with ``axis`` it is as long as that axis alone.
    """

    formula = "y[i] = start + (i // repeat) step"
    example = "contrib.arange_like([[5, 5], [5, 5]], start=1, axis=1) -> [1, 2]"
    shapes = "(*d) -> (*e)"
    no_gradient = ("data",)

    start: float = 0.0
    step: float = 1.0
    repeat: int = 1
    axis: int | None = None

    def __post_init__(self) -> None:
        self.check(self.repeat > 0, f"repeat={self.repeat} must be positive")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        shape = data if self.axis is None else (data[axis_of(self.axis, len(data))],)
        return ins, [unify(outs[0], shape)]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = g.out_shapes[0]
        start, step = _exact(self.start), _exact(self.step)
        if g.out_dtypes[0].kind not in "iu":
            start, step = float(start), float(step)
        numbers = start + step * (np.arange(math.prod(shape)) // self.repeat)
        return g.const(numbers.reshape(shape), like=data)


class _Like(Operator):
    no_gradient = ("data",)

    fill_value = 0.0

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.filled(g.out_shapes[0], self.fill_value, ir.DataType.from_numpy(g.out_dtypes[0]))


@operator("zeros_like", method="zeros_like")
class ZerosLike(_Like):
    """Zeros in the shape of the data."""

    formula = "y[i] = 0"
    example = "zeros_like([3, 4]) -> [0, 0]"


@operator("ones_like", method="ones_like")
class OnesLike(_Like):
    """Ones in the shape of the data."""

    formula = "y[i] = 1"
    example = "ones_like([3, 4]) -> [1, 1]"
    fill_value = 1.0
