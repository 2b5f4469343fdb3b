"""Models of more than two gigabytes, which protobuf reads and does not write.

onnx's own tools take a model as bytes. They need no values of weights, so large models go through
them without.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx

from symbucket.checks import listing
from symbucket.errors import UnsupportedError

MOST_BYTES = 2_000_000_000  # of a message that protobuf writes
_SMALL = 1 << 16  # bytes of tensors that a rule may read, such as shapes
_WEIGHTS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


def without_weights(
    transform: Callable[[onnx.ModelProto], onnx.ModelProto], model: onnx.ModelProto
) -> onnx.ModelProto:
    """Return ``transform(model)``; a model too large for it has no values of weights meanwhile.

    ``model`` must not be used again, so that there are no more copies than have to be.
    """
    if not is_too_large(model.graph):
        return transform(model)
    values: dict[str, bytes] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type in _WEIGHTS and len(tensor.raw_data) > _SMALL:
            values[tensor.name] = tensor.raw_data
            tensor.ClearField("raw_data")
    result = onnx.ModelProto()  # what is cleared stays in memory as long as the message
    result.CopyFrom(transform(model))
    for tensor in result.graph.initializer:
        if tensor.name in values:
            tensor.raw_data = values.pop(tensor.name)
    return result


def is_too_large(graph: onnx.GraphProto) -> bool:
    """Return whether the initializers alone are more than protobuf writes."""
    return sum(len(tensor.raw_data) for tensor in graph.initializer) > MOST_BYTES


def require_writable(graph: onnx.GraphProto) -> None:
    """Raise UnsupportedError if the values that stay in a graph are more than protobuf writes."""
    if is_too_large(graph):
        largest = sorted(graph.initializer, key=lambda tensor: -len(tensor.raw_data))
        raise UnsupportedError(
            "from_onnx: the initializers that keep their values have more than 2 GB, which no "
            f"symbol holds; the largest are {listing((t.name for t in largest), 4)}. Make them "
            "parameters (params=)"
        )
