"""Make inputs of a network's initial states and outputs of its last ones.

Training begins every sentence with states of zero. Whoever reads or writes a text piece by piece
goes on where the last piece ended.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
from onnx import helper, numpy_helper

from symbucket.errors import UnsupportedError
from symbucket.export.affine_sizes import BATCH_NAME
from symbucket.export.spec import BATCH, InputSpec, OutputSpec

_STATES = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}
_INITIAL = 5  # the number of the first state among the inputs of a recurrent operator
_STEP = re.compile(r"_?t\d+_.*")
_FLOAT = onnx.TensorProto.FLOAT


def carry_states(
    model: onnx.ModelProto, batch: int
) -> tuple[onnx.ModelProto, list[InputSpec], list[OutputSpec]]:
    """Return a model of any batch with its states as inputs and outputs, and what these are.

    A state is (batch, units), named after its layer: the input ``lstm_h`` and the output
    ``lstm_h.next``. Raises UnsupportedError if the model has no recurrent operator that begins with
    zeros, or one that reads backwards, and so has no state to go on with.
    """
    model = _copied(model)
    graph = model.graph
    axis = numpy_helper.from_array(np.zeros(1, np.int64), "states/axis")
    inputs: list[InputSpec] = []
    outputs: list[OutputSpec] = []
    nodes: list[onnx.NodeProto] = []
    taken = {value.name for value in [*graph.input, *graph.output]}
    for node in graph.node:
        if node.op_type not in _STATES or node.domain:
            nodes.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if attributes.get("direction", b"forward") != b"forward":
            raise UnsupportedError(
                f"carry_states: {node.name!r} reads its input backwards, so it has no state from "
                "which a later piece could go on"
            )
        node.input.extend([""] * (_INITIAL + len(_STATES[node.op_type]) - len(node.input)))
        node.output.extend([""] * (1 + len(_STATES[node.op_type]) - len(node.output)))
        units = attributes["hidden_size"]
        after: list[onnx.NodeProto] = []
        for i, letter in enumerate(_STATES[node.op_type]):
            if node.input[_INITIAL + i]:
                continue  # the network computes it
            name = _unique(f"{_layer_of(node.name)}{letter}", taken)
            stacked = f"{name}/stacked"
            nodes.append(helper.make_node("Unsqueeze", [name, axis.name], [stacked], f"{name}/in"))
            node.input[_INITIAL + i] = stacked
            node.output[1 + i] = node.output[1 + i] or f"{name}/last"
            last = [node.output[1 + i], axis.name]
            after.append(helper.make_node("Squeeze", last, [f"{name}.next"], f"{name}/out"))
            graph.input.append(helper.make_tensor_value_info(name, _FLOAT, [BATCH_NAME, units]))
            graph.output.append(
                helper.make_tensor_value_info(f"{name}.next", _FLOAT, [BATCH_NAME, units])
            )
            form = (np.dtype(np.float32), (batch, units), (BATCH, None))
            inputs.append(InputSpec(name, "state", *form, padding=0.0, limits=None))
            outputs.append(OutputSpec(f"{name}.next", "state", *form))
        nodes += [node, *after]
    if not inputs:
        raise UnsupportedError(
            "carry_states: the network has no LSTM, GRU or RNN that begins with states of zero"
        )
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(axis)
    return model, inputs, outputs


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _layer_of(name: str) -> str:
    """Return the prefix of a layer from the name of a step's node: ``lstm_`` of ``lstm_t0_i2h``."""
    layer = _STEP.sub("", name.partition("/")[0])
    return f"{layer.rstrip('_')}_" if layer else ""


def _unique(name: str, taken: set[str]) -> str:
    number, result = 1, name
    while result in taken or f"{result}.next" in taken:
        number += 1
        result = f"{name}{number}"
    taken.update((result, f"{result}.next"))
    return result
