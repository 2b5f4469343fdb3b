"""Uses of an ONNX graph's constants by its nodes: as weights, initial states, settings, numbers.

A constant is followed through the nodes that compute with constants alone (a transposed weight, the
parts of weight normalization) until a node combines it with data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

import onnx

from symbucket.ops.foreign.attributes import int_of
from symbucket.symbol.onnx.walk import graphs_of
from symbucket.types import Shape


class Role(Enum):
    """Purpose of an input of a node; the values are words for messages."""

    PRODUCT = "a weight"
    LOOKUP = "a table"
    BIAS = "a bias"
    NORMALIZATION = "a scale or shift"
    INITIAL_STATE = "an initial state"
    STATISTICS = "statistics"
    RUNNING_STATISTICS = "statistics that follow the batches"
    SETTING = "a setting"
    OPERAND = "an operand"
    OUTPUT = "an output"


WEIGHT_ROLES = frozenset({Role.PRODUCT, Role.LOOKUP, Role.BIAS, Role.NORMALIZATION})

_RECURRENT = {
    **dict.fromkeys((1, 2), Role.PRODUCT),
    **dict.fromkeys((3, 7), Role.BIAS),
    **dict.fromkeys((5, 6), Role.INITIAL_STATE),
}
INITIAL_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Inputs of recurrent nodes that are zero if they are left out."""

_STATES_OF_LOOPS = dict.fromkeys(range(2, 32), Role.INITIAL_STATE)
_CONVOLUTION = {1: Role.PRODUCT, 2: Role.BIAS}
_AFFINE = {1: Role.NORMALIZATION, 2: Role.NORMALIZATION}
_QUANTIZATION = {1: Role.SETTING, 2: Role.SETTING}
_COMPARISON = {0: Role.SETTING, 1: Role.SETTING}

_ROLES: Mapping[str, Mapping[int, Role]] = {
    "MatMul": {0: Role.PRODUCT, 1: Role.PRODUCT},
    "Gemm": {0: Role.PRODUCT, 1: Role.PRODUCT, 2: Role.BIAS},
    "Einsum": dict.fromkeys(range(8), Role.PRODUCT),
    "Conv": _CONVOLUTION,
    "ConvTranspose": _CONVOLUTION,
    "DeformConv": {1: Role.PRODUCT, 3: Role.BIAS},
    "PRelu": {1: Role.PRODUCT},
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "BatchNormalization": {**_AFFINE, 3: Role.STATISTICS, 4: Role.STATISTICS},
    "LayerNormalization": _AFFINE,
    "InstanceNormalization": _AFFINE,
    "GroupNormalization": _AFFINE,
    "RMSNormalization": {1: Role.NORMALIZATION},
    # Settings: how an operator works. They are no weights, even if they have an axis.
    "Clip": {1: Role.SETTING, 2: Role.SETTING},
    "DequantizeLinear": _QUANTIZATION,
    "Dropout": {1: Role.SETTING},
    "Equal": _COMPARISON,
    "Greater": _COMPARISON,
    "GreaterOrEqual": _COMPARISON,
    "If": {0: Role.SETTING},
    "Less": _COMPARISON,
    "LessOrEqual": _COMPARISON,
    "Loop": {**dict.fromkeys((0, 1), Role.SETTING), **_STATES_OF_LOOPS},
    "Mod": {1: Role.SETTING},
    "NegativeLogLikelihoodLoss": {2: Role.SETTING},
    "OneHot": {2: Role.SETTING},
    "Pad": {2: Role.SETTING},
    "Pow": {1: Role.SETTING},
    "QuantizeLinear": _QUANTIZATION,
    "Range": dict.fromkeys(range(3), Role.SETTING),
    "Resize": {1: Role.SETTING, 2: Role.SETTING},
    "SoftmaxCrossEntropyLoss": {2: Role.SETTING},
    "Scan": {**dict.fromkeys((0, 1), Role.INITIAL_STATE), **_STATES_OF_LOOPS},
    "Upsample": {1: Role.SETTING},
}
_SHAPE_ONLY = frozenset({"Shape", "Size"})
_PRODUCTS = frozenset(
    {"Conv", "ConvTranspose", "DeformConv", "Einsum", "Gemm", "GRU", "LSTM", "MatMul", "RNN"}
)
_MOVES_ONLY = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)


