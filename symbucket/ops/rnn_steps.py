"""Steps of recurrent layers whose gates stand under each other in one product: lstm and gru."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.ir import Builder, Expr, shape_of
from symbucket.ir.expr import where


@dataclass(frozen=True)
class Weights:
    """One layer in one direction: ``x w^T + bw`` and ``h r^T + br``, gate under gate.

    ``p`` (projection_size, state_size) projects what a step returns.
    """

    w: ir.Value
    r: ir.Value
    p: ir.Value | None
    bw: ir.Value
    br: ir.Value


def pieces(g: Builder, x: ir.Value, sizes: Sequence[int], axis: int) -> list[ir.Value]:
    """Append the parts of ``x`` of these sizes along an axis."""
    if len(sizes) == 1:
        return [x]
    return g.ops("Split", x, g.ints(*sizes), axis=axis, outputs=len(sizes))


def joined(g: Builder, parts: Sequence[ir.Value], axis: int) -> ir.Value:
    """Append ``parts``, joined along an axis."""
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=axis)


@dataclass(frozen=True)
class Clip:
    """Bounds of a cell state; ``nan``: NaN becomes the lower one."""

    low: float
    high: float
    nan: bool

    def __call__(self, g: Builder, state: ir.Value) -> ir.Value:
        """Append the bounded state; ONNX's Clip may lose NaN."""
        c = Expr(g, state)
        if self.nan:
            c = where(c.op("IsNaN"), self.low, c)
        return where(c < self.low, self.low, where(c > self.high, self.high, c)).value


def lstm_step(
    g: Builder, share: ir.Value, weights: Weights, h: ir.Value, c: ir.Value, clip: Clip | None
) -> list[ir.Value]:
    """Append a step and return both states; ``share`` is what the inputs add to the gates."""
    gates = g.op("Gemm", h, weights.r, share, transB=1)
    i, f, new, o = pieces(g, gates, [shape_of(c)[1]] * 4, axis=1)
    remembered = g.op("Mul", g.op("Sigmoid", f), c)
    added = g.op("Mul", g.op("Sigmoid", i), g.op("Tanh", new))
    c = g.op("Add", remembered, added)
    if clip is not None:
        c = clip(g, c)
    h = g.op("Mul", g.op("Sigmoid", o), g.op("Tanh", c))
    if weights.p is not None:
        h = g.op("Gemm", h, weights.p, transB=1)
    return [h, c]


def gru_step(g: Builder, share: ir.Value, weights: Weights, h: ir.Value) -> ir.Value:
    """Append a step and return the state.

    The reset gate acts on the product, bias included (cuDNN), not on h before it.
    """
    size = shape_of(h)[1]
    x_gates, x_new = pieces(g, share, [2 * size, size], axis=1)
    product = g.op("Gemm", h, weights.r, weights.br, transB=1)
    h_gates, h_new = pieces(g, product, [2 * size, size], axis=1)
    r, z = pieces(g, g.op("Sigmoid", g.op("Add", x_gates, h_gates)), [size] * 2, axis=1)
    new = g.op("Tanh", g.op("Add", x_new, g.op("Mul", r, h_new)))
    return g.op("Add", new, g.op("Mul", z, g.op("Sub", h, new)))
