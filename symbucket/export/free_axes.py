"""One model for any number of samples, and for any length: sizes become expressions of the inputs.

The compiler knows static shapes only, so a model for one size says nothing about others. But the
models of several sizes are one network: node for node the same, with other numbers in the places
where a size stands. What these numbers are as a function of the sizes is read off the models, and
written into one of them as a computation on the shapes of its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from symbucket.errors import UnsupportedError
from symbucket.export.affine_sizes import Affine, fit
from symbucket.types import Array


@dataclass(frozen=True)
class Sized:
    """The model of a network for ``batch`` samples of ``length`` steps."""

    model: onnx.ModelProto
    batch: int
    length: int


def free_axes(
    samples: Sequence[Sized], batch: tuple[str, int], length: tuple[str, int] | None
) -> onnx.ModelProto:
    """Return the model of any size that gives the models of ``samples``.

    ``batch`` and ``length`` name the input whose axis says how many samples or steps there are.
    Raises UnsupportedError if the models are not one network, or if a number in them is no
    expression of the sizes.
    """
    return _Generalizer(samples, batch, length).run()


class _Generalizer:
    def __init__(
        self, samples: Sequence[Sized], batch: tuple[str, int], length: tuple[str, int] | None
    ) -> None:
        self._samples = sorted(samples, key=lambda s: (-s.batch, -s.length))
        self._points = [(s.batch, s.length) for s in self._samples]
        self._sources = {"batch": batch, "length": length}
        self._model = onnx.ModelProto()
        self._model.CopyFrom(self._samples[0].model)
        self._graphs = [s.model.graph for s in self._samples]
        self._constants = [
            {t.name: t for t in g.initializer if not t.external_data} for g in self._graphs
        ]
        self._shapes = [_shapes_of(g) for g in self._graphs]
        self._matching: list[dict[str, str]] = [{} for _ in self._graphs]
        self._new: list[onnx.NodeProto] = []
        self._added: list[onnx.TensorProto] = []
        self._expressions: dict[Affine, str] = {}
        self._counts: dict[str, int] = {}

    def run(self) -> onnx.ModelProto:
        graph = self._model.graph
        counts = [len(g.node) for g in self._graphs]
        if len(set(counts)) > 1:
            sizes = ", ".join(f"{c} for {b} x {t}" for c, (b, t) in zip(counts, self._points))
            raise UnsupportedError(
                f"the networks of different sizes differ in their nodes ({sizes}), so one model "
                "cannot stand for all of them"
            )
        for tensors in zip(*(g.input for g in self._graphs)):
            self._match([t.name for t in tensors])
        nodes: list[onnx.NodeProto] = []
        for position, node in enumerate(graph.node):
            same = [g.node[position] for g in self._graphs]
            self._compare(same)
            self._new = []
            for slot, name in enumerate(node.input):
                if name in self._constants[0]:
                    new = self._constant(same, slot)
                    if new is not None:
                        node.input[slot] = new
            nodes += [*self._new, node]
            for outputs in zip(*(n.output for n in same)):
                self._match(list(outputs))
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        initializers = [t for t in [*graph.initializer, *self._added] if t.name in used]
        del graph.initializer[:]
        graph.initializer.extend(initializers)
        for values in (graph.input, graph.output, graph.value_info):
            for value in values:
                self._free_shape(value)
        return self._model

    # Matching ------------------------------------------------------------------------------------

    def _match(self, names: Sequence[str]) -> None:
        for matching, name in zip(self._matching, names):
            matching[names[0]] = name

    def _compare(self, same: Sequence[onnx.NodeProto]) -> None:
        """Raise UnsupportedError unless these nodes are one node of the network."""
        first = same[0]
        for matching, constants, node in zip(self._matching, self._constants, same):
            if node.op_type != first.op_type or len(node.input) != len(first.input):
                raise UnsupportedError(
                    f"node {first.name!r} is {first.op_type} for the largest size and "
                    f"{node.op_type} for a smaller one, so one model cannot stand for both"
                )
            attributes = {a.name: a for a in node.attribute}
            for attribute in first.attribute:
                if attributes.get(attribute.name) != attribute:
                    raise UnsupportedError(
                        f"node {first.name!r} ({first.op_type}): its attribute "
                        f"{attribute.name!r} depends on the size of its input, and attributes are "
                        "constants"
                    )
            for name, expected in zip(node.input, first.input):
                if (name in constants) != (expected in self._constants[0]) or (
                    name not in constants and matching.get(expected, expected) != name
                ):
                    raise UnsupportedError(
                        f"node {first.name!r} ({first.op_type}) reads {expected!r} for the largest "
                        f"size and {name!r} for a smaller one"
                    )

    # Constants -----------------------------------------------------------------------------------

    def _constant(self, same: Sequence[onnx.NodeProto], slot: int) -> str | None:
        """Return the name of what a node reads in place of a constant, None if it may stay."""
        arrays = [
            numpy_helper.to_array(constants[node.input[slot]])
            for constants, node in zip(self._constants, same)
        ]
        first = arrays[0]
        if all(_are_equal(a, first) for a in arrays):
            return None
        node = same[0]
        if any(a.shape != first.shape for a in arrays):
            return self._sized_constant(node, arrays)
        if first.dtype != np.int64 or first.ndim > 1:
            raise UnsupportedError(
                f"node {node.name!r} ({node.op_type}) has a constant of {first.dtype} that depends "
                "on the size of its input, such as 1/length. Compute it from an input instead."
            )
        fits = [fit([int(a.flat[i]) for a in arrays], self._points) for i in range(first.size)]
        if None in fits:
            raise UnsupportedError(
                f"node {node.name!r} ({node.op_type}) has the numbers "
                f"{', '.join(str(a.tolist()) for a in arrays[:4])} for the sizes {self._points[:4]}"
                ", which are no sum of products of batch and length"
            )
        sizes = [one for one in fits if one is not None]
        if node.op_type == "Reshape" and slot == 1:
            sizes = self._shortened(node.input[0], sizes)
        name = self._vector(sizes)
        return name if first.ndim else self._node("Reshape", name, self._ints([]))

    def _shortened(self, source: str, sizes: Sequence[Affine]) -> list[Affine]:
        """Return the sizes of a Reshape with 0 where an axis stays and -1 for one that is left."""
        before = self._dims(source)
        new = [
            Affine(0)
            if not one.is_constant and before is not None and i < len(before) and before[i] == one
            else one
            for i, one in enumerate(sizes)
        ]
        varying = [i for i, one in enumerate(new) if not one.is_constant]
        if len(varying) == 1 and not any(one == Affine(0) for one in sizes):
            new[varying[0]] = Affine(-1)
        return new

    def _sized_constant(self, node: onnx.NodeProto, arrays: Sequence[Array]) -> str:
        """Return a constant whose shape depends on the sizes: filled, repeated, or cut."""
        largest = arrays[0]
        dims = [fit([a.shape[i] for a in arrays], self._points) for i in range(largest.ndim)]
        same_rank = all(a.ndim == largest.ndim for a in arrays)
        if not same_rank or any(one is None for one in dims):
            raise UnsupportedError(
                f"node {node.name!r} ({node.op_type}) has constants of the shapes "
                f"{', '.join(str(a.shape) for a in arrays[:4])}, which are no expression of batch "
                "and length"
            )
        sizes = [one for one in dims if one is not None]
        numbers = self._numbers_of_samples(arrays, sizes)
        if numbers is not None:
            return numbers
        repeated = [
            axis
            for axis, one in enumerate(sizes)
            if not one.is_constant and largest.shape[axis] and _is_repeated(largest, axis)
        ]
        reduced = largest
        for axis in repeated:
            reduced = reduced.take([0], axis)
        cut = [a for a, one in enumerate(sizes) if not one.is_constant and a not in repeated]
        for array in arrays:
            part = tuple(slice(0, 1 if i in repeated else n) for i, n in enumerate(array.shape))
            if not _are_equal(reduced[part], array[part]) or not all(
                _is_repeated(array, axis) for axis in repeated
            ):
                raise UnsupportedError(
                    f"node {node.name!r} ({node.op_type}) has a constant of shape {largest.shape} "
                    "whose numbers depend on the size of its input"
                )
        name = self._added_constant(reduced)
        if cut:
            if any(sizes[axis].batch or sizes[axis].both for axis in cut):
                raise UnsupportedError(
                    f"node {node.name!r} ({node.op_type}) has a constant with different numbers "
                    "for each sample of a batch; those of a larger batch are not known"
                )
            ends = self._vector([sizes[axis] for axis in cut])
            name = self._node("Slice", name, self._ints([0] * len(cut)), ends, self._ints(cut))
        return self._node("Expand", name, self._vector(sizes)) if repeated else name

    def _numbers_of_samples(self, arrays: Sequence[Array], sizes: Sequence[Affine]) -> str | None:
        """Return integers that increase evenly along the samples, such as numbers of rows.

        None if a constant is something else.
        """
        axes = [axis for axis, one in enumerate(sizes) if one != Affine(1)]
        if len(axes) != 1 or not sizes[axes[0]].batch or arrays[0].dtype != np.int64:
            return None
        flat = [array.reshape(-1) for array in arrays]
        if any(len(one) < 2 or len({*np.diff(one).tolist()}) > 1 for one in flat):
            return None
        first = fit([int(one[0]) for one in flat], self._points)
        step = fit([int(one[1] - one[0]) for one in flat], self._points)
        if first is None or step is None:
            return None
        name = self._node("Range", *map(self._scalar, (Affine(0), sizes[axes[0]], Affine(1))))
        if step != Affine(1):
            name = self._node("Mul", name, self._size(step))
        if first != Affine(0):
            name = self._node("Add", name, self._size(first))
        if len(sizes) > 1:
            shape = [-1 if axis == axes[0] else 1 for axis in range(len(sizes))]
            name = self._node("Reshape", name, self._ints(shape))
        return name

    # Expressions ---------------------------------------------------------------------------------

    def _vector(self, sizes: Sequence[Affine]) -> str:
        """Return a vector of sizes, computed from the shapes of the inputs."""
        parts: list[str] = []
        numbers: list[int] = []
        for one in sizes:
            if one.is_constant:
                numbers.append(one.one)
                continue
            if numbers:
                parts.append(self._ints(numbers))
                numbers = []
            parts.append(self._size(one))
        if numbers:
            parts.append(self._ints(numbers))
        return parts[0] if len(parts) == 1 else self._node("Concat", *parts, axis=0)

    def _size(self, size: Affine) -> str:
        """Return a vector of one element; each is computed once."""
        if size not in self._expressions:
            batch, length = Affine(0, 1), Affine(0, 0, 1)
            if size in (batch, length):
                name = self._read("batch" if size == batch else "length")
            elif size == Affine(0, 0, 0, 1):
                name = self._node("Mul", self._size(batch), self._size(length))
            else:
                terms = [
                    self._times(self._size(basis), factor)
                    for basis, factor in (
                        (batch, size.batch),
                        (length, size.length),
                        (Affine(0, 0, 0, 1), size.both),
                    )
                    if factor
                ]
                terms += [self._ints([size.one])] if size.one else []
                name = terms[0]
                for term in terms[1:]:
                    name = self._node("Add", name, term)
            self._expressions[size] = name
        return self._expressions[size]

    def _scalar(self, size: Affine) -> str:
        return self._node("Reshape", self._vector([size]), self._ints([]))

    def _times(self, name: str, factor: int) -> str:
        return name if factor == 1 else self._node("Mul", name, self._ints([factor]))

    def _read(self, what: str) -> str:
        source = self._sources[what]
        if source is None:
            raise UnsupportedError(f"no input has an axis of the {what}, from which to read it")
        name, axis = source
        return self._node("Shape", name, start=axis, end=axis + 1)

    def _node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = self._unique(f"sizes/{op_type}")
        self._new.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def _ints(self, values: Sequence[int]) -> str:
        return self._added_constant(np.array(values, np.int64))

    def _added_constant(self, array: Array) -> str:
        name = self._unique("sizes/const")
        self._added.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _unique(self, name: str) -> str:
        count = self._counts[name] = self._counts.get(name, -1) + 1
        return f"{name}_{count}"

    # Shapes --------------------------------------------------------------------------------------

    def _dims(self, name: str) -> list[Affine] | None:
        """Return the shape of a value as expressions, None if it is not known."""
        shapes = [
            table.get(matching.get(name, name))
            for table, matching in zip(self._shapes, self._matching)
        ]
        complete = [shape for shape in shapes if shape is not None]
        if len(complete) != len(shapes) or len({len(shape) for shape in complete}) != 1:
            return None
        fits = [fit(list(column), self._points) for column in zip(*complete)]
        dims = [one for one in fits if one is not None]
        return dims if len(dims) == len(fits) else None

    def _free_shape(self, value: onnx.ValueInfoProto) -> None:
        dims = self._dims(value.name)
        shape = value.type.tensor_type.shape
        for i, dim in enumerate(shape.dim):
            one = None if dims is None else dims[i]
            if one is None or not one.is_constant:
                dim.Clear()
                if one is not None and one.name:
                    dim.dim_param = one.name


def _are_equal(a: Array, b: Array) -> bool:
    """Return whether arrays have the same shape and numbers, of which NaN is one."""
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _is_repeated(array: Array, axis: int) -> bool:
    return array.shape[axis] > 0 and _are_equal(
        array, np.broadcast_to(array.take([0], axis), array.shape)
    )


def _shapes_of(graph: onnx.GraphProto) -> Mapping[str, list[int]]:
    values = [*graph.input, *graph.output, *graph.value_info]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    return {**shapes, **{t.name: list(t.dims) for t in graph.initializer}}
