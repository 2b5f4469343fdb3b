"""Products with the rows of a table that is only looked up, computed once for the whole table.

The first layer of a network over words multiplies what it looks up by a weight: ``table[words] W``
is ``(table W)[words]``. Half of an LSTM's products are gone, for the memory of the products of all
words. ONNX's LSTM does not take what is multiplied already, so the layer becomes a Scan over its
step (``lstm_scan.py``). That is for a bundle's own sessions; its files stay as they are.

A step of a Scan is a dozen nodes, which take longer than the operator where little is multiplied:
with few rows, and in small layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from symbucket.runtime.session import run_model
from symbucket.serve.lstm_scan import LookedUp, input_name, scan_nodes
from symbucket.types import Array

WORTH = 1 << 20
"""Multiplications that a step has to save for its Scan to be faster, on one core with AVX-512."""

_FLOAT = onnx.TensorProto.FLOAT
_OF_WEIGHTS = frozenset({"Add", "Concat", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that make an LSTM's weights of the parameters of a cell."""


@dataclass(frozen=True)
class LookupModel:
    """A model with tables of products.

    Attributes:
        proto: the model; the tables are further inputs.
        tables: their values by name.
        rows: a run of as many samples or more is faster than one of the original.
    """

    proto: onnx.ModelProto
    tables: Mapping[str, Array]
    rows: int


