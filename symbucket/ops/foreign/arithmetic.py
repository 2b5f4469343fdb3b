"""Arithmetic on dtypes for which the runtimes have no kernels, or on old files' shapes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr, const_of, dtype_of
from symbucket.ir.expr import where
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter

_UNSIGNED = (ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64)
_WIDER = {
    **dict.fromkeys((ir.DataType.INT8, ir.DataType.INT16), ir.DataType.INT32),
    **dict.fromkeys((ir.DataType.UINT8, ir.DataType.UINT16), ir.DataType.INT32),
    ir.DataType.UINT32: ir.DataType.INT64,
}
"""Integers that some runtime has no kernels for, and those in which the results are the same."""


def _wider(g: Emitter, call: Call) -> list[ir.Value]:
    inputs = [call.input(i) for i in range(len(call.inputs))]
    dtype = dtype_of(inputs[-1])
    wide = _WIDER.get(dtype, dtype)
    if dtype == ir.DataType.UINT64 and call.op_type in ("Add", "Sub", "Mul", "Equal"):
        wide = ir.DataType.INT64  # modulo 2^64 these are the same
    return [x if dtype_of(x) != dtype else g.cast(x, wide) for x in inputs]


@translation("Add", "Sub", "Mul", "Div", "Max", "Min", "Where")
def _in_wider_integers(g: Emitter, call: Call) -> Results:
    inputs = _wider(g, call)
    return [g.cast(g.op(call.op_type, *inputs), dtype_of(call.input(len(inputs) - 1)))]


@translation("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def _compare(g: Emitter, call: Call) -> Results:
    inputs = _wider(g, call)
    if dtype_of(inputs[0]) == ir.DataType.UINT64:  # moved by 2^63 they are signed ones
        lowest = g.const(np.array(-(2**63), np.int64))
        inputs = [g.op("Add", g.cast(x, ir.DataType.INT64), lowest) for x in inputs]
    return [g.op(call.op_type, *inputs)]


@translation("Pow")
def _power(g: Emitter, call: Call) -> Results:
    x, exponent = Expr(g, call.input(0)), Expr(g, call.input(1))
    if exponent.dtype in _UNSIGNED:
        exponent = exponent.cast(ir.DataType.FLOAT)
    return [x.op("Pow", exponent).value]


@translation("Mod")
def _modulo(g: Emitter, call: Call) -> Results:
    """With the sign of the divisor, unless ``fmod``: the runtimes have that for integers only."""
    a, b = Expr(g, call.input(0)), Expr(g, call.input(1))
    if call.attr("fmod", 0) or not a.dtype.is_floating_point():
        return [a.op("Mod", b, fmod=call.attr("fmod", 0)).value]
    rest = a.op("Mod", b, fmod=1)
    opposite = ((rest < 0.0) & (b > 0.0)) | ((rest > 0.0) & (b < 0.0))
    return [where(opposite, rest + b, rest).value]


@translation("PRelu")
def _prelu(g: Emitter, call: Call) -> Results:
    """With ``channel_axis``, which is not ONNX's: slopes of channels, as before opset 7."""
    x, slope = Expr(g, call.input(0)), Expr(g, call.input(1))
    axis = call.attr("channel_axis")
    if axis is not None and slope.rank == 1 and slope.size > 1:
        slope = slope.reshape((slope.size, *(1,) * (x.rank - 1 - axis)))
    return [x.op("PRelu", slope).value]


@translation("Compress")
def _compress(g: Emitter, call: Call) -> Results:
    x, condition = Expr(g, call.input(0)), const_of(call.input(1))
    call.refuse(condition is None, "a condition that the graph computes: it says how many stay,")
    assert condition is not None
    axis = call.attr("axis")
    if axis is None:
        x, axis = x.reshape((x.size,)), 0
    rows = np.flatnonzero(condition[: x.shape[axis]]).astype(np.int64)
    return [x.op("Gather", g.const(rows), axis=axis).value]


@translation("ReverseSequence")
def _reverse_sequence(g: Emitter, call: Call) -> Results:
    """A length of 0 leaves its sample as it is, as 1 does; onnxruntime 1.19 takes 1 and more."""
    lengths = call.input(1)
    one = g.const(np.array(1, np.int64))
    attributes = call.values()
    return [g.op("ReverseSequence", call.input(0), g.op("Max", lengths, one), **attributes)]


@translation("QLinearMatMul")
def _quantized_product(g: Emitter, call: Call) -> Results:
    """A product of floats that are whole numbers, quantized again."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (
        Expr(g, call.input(i)) for i in range(8)
    )
    floats = [
        (x.cast(ir.DataType.FLOAT) - _beside(zero.cast(ir.DataType.FLOAT), x, axis))
        * _beside(scale.cast(ir.DataType.FLOAT), x, axis)
        for x, scale, zero, axis in ((a, a_scale, a_zero, -2), (b, b_scale, b_zero, -1))
    ]
    product = floats[0] @ floats[1]
    return [product.op("QuantizeLinear", y_scale.cast(ir.DataType.FLOAT), y_zero).value]


def _beside(setting: Expr, x: Expr, axis: int) -> Expr:
    """One number, or one for each row (axis -2) or column of x, as it broadcasts."""
    if setting.size == 1:
        return setting.reshape(())
    if setting.rank > 1:
        return setting
    return setting.reshape((setting.size, 1) if axis == -2 else (setting.size,))
