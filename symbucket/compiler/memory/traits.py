"""Traits of the runtime's kernels: which write over an input, which share an input's buffer.

They are those of ONNX Runtime on the CPU, checked by a test: arithmetic (Add, Mul, Sum) is
elementwise, but its kernels allocate their own buffer.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.ir import info, info_of

_SHARES = "shares_buffer"
_OVERWRITES = "overwrites_input"


def mark_buffers(*op_types: str, domain: str = "", shares: bool = False) -> None:
    """Declare that output 0 takes the buffer of input 0: always if it ``shares`` it, or else on the
    last use of the input, if both have one shape and one size of elements.
    """
    for op_type in op_types:
        info(op_type, domain).extra[_SHARES if shares else _OVERWRITES] = True


def shares_buffer(node: ir.Node) -> bool:
    """Return whether output 0 of a node is input 0 seen in another shape."""
    return bool(info_of(node).extra.get(_SHARES))


def overwrites_input(node: ir.Node) -> bool:
    """Return whether a node may write output 0 over input 0."""
    return bool(info_of(node).extra.get(_OVERWRITES))


mark_buffers("Reshape", "Squeeze", "Unsqueeze", "Flatten", shares=True)
mark_buffers(
    *("Identity", "Cast", "Clip", "Sigmoid", "Tanh", "Relu", "LeakyRelu", "Elu", "Selu"),
    *("HardSigmoid", "Softplus", "Softsign", "Softmax", "LogSoftmax", "ScatterElements", "Trilu"),
)
