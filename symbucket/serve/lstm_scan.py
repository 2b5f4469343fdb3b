"""ONNX's LSTM over rows of a table, as a Scan over the products of these rows with its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from symbucket.types import Array

_FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class LookedUp:
    """An LSTM and where its input comes from.

    ``table`` and ``numbers`` are the inputs of the Gather: rows of ``width`` elements, and which of
    them. ``path`` are the nodes between Gather and LSTM, which leave rows whole: operators, each
    with its shape or permutation.
    """

    lstm: onnx.NodeProto
    table: str
    numbers: str
    path: tuple[tuple[str, tuple[int, ...]], ...]
    units: int
    rows: int
    width: int
    reverse: bool

    @property
    def nbytes(self) -> int:
        """The bytes of the table of products."""
        return 4 * 4 * self.units * self.rows

    @property
    def saved(self) -> int:
        """Multiplications that a step saves for each sample."""
        return 4 * self.units * self.width


def input_name(node: onnx.NodeProto, slot: int) -> str:
    """Return the name of an input, empty if the node does not have it."""
    return str(node.input[slot]) if slot < len(node.input) else ""


def scan_nodes(
    lookup: LookedUp, place: str, table: str, recurrent: Array
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """Return nodes in place of an LSTM, and their constants by name.

    Args:
        lookup: the LSTM.
        place: what new names begin with.
        table: the name of the products, of shape (rows of the table, 4 units).
        recurrent: the weight of the state, of shape (units, 4 units).
    """
    constants = {
        f"{place}recurrent": recurrent,
        f"{place}0": np.array([0]),
        f"{place}1": np.array([1]),
        f"{place}units": np.array([lookup.units]),
        f"{place}gates": np.full(4, lookup.units),
    }
    nodes: list[onnx.NodeProto] = []

    def node(op_type: str, inputs: Sequence[str], output: str, **attributes: int) -> str:
        nodes.append(helper.make_node(op_type, inputs, [place + output], **attributes))
        return place + output

    x = node("Gather", [table, _indices(lookup, place, nodes, constants)], "x")
    states = []
    for slot in (5, 6):
        name = input_name(lookup.lstm, slot)
        if name:
            states.append(node("Squeeze", [name, f"{place}0"], f"state{slot}"))
        else:
            samples = node("Shape", [x], f"samples{slot}", start=1, end=2)
            shape = node("Concat", [samples, f"{place}units"], f"shape{slot}", axis=0)
            states.append(node("ConstantOfShape", [shape], f"state{slot}"))
    direction = int(lookup.reverse)
    outputs = [f"{place}h", f"{place}c", f"{place}y"]
    nodes.append(
        helper.make_node(
            "Scan",
            [*states, x],
            outputs,
            num_scan_inputs=1,
            body=_step(lookup.units, place),
            scan_input_directions=[direction],
            scan_output_directions=[direction],
        )
    )
    for slot, (source, axis) in enumerate(zip((outputs[2], *outputs[:2]), "100")):
        name = lookup.lstm.output[slot] if slot < len(lookup.lstm.output) else ""
        if name:
            nodes.append(helper.make_node("Unsqueeze", [source, f"{place}{axis}"], [name]))
    return nodes, constants


def _indices(
    lookup: LookedUp, place: str, nodes: list[onnx.NodeProto], constants: dict[str, Array]
) -> str:
    """Append what moves the rows, for their numbers; returns the numbers of (steps, samples)."""
    name = lookup.numbers
    for i, (op_type, sizes) in enumerate(lookup.path):
        inputs, attributes, name = [name], {}, f"{place}numbers{i}"
        if op_type == "Reshape":
            constants[f"{name}/shape"] = np.array(sizes[:-1])
            inputs.append(f"{name}/shape")
        else:
            attributes["perm"] = sizes[:-1]
        nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
    return name


def _step(units: int, place: str) -> onnx.GraphProto:
    """Return a step: state, cell and products of the input (samples, 4 units) to the next ones.

    The gates are in the operator's order: input, output, forget, cell.
    """
    nodes = [
        helper.make_node("Gemm", ["h", f"{place}recurrent", "x"], ["sums"]),
        helper.make_node("Split", ["sums", f"{place}gates"], ["i0", "o0", "f0", "g0"], axis=1),
        *(helper.make_node("Sigmoid", [f"{gate}0"], [gate]) for gate in "iof"),
        helper.make_node("Tanh", ["g0"], ["g"]),
        helper.make_node("Mul", ["f", "c"], ["remembered"]),
        helper.make_node("Mul", ["i", "g"], ["added"]),
        helper.make_node("Add", ["remembered", "added"], ["c1"]),
        helper.make_node("Tanh", ["c1"], ["squashed"]),
        helper.make_node("Mul", ["o", "squashed"], ["h1"]),
        helper.make_node("Identity", ["h1"], ["y"]),
    ]
    state = ["samples", units]
    inputs = [("h", state), ("c", state), ("x", ["samples", 4 * units])]
    outputs = [(name, state) for name in ("h1", "c1", "y")]
    typed = [
        [helper.make_tensor_value_info(name, _FLOAT, shape) for name, shape in values]
        for values in (inputs, outputs)
    ]
    return helper.make_graph(nodes, f"{place}step", *typed)
