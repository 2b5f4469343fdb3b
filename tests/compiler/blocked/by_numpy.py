"""The runtime's blocked operators in numpy, for blocks of any size, on any processor."""

import numpy as np
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv import Conv as PlainConv
from onnx.reference.ops.op_max_pool import MaxPool as PlainMaxPool

from symbucket.ir import BLOCKED_DOMAIN


def _blocks(x, block):
    n, c, h, w = x.shape
    return x.reshape(n, c // block, block, h * w).swapaxes(2, 3).reshape(x.shape)


def _plain(x, block):
    n, c, h, w = x.shape
    return x.reshape(n, c // block, h * w, block).swapaxes(2, 3).reshape(x.shape)


def _plain_weight(weight, block):
    """What lies in memory as a blocked weight, as (out, in, h, w)."""
    filters, channels, *kernel = weight.shape
    if channels < block:
        parts = weight.reshape(filters // block, channels, *kernel, block)
        return parts.transpose(0, 4, 1, 2, 3).reshape(weight.shape)
    parts = weight.reshape(filters // block, channels // block, *kernel, block, block)
    return parts.transpose(0, 5, 1, 4, 2, 3).reshape(weight.shape)


def operators(block):
    """Implementations for onnx's reference evaluator."""

    class ReorderInput(OpRun):
        op_domain = BLOCKED_DOMAIN

        def _run(self, x):
            assert x.shape[1] % block == 0
            return (_blocks(x, block),)

    class ReorderOutput(OpRun):
        op_domain = BLOCKED_DOMAIN

        def _run(self, x, channels=None):
            assert x.shape[1] == channels
            return (_plain(x, block),)

    class Conv(OpRun):
        op_domain = BLOCKED_DOMAIN

        def _run(
            self,
            x,
            weight,
            bias=None,
            added=None,
            activation=None,
            activation_params=(),
            **attributes,
        ):
            assert weight.shape[0] % block == 0
            if x.shape[1] >= block:
                x = _plain(x, block)
            weight = _plain_weight(weight, block)
            y = PlainConv.eval(x, weight, bias, n_outputs=1, **attributes)
            y = _blocks(np.ascontiguousarray(y), block)
            if added is not None:
                y = y + added
            if activation:
                assert activation == "HardSigmoid"
                alpha, beta = np.float32(activation_params)
                with np.errstate(over="ignore"):
                    y = np.clip(alpha * y + beta, np.float32(0), np.float32(1))
            return (y,)

    class GlobalAveragePool(OpRun):
        op_domain = BLOCKED_DOMAIN

        def _run(self, x):
            return (_plain(x, block).mean((2, 3), keepdims=True),)

    class MaxPool(OpRun):
        op_domain = BLOCKED_DOMAIN

        def _run(self, x, **attributes):
            y = PlainMaxPool.eval(_plain(x, block), n_outputs=1, **attributes)
            return (_blocks(np.ascontiguousarray(y), block),)

    class Upsample(OpRun):
        op_domain = BLOCKED_DOMAIN

        def _run(self, x, scales, mode):
            assert mode == "nearest"
            y = _plain(x, block).repeat(scales[2], 2).repeat(scales[3], 3)
            return (_blocks(y, block),)

    return [ReorderInput, ReorderOutput, Conv, GlobalAveragePool, MaxPool, Upsample]


def evaluate(program, arrays, block):
    """The outputs of a program by name."""
    proto = program.proto()
    names = [port.name for port in program.outputs]
    evaluator = ReferenceEvaluator(proto, new_ops=operators(block))
    return dict(zip(names, evaluator.run(names, arrays)))
