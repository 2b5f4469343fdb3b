"""Nodes of a foreign graph whose results are known now become constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import const_of, info, shape_of
from symbucket.ops.foreign.attributes import OWN_ATTRIBUTES
from symbucket.ops.foreign.call import Call
from symbucket.ops.record import Emitter
from symbucket.types import Array

_MAX_FOLDED_BYTES = 1 << 20  # a larger result is computed at run time and not kept in the model
_MOST_BYTES = 1 << 30  # of a result that follows from constants: a small file can ask for any size
_SETTING = 1024  # elements of a constant that may say how large a result is


def fold(g: Emitter, call: Call) -> list[ir.Value] | None:
    """Return the outputs as constants if they are known now, else None.

    Raises UnsupportedError if a few constants stand for more than a gigabyte.
    """
    if call.op_type in ("Shape", "Size"):
        shape = shape_of(call.input(0))
        if call.op_type == "Size":
            return [g.const(np.array(math.prod(shape), np.int64))]
        part = shape[call.attr("start", 0) : call.attr("end")]
        return [g.ints(*part)]
    constants = [const_of(v) for v in call.inputs if v is not None]
    if info(call.op_type).random or any(array is None for array in constants):
        return None
    names = [f"x{i}" if v is not None else "" for i, v in enumerate(call.inputs)]
    node = onnx.NodeProto(op_type=call.op_type, name=call.name, input=names)
    node.output.extend(f"y{i}" for i in range(call.outputs))
    attrs = [a for a in call.attrs.values() if a.name not in OWN_ATTRIBUTES]
    node.attribute.extend(map(ir.serde.serialize_attribute, attrs))
    feed = dict(zip([n for n in names if n], constants))
    size = _expected_bytes(node, call.opset, feed) if call.inputs else 0  # type: ignore[arg-type]
    if size > _MOST_BYTES:
        raise UnsupportedError(f"its constants make a result of {size / 1e9:,.1f} GB")
    if size > _MAX_FOLDED_BYTES:
        return None
    # Here and not above: it is 11 MB, which programs that import nothing do not need.
    from onnx.reference import ReferenceEvaluator

    results = ReferenceEvaluator(node, opsets={"": call.opset}).run(None, feed)
    arrays = [np.asarray(a) for a in results]
    if sum(a.nbytes for a in arrays) > _MAX_FOLDED_BYTES and call.inputs:
        return None
    return [g.const(a) for a in arrays]


def _expected_bytes(node: onnx.NodeProto, opset: int, feed: Mapping[str, Array]) -> float:
    """Return how large the results of a node will be; 0 if the standard does not tell."""
    types = {
        name: onnx.helper.make_tensor_type_proto(
            onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feed.items()
    }
    settings = {
        name: onnx.numpy_helper.from_array(array)
        for name, array in feed.items()
        if array.size <= _SETTING
    }
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    try:
        outputs = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            types,
            settings,
            opset_imports=[onnx.helper.make_opsetid("", opset)],
        )
    except onnx.shape_inference.InferenceError:
        return 0.0  # the computation itself says what is wrong
    return sum(_bytes_of(kind) for kind in outputs.values())


def _bytes_of(kind: onnx.TypeProto) -> float:
    tensor = kind.tensor_type
    sizes = [float(d.dim_value) for d in tensor.shape.dim if d.HasField("dim_value")]
    if not tensor.HasField("shape") or len(sizes) < len(tensor.shape.dim):
        return 0.0
    element: np.dtype[Any] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return float(math.prod(sizes)) * element.itemsize
