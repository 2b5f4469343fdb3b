"""Which kernels of the runtime write over an input, and which hand an input's buffer on.

Told by ONNX Runtime's kernels on the CPU, and checked by a test: arithmetic (Add, Mul, Sum) is
elementwise, but its kernels ask for a buffer of their own.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.ir import info, info_of

_SHARES = "shares_buffer"
_OVERWRITES = "overwrites_input"


def mark_buffers(*op_types: str, domain: str = "", shares: bool = False) -> None:
    """Say that output 0 shares the buffer of input 0, always or (else) on its last use.

    On its last use also means: where both have one shape and one size of elements.
    """
    for op_type in op_types:
        info(op_type, domain).extra[_SHARES if shares else _OVERWRITES] = True


def shares_buffer(node: ir.Node) -> bool:
    """Whether output 0 of a node is input 0 seen in another shape."""
    return bool(info_of(node).extra.get(_SHARES))


def overwrites_input(node: ir.Node) -> bool:
    """Whether a node may write output 0 over input 0."""
    return bool(info_of(node).extra.get(_OVERWRITES))


mark_buffers("Reshape", "Squeeze", "Unsqueeze", "Flatten", shares=True)
mark_buffers(
    *("Identity", "Cast", "Clip", "Sigmoid", "Tanh", "Relu", "LeakyRelu", "Elu", "Selu"),
    *("HardSigmoid", "Softplus", "Softsign", "Softmax", "LogSoftmax", "ScatterElements", "Trilu"),
)
