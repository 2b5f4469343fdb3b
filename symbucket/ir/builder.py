"""A builder that appends ONNX nodes whose values always carry static shapes and dtypes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.ir.nodes import scope_of
from symbucket.ir.notes import Phase, graph_notes, phase_of, set_phase
from symbucket.ir.registry import IR_VERSION, OPSET, OWN_DOMAIN
from symbucket.ir.shapes import infer_node

_MAX_SHARED_BYTES = 4096  # larger constants are not compared by content


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Return the static shape of a value."""
    shape = value.shape
    if shape is None or not shape.is_static():
        raise ValueError(f"value {value.name!r} has no static shape: {shape}")
    return shape.numpy()


def dtype_of(value: ir.Value) -> ir.DataType:
    """Return the element type of a value."""
    dtype = value.dtype
    if dtype is None:
        raise ValueError(f"value {value.name!r} has no dtype")
    return dtype


def nbytes_of(value: ir.Value) -> int:
    """Return the bytes of a value of static shape."""
    return int(math.prod(shape_of(value)) * dtype_of(value).itemsize)


def bounds(graph: ir.Graph) -> dict[str, int]:
    """Return size name -> largest value, for sizes that are known at run time only."""
    return graph_notes(graph).size_bounds


def attr(node: ir.Node, name: str, default: Any = None) -> Any:
    """Return the value of a node's attribute, ``default`` if it is not set."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def const_of(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """Return the array of a constant value, None if the value is computed."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def new_body(root: ir.Graph, name: str) -> ir.Graph:
    """Return an empty body of a loop; its constants and names are those of ``root``."""
    body = ir.Graph([], [], nodes=[], opset_imports={}, name=name)
    graph_notes(body).root = root
    return body


def root_of(graph: ir.Graph) -> ir.Graph:
    """Return the graph that holds the constants of ``graph``: for a body the model's graph."""
    root = graph_notes(graph).root
    return graph if root is None else root


