"""Sequences of an ONNX graph that are parts of a tensor, as nodes that cut the tensor.

PyTorch's exporter writes ``split``, ``chunk`` and ``unbind`` as SplitToSequence, whose parts
SequenceAt takes at constant positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from symbucket.types import Array


def cut_sequences(graph: onnx.GraphProto) -> None:
    """Replace SplitToSequence that only SequenceAt reads, at constant positions.

    Sizes of the parts must be constants. Other sequences stay. Shapes in ``value_info`` are used,
    if there are any: a Split has a cheaper gradient than slices have.
    """
    constants = _constants(graph)
    shapes = {v.name: v.type.tensor_type.shape for v in (*graph.input, *graph.value_info)}
    nodes: list[onnx.NodeProto] = []
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.op_type == "SplitToSequence":
            parts = _parts(graph, node, constants, shapes)
            if parts is not None:
                replaced[node.output[0]] = parts
                nodes += parts
                continue
        elif node.op_type == "SequenceAt" and node.input[0] in replaced:
            continue
        nodes.append(node)
    if replaced:
        copies = []
        for node in nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copies.append(copy)
        del graph.node[:]
        graph.node.extend(copies)


def _parts(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: dict[str, Array],
    shapes: dict[str, Any],
) -> list[onnx.NodeProto] | None:
    """Return the nodes that compute what is read of a sequence; None if they cannot be written."""
    sequence = node.output[0]
    readers = list(_readers(graph, sequence))
    mine = [n for n in graph.node if sequence in n.input]
    if len(readers) != len(mine) or any(out.name == sequence for out in graph.output):
        return None  # read by a branch or a loop
    if any(n.op_type != "SequenceAt" or n.input[1] not in constants for n in mine):
        return None
    axis, squeeze = 0, False
    for attribute in node.attribute:
        axis = attribute.i if attribute.name == "axis" else axis
        squeeze = squeeze or (attribute.name == "keepdims" and attribute.i == 0)
    split = node.input[1] if len(node.input) > 1 else ""
    if split and split not in constants:
        return None
    reads = [(n.output[0], int(constants[n.input[1]].reshape(-1)[0])) for n in mine]
    cutter = _Cutter(graph, node, axis)
    if not split and squeeze:
        return [part for out, at in reads for part in cutter.select(out, at)]
    sizes = constants[split] if split else np.array(1)
    total = _size(shapes.get(node.input[0]), axis)
    if sizes.ndim == 0 and total:
        size = int(sizes)
        sizes = np.array([min(size, total - start) for start in range(0, total, size)])
    if sizes.ndim:
        return cutter.split([int(size) for size in sizes], reads)
    if any(at < 0 for _, at in reads):
        return None  # counted from an end that is not known
    return [part for out, at in reads for part in cutter.slice(out, at, int(sizes))]


class _Cutter:
    """Writes the nodes that take the place of one SplitToSequence."""

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto, axis: int) -> None:
        self._graph = graph
        self._data = node.input[0]
        self._name = node.output[0]
        self._axis = axis

    def select(self, out: str, at: int) -> list[onnx.NodeProto]:
        index = self._constant(f"{out}/index", np.array(at))
        return [helper.make_node("Gather", [self._data, index], [out], out, axis=self._axis)]

    def slice(self, out: str, at: int, size: int) -> list[onnx.NodeProto]:
        return [self._slice(out, at * size, (at + 1) * size)]

    def split(
        self, sizes: Sequence[int], reads: Sequence[tuple[str, int]]
    ) -> list[onnx.NodeProto] | None:
        count = len(sizes)
        if any(not -count <= at < count for _, at in reads):
            return None
        positions = [at % count for _, at in reads]
        if sorted(positions) == list(range(count)):
            outs = [reads[positions.index(i)][0] for i in range(count)]
            lengths = self._constant(f"{self._name}/sizes", np.array(sizes))
            inputs = [self._data, lengths]
            return [helper.make_node("Split", inputs, outs, self._name, axis=self._axis)]
        ends = list(accumulate(sizes))
        return [
            self._slice(out, ends[at] - sizes[at], ends[at])
            for (out, _), at in zip(reads, positions)
        ]

    def _slice(self, out: str, start: int, end: int) -> onnx.NodeProto:
        bounds = [
            self._constant(f"{out}/{word}", np.array([value]))
            for word, value in (("start", start), ("end", end), ("axis", self._axis))
        ]
        return helper.make_node("Slice", [self._data, *bounds], [out], out)

    def _constant(self, name: str, value: Array) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value.astype(np.int64), name))
        return name


def _constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Return the integer constants of the graph."""
    integers = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    tensors = {t.name: t for t in graph.initializer if t.data_type in integers}
    values = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute:
            attribute = node.attribute[0]
            if attribute.name == "value" and attribute.t.data_type in integers:
                values[node.output[0]] = numpy_helper.to_array(attribute.t)
            elif attribute.name == "value_int":
                values[node.output[0]] = np.array(attribute.i)
            elif attribute.name == "value_ints":
                values[node.output[0]] = np.array(attribute.ints)
    return values


def _readers(graph: onnx.GraphProto, name: str) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that read a value, those of bodies among them."""
    for node in graph.node:
        if name in node.input:
            yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _readers(attribute.g, name)


def _size(shape: Any, axis: int) -> int:
    """Return the size along an axis; 0 if it is not known."""
    if shape is None or not -len(shape.dim) <= axis < len(shape.dim):
        return 0
    return int(shape.dim[axis].dim_value)
