"""Gradients of softmaxes over rows that a mask of minus infinity covers whole."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr, const_of
from symbucket.ir.expr import where

# Sums of products and bounded functions are finite, as long as nothing overflows.
_FINITE = frozenset(
    "MatMul Gemm Conv ConvTranspose Einsum Normalize Softmax Sigmoid Tanh Relu".split()
)
# These are minus infinity only if an input is. About any other operator nothing is assumed.
_PASSING = frozenset(
    "Add Sub Sum Mul Neg Where Max Min Clip Cast Identity Masked Reshape Transpose Expand Squeeze "
    "Unsqueeze Concat Slice Split Gather".split()
)
_LOWEST = -1e38  # twice that is minus infinity
_MOST_VALUES = 100


def rows_in_use(dx: Expr, dy: Expr, x: Expr, axis: int) -> Expr:
    """dx, with zeros in rows of which dy is zero: nothing flows back from them.

    A row that is masked whole, all minus infinity, has the softmax NaN. If the network replaces it
    afterwards, its gradient is 0 and not 0 times NaN. Costs two passes over dx, so only where x can
    be minus infinity.
    """
    if not _can_be_masked(x.value):
        return dx
    total = dy.op("ReduceL1", [axis % dy.rank])
    return where(total == 0.0, 0.0, dx)


def _can_be_masked(value: ir.Value) -> bool:
    """Return whether a mask may have made elements minus infinity, as far as the graph tells."""
    visited: set[ir.Value] = set()
    stack = [value]
    while stack:
        value = stack.pop()
        if value in visited or value.dtype is None or not value.dtype.is_floating_point():
            continue
        visited.add(value)
        array, node = const_of(value), value.producer()
        if array is not None:
            if array.size and not np.min(array) > _LOWEST:
                return True
        elif node is None or len(visited) > _MOST_VALUES:
            return True  # what the user hands in may be a mask
        elif node.op_type in _PASSING:
            stack.extend(v for v in node.inputs if v is not None)
        elif node.op_type not in _FINITE:
            return True
    return False
