"""Moving the constants of an ONNX graph: out of nodes and branches, and into inputs if trained."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message

from symbucket.symbol.onnx.uses import INITIAL_STATES
from symbucket.symbol.onnx.walk import all_nodes, graphs_of
from symbucket.types import Array

FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
    }
)


def remove_initializers_from_inputs(graph: onnx.GraphProto) -> None:
    """Remove from the inputs what old files list there too."""
    held = {t.name for t in graph.initializer}
    data = [i for i in graph.input if i.name not in held]
    del graph.input[:]
    graph.input.extend(data)


def lift_constants(graph: onnx.GraphProto) -> None:
    """Make initializers of the graph out of float constants that nodes and branches hold."""
    taken = {t.name for t in graph.initializer} | {i.name for i in graph.input}
    taken |= {name for node in graph.node for name in node.output}
    graph.initializer.extend(_taken_constants(graph, taken, inner=False))


def _taken_constants(
    graph: onnx.GraphProto, taken: set[str], inner: bool
) -> Iterator[onnx.TensorProto]:
    """Yield the float constants of a graph and of its branches, which lose them."""
    if inner:
        rest = []
        for tensor in graph.initializer:
            if tensor.data_type in FLOATS and tensor.name not in taken:
                taken.add(tensor.name)
                yield tensor
            else:
                rest.append(tensor)
        _replace(graph.initializer, rest)
    nodes = []
    for node in graph.node:
        for inner_graph in graphs_of(node):
            yield from _taken_constants(inner_graph, taken, inner=True)
        tensor = _constant_of(node)
        if tensor is None or (inner and tensor.name in taken):
            nodes.append(node)
        else:
            taken.add(tensor.name)
            yield tensor
    _replace(graph.node, nodes)


def _constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the float tensor of a Constant node, under the name of its output."""
    if node.op_type != "Constant" or not node.attribute:
        return None
    attribute = node.attribute[0]
    tensor = onnx.TensorProto()
    if attribute.name == "value" and attribute.t.data_type in FLOATS:
        tensor.CopyFrom(attribute.t)
    elif attribute.name == "value_float":
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(attribute.f, np.float32)))
    elif attribute.name == "value_floats":
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(attribute.floats, np.float32)))
    else:
        return None
    tensor.name = node.output[0]
    return tensor


def _replace(field: Any, messages: Iterable[Message]) -> None:
    """Set a repeated field to some of its own messages."""
    copies = []
    for message in messages:
        copy = type(message)()
        copy.CopyFrom(message)
        copies.append(copy)
    del field[:]
    field.extend(copies)


def float_constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the float initializers by name."""
    return {t.name: t for t in graph.initializer if t.data_type in FLOATS}


def move_to_inputs(
    graph: onnx.GraphProto,
    values: Collection[str],
    constants: Mapping[str, onnx.TensorProto],
    unused: Collection[str],
) -> None:
    """Make inputs of the parameters and states; remove ``unused`` constants that no node reads."""
    for name in values:
        tensor = constants[name]
        dims = list(tensor.dims) or [1]
        graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, dims))
        if not tensor.dims:
            _read_scalar(graph, name)
    read = {name for node in graph.node for name in node.input}
    gone = {*values, *(name for name in unused if name not in read)}
    _replace(graph.initializer, [t for t in graph.initializer if t.name not in gone])


def _read_scalar(graph: onnx.GraphProto, name: str) -> None:
    """Let what reads a parameter without axes read the only element of one with shape (1,).

    Optimizers need an axis.
    """
    scalar, axes = f"{name}/scalar", f"{name}/axes"
    _rename_reads(graph, name, scalar)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), axes))
    nodes = [onnx.helper.make_node("Squeeze", [name, axes], [scalar], scalar), *graph.node]
    _replace(graph.node, nodes)


def _rename_reads(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in all_nodes(graph):
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new


def remove_zero_states(graph: onnx.GraphProto) -> None:
    """Leave out initial states of zeros: that is the default, and it fits a batch of any size."""
    zeros = {
        t.name
        for t in graph.initializer
        if t.data_type in FLOATS and not onnx.numpy_helper.to_array(t).any()
    }
    for node in graph.node:
        for i in INITIAL_STATES.get(node.op_type, ()):
            if i < len(node.input) and node.input[i] in zeros:
                node.input[i] = ""


def integer_constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Return the integer constants of the graph."""
    integers = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    tensors = {t.name: t for t in graph.initializer if t.data_type in integers}
    values = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute:
            attribute = node.attribute[0]
            if attribute.name == "value" and attribute.t.data_type in integers:
                values[node.output[0]] = onnx.numpy_helper.to_array(attribute.t)
            elif attribute.name == "value_int":
                values[node.output[0]] = np.array(attribute.i)
            elif attribute.name == "value_ints":
                values[node.output[0]] = np.array(attribute.ints)
    return values
