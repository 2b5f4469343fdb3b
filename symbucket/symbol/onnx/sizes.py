"""Sizes of an ONNX graph's inputs that are open by name alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from symbucket.ops.foreign.attributes import int_of
from symbucket.symbol.onnx.constants import integer_constants
from symbucket.types import Array

_BY_POSITION = frozenset(
    """
    Add BatchNormalization Cast Clip Div Dropout Elu Erf Gather Gelu Identity LayerNormalization
    LeakyRelu MatMul Mul Neg Relu Sigmoid Slice Sub Tanh Transpose
    """.split()
)
"""Operators that, if the output has an open size too, compute each position by itself."""


def fix_numeric_sizes(graph: onnx.GraphProto) -> None:
    """Make fixed sizes of those whose name is a number.

    PyTorch's exporter writes an axis that was declared dynamic, and that the model fixes, as a
    dimension with the name "6".
    """
    for dim in _open_dims(graph):
        if dim.dim_param.isdecimal():
            dim.dim_value = int(dim.dim_param)


def fix_unrolled_sizes(graph: onnx.GraphProto) -> None:
    """Make a fixed size of one of which each position is read by its own node, from 0 on.

    PyTorch's exporters write a loop over time as a step for each position, and leave the size open
    nevertheless; at another length the file would compute nonsense. Needs ``value_info``.
    """
    sizes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = integer_constants(graph)
    dims = list(_open_dims(graph))
    for size in {dim.dim_param for dim in dims}:
        positions = _positions(graph, size, sizes, constants)
        if len(positions) > 1 and positions == set(range(len(positions))):
            for dim in dims:
                if dim.dim_param == size:
                    dim.dim_value = len(positions)


def _positions(
    graph: onnx.GraphProto,
    size: str,
    sizes: Mapping[str, list[str | int]],
    constants: Mapping[str, Array],
) -> set[int]:
    """Return the positions of an open size that nodes read; none if a node reads it as a whole."""
    positions: set[int] = set()
    parts: set[str] = set()  # sequences of the positions
    for node in graph.node:
        count = max((sizes.get(name, []).count(size) for name in node.input), default=0)
        of_output = sum(sizes.get(name, []).count(size) for name in node.output)
        axis = int_of(node, "axis", 0)
        along = count == 1 and sizes.get(node.input[0], []).count(size) == 1
        along = along and sizes[node.input[0]][axis] == size
        if node.op_type == "SplitToSequence" and along and len(node.input) == 1:
            parts.add(node.output[0])
        elif (node.op_type == "Gather" and along) or parts.intersection(node.input):
            index = constants.get(node.input[-1])
            if index is None or index.size != 1 or of_output:
                return set()
            positions.add(int(index.flat[0]))
        elif count == 1 and of_output == 1 and node.op_type in _BY_POSITION:
            continue
        elif count and node.op_type != "Shape":
            return set()
    return positions


def _open_dims(graph: onnx.GraphProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    """Yield the dimensions of inputs that have a name."""
    for value in graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                yield dim
