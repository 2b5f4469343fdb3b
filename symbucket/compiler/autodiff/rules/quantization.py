"""Gradients through rounding: quantization as if its numbers had not been rounded.

The straight-through estimator (Bengio, Leonard and Courville 2013): an integer within its range
passes the gradient on, one that was cut off at the range does not. With the gradients of the scale
this is learned step size quantization (Esser and others 2020). The gradient of an integer is a
float.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import Expr, gradient, mark, no_gradient
from symbucket.ir.gradient_rules import Parts

mark("QuantizeLinear", "DequantizeLinear", straight_through=True)
no_gradient("QuantizeLinear", "DequantizeLinear", inputs=[2], because="is an integer")

_RANGES = {
    ir.DataType.INT4: (-8.0, 7.0),
    ir.DataType.UINT4: (0.0, 15.0),
    ir.DataType.INT8: (-128.0, 127.0),
    ir.DataType.UINT8: (0.0, 255.0),
    ir.DataType.INT16: (-32768.0, 32767.0),
    ir.DataType.UINT16: (0.0, 65535.0),
}


@gradient("QuantizeLinear")
def quantize(
    dy: Expr,
    y: Expr,
    node: ir.Node,
    x: Expr,
    scale: Expr,
    zero_point: Expr | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
) -> Parts:
    """dx = dy / scale and dscale = -dy x / scale^2 within the range, zero outside."""
    _check_blocks(node, block_size)
    if y.dtype not in _RANGES:
        raise UnsupportedError(
            f"{node.name}: the gradient of QuantizeLinear exists for integers of 4, 8 and 16 bits, "
            f"not for {y.dtype.name}"
        )
    low, high = _RANGES[y.dtype]
    wide = _beside(scale, x, axis)
    ratio = x / wide
    rounded = ratio.op("Round")
    if zero_point is not None:
        rounded = rounded + _beside(zero_point.cast(x.dtype), x, axis)
    inside = (rounded >= low) & (rounded <= high)
    dx = dy * inside.cast(dy.dtype) / wide
    return lambda: dx, lambda: _sum_beside(-(dx * ratio), scale, axis)


@gradient("DequantizeLinear")
def dequantize(
    dy: Expr,
    node: ir.Node,
    x: Expr,
    scale: Expr,
    zero_point: Expr | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
) -> Parts:
    """dx = dy scale, dscale = dy (x - zero point)."""
    _check_blocks(node, block_size)

    def by_scale() -> Expr:
        steps = x.cast(dy.dtype)
        if zero_point is not None:
            steps = steps - _beside(zero_point.cast(dy.dtype), x, axis)
        return _sum_beside(dy * steps, scale, axis)

    return lambda: dy * _beside(scale, x, axis), by_scale


def _check_blocks(node: ir.Node, block_size: int) -> None:
    if block_size:
        raise UnsupportedError(
            f"{node.name}: the gradient of {node.op_type} needs one scale for all elements or one "
            f"for each slice of an axis; this node has block_size={block_size}"
        )


def _beside(scale: Expr, x: Expr, axis: int) -> Expr:
    """One number for all of x, or one for each slice of ``axis``, in a shape that broadcasts."""
    if scale.size == 1:
        return scale.reshape(())
    axis %= x.rank
    return scale.reshape([scale.size if i == axis else 1 for i in range(x.rank)])


def _sum_beside(values: Expr, scale: Expr, axis: int) -> Expr:
    """The sum of what belongs to each number of ``scale``."""
    scale_axis = axis % values.rank if scale.size > 1 else None
    return values.sum([i for i in range(values.rank) if i != scale_axis]).reshape(scale.shape)