def with_lookup_products(
    model: onnx.ModelProto, parameters: Mapping[str, Array], samples: int, limit: int, prefix: str
) -> LookupModel | None:
    """Return a model that looks up products, or None if it would not be faster.

    Args:
        model: a bundle's model: the parameters are initializers without values.
        parameters: their values.
        samples: the most of a run.
        limit: the most bytes that tables of products may take.
        prefix: what new names begin with.
    """
    graph = _Constants(model, parameters)
    lookups: dict[int, LookedUp] = {}
    for i, node in enumerate(model.graph.node):
        lookup = graph.lookup_of(node)
        if lookup is not None and samples * lookup.saved >= WORTH and lookup.nbytes <= limit:
            lookups[i] = lookup
            limit -= lookup.nbytes
    if not lookups:
        return None
    new = onnx.ModelProto()
    new.CopyFrom(model)
    del new.graph.node[:]
    tables: dict[str, Array] = {}
    for i, node in enumerate(model.graph.node):
        if i not in lookups:
            new.graph.node.append(node)
            continue
        place = f"{prefix}{len(tables)}/"
        table, recurrent = graph.weights_of(lookups[i])
        nodes, constants = scan_nodes(lookups[i], place, f"{place}table", recurrent)
        new.graph.node.extend(nodes)
        new.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
        new.graph.input.append(helper.make_tensor_value_info(f"{place}table", _FLOAT, table.shape))
        tables[f"{place}table"] = table
    _remove_unused(new.graph)
    return LookupModel(new, tables, -(-WORTH // min(one.saved for one in lookups.values())))


class _Constants:
    """What a model computes of its parameters alone."""

    def __init__(self, model: onnx.ModelProto, parameters: Mapping[str, Array]) -> None:
        self._model, self._parameters = model, parameters
        self._producers = {name: node for node in model.graph.node for name in node.output if name}
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in model.graph.input}
        self._constant = {*self._initializers, ""}
        for node in model.graph.node:
            if node.op_type in _OF_WEIGHTS and self._constant.issuperset(node.input):
                self._constant.update(node.output)

    def lookup_of(self, node: onnx.NodeProto) -> LookedUp | None:
        """Return what an LSTM of the plain kind looks up; None if it reads something else."""
        if node.op_type != "LSTM" or any(input_name(node, slot) for slot in (4, 7)):
            return None
        if not self._constant.issuperset(input_name(node, slot) for slot in (1, 2, 3)):
            return None
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        units, direction = attributes.pop("hidden_size", 0), attributes.pop("direction", b"forward")
        if attributes or direction not in (b"forward", b"reverse"):
            return None
        path: list[tuple[str, tuple[int, ...]]] = []
        source = self._producers.get(node.input[0])
        while source is not None and source.op_type in ("Reshape", "Transpose"):
            path.insert(0, (source.op_type, self._sizes(source)))
            source = self._producers.get(source.input[0])
        if source is None or source.op_type != "Gather" or any(a.i for a in source.attribute):
            return None
        name, numbers = source.input
        table = self._parameters.get(name)
        if table is None or table.ndim != 2 or table.dtype != np.float32:
            return None
        if not _keeps_rows(path, table.shape[1], self._rank_of(numbers) + 1):
            return None
        rows, width = table.shape
        reverse = direction == b"reverse"
        return LookedUp(node, name, numbers, tuple(path), units, rows, width, reverse)

    def _rank_of(self, name: str) -> int:
        """Return the rank of an input, or of an input with other types and limits; else 0."""
        while name not in self._ranks:
            node = self._producers.get(name)
            if node is None or node.op_type not in ("Cast", "Clip"):
                return 0
            name = node.input[0]
        return self._ranks[name]

    def _sizes(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Return the shape or the permutation that a node states; empty if it states none."""
        if node.op_type == "Transpose":
            return tuple(node.attribute[0].ints) if node.attribute else ()
        tensor = self._initializers.get(input_name(node, 1))
        if tensor is None or tensor.name in self._parameters or node.attribute:
            return ()
        return tuple(map(int, numpy_helper.to_array(tensor).reshape(-1)))

    def weights_of(self, lookup: LookedUp) -> tuple[Array, Array]:
        """Return the products of the table's rows, biases added, and the other weight, transposed.

        Their shapes are (rows, 4 units) and (units, 4 units), in the operator's order of gates.
        """
        w, r, b = (input_name(lookup.lstm, slot) for slot in (1, 2, 3))
        nodes, needed = _leading_to(self._model.graph.node, {lookup.table, w, r, b})
        own = ":" * (1 + max(map(_leading_colons, needed)))
        zero = numpy_helper.from_array(np.array([0]), own + "zero")

        def append(
            op_type: str, inputs: Sequence[str], *outputs: str, **attributes: object
        ) -> None:
            outputs = tuple(own + name for name in outputs)
            nodes.append(helper.make_node(op_type, inputs, outputs, **attributes))

        append("Squeeze", [w, zero.name], "w")
        append("Squeeze", [r, zero.name], "r")
        append("Transpose", [f"{own}r"], "recurrent", perm=[1, 0])
        append("Gemm", [lookup.table, f"{own}w"], "products", transB=1)
        if b:
            append("Split", [b], "wb", "rb", axis=1, num_outputs=2)
            append("Add", [f"{own}wb", f"{own}rb"], "b")
            append("Add", [f"{own}products", f"{own}b"], "table")
        else:
            append("Identity", [f"{own}products"], "table")
        results = [own + name for name in ("table", "recurrent")]
        inputs = {name: array for name, array in self._parameters.items() if name in needed}
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        model.graph.CopyFrom(
            helper.make_graph(
                nodes,
                "weights",
                [_typed(name, array) for name, array in inputs.items()],
                [helper.make_tensor_value_info(name, _FLOAT, None) for name in results],
                [zero, *(t for n, t in self._initializers.items() if n in needed - {*inputs})],
            )
        )
        computed = run_model(model.SerializeToString(), inputs)
        return computed[results[0]], computed[results[1]]


def _keeps_rows(path: Iterable[tuple[str, tuple[int, ...]]], width: int, rank: int) -> bool:
    """Return whether an array of rows of this width has three axes after all nodes, and its rows.

    ``rank``: of the array.
    """
    for op_type, sizes in path:
        if op_type == "Transpose":
            whole = sizes[-1:] == (len(sizes) - 1,)
        else:  # a 0 copies the size of an axis, which must not be that of the rows
            copied = [axis for axis, size in enumerate(sizes) if size == 0]
            whole = sizes[-1:] == (width,) and all(axis < rank - 1 for axis in copied)
        if not whole:
            return False
        rank = len(sizes)
    return rank == 3


def _leading_colons(name: str) -> int:
    return len(name) - len(name.lstrip(":"))


def _typed(name: str, array: Array) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, array.shape)


def _leading_to(
    nodes: Sequence[onnx.NodeProto], names: set[str]
) -> tuple[list[onnx.NodeProto], set[str]]:
    """Return the nodes that values depend on, in order, and the names of all that they read."""
    leading: list[onnx.NodeProto] = []
    needed = names - {""}
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            leading.append(node)
            needed.update(filter(None, node.input))
            for attribute in node.attribute:
                needed.update(n for inner in attribute.g.node for n in inner.input if n)
    return leading[::-1], needed


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    nodes, needed = _leading_to(graph.node, {value.name for value in graph.output})
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
