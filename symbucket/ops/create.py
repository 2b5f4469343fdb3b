"""Operators that make data from nothing: zeros, ones, full."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.ops.record import DType, Emitter, Operator, operator
from symbucket.ops.shape import Partial, unify


class _Fill(Operator):
    """A tensor of one value; 0 in ``shape`` is a dimension to be inferred from its use."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def arguments(self) -> tuple[str, ...]:
        return ()

    def infer_shape(
        self, ins: list[Partial], outs: list[Partial]
    ) -> tuple[list[Partial], list[Partial]]:
        return [], [unify(outs[0], self.shape or None)]

    def infer_type(self, ins: list[DType], outs: list[DType]) -> tuple[list[DType], list[DType]]:
        return [], [np.dtype(self.dtype)]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value | Sequence[ir.Value]:
        dtype = ir.DataType.from_numpy(np.dtype(self.dtype))
        return g.filled(g.out_shapes[0], self.fill(), dtype)

    def fill(self) -> float:
        """The value."""
        return 0.0


@operator("_zeros", "zeros")
class Zeros(_Fill):
    """A tensor of zeros; 0 in ``shape`` is a dimension to be inferred from its use."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"


@operator("_ones", "ones")
class Ones(_Fill):
    """A tensor of ones; 0 in ``shape`` is a dimension to be inferred from its use."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def fill(self) -> float:
        return 1.0


@operator("_full", "full")
class Full(_Fill):
    """A tensor filled with ``value``; 0 in ``shape`` is a dimension to be inferred."""

    shape: tuple[int, ...] = ()
    value: float = 0.0
    dtype: str = "float32"

    def fill(self) -> float:
        return self.value


class _Like(Operator):
    fill_value = 0.0

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value | Sequence[ir.Value]:
        return g.filled(g.out_shapes[0], self.fill_value, ir.DataType.from_numpy(g.out_dtypes[0]))


@operator("zeros_like")
class ZerosLike(_Like):
    """Zeros in the shape of the data."""


@operator("ones_like")
class OnesLike(_Like):
    """Ones in the shape of the data."""

    fill_value = 1.0
