"""Gradients of products, softmaxes and norms."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

import numpy as np
import onnx_ir as ir

from symbucket.compiler.autodiff.rules.masked_rows import rows_in_use
from symbucket.errors import UnsupportedError
from symbucket.ir import Expr, gradient
from symbucket.ir.expr import exp, sign, sqrt, where
from symbucket.ir.gradient_rules import Parts
from symbucket.ops.decompositions import inverse


@gradient("Gemm")
def gemm(
    dy: Expr,
    a: Expr,
    b: Expr,
    c: Expr | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Parts:
    """d op(A) = dY op(B)^T, d op(B) = op(A)^T dY, each transposed if the operand is."""

    def product(left: Expr, right: Expr, trans_left: int, trans_right: int) -> Expr:
        scale = None if alpha == 1.0 else alpha
        return left.op(
            "Gemm", right, transA=trans_left or None, transB=trans_right or None, alpha=scale
        )

    return (
        lambda: product(b, dy, transB, 1) if transA else product(dy, b, 0, 1 - transB),
        lambda: product(dy, a, 1, transA) if transB else product(a, dy, 1 - transA, 0),
        lambda: dy if beta == 1.0 else dy * beta,
    )


@gradient("MatMul")
def matmul(a: Expr, b: Expr, dy: Expr, node: ir.Node) -> Parts:
    """dA = dY B^T, dB = A^T dY."""
    if min(a.rank, b.rank) < 2:
        raise UnsupportedError(f"{node.name}: the gradient of MatMul needs matrices; reshape them")
    return lambda: dy @ b.swap_last(), lambda: a.swap_last() @ dy


@gradient("Einsum")
def einsum(dy: Expr, node: ir.Node, needs: list[bool], *operands: Expr, equation: str) -> Parts:
    """The Einsum of dy and the other operands; axes that the equation sums away are expanded."""
    terms, out = _subscripts(equation, [operand.rank for operand in operands])
    if any(len(set(t)) != len(t) for t in (*terms, out)):
        raise UnsupportedError(
            f"{node.name}: the gradient of Einsum needs an equation without an axis twice in one "
            f"operand; this one is {equation!r}"
        )
    parts: list[Expr | None] = []
    for i, (term, operand) in enumerate(zip(terms, operands)):
        if not needs[i]:
            parts.append(None)
            continue
        other_terms = [out, *(t for j, t in enumerate(terms) if j != i)]
        others = [x for j, x in enumerate(operands) if j != i]
        reached = set("".join(other_terms))
        result = "".join(axis for axis in term if axis in reached)
        dx = dy.op("Einsum", *others, equation=f"{','.join(other_terms)}->{result}")
        lengths = dict(zip(result, dx.shape))
        dx = dx.reshape([lengths.get(axis, 1) for axis in term])
        dx = dx.expand(np.broadcast_shapes(dx.shape, operand.shape))
        parts.append(dx.sum_to(operand.shape))  # what Einsum broadcast: axes of size 1
    return parts


def _subscripts(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the axes of each operand and of the result, a letter each.

    "..." becomes letters of its own. Without "->" the result has these, and in alphabetical order
    the letters that occur once.
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    lengths = [rank + 3 - len(t) if "..." in t else 0 for t, rank in zip(terms, ranks)]
    unused = [letter for letter in ascii_letters if letter not in equation]
    dots = "".join(unused[: max(lengths)])
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        out = "..." + "".join(sorted(a for a in set(letters) if letters.count(a) == 1))
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, lengths)]
    return terms, out.replace("...", dots)


@gradient("Softmax")
def softmax(x: Expr, y: Expr, dy: Expr, *, axis: int = -1) -> Parts:
    """dx = y (dy - sum(dy y))."""
    p = dy * y
    return rows_in_use(p - y * p.sum(axis, keepdims=True), dy, x, axis)


@gradient("LogSoftmax")
def log_softmax(x: Expr, y: Expr, dy: Expr, *, axis: int = -1) -> Parts:
    """dx = dy - e^y sum(dy)."""
    return rows_in_use(dy - exp(y) * dy.sum(axis, keepdims=True), dy, x, axis)


@gradient("LpNormalization")
def lp_normalization(x: Expr, y: Expr, dy: Expr, *, p: int = 2, axis: int = -1) -> Parts:
    """dx = (dy - |x|' sum(dy y)) / |x|, |x|' the norm's slope: y, or sign(x) if p is 1.

    The operator returns 0 for 0, where it has no derivative; its gradient there is 0 as well.
    """
    if p == 2:
        norm, slope = sqrt((x * x).sum(axis, keepdims=True)), y
    else:
        norm, slope = abs(x).sum(axis, keepdims=True), sign(x)
    along = slope * (dy * y).sum(axis, keepdims=True)
    zero = norm == 0.0
    return where(zero, 0.0, (dy - along) / where(zero, 1.0, norm))


@gradient("Det")
def determinant(x: Expr, y: Expr, dy: Expr) -> Parts:
    """dy det(x) x^-T; NaN where x is singular, since it has no inverse."""
    n = x.shape[-1]
    back, *_ = inverse(x.reshape((y.size, n, n)))
    return back.swap_last().reshape(x.shape) * (dy * y).reshape((*y.shape, 1, 1))
