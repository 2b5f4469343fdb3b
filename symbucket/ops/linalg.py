"""Linear algebra on stacks of matrices: products, factors, inverses, determinants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, shape_of
from symbucket.ir.expr import exp, log
from symbucket.ops.decompositions import cholesky, inverse, lower, lower_inverse
from symbucket.ops.diagonals import take_elements
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, check_square, unify
from symbucket.types import InferredShapes, PartialShape, Shape

FAMILY = "Matrices"


class _Matrices(Operator):
    """One input A of square matrices, one output of the same shape."""

    shapes = "(*d, n, n) -> (*d, n, n)"

    def arguments(self) -> tuple[str, ...]:
        return ("A",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(ins[0], outs[0])
        check_square(shape)
        return [shape], [shape]

    def stack(self, g: Emitter, x: ir.Value) -> Expr:
        """Return the matrices as (b, n, n)."""
        shape = shape_of(x)
        return Expr(g, g.reshape(x, (math.prod(shape[:-2]), *shape[-2:])))


def _transposed(x: Expr, transpose: bool) -> Expr:
    return x.swap_last() if transpose else x


class _Factors(_Matrices):
    """``lower`` says which triangle of A is read, and that of a factor which is computed."""

    lower: bool = True

    def rule(self, lower_factor: Expr) -> Expr:
        """Return what is computed of (b, n, n) where the lower triangle is read."""
        raise NotImplementedError

    def emit(self, g: Emitter, A: ir.Value) -> ir.Value:
        result = self.rule(_transposed(self.stack(g, A), not self.lower))
        return _transposed(result, not self.lower).reshape(shape_of(A)).value


def _define(name: str, rule: Callable[[Expr], Expr], text: str, formula: str, example: str) -> None:
    def emit(self: _Matrices, g: Emitter, A: ir.Value) -> ir.Value:
        return rule(self.stack(g, A)).reshape(shape_of(A)).value

    body = {
        "emit": emit,
        "formula": formula,
        "example": f"linalg.{name}({example}",
        "__doc__": text,
        "__module__": __name__,
    }
    operator(f"_linalg_{name}", f"linalg_{name}")(type(name, (_Matrices,), body))


@operator("_linalg_potrf", "linalg_potrf")
class Potrf(_Factors):
    """The lower triangular L with ``L L^T = A`` (Cholesky); reads the lower triangle of A.

    With ``lower=False`` the upper triangular U with ``U^T U = A``, from the upper triangle. Where A
    is not positive definite there is no such matrix: elements are NaN (MXNet raises).
    """

    formula = "y y^T = A, or y^T y = A"
    example = "linalg.potrf([[4, 2], [2, 5]]) -> [[2, 0], [1, 2]]"

    lower: bool = True

    def rule(self, lower_factor: Expr) -> Expr:
        return cholesky(lower_factor)


@operator("_linalg_potri", "linalg_potri")
class Potri(_Factors):
    """The inverse of ``A A^T`` for a lower triangular A, such as the result of potrf.

    With ``lower=False`` the inverse of ``A^T A`` for an upper triangular A.
    """

    formula = "y = (A A^T)^-1, or (A^T A)^-1"
    example = "linalg.potri([[2, 0], [1, 2]]) -> [[0.3125, -0.125], [-0.125, 0.25]]"

    lower: bool = True

    def rule(self, lower_factor: Expr) -> Expr:
        back = lower_inverse(lower_factor)
        return back.swap_last() @ back


_define(
    "inverse",
    lambda x: inverse(x)[0],
    """The inverse of A.""",
    "y A = I",
    "[[2, 0], [0, 4]]) -> [[0.5, 0], [0, 0.25]]",
)


class _OfMatrix(_Matrices):
    """A number for each matrix."""

    shapes = "(*d, n, n) -> (*e)"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        check_square(ins[0])
        if ins[0] is None:
            return ins, outs
        return ins, [unify(out, ins[0][:-2] or (1,)) for out in outs]


@operator("_linalg_det", "linalg_det")
class Det(_OfMatrix):
    """The determinant of each matrix."""

    formula = "y = det(A)"
    example = "linalg.det([[1, 2], [3, 4]]) -> [-2]"

    def emit(self, g: Emitter, A: ir.Value) -> ir.Value:
        _, sign, size = inverse(self.stack(g, A))
        return (sign * exp(size)).reshape(g.out_shapes[0]).value


@operator("_linalg_slogdet", "linalg_slogdet")
class SLogDet(_OfMatrix):
    """The sign of each determinant, and the logarithm of its size."""

    formula = "sign, logabs: det(A) = sign exp(logabs)"
    example = "linalg.slogdet([[1, 2], [3, 4]]) -> [-1], [0.6931]"
    shapes = "(*d, n, n) -> (*e), (*e)"

    def outputs(self) -> tuple[str, ...]:
        return ("output0", "output1")

    def emit(self, g: Emitter, A: ir.Value) -> Sequence[ir.Value]:
        _, sign, size = inverse(self.stack(g, A))
        return [x.reshape(g.out_shapes[0]).value for x in (sign, size)]


@operator("_linalg_sumlogdiag", "linalg_sumlogdiag")
class SumLogDiag(_OfMatrix):
    """The sum of the logarithms of each matrix' diagonal."""

    formula = "y = sum over i of log(A[i, i])"
    example = "linalg.sumlogdiag([[1, 5], [5, 2]]) -> [0.6931]"

    def emit(self, g: Emitter, A: ir.Value) -> ir.Value:
        x = self.stack(g, A)
        b, n, _ = x.shape
        diagonal = Expr(g, take_elements(g, x.reshape((b, n * n)).value, np.arange(n) * (n + 1)))
        return log(diagonal).sum(1).reshape(g.out_shapes[0]).value


