"""One model for several keys: what differs becomes an input, or a size without a number.

After loops, the model of one key is often that of another with other sizes: dimensions of inputs
and of values, and constants such as the shape that a Reshape gives. A *family* is learned from two
such models. Constants that differ become inputs, sizes that differ get a name: the same name only
where both models have the same number, so that the runtime goes on writing in place where it may.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx

from symbucket.compiler.program import Program
from symbucket.types import Array

_LARGEST = 64  # elements of a constant that may differ between the models of a family


@dataclass(frozen=True)
class Constant:
    """A small constant: its name, dtype as in ONNX, shape and bytes."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    content: bytes

    def array(self) -> Array:
        """Return its values."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.dtype)
        return np.frombuffer(self.content, dtype).reshape(self.shape).copy()


@dataclass(frozen=True)
class Outline:
    """A model apart from its sizes, and these.

    Attributes:
        structure: a digest of everything else; names of nodes do not count.
        constants: small constants, in order.
        sizes: the dimensions of inputs, outputs and values, in order.
    """

    structure: bytes
    constants: tuple[Constant, ...]
    sizes: tuple[int, ...]


def outline(program: Program) -> Outline:
    """Return the outline of a program's model."""
    proto = onnx.ModelProto.FromString(program.model)
    graph = proto.graph
    constants: list[Constant] = []
    for tensor in graph.initializer:
        if tensor.raw_data and int(np.prod(tensor.dims)) <= _LARGEST:
            content = tensor.raw_data
            shape = tuple(tensor.dims)
            constants.append(Constant(tensor.name, tensor.data_type, shape, content))
            tensor.raw_data = b""
    sizes: list[int] = []
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value"):
                sizes.append(dim.dim_value)
                dim.dim_value = 0
    ranks = []
    for name, dtype, shape in program.values:
        sizes += shape
        ranks.append((name, dtype, len(shape)))
    _forget_names(graph)
    digest = hashlib.sha256(proto.SerializeToString(deterministic=True))
    digest.update(repr(ranks).encode())
    return Outline(digest.digest(), tuple(constants), tuple(sizes))


def _forget_names(graph: onnx.GraphProto) -> None:
    graph.name = ""
    for node in graph.node:
        node.name = ""
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _forget_names(attribute.g)


class Family:
    """Models of one structure: ``first``, ``second``, and those that differ as these two do."""

    def __init__(self, first: Outline, second: Outline) -> None:
        self._constants = first.constants
        pairs = list(zip(first.constants, second.constants))
        self._differing = [i for i, (a, b) in enumerate(pairs) if a.content != b.content]
        self._fixed = [i for i, (a, b) in enumerate(pairs) if a.content == b.content]
        self._names: list[str | None] = []  # of sizes; None: the same in all models
        numbers: dict[tuple[int, int], str] = {}
        for both in zip(first.sizes, second.sizes):
            same = both[0] == both[1]
            self._names.append(None if same else numbers.setdefault(both, f"size{len(numbers)}"))
        self._sizes = first.sizes

    @cached_property
    def varies(self) -> bool:
        """Whether the two models differ at all."""
        return bool(self._differing) or any(self._names)

    def admits(self, other: Outline) -> bool:
        """Return whether a model of the same structure belongs to the family."""
        if any(self._constants[i].content != other.constants[i].content for i in self._fixed):
            return False
        numbers: dict[str, int] = {}
        for name, size, expected in zip(self._names, other.sizes, self._sizes):
            if name is not None:
                expected = numbers.setdefault(name, size)
            if size != expected:
                return False
        return True

    def constants_of(self, member: Outline) -> dict[str, Array]:
        """Return what a member's constants are that are inputs of the family's model."""
        differing = (member.constants[i] for i in self._differing)
        return {constant.name: constant.array() for constant in differing}

    def model(self, member: Program) -> bytes:
        """Return the family's model, made from that of any member."""
        proto = onnx.ModelProto.FromString(member.model)
        graph = proto.graph
        lifted = {self._constants[i].name: self._constants[i] for i in self._differing}
        rest = [tensor for tensor in graph.initializer if tensor.name not in lifted]
        del graph.initializer[:]
        graph.initializer.extend(rest)
        names = iter(self._names)
        for value in (*graph.input, *graph.output):
            for dim in value.type.tensor_type.shape.dim:
                if dim.HasField("dim_value"):
                    name = next(names)
                    if name is not None:
                        dim.dim_param = name
        for name, dtype, shape in member.values:
            named = [next(names) or size for size in shape]
            if any(isinstance(size, str) for size in named):
                graph.value_info.append(onnx.helper.make_tensor_value_info(name, dtype, named))
        for constant in lifted.values():
            info = onnx.helper.make_tensor_value_info(
                constant.name, constant.dtype, list(constant.shape)
            )
            graph.input.append(info)
        content: bytes = proto.SerializeToString()
        return content