@dataclass(frozen=True)
class Use:
    """One input of one node that reads a constant."""

    role: Role
    op_type: str
    node: str
    direct: bool = field(default=True, compare=False)
    """Whether the node reads the constant itself, not what was computed from it."""

    def __str__(self) -> str:
        return f"{self.op_type} {self.node!r}" if self.op_type else "the graph"


@dataclass(frozen=True)
class _Node:
    """A node; results of branches and loops are passed on by nodes without a type."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    trains: bool = False
    """Whether the attribute training_mode is set."""


class GraphUses:
    """The uses of all constants of a graph, those in branches and loops included."""

    def __init__(self, graph: onnx.GraphProto, constants: Mapping[str, Shape]) -> None:
        self._constants = constants
        self._outputs = {o.name for o in graph.output}
        self._nodes = _live(list(_all_nodes(graph)), self._outputs)
        self._readers: dict[str, list[tuple[_Node, int]]] = defaultdict(list)
        for node in self._nodes:
            for i, name in enumerate(node.inputs):
                self._readers[name].append((node, i))
        inputs = {i.name for i in graph.input} - set(constants)
        inputs |= set(_inputs_of_loops(graph))  # what a loop carries and what it cuts
        self._data = self._reached(inputs)
        self._products = self._product_results()

    def _reached(self, inputs: set[str]) -> set[str]:
        """Return all values that depend on the values of ``inputs`` (or are random)."""
        data = set(inputs)
        for node in self._nodes:
            random = node.op_type.startswith("Random")
            if random or (node.op_type not in _SHAPE_ONLY and data.intersection(node.inputs)):
                data.update(node.outputs)
        return data

    def _product_results(self) -> set[str]:
        """Return the results of products with data, also if they were reshaped since."""
        results: set[str] = set()
        for node in self._nodes:
            moved = node.op_type in _MOVES_ONLY and node.inputs and node.inputs[0] in results
            if moved or (node.op_type in _PRODUCTS and self._data.intersection(node.outputs)):
                results.update(node.outputs)
        return results

    def of(self, constant: str) -> list[Use]:
        """Return the uses of a constant; an empty list if no result depends on its value."""
        uses: dict[Use, None] = {}
        seen, values = {constant}, [constant]
        while values:
            value = values.pop()
            if value in self._outputs:
                uses[Use(Role.OUTPUT, "", "")] = None
            for node, i in self._readers[value]:
                role = self._role(node, i, constant)
                if role is not None:
                    uses[Use(role, node.op_type, node.name, value == constant)] = None
                elif node.op_type not in _SHAPE_ONLY:
                    fresh = [o for o in node.outputs if o and o not in seen]
                    seen.update(fresh)
                    values += fresh
        return list(uses)

    def _role(self, node: _Node, i: int, constant: str) -> Role | None:
        """Return what input ``i`` is for; None if only the node's own readers tell."""
        role = _ROLES.get(node.op_type, {}).get(i)
        if role is Role.STATISTICS and node.trains:
            return Role.RUNNING_STATISTICS
        if role in (Role.SETTING, Role.INITIAL_STATE, Role.STATISTICS):
            return role
        if not self._data.intersection(node.outputs) or node.op_type in _SHAPE_ONLY | {""}:
            return None
        if role is not None:
            return role
        if node.op_type == "Gather" and i == 0:
            return Role.LOOKUP
        others = [name for k, name in enumerate(node.inputs) if k != i]
        is_vector = sum(d > 1 for d in self._constants[constant]) <= 1
        if node.op_type in ("Add", "Sum") and is_vector and self._products.intersection(others):
            return Role.BIAS
        return Role.OPERAND


def _live(nodes: list[_Node], outputs: set[str]) -> list[_Node]:
    """Return the nodes that outputs depend on."""
    live, needed = [], set(outputs)
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            live.append(node)
    return live[::-1]


def _inputs_of_loops(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        for inner in graphs_of(node):
            yield from (value.name for value in inner.input)
            yield from _inputs_of_loops(inner)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[_Node]:
    for node in graph.node:
        for body in graphs_of(node):
            yield from _all_nodes(body)
            if node.op_type != "If":  # any result of a step may reach any result of the loop
                results = tuple(value.name for value in body.output)
                yield _Node("", node.name, results, tuple(node.output))
                continue
            for inner, outer in zip(body.output, node.output):
                yield _Node("", node.name, (inner.name,), (outer,))
        trains = bool(int_of(node, "training_mode", 0))
        yield _Node(node.op_type, node.name, tuple(node.input), tuple(node.output), trains)
