"""Diagonals and triangles of stacks of matrices, taken out and put back."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.diagonals import take_elements
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import check_square, unify
from symbucket.types import Array, InferredShapes, PartialShape, Shape

FAMILY = "Matrices"


class _Elements(Operator):
    """Elements of matrices moved; -1 among the places stands for a zero."""

    offset: int = 0

    def arguments(self) -> tuple[str, ...]:
        return ("A",)

    def places(self, shape: Shape) -> Array:
        """Return the places in the flattened last axes that each element of the result is from."""
        raise NotImplementedError

    taken_axes = 2

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = ins[0]
        if shape is None or 0 in shape:
            return ins, outs
        if len(shape) < self.taken_axes:
            raise ShapeError(f"A must have {self.taken_axes} or more axes, it has shape {shape}")
        lead = shape[: -self.taken_axes]
        return ins, [unify(outs[0], (*lead, *self.places(shape).shape))]

    def emit(self, g: Emitter, A: ir.Value) -> ir.Value:
        shape = shape_of(A)
        lead = shape[: -self.taken_axes]
        flat = g.reshape(A, (*lead, math.prod(shape[len(lead) :])))
        return take_elements(g, flat, self.places(shape))


@operator("_linalg_extractdiag", "linalg_extractdiag")
class ExtractDiag(_Elements):
    """Diagonal ``offset`` of each matrix."""

    formula = "y[i] = A[i, i + offset]"
    example = "linalg.extractdiag([[1, 2], [3, 4]]) -> [1, 4]"
    shapes = "(*d, n, n) -> (*d, k)"

    offset: int = 0

    def places(self, shape: Shape) -> Array:
        rows, columns = shape[-2:]
        places = np.diagonal(np.arange(rows * columns).reshape(rows, columns), self.offset)
        if not len(places):
            raise ShapeError(f"{shape} has no diagonal {self.offset}")
        return places


@operator("_linalg_makediag", "linalg_makediag")
class MakeDiag(_Elements):
    """A matrix with each vector on its diagonal ``offset``, zeros elsewhere."""

    formula = "y[i, i + offset] = A[i], 0 elsewhere"
    example = "linalg.makediag([1, 2]) -> [[1, 0], [0, 2]]"
    shapes = "(*d, k) -> (*d, n, n)"

    offset: int = 0
    taken_axes = 1

    def places(self, shape: Shape) -> Array:
        return np.diag(np.arange(shape[-1]) + 1, self.offset) - 1


def _triangle(n: int, offset: int, is_lower: bool) -> tuple[Array, Array]:
    """Rows and columns of the triangle that ``offset`` and ``lower`` choose, row by row."""
    if offset < 0 or (offset == 0 and is_lower):
        return np.tril_indices(n, offset)
    return np.triu_indices(n, offset)


@operator("_linalg_extracttrian", "linalg_extracttrian")
class ExtractTrian(_Elements):
    """The elements of a triangle of each matrix, row by row.

    It begins at diagonal ``offset``: the lower triangle below the main diagonal, the upper one
    above; ``lower`` chooses for offset 0.
    """

    formula = "y = A[i, j] with j <= i + offset, row by row"
    example = "linalg.extracttrian([[1, 2], [3, 4]]) -> [1, 3, 4]"
    shapes = "(*d, n, n) -> (*d, k)"

    offset: int = 0
    lower: bool = True

    def places(self, shape: Shape) -> Array:
        n = shape[-1]
        check_square(shape)
        rows, columns = _triangle(n, self.offset, self.lower)
        if not len(rows):
            raise ShapeError(f"{shape} has no diagonal {self.offset}")
        return rows * n + columns


@operator("_linalg_maketrian", "linalg_maketrian")
class MakeTrian(_Elements):
    """A matrix with the elements of a vector in a triangle, row by row; see extracttrian."""

    formula = "y[i, j] with j <= i + offset are the elements of A, row by row, 0 elsewhere"
    example = "linalg.maketrian([1, 2, 3]) -> [[1, 0], [2, 3]]"
    shapes = "(*d, k) -> (*d, n, n)"

    offset: int = 0
    lower: bool = True
    taken_axes = 1

    def places(self, shape: Shape) -> Array:
        count = shape[-1]
        side = (math.isqrt(8 * count + 1) - 1) // 2
        if side * (side + 1) // 2 != count:
            raise ShapeError(f"{count} elements make no triangle; 1, 3, 6, 10, ... would")
        n = side + abs(self.offset)
        places = np.full((n, n), -1)
        places[_triangle(n, self.offset, self.lower)] = np.arange(count)
        return places
