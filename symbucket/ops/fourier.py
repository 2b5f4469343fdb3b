"""Fourier transforms of the last axis, complex numbers as pairs: products with matrices."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import Array, InferredShapes, PartialShape

FAMILY = "Matrices"

LONGEST = 4096


def _waves(length: int) -> tuple[Array, Array]:
    """Return cosines and sines (frequency, place); zeros are exact."""
    # The product modulo the length: a large angle would lose digits.
    steps = np.outer(np.arange(length), np.arange(length)) % length
    angles = steps * (2 * math.pi / length)
    cosine, sine = (np.where(abs(w) < 1e-14, 0.0, w) for w in (np.cos(angles), np.sin(angles)))
    return cosine, sine


class _Transform(Operator):
    """A product of the last axis with a matrix. ``compute_size`` tunes MXNet's kernels."""

    compute_size: int = 128
    doubles = True

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is None and out is None:
            return ins, outs
        shape = data if data is not None else out
        assert shape is not None
        if not shape:
            raise ShapeError(f"{self.op_name} transforms the last axis, and data has none")
        last = data[-1] if data else 0
        if data and last:
            if not self.doubles and last % 2:
                raise ShapeError(f"data holds pairs along its last axis, which is {last} long")
            out = unify(out, (*data[:-1], 2 * last if self.doubles else last // 2))
        elif out and out[-1]:
            data = unify(data, (*out[:-1], out[-1] // 2 if self.doubles else 2 * out[-1]))
        length = min((s[-1] for s in (data, out) if s), default=0)
        if length > LONGEST:
            raise ShapeError(
                f"{self.op_name}: a transform of {length} numbers is longer than {LONGEST}"
            )
        return [data], [out]

    def times(self, g: Emitter, data: ir.Value, matrix: Array) -> ir.Value:
        """Return the last axis of data times a matrix."""
        shape = shape_of(data)
        x = Expr(g, data).reshape((math.prod(shape[:-1]), shape[-1]))
        return (x @ x.const(matrix)).reshape(g.out_shapes[0]).value


@operator("_contrib_fft")
class FFT(_Transform):
    """The Fourier transform of the last axis: a real and an imaginary part for each number."""

    formula = "y[2k] + i y[2k + 1] = sum over j of x[j] exp(-2 pi i j k / d)"
    example = "contrib.fft([[1, 2]]) -> [[3, 0, -1, 0]]"
    shapes = "(*d, k) -> (*d, 2 k)"

    compute_size: int = 128

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        cosine, sine = _waves(shape_of(data)[-1])
        matrix = np.stack([cosine, 0.0 - sine], axis=2)
        return self.times(g, data, matrix.reshape(len(sine), -1))


@operator("_contrib_ifft")
class IFFT(_Transform):
    """The real part of the inverse transform of pairs, not divided by the length, as in cuFFT."""

    formula = "y[j] = real part of the sum over k of (x[2k] + i x[2k + 1]) exp(2 pi i j k / d)"
    example = "contrib.ifft([[3, 0, -1, 0]]) -> [[2, 4]]"
    shapes = "(*d, 2 k) -> (*d, k)"
    doubles = False

    compute_size: int = 128

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        cosine, sine = _waves(shape_of(data)[-1] // 2)
        matrix = np.stack([cosine, 0.0 - sine], axis=1)
        return self.times(g, data, matrix.reshape(-1, len(sine)))
