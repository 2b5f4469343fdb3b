"""Gradients of products, softmaxes and norms."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import Expr, gradient
from symbucket.ir.expr import exp, sqrt
from symbucket.ir.gradient_rules import Parts


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
def matmul(a: Expr, b: Expr, dy: Expr) -> Parts:
    """dA = dY B^T, dB = A^T dY."""
    return lambda: dy @ b.swap_last(), lambda: a.swap_last() @ dy


@gradient("Einsum")
def einsum(dy: Expr, node: ir.Node, needs: list[bool], *operands: Expr, equation: str) -> Parts:
    """The Einsum of dy and the other operands; axes that the equation sums away are expanded."""
    equation = equation.replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or any(len(set(t)) != len(t) for t in (*terms, out)):
        raise UnsupportedError(
            f"{node.name}: the gradient of Einsum needs an equation with '->', without '...' and "
            f"without an axis twice in one operand; this one is {equation!r}"
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
        sizes = [d if axis in reached else 1 for axis, d in zip(term, operand.shape)]
        parts.append(dx.reshape(sizes).expand(operand.shape))
    return parts


@gradient("Softmax")
def softmax(y: Expr, dy: Expr, *, axis: int = -1) -> Parts:
    """dx = y (dy - sum(dy y))."""
    p = dy * y
    return p - y * p.sum(axis, keepdims=True)


@gradient("LogSoftmax")
def log_softmax(y: Expr, dy: Expr, *, axis: int = -1) -> Parts:
    """dx = dy - e^y sum(dy)."""
    return dy - exp(y) * dy.sum(axis, keepdims=True)


@gradient("LpNormalization")
def lp_normalization(
    x: Expr, y: Expr, dy: Expr, node: ir.Node, *, p: int = 2, axis: int = -1
) -> Parts:
    """dx = (dy - y sum(dy y)) / |x|."""
    if p != 2:
        raise UnsupportedError(f"{node.name}: the gradient of LpNormalization exists for p=2 only")
    norm = sqrt((x * x).sum(axis, keepdims=True))
    along = y * (dy * y).sum(axis, keepdims=True)
    return (dy - along) / norm
