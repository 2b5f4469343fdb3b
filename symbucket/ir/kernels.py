"""Element types for which a runtime has no kernel, and the type to compute in instead.

Measured with onnxruntime-training 1.19.2 and onnxruntime 1.32 on the CPU; an operator is listed if
either lacks it.
"""

from __future__ import annotations

import onnx_ir as ir

_FLOAT, _DOUBLE, _INT32 = ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32

_NO_DOUBLE = frozenset(
    "Acos Acosh Asin Asinh Atan Atanh AveragePool Col2Im Conv ConvTranspose Cos Cosh Elu Erf Gelu "
    "HardSigmoid LeakyRelu Mean PRelu ReduceL2 ReduceProd Selu Sinh Softplus Softsign Tan".split()
)
_NO_INTEGERS = (_NO_DOUBLE - {"ReduceProd"}) | frozenset(
    "Ceil Exp Floor Gemm IsInf IsNaN Log LogSoftmax MaxPool Reciprocal Relu Round Sigmoid Sin "
    "Softmax Sqrt Sum".split()
)
_NO_SHORT = frozenset(
    "Add ArgMax ArgMin CumSum Div Equal Greater GreaterOrEqual Less LessOrEqual MatMul Max Min "
    "Mul Neg Pow ReduceL1 ReduceL2 ReduceMean ReduceProd ReduceSum Sub Trilu".split()
)
_NO_LONG = frozenset({"ArgMax", "ArgMin", "ReduceMean"})
_NO_HALF = frozenset({"ScatterElements"})  # none that adds
_INTEGERS = (_INT32, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.INT8)
_SHORT = (ir.DataType.UINT8, ir.DataType.INT8)


def computing_dtype(op_type: str, dtype: ir.DataType) -> ir.DataType:
    """Return the type in which a standard operator on ``dtype`` is computed: ``dtype``, or another.

    Integers are computed in float64 where that exists: whole numbers up to 2^53 stay exact.
    """
    if dtype in _SHORT and op_type in _NO_SHORT:
        return _INT32
    if dtype == ir.DataType.INT64 and op_type in _NO_LONG:
        return _DOUBLE
    if dtype in _INTEGERS and op_type in _NO_INTEGERS:
        return _FLOAT if op_type in _NO_DOUBLE else _DOUBLE
    if dtype == ir.DataType.FLOAT16 and op_type in _NO_HALF:
        return _FLOAT
    if dtype == _DOUBLE and op_type in _NO_DOUBLE:
        return _FLOAT
    return dtype
