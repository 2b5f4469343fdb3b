"""Gradients of ScatterElements and ScatterND: updates written into data, or reduced with it."""

from __future__ import annotations

from collections.abc import Callable

from symbucket.ir import Expr, gradient, no_gradient
from symbucket.ir.expr import where
from symbucket.ir.gradient_rules import Parts

no_gradient("ScatterElements", "ScatterND", inputs=[1], because="is an index")

Scatter = Callable[[Expr, Expr, str], Expr]
"""``scatter(data, updates, reduction)``, at the places of the node."""
Gather = Callable[[Expr], Expr]
"""The elements at the places of the node."""


@gradient("ScatterND")
def scatter_nd(
    x: Expr, index: Expr, updates: Expr, y: Expr, dy: Expr, *, reduction: str = "none"
) -> Parts:
    """dy, with zeros at what was replaced; and dy at ``index``."""
    return _parts(
        lambda data, values, how: data.op("ScatterND", index, values, reduction=how),
        lambda data: data.op("GatherND", index),
        (x, updates, y, dy),
        reduction,
    )


@gradient("ScatterElements")
def scatter_elements(
    x: Expr,
    index: Expr,
    updates: Expr,
    y: Expr,
    dy: Expr,
    *,
    reduction: str = "none",
    axis: int = 0,
) -> Parts:
    """dy, with zeros at what was replaced; and dy at ``index``."""
    return _parts(
        lambda data, values, how: data.op(
            "ScatterElements", index, values, axis=axis, reduction=None if how == "none" else how
        ),
        lambda data: data.op("GatherElements", index, axis=axis),
        (x, updates, y, dy),
        reduction,
    )


def _parts(
    scatter: Scatter, gather: Gather, values: tuple[Expr, Expr, Expr, Expr], reduction: str
) -> Parts:
    x, updates, _, dy = values
    if reduction == "add":
        return lambda: dy, None, lambda: gather(dy)
    if reduction == "mul":
        return (
            lambda: dy * scatter(x.filled(1.0), updates, "mul"),
            None,
            lambda: gather(dy * x) * _other_factors(scatter, gather, x, updates),
        )
    if reduction in ("max", "min"):
        return _of_winners(scatter, gather, values)
    return lambda: scatter(dy, updates.filled(0.0), "none"), None, lambda: gather(dy)


def _other_factors(scatter: Scatter, gather: Gather, x: Expr, updates: Expr) -> Expr:
    """For each update the product of the others at its place, of which several may be zero."""
    zero = updates == 0.0
    rest = where(zero, 1.0, updates)
    product = gather(scatter(x.filled(1.0), rest, "mul"))
    zeros = gather(scatter(x.filled(0.0), zero.cast(x.dtype), "add"))
    other_zeros = zeros - zero.cast(x.dtype)
    return where(other_zeros == 0.0, product / rest, 0.0)


def _of_winners(scatter: Scatter, gather: Gather, values: tuple[Expr, Expr, Expr, Expr]) -> Parts:
    """dy to the extreme, in equal shares if there are several."""
    x, updates, y, dy = values
    best = (x == y).cast(dy.dtype)
    winners = (updates == gather(y)).cast(dy.dtype)
    share = dy / scatter(best, winners, "add")
    return lambda: share * best, None, lambda: gather(share) * winners
