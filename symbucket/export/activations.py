"""Memory that the values of a model take, computed from its nodes and the shapes of its inputs.

Only the inputs' shapes are believed, which the manifest states; every other shape follows from
them. A bundle's manifest says what its export computed here, and whoever opens the bundle computes
it again, before a session exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from symbucket.checks import one_line
from symbucket.errors import BundleError
from symbucket.export.spec import MAX_TENSOR_BYTES
from symbucket.types import Array

_SMALL = 64  # numbers in a vector of sizes
_ARITHMETIC: dict[str, Callable[[list[Array]], Array]] = {
    "Add": lambda v: v[0] + v[1],
    "Mul": lambda v: v[0] * v[1],
    "Concat": lambda v: np.concatenate([np.atleast_1d(part) for part in v]),
    "Reshape": lambda v: v[0].reshape(v[1].tolist()),
}

_INNER_COPIES = {"LSTM": 6, "GRU": 6, "RNN": 3}
"""Sequences like its output that a kernel holds inside."""


def activation_bytes(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], where: str
) -> int:
    """Return the most bytes that outputs and inner values take at a time.

    ``shapes`` are those of the inputs and outputs. Raises BundleError if a shape does not follow
    from them, contradicts the model, or is absurd.
    """
    inferred = onnx.ModelProto()
    inferred.CopyFrom(model)
    del inferred.graph.value_info[:]
    for value in [*inferred.graph.input, *inferred.graph.output]:
        if value.name in shapes:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, shapes[value.name]):
                dim.dim_value = size
    try:
        _fold_sizes(inferred.graph, shapes)
        inferred = onnx.shape_inference.infer_shapes(
            inferred, check_type=True, strict_mode=True, data_prop=True
        )
    except Exception as error:  # onnx's errors have no common base
        raise BundleError(f"{where!r}: its shapes do not fit together: {one_line(error)}") from None
    sizes = {
        value.name: _bytes_of(value, where)
        for value in [*inferred.graph.value_info, *inferred.graph.output]
    }
    return _peak(inferred.graph, sizes, where)


def _fold_sizes(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Replace the arithmetic on shapes of inputs by its results: onnx's inference follows half."""
    numbers = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT64
        and not tensor.external_data
        and math.prod(tensor.dims) <= _SMALL
    }
    folded: dict[str, Array] = {}
    nodes = list(graph.node)
    for node in nodes:
        inputs = [folded.get(name, numbers.get(name)) for name in node.input]
        if node.op_type == "Shape" and node.input[0] in shapes:
            slots = {a.name: a.i for a in node.attribute}
            part = slice(slots.get("start"), slots.get("end"))
            result = np.array(shapes[node.input[0]][part], np.int64)
        elif node.op_type in _ARITHMETIC and all(v is not None for v in inputs):
            result = _ARITHMETIC[node.op_type]([v for v in inputs if v is not None])
        else:
            continue
        if result.size <= _SMALL:
            folded[node.output[0]] = result
    others = [node for node in nodes if not node.output or node.output[0] not in folded]
    del graph.node[:]
    graph.node.extend(others)
    graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in folded.items())


def _bytes_of(value: onnx.ValueInfoProto, where: str) -> int:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise BundleError(f"{where!r}: the size of {value.name!r} does not follow from the inputs")
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
    if any(size < 0 for size in dims):
        raise BundleError(
            f"{where!r}: the shape {dims} of {value.name!r} does not follow from the inputs"
        )
    size = math.prod(dims) * _item_size(kind.elem_type)
    if size > MAX_TENSOR_BYTES:
        raise BundleError(f"{where!r}: the value {value.name!r} has the absurd shape {dims}")
    return size


def _item_size(elem_type: int) -> int:
    try:
        dtype: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    except KeyError:
        return 16  # no type that numpy has; none is larger
    return max(1, dtype.itemsize)


def _peak(graph: onnx.GraphProto, sizes: Mapping[str, int], where: str) -> int:
    """Return the most bytes alive at a time, each value from its node to its last reader."""
    last = {name: i for i, node in enumerate(graph.node) for name in node.input}
    last.update({value.name: len(graph.node) for value in graph.output})
    alive = peak = 0
    dying: dict[int, list[str]] = {}
    for i, node in enumerate(graph.node):
        for name in node.output:
            if name and name not in sizes:
                raise BundleError(
                    f"{where!r}: the shape of {name!r}, which node {node.name!r} "
                    f"({node.op_type}) computes, does not follow from the inputs"
                )
            if name:
                alive += sizes[name]
                dying.setdefault(last.get(name, i), []).append(name)
        inside = _INNER_COPIES.get(node.op_type, 0) * sizes.get(next(iter(node.output), ""), 0)
        peak = max(peak, alive + inside)
        for name in dying.pop(i, ()):
            alive -= sizes[name]
    return peak
