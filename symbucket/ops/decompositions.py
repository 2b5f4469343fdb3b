"""Cholesky factors and inverses of matrices, as nodes of our own domain.

ONNX has no such operators, so they are written out step by step, one for each row, with the
gradients in closed form (Giles 2008; Murray 2016). All take stacks of matrices (b, n, n).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    dtype_of,
    expansion,
    gradient,
    same_as_first,
    shape_of,
    shape_rule,
)
from symbucket.ir.expr import log, sign, sqrt, where


def lower(x: Expr) -> Expr:
    """Return the lower triangles of matrices, with the diagonal."""
    return x.op("Trilu", upper=0)


def cholesky(x: Expr) -> Expr:
    """Return the lower triangular L with L L^T = x; reads the lower triangles only."""
    return x.own("Cholesky")


def lower_inverse(x: Expr) -> Expr:
    """Return the inverses of lower triangular matrices; reads the lower triangles only."""
    return x.own("LowerInverse")


def inverse(x: Expr) -> list[Expr]:
    """Return the inverses, and of the determinants (b,) the sign and the logarithm of the size."""
    return x.ops("Inverse", outputs=3, domain=OWN_DOMAIN)


shape_rule("Cholesky", "LowerInverse", domain=OWN_DOMAIN)(same_as_first)


@shape_rule("Inverse", domain=OWN_DOMAIN)
def _inverse_shape(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    x = node.inputs[0]
    assert x is not None
    shape, dtype = shape_of(x), dtype_of(x)
    return [(shape, dtype), (shape[:1], dtype), (shape[:1], dtype)]


@gradient("Cholesky", domain=OWN_DOMAIN)
def _cholesky_gradient(y: Expr, dy: Expr) -> Expr:
    half = np.tril(np.ones(y.shape[1:])) - 0.5 * np.eye(y.shape[1])
    inner = (y.swap_last() @ dy) * half
    back = lower_inverse(y)
    whole = back.swap_last() @ inner @ back
    return (whole + whole.swap_last()) * 0.5


@gradient("LowerInverse", domain=OWN_DOMAIN)
def _lower_inverse_gradient(y: Expr, dy: Expr) -> Expr:
    turned = y.swap_last()
    return -lower(turned @ dy @ turned)


@gradient("Inverse", domain=OWN_DOMAIN)
def _inverse_gradient(outputs: list[Expr], grads: list[Expr | None]) -> Expr:
    turned = outputs[0].swap_last()
    parts = []  # none for the sign, which is piecewise constant
    if grads[0] is not None:
        parts.append(-(turned @ grads[0] @ turned))
    if grads[2] is not None:
        parts.append(grads[2].reshape((-1, 1, 1)) * turned)
    if not parts:
        return turned.filled(0.0)
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _part(x: Expr, rows: tuple[int, int], columns: tuple[int, int]) -> Expr:
    return x.op("Slice", [rows[0], columns[0]], [rows[1], columns[1]], [1, 2])


def _stacked(parts: Sequence[Expr], axis: int) -> Expr:
    return parts[0].op("Concat", *parts[1:], axis=axis) if len(parts) > 1 else parts[0]


@expansion("Cholesky")
def _expand_cholesky(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    assert node.inputs[0] is not None
    x = Expr(g, node.inputs[0])
    n = x.shape[1]
    columns: list[Expr] = []
    for j in range(n):
        rest = _part(x, (j, n), (j, j + 1))
        if columns:
            left = _part(_stacked(columns, 2), (j, n), (0, j))
            rest = rest - left @ _part(left, (0, 1), (0, j)).swap_last()
        column = rest / sqrt(_part(rest, (0, 1), (0, 1)))
        columns.append(column.op("Pad", [0, j, 0, 0, 0, 0]) if j else column)
    return [_stacked(columns, 2).value]


@expansion("LowerInverse")
def _expand_lower_inverse(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    assert node.inputs[0] is not None
    x = Expr(g, node.inputs[0])
    b, n, _ = x.shape
    rows: list[Expr] = []
    for i in range(n):
        row = x.const(np.broadcast_to(np.eye(n)[i], (b, 1, n)))
        if rows:
            row = row - _part(x, (i, i + 1), (0, i)) @ _stacked(rows, 1)
        rows.append(row / _part(x, (i, i + 1), (i, i + 1)))
    return [_stacked(rows, 1).value]


@expansion("Inverse")
def _expand_inverse(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    """Gauss-Jordan elimination; the largest element of what is left of a column is its pivot."""
    assert node.inputs[0] is not None
    x = Expr(g, node.inputs[0])
    b, n, _ = x.shape
    work = x.op("Concat", x.const(np.broadcast_to(np.eye(n), (b, n, n))), axis=2)
    numbers = Expr(g, g.const(np.arange(n).reshape(1, n)))
    signs, logs = [], []
    for k in range(n):
        if k < n - 1:
            size = abs(_part(work, (k, n), (k, k + 1))).reshape((b, n - k))
            place = size.op("ArgMax", axis=1, keepdims=1) + k
            is_place, is_k = numbers == place, numbers == k
            order = where(is_k, place, where(is_place, numbers.const(k), numbers))
            index = order.reshape((b, n, 1)).expand((b, n, 2 * n))
            work = work.op("GatherElements", index, axis=1)
            signs.append(where(place == k, x.const(1.0), x.const(-1.0)).reshape((b,)))
        pivot = _part(work, (k, k + 1), (k, k + 1))
        signs.append(sign(pivot).reshape((b,)))
        logs.append(log(abs(pivot)).reshape((b,)))
        row = _part(work, (k, k + 1), (0, 2 * n)) / pivot
        # What is subtracted from row k leaves the row over its pivot there.
        factor = _part(work, (0, n), (k, k + 1)) - np.eye(n)[:, k : k + 1]
        work = work - factor * row
    total, product = logs[0], signs[0]
    for each in logs[1:]:
        total = total + each
    for each in signs[1:]:
        product = product * each
    return [_part(work, (0, n), (n, 2 * n)).value, product.value, total.value]
