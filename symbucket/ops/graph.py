"""A whole ONNX graph as one operator; ``sym.from_onnx`` creates it."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from symbucket.errors import InvalidArgumentError
from symbucket.ir import info, new_graph, shape_of
from symbucket.ops.foreign import emit_graph, lookup_bounds
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.shape import is_known, unify
from symbucket.types import (
    Array,
    DType,
    InferredShapes,
    InferredTypes,
    PartialDType,
    PartialShape,
    Shape,
)

FAMILY = "Graphs from elsewhere"

_MOST_DRAWS = 1_000_000  # numbers that a graph has to itself: how many it needs shows when written


def pack(model: onnx.ModelProto) -> str:
    """Return a model as text for a symbol file."""
    content = model.SerializeToString(deterministic=True)
    return base64.b64encode(zlib.compress(content)).decode()


@lru_cache(maxsize=64)
def unpack(text: str) -> onnx.ModelProto:
    """Return the model in a text of ``pack``; raise InvalidArgumentError if there is none."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(zlib.decompress(base64.b64decode(text, validate=True)))
    except (binascii.Error, zlib.error, DecodeError, ValueError) as error:
        raise InvalidArgumentError(
            f"_onnx_graph: the attribute graph holds no packed ONNX model: {error}"
        ) from None
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators that a model uses."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return int(versions[0]) if versions else 0


@operator("_onnx_graph")
class OnnxGraph(Operator):
    """The nodes of an ONNX graph; its inputs, parameters among them, are the arguments.

    ``graph`` is a packed model without the values of parameters, ``states`` names the inputs that
    are auxiliary states. Dimensions that the file leaves open come from the data.
    """

    foreign: ClassVar[bool] = True
    random: ClassVar[bool] = True  # if the graph has nodes that draw

    graph: str
    states: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        inputs = self.model.graph.input
        self.check(len(self.model.graph.output) > 0, "the graph has no outputs")
        self.check(len({i.name for i in inputs}) == len(inputs), "two inputs have one name")
        unknown = [n for n in self.states if n not in [i.name for i in inputs]]
        self.check(not unknown, f"states {unknown} are not inputs of the graph")

    @property
    def model(self) -> onnx.ModelProto:
        """The model; not to be changed."""
        return unpack(self.graph)

    def draws(self, training: bool) -> int:
        return _MOST_DRAWS if _draws(self.graph) else 0

    def repeated_weights(self, least: int) -> dict[str, int]:
        """Return the inputs and constants that ``least`` products or more read, with how many."""
        graph = self.model.graph
        outside = {value.name for value in (*graph.input, *graph.initializer)}
        products = (node for node in graph.node if node.op_type in ("Gemm", "MatMul"))
        counts = Counter(name for node in products for name in {*node.input} & outside)
        return {name: count for name, count in counts.items() if count >= least}

    def constant(self, name: str) -> Array | None:
        """Return the constant with a name; None if the graph has none."""
        for tensor in self.model.graph.initializer:
            if tensor.name == name:
                value: Array = onnx.numpy_helper.to_array(tensor)
                return value
        return None

    def arguments(self) -> tuple[str, ...]:
        return tuple(i.name for i in self.model.graph.input if i.name not in self.states)

    def auxiliary(self) -> tuple[str, ...]:
        return self.states

    def outputs(self) -> tuple[str, ...]:
        return tuple(o.name for o in self.model.graph.output)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shapes = [unify(a, b) for a, b in zip(ins, self._declared())]
        if not all(is_known(s) for s in shapes):
            return shapes, outs
        out_shapes = _output_shapes(self, tuple(tuple(s or ()) for s in shapes))
        return shapes, [unify(a, b) for a, b in zip(outs, out_shapes)]

    def shapes_of_outputs(self, ins: Sequence[Shape]) -> Sequence[Shape]:
        """Return the shapes of the outputs for inputs of exactly these shapes, 0 a size as others.

        Raises ShapeError if they contradict the shapes in the file.
        """
        for shape, declared in zip(ins, self._declared()):
            unify(tuple(size or -1 for size in shape), declared)  # 0 would be unknown
        return _output_shapes(self, tuple(ins))

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        types = self._types()
        named = [*self.arguments(), *self.states]
        # An input may come in another dtype (ids as float32, as MXNet's iterators give them).
        taken: list[PartialDType] = [d or types[n] for n, d in zip(named, ins)]
        return taken, [_dtype(o) for o in self.model.graph.output]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        return lookup_bounds(self.model.graph, dict(zip([*self.arguments(), *self.states], ins)))

    def emit(self, g: Emitter, *inputs: ir.Value) -> Sequence[ir.Value]:
        types = self._types()
        values = {
            name: g.cast(value, ir.DataType.from_numpy(types[name]))
            for name, value in zip([*self.arguments(), *self.states], inputs)
        }
        return emit_graph(g, self.model.graph, opset_of(self.model), values)

    def _types(self) -> dict[str, DType]:
        return {i.name: _dtype(i) for i in self.model.graph.input}

    def _declared(self) -> list[PartialShape]:
        """Return the shapes that the file declares, 0 for a dimension that it leaves open."""
        shapes: dict[str, PartialShape] = {}
        for value in self.model.graph.input:
            tensor = value.type.tensor_type
            dims = tuple(int(d.dim_value) for d in tensor.shape.dim)
            shapes[value.name] = dims if tensor.HasField("shape") else None
        return [shapes[n] for n in [*self.arguments(), *self.states]]


@lru_cache(maxsize=64)
def _draws(text: str) -> bool:
    """Return whether some node of a packed model, also in a body, draws random numbers."""
    model = unpack(text)
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for nodes in bodies:  # grows
        for node in nodes:
            if info(node.op_type).random:
                return True
            for attribute in node.attribute:
                bodies += [graph.node for graph in (attribute.g, *attribute.graphs)]
    return False


def _dtype(value: onnx.ValueInfoProto) -> DType:
    kind = value.type.tensor_type.elem_type
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind) if kind else np.float32)


@lru_cache(maxsize=256)
def _output_shapes(op: OnnxGraph, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Shapes of the outputs, found by writing the graph into one that is thrown away."""
    g = Emitter(new_graph("shapes"), training=False)
    g.loops = True  # one step tells the shapes of all
    types = op._types()
    named = [*op.arguments(), *op.states]
    inputs = [
        g.input(n, s, ir.DataType.from_numpy(types[n])) for n, s in zip(named, shapes, strict=True)
    ]
    with g.scoped("onnx"):
        outputs = op.emit(g, *inputs)
    return tuple(shape_of(v) for v in outputs)