class Builder:
    """Appends nodes to ``graph`` (or inserts before ``anchor``).

    ``op`` and ``ops`` make nodes; every output gets its shape and dtype from the operator's shape
    rule at once, so that a mistake shows at the line that made it. Node names are
    ``scope/OpType``; the scope tells which node of the user's symbol the node came from.
    """

    def __init__(self, graph: ir.Graph, anchor: ir.Node | None = None) -> None:
        self.graph = graph
        self.root = root_of(graph)
        self.scope = ""
        self.phase = Phase.FORWARD if anchor is None else phase_of(anchor)
        self._anchor = anchor
        notes = graph_notes(self.root)
        self._names, self._constants = notes.names, notes.constants

    @contextmanager
    def scoped(self, scope: str, phase: Phase | None = None) -> Iterator[None]:
        """Give nodes made inside ``scope`` as the first part of their names, and a phase.

        Without ``phase`` they are of the phase of the builder, which is that of its anchor.
        """
        outer = self.scope, self.phase
        self.scope, self.phase = scope, phase or self.phase
        try:
            yield
        finally:
            self.scope, self.phase = outer

    def beside(self, node: ir.Node) -> AbstractContextManager[None]:
        """Give nodes made inside the scope and the phase of ``node``."""
        return self.scoped(scope_of(node), phase_of(node))

    @contextmanager
    def inside(self, body: ir.Graph) -> Iterator[None]:
        """Nodes made inside are appended to ``body``, a body whose root is this builder's root."""
        graph, anchor = self.graph, self._anchor
        self.graph, self._anchor = body, None
        try:
            yield
        finally:
            self.graph, self._anchor = graph, anchor

    def unique(self, name: str) -> str:
        """Return ``name``, or ``name_1``, ``name_2``, ... if it is taken."""
        count = self._names.get(name)
        self._names[name] = 0 if count is None else count + 1
        if count is None:
            return name
        return self.unique(f"{name}_{count + 1}")

    def input(self, name: str, shape: Sequence[int], dtype: ir.DataType) -> ir.Value:
        """A new graph input."""
        self._names.setdefault(name, 0)
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        self.graph.inputs.append(value)
        return value

    def const(
        self,
        array: np.ndarray[Any, Any] | np.generic | float | Sequence[int],
        like: ir.Value | None = None,
    ) -> ir.Value:
        """Return a constant; ``like`` determines the dtype. Equal small constants are one value.

        Without ``like`` an array keeps its dtype and a Python float becomes float32.
        """
        if like is not None:
            array = np.asarray(array, dtype=dtype_of(like).numpy())
        elif isinstance(array, float):
            array = np.float32(array)
        array = np.asarray(array)
        key = None
        if array.nbytes <= _MAX_SHARED_BYTES:
            key = (array.dtype.str, array.shape, array.tobytes())
            if key in self._constants:
                return self._constants[key]
        name = self.unique("const")
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name),
        )
        self.root.register_initializer(value)
        if key is not None:
            self._constants[key] = value
        return value

    def ints(self, *values: int) -> ir.Value:
        """A 1-d int64 constant: axes, shapes, starts, ends."""
        return self.const(np.array(values, dtype=np.int64))

    def op(
        self, op_type: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any
    ) -> ir.Value:
        """Append a node with one output and return that output."""
        return self.ops(op_type, *inputs, outputs=1, domain=domain, **attributes)[0]

    def own(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Append a node of our own domain with one output."""
        return self.ops(op_type, *inputs, outputs=1, domain=OWN_DOMAIN, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        outputs: int,
        domain: str = "",
        **attributes: Any,
    ) -> list[ir.Value]:
        """Append a node and return its outputs.

        Attributes that are None are left out, and so are inputs at the end that are None.
        """
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        present = {k: v for k, v in attributes.items() if v is not None}
        name = self.unique(f"{self.scope}/{op_type}" if self.scope else op_type)
        node = ir.Node(
            domain,
            op_type,
            inputs,
            ir.convenience.convert_attributes(present) if present else (),
            num_outputs=outputs,
            name=name,
        )
        for i, (shape, dtype) in enumerate(infer_node(node)):
            out = node.outputs[i]
            out.shape = ir.Shape(shape)
            out.type = ir.TensorType(dtype)
            out.name = name if i == 0 else self.unique(f"{name}:{i}")
        self.place(node)
        if domain == OWN_DOMAIN:
            self.root.opset_imports.setdefault(OWN_DOMAIN, 1)
        return list(node.outputs)

    def typed(
        self,
        op_type: str,
        shape: Sequence[int | str],
        *inputs: ir.Value,
        dtype: ir.DataType | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """Append a node with an explicit output shape; a name in it is a size known at run time.

        For the few nodes whose sizes depend on data. ``dtype`` is that of the first input unless
        given.
        """
        name = self.unique(f"{self.scope}/{op_type}" if self.scope else op_type)
        node = ir.Node(
            "",
            op_type,
            inputs,
            ir.convenience.convert_attributes(attributes) if attributes else (),
            num_outputs=1,
            name=name,
        )
        out = node.outputs[0]
        out.name, out.shape = name, ir.Shape(shape)
        out.type = ir.TensorType(dtype or dtype_of(inputs[0]))
        self.place(node)
        return out

    def like(self, op_type: str, model: ir.Value, *inputs: ir.Value) -> ir.Value:
        """Append an elementwise node whose output has the shape of ``model``."""
        assert model.shape is not None
        return self.typed(
            op_type, [d if isinstance(d, int) else str(d) for d in model.shape], *inputs
        )

    def place(self, node: ir.Node) -> None:
        """Put a node where the builder puts the nodes that it makes."""
        set_phase(node, self.phase)
        if self._anchor is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self._anchor, node)

    # Shorthands used by many rules.

    def reshape(self, x: ir.Value, shape: Sequence[int]) -> ir.Value:
        """Return ``x`` with another static shape (x itself if nothing changes)."""
        if shape_of(x) == tuple(shape):
            return x
        # Without allowzero a 0 would stand for the size of x.
        return self.op("Reshape", x, self.ints(*shape), allowzero=1 if 0 in shape else None)

    def transpose(self, x: ir.Value, perm: Sequence[int]) -> ir.Value:
        """Return ``x`` with permuted axes (x itself for the identity)."""
        if list(perm) == list(range(len(perm))):
            return x
        return self.op("Transpose", x, perm=[int(p) for p in perm])

    def cast(self, x: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Return ``x`` in another dtype (x itself if it has it)."""
        if dtype_of(x) == dtype:
            return x
        return self.op("Cast", x, to=int(dtype))

    def reduce_sum(self, x: ir.Value, axes: Sequence[int], keepdims: bool = True) -> ir.Value:
        """Sum over ``axes``."""
        if not axes:
            return x
        return self.op("ReduceSum", x, self.ints(*axes), keepdims=int(keepdims))

    def filled(self, shape: Sequence[int], fill: float, dtype: ir.DataType) -> ir.Value:
        """A tensor of one value, made at run time so that the file stays small."""
        if int(np.prod(shape)) * 4 <= _MAX_SHARED_BYTES:
            return self.const(np.full(shape, fill, dtype=dtype.numpy()))
        scalar = ir.tensor(np.array([fill], dtype=dtype.numpy()))
        return self.op("ConstantOfShape", self.ints(*shape), value=scalar)


def new_graph(name: str) -> ir.Graph:
    """Return an empty graph of the opset that symbucket emits."""
    return ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)


def model_bytes(graph: ir.Graph) -> bytes:
    """Return a model of one graph, as a session takes it."""
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=IR_VERSION))
    return bytes(model.SerializeToString())