class _Product(Operator):
    """Products of matrices; ``axis`` is that of the rows, the columns are the last one."""

    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    axis: int = -2

    def _moved(self, shape: Shape) -> Shape:
        """The shape with the axis of rows before the last one."""
        axis = axis_of(self.axis, len(shape))
        rest = [d for i, d in enumerate(shape[:-1]) if i != axis]
        return (*rest, shape[axis], shape[-1])

    def infer_product(self, a: PartialShape, b: PartialShape) -> PartialShape:
        """Return the shape of the product of A and B, None if it is unknown."""
        if a is None or b is None:
            return None
        if len(a) != len(b) or len(a) < 2:
            raise ShapeError(f"A {a} and B {b} must be stacks of matrices with equally many axes")
        left, right = self._moved(a), self._moved(b)
        m, k = left[-2:][::-1] if self.transpose_a else left[-2:]
        k2, n = right[-2:][::-1] if self.transpose_b else right[-2:]
        if k and k2 and k != k2:
            raise ShapeError(f"A {a} and B {b} are summed over axes of {k} and {k2} elements")
        lead = unify(left[:-2], right[:-2])
        assert lead is not None
        axis = axis_of(self.axis, len(a))
        rest = [*lead]
        rest.insert(axis, m)
        return (*rest, n)

    def product(self, g: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """Return alpha times A times B."""
        rank = len(shape_of(a))
        axis = axis_of(self.axis, rank)
        order = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
        left = _transposed(Expr(g, a).transpose(order), self.transpose_a)
        right = _transposed(Expr(g, b).transpose(order), self.transpose_b)
        result = left @ right
        if self.alpha != 1.0:
            result = result * self.alpha
        return result.transpose([order.index(i) for i in range(rank)]).value


@operator("_linalg_gemm", "linalg_gemm")
class Gemm(_Product):
    """``alpha A B + beta C``, with A or B transposed; ``axis`` is that of the rows."""

    formula = "y = alpha A B + beta C"
    example = "linalg.gemm([[1, 2]], [[3], [4]], [[1]], alpha=2) -> [[23]]"
    shapes = "(*d), (*e), (*f) -> (*f)"

    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    beta: float = 1.0
    axis: int = -2

    def arguments(self) -> tuple[str, ...]:
        return ("A", "B", "C")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        out = unify(unify(outs[0], ins[2]), self.infer_product(*ins[:2]))
        return [*ins[:2], out], [out]

    def emit(
        self,
        g: Emitter,
        A: ir.Value,
        B: ir.Value,
        C: ir.Value,
    ) -> ir.Value:
        return (Expr(g, self.product(g, A, B)) + Expr(g, C) * self.beta).value


@operator("_linalg_gemm2", "linalg_gemm2")
class Gemm2(_Product):
    """``alpha A B``, with A or B transposed; ``axis`` is that of the rows."""

    formula = "y = alpha A B"
    example = "linalg.gemm2([[1, 2]], [[3], [4]], alpha=2) -> [[22]]"
    shapes = "(*d), (*e) -> (*f)"

    transpose_a: bool = False
    transpose_b: bool = False
    alpha: float = 1.0
    axis: int = -2

    def arguments(self) -> tuple[str, ...]:
        return ("A", "B")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        return ins, [unify(outs[0], self.infer_product(*ins))]

    def emit(self, g: Emitter, A: ir.Value, B: ir.Value) -> ir.Value:
        return self.product(g, A, B)


@operator("_linalg_syrk", "linalg_syrk")
class Syrk(Operator):
    """``alpha A A^T``, or ``alpha A^T A`` with ``transpose``."""

    formula = "y = alpha A A^T, or alpha A^T A"
    example = "linalg.syrk([[1, 2], [3, 4]]) -> [[5, 11], [11, 25]]"
    shapes = "(*d, m, n) -> (*d, k, k)"

    transpose: bool = False
    alpha: float = 1.0

    def arguments(self) -> tuple[str, ...]:
        return ("A",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = ins[0]
        if shape is None:
            return ins, outs
        if len(shape) < 2:
            raise ShapeError(f"A must be matrices (*d, m, n), it has shape {shape}")
        size = shape[-1] if self.transpose else shape[-2]
        return ins, [unify(outs[0], (*shape[:-2], size, size))]

    def emit(self, g: Emitter, A: ir.Value) -> ir.Value:
        x = _transposed(Expr(g, A), self.transpose)
        return ((x @ x.swap_last()) * self.alpha).value


class _Triangular(Operator):
    """A triangular matrix on one side of B; ``lower`` says which triangle of A is read."""

    shapes = "(*d, n, n), (*d, k, m) -> (*d, k, m)"

    transpose: bool = False
    rightside: bool = False
    lower: bool = True
    alpha: float = 1.0

    def arguments(self) -> tuple[str, ...]:
        return ("A", "B")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, b = ins[0], unify(ins[1], outs[0])
        check_square(a)
        if b is not None:
            size = b[-1] if self.rightside else b[-2]
            a = unify(a, (*b[:-2], size, size))
        return [a, b], [b]

    def factor(self, a: Expr) -> Expr:
        """Return what B is multiplied by, from the lower triangle of (b, n, n)."""
        return lower(a)

    def emit(self, g: Emitter, A: ir.Value, B: ir.Value) -> ir.Value:
        shape, size = shape_of(B), shape_of(A)[-1]
        b = Expr(g, B).reshape((math.prod(shape[:-2]), *shape[-2:]))
        a = Expr(g, A).reshape((b.shape[0], size, size))
        factor = _transposed(self.factor(_transposed(a, not self.lower)), not self.lower)
        factor = _transposed(factor, self.transpose)
        result = b @ factor if self.rightside else factor @ b
        return (result * self.alpha).reshape(shape).value


@operator("_linalg_trmm", "linalg_trmm")
class Trmm(_Triangular):
    """``alpha A B`` (or ``alpha B A`` with ``rightside``) for a triangular A."""

    formula = "y = alpha A B, or alpha B A"
    example = "linalg.trmm([[1, 0], [2, 3]], [[1], [1]]) -> [[1], [5]]"

    transpose: bool = False
    rightside: bool = False
    lower: bool = True
    alpha: float = 1.0


@operator("_linalg_trsm", "linalg_trsm")
class Trsm(_Triangular):
    """The X of ``A X = alpha B`` (or ``X A = alpha B`` with ``rightside``) for a triangular A."""

    formula = "A y = alpha B, or y A = alpha B"
    example = "linalg.trsm([[1, 0], [2, 4]], [[1], [6]]) -> [[1], [1]]"

    transpose: bool = False
    rightside: bool = False
    lower: bool = True
    alpha: float = 1.0

    def factor(self, a: Expr) -> Expr:
        return lower_inverse(a)
