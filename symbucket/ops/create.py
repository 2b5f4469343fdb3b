"""Operators that make data from nothing: zeros, ones, full, arange."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import Array, InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "New arrays"


class _Fill(Operator):
    """A tensor of one value; 0 or -1 in ``shape`` is a dimension to be inferred from its use."""

    shapes = "-> (*shape)"

    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return [], [unify(outs[0], tuple(max(d, 0) for d in self.shape) or None)]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return [], [np.dtype(self.dtype)]

    def emit(self, g: Emitter) -> ir.Value:
        dtype = ir.DataType.from_numpy(np.dtype(self.dtype))
        return g.filled(g.out_shapes[0], self.fill(), dtype)

    def fill(self) -> float:
        """The value."""
        return 0.0


@operator("_zeros", "zeros")
class Zeros(_Fill):
    """A tensor of zeros; 0 or -1 in ``shape`` is a dimension to be inferred from its use."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"


@operator("_ones", "ones")
class Ones(_Fill):
    """A tensor of ones; 0 or -1 in ``shape`` is a dimension to be inferred from its use."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def fill(self) -> float:
        return 1.0


@operator("_full", "full")
class Full(_Fill):
    """A tensor filled with ``value``; 0 or -1 in ``shape`` is a dimension to be inferred."""

    always_written = ("value",)

    shape: tuple[int, ...] = ()
    value: float = 0.0
    dtype: str = "float32"

    def fill(self) -> float:
        return self.value


@operator("_arange", "arange")
class Arange(Operator):
    """``start, start + step, ...`` up to below ``stop``, each number ``repeat`` times.

    With one number given, that is ``stop`` and the numbers start at 0.
    """

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
        self.check(not self.infer_range, "infer_range=True is not supported; give stop")
        self.check(
            len(self._numbers()) > 0,
            f"start={self.start}, stop={self.stop}, step={self.step} leave no numbers",
        )

    def _numbers(self) -> Array:
        start, stop = (0.0, self.start) if self.stop is None else (self.start, self.stop)
        numbers = start + self.step * np.arange(max(0, math.ceil((stop - start) / self.step)))
        return np.repeat(numbers, self.repeat).astype(self.dtype)

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return [], [unify(outs[0], self._numbers().shape)]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        return [], [np.dtype(self.dtype)]

    def emit(self, g: Emitter) -> ir.Value:
        return g.const(self._numbers())


class _Like(Operator):
    no_gradient = ("data",)

    fill_value = 0.0

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.filled(g.out_shapes[0], self.fill_value, ir.DataType.from_numpy(g.out_dtypes[0]))


@operator("zeros_like", method="zeros_like")
class ZerosLike(_Like):
    """Zeros in the shape of the data."""


@operator("ones_like", method="ones_like")
class OnesLike(_Like):
    """Ones in the shape of the data."""

    fill_value = 1.0
