"""Operators on the bits of integers that the runtimes have for some integers only."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ir.expr import where
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter

_WHOLE = (
    *(ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64),
    *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64),
)
_SIGNED = (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64)
_BY_THE_RUNTIME = (ir.DataType.UINT8, ir.DataType.UINT32, ir.DataType.UINT64)


@translation("BitShift")
def _bit_shift(g: Emitter, call: Call) -> Results:
    """Shift in 64 bits; distances below 0, or of all bits and more, leave the sign alone."""
    x, distance = Expr(g, call.input(0)), Expr(g, call.input(1))
    left = str(call.attr("direction")) == "LEFT"
    signed = x.dtype in _SIGNED
    bits = int(x.dtype.itemsize * 8)
    constant = distance.constant
    if x.dtype in _BY_THE_RUNTIME and constant is not None and bool((constant < bits).all()):
        return [x.op("BitShift", distance, direction=call.attr("direction")).value]
    wide, far = x.cast(ir.DataType.INT64), distance.cast(ir.DataType.INT64)
    outside = (far < 0) | (far >= bits)
    steps = where(outside, 0, far).cast(ir.DataType.UINT64)
    if left:
        shifted = _shift(wide, steps, "LEFT")
        y = where(outside, 0, shifted)
    elif signed:
        negative = wide < 0
        plain = where(negative, wide.op("BitwiseNot"), wide)
        shifted = where(outside, 0, _shift(plain, steps, "RIGHT"))
        y = where(negative, shifted.op("BitwiseNot"), shifted)
    else:
        y = where(outside, 0, _shift(wide, steps, "RIGHT"))
    return [y.cast(x.dtype).value]


def _shift(x: Expr, steps: Expr, direction: str) -> Expr:
    bits = x.cast(ir.DataType.UINT64).op("BitShift", steps, direction=direction)
    return bits.cast(ir.DataType.INT64)


@translation("BitCast")
def _bit_cast(g: Emitter, call: Call) -> Results:
    """Read the bits of an integer as another of as many; a float's bits no runtime gives."""
    x, to = Expr(g, call.input(0)), ir.DataType(call.attr("to"))
    call.refuse(
        x.dtype not in _WHOLE or to not in _WHOLE or ir.DataType.BOOL == to != x.dtype,
        f"from {x.dtype.name} to {to.name}, which the runtime has no operator for,",
    )
    return [x.cast(to).value]
