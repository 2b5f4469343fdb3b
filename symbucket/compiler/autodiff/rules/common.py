"""What several gradient rules need."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.ir import Builder, shape_of

Grads = Sequence[ir.Value | None]
Wanted = Sequence[bool]


def unbroadcast(g: Builder, grad: ir.Value, shape: Sequence[int]) -> ir.Value:
    """Sum ``grad`` over the axes along which a value of ``shape`` was broadcast."""
    have = shape_of(grad)
    if have == tuple(shape):
        return grad
    extra = len(have) - len(shape)
    if have[extra:] == tuple(shape):
        return g.reduce_sum(grad, range(extra), keepdims=False)
    axes = [*range(extra)]
    axes += [i + extra for i, d in enumerate(shape) if d == 1 and have[i + extra] != 1]
    return g.reshape(g.reduce_sum(grad, axes, keepdims=True), shape)


def only(grads: Grads) -> ir.Value:
    """The gradient of the first output; the caller knows that it is there."""
    assert grads[0] is not None
    return grads[0]


def inp(node: ir.Node, i: int = 0) -> ir.Value:
    """Input ``i``, which the operator always has."""
    value = node.inputs[i]
    assert value is not None
    return value
