"""Values that can be minus infinity, as masks make them: what the nodes nearby tell."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from symbucket.ir.builder import attr, const_of

# Sums of products and bounded functions are finite, as long as nothing overflows.
_FINITE = frozenset(
    "MatMul Gemm Conv ConvTranspose Einsum Normalize NormalizeBatch Softmax Sigmoid Tanh "
    "Relu".split()
)
# These are minus infinity only if an input is.
_PASSING = frozenset(
    "Add Sub Sum Mul Neg Where Max Min Clip Cast Identity Masked Reshape Transpose Expand Squeeze "
    "Unsqueeze Concat Slice Split Gather MaxPool AveragePool".split()
)
_LOWEST = -1e38  # a few times that is minus infinity
_MOST_VALUES = 100


def can_be_minus_infinity(value: ir.Value, unknown: bool) -> bool:
    """Return whether a mask may have made elements of ``value`` minus infinity.

    Args:
        value: a value of any graph.
        unknown: what to assume of graph inputs and of operators about which nothing is known.
    """
    visited: set[ir.Value] = set()
    stack = [value]
    while stack:
        value = stack.pop()
        if value in visited or value.dtype is None or not value.dtype.is_floating_point():
            continue
        visited.add(value)
        array, node = const_of(value), value.producer()
        if node is not None and node.op_type == "ConstantOfShape":  # a large constant
            array = attr(node, "value", ir.tensor(np.zeros(1))).numpy()
        if array is not None:
            if array.size and not np.min(array) > _LOWEST:
                return True
        elif len(visited) > _MOST_VALUES:
            return unknown
        elif node is not None and node.op_type in _PASSING:
            stack.extend(v for v in node.inputs if v is not None)
        elif unknown and (node is None or node.op_type not in _FINITE):
            return True
    return False
