"""Gradients of products and softmaxes."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.autodiff.rules.common import Grads, Wanted, inp, only, unbroadcast
from symbucket.ir import Builder, attr, gradient, shape_of


@gradient("Gemm")
def _gemm(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, a, b = only(grads), inp(node), inp(node, 1)
    ta, tb = attr(node, "transA", 0), attr(node, "transB", 0)
    alpha, beta = attr(node, "alpha", 1.0), attr(node, "beta", 1.0)
    scale = None if alpha == 1.0 else alpha
    out: list[ir.Value | None] = [None, None, *[None] * (len(node.inputs) - 2)]
    if wanted[0]:
        # A' = dY op(B)^T, or its transpose where A enters transposed.
        if ta:
            out[0] = g.op("Gemm", b, dy, transA=tb or None, transB=1, alpha=scale)
        else:
            out[0] = g.op("Gemm", dy, b, transB=None if tb else 1, alpha=scale)
    if wanted[1]:
        if tb:
            out[1] = g.op("Gemm", dy, a, transA=1, transB=ta or None, alpha=scale)
        else:
            out[1] = g.op("Gemm", a, dy, transA=None if ta else 1, alpha=scale)
    if len(node.inputs) > 2 and wanted[2]:
        c = dy if beta == 1.0 else g.op("Mul", dy, g.const(beta, like=dy))
        out[2] = unbroadcast(g, c, shape_of(inp(node, 2)))
    return out


def _swap(g: Builder, x: ir.Value) -> ir.Value:
    rank = len(shape_of(x))
    return g.transpose(x, [*range(rank - 2), rank - 1, rank - 2])


@gradient("MatMul")
def _matmul(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, a, b = only(grads), inp(node), inp(node, 1)
    da = db = None
    if wanted[0]:
        da = unbroadcast(g, g.op("MatMul", dy, _swap(g, b)), shape_of(a))
    if wanted[1]:
        db = unbroadcast(g, g.op("MatMul", _swap(g, a), dy), shape_of(b))
    return [da, db]


@gradient("Softmax")
def _softmax(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, y = only(grads), node.outputs[0]
    axis = attr(node, "axis", -1) % len(shape_of(y))
    weighted = g.op("Mul", dy, y)
    total = g.reduce_sum(weighted, [axis])
    return [g.op("Sub", weighted, g.op("Mul", y, total))]


@gradient("LogSoftmax")
def _log_softmax(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, y = only(grads), node.outputs[0]
    axis = attr(node, "axis", -1) % len(shape_of(y))
    return [g.op("Sub", dy, g.op("Mul", g.op("Exp", y), g.reduce_sum(dy, [axis])))]
