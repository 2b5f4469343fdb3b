"""Options of LSTM, GRU and RNN nodes: values of the runtime's operators, gradients of our own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import symbucket as sb
from symbucket import sym
from symbucket.errors import UnsupportedError
from symbucket.runtime.backend import ort
from tests.symbol.onnx_models import model

STEPS, SAMPLES, INPUTS, HIDDEN = 5, 3, 2, 2
STEP = 1e-3  # some kernels of activations are in float32 whatever comes in
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _arrays(op: str, directions: int, peepholes: bool) -> dict[str, np.ndarray]:
    shapes = {
        "x": (STEPS, SAMPLES, INPUTS),
        "w": (directions, GATES[op] * HIDDEN, INPUTS),
        "r": (directions, GATES[op] * HIDDEN, HIDDEN),
        "b": (directions, 2 * GATES[op] * HIDDEN),
        "h": (directions, SAMPLES, HIDDEN),
    }
    if op == "LSTM":
        shapes["c"] = (directions, SAMPLES, HIDDEN)
    if peepholes:
        shapes["p"] = (directions, 3 * HIDDEN)
    generator = np.random.default_rng(3)
    return {name: generator.normal(size=shape) for name, shape in shapes.items()}


def _model(
    op: str, arrays: dict[str, np.ndarray], lengths: Any, kind: int, **attributes: Any
) -> onnx.ModelProto:
    inputs = ["x", "w", "r", "b", "" if lengths is None else "n", "h", "c", "p"]
    present = {*arrays, "n"}
    inputs = [name if name in present else "" for name in inputs]
    while not inputs[-1]:
        inputs.pop()
    outputs = ["y", "last_h", "last_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, inputs, outputs, "node", hidden_size=HIDDEN, **attributes)
    values = [(name, array.shape, kind) for name, array in arrays.items()]
    constants = {} if lengths is None else {"n": np.array(lengths, np.int32)}
    return model([node], values, [(name, None, kind) for name in outputs], constants)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lengths": ("LSTM", {"lengths": [5, 0, 3], "direction": "bidirectional"}),
    "lengths, backwards": ("GRU", {"lengths": [2, 5, 4], "direction": "reverse"}),
    "lengths, plain": ("RNN", {"lengths": [1, 4, 5], "activations": ["Relu"]}),
    "peepholes": ("LSTM", {"peepholes": True, "input_forget": 1}),
    "clip": ("LSTM", {"clip": 0.4}),
    "clip, reset after": ("GRU", {"clip": 0.4, "linear_before_reset": 1}),
    "activations": (
        "LSTM",
        {
            "activations": ["HardSigmoid", "Softsign", "Tanh", "Sigmoid", "Elu", "ScaledTanh"],
            "activation_alpha": [0.3, 0.7, 1.2],
            "activation_beta": [0.4, 0.9],
            "direction": "bidirectional",
        },
    ),
    "other activations": (
        "GRU",
        {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.25, 0.2]},
    ),
    "affine": ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5]}),
}


def _bound(model: onnx.ModelProto, arrays: dict[str, np.ndarray], dtype: Any) -> Any:
    symbol: Any = sym.from_onnx(model, params=[])
    buffers = {n: sb.nd.array(arrays[n], dtype=dtype) for n in symbol.list_arguments()}
    grads = {n: sb.nd.zeros(a.shape, dtype=dtype) for n, a in buffers.items()}
    return symbol.bind(sb.cpu(), buffers, grads, "write", {})


FEW = ("lengths", "peepholes", "clip, reset after", "activations")


@pytest.mark.parametrize(
    "case", [case if case in FEW else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_options_are_those_of_the_operators(case: str) -> None:
    op, options = CASES[case]
    attributes = dict(options)
    lengths = attributes.pop("lengths", None)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    arrays = _arrays(op, directions, attributes.pop("peepholes", False))
    singles = {n: a.astype(np.float32) for n, a in arrays.items()}
    model = _model(op, arrays, lengths, onnx.TensorProto.FLOAT, **attributes)
    constants = onnx.ModelProto()  # the runtime takes peepholes as a constant only
    constants.CopyFrom(model)
    constants.graph.initializer.extend(
        numpy_helper.from_array(a, n) for n, a in singles.items() if n != "x"
    )
    held = {tensor.name for tensor in constants.graph.initializer}
    data = [value for value in constants.graph.input if value.name not in held]
    del constants.graph.input[:]
    constants.graph.input.extend(data)
    session = ort.InferenceSession(
        constants.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"x": singles["x"]})
    executor = _bound(model, singles, np.float32)
    for output, value in zip(executor.forward(is_train=True), expected, strict=True):
        np.testing.assert_allclose(output.asnumpy(), value, rtol=1e-5, atol=1e-6)
    generator = np.random.default_rng(4)
    heads = [generator.normal(size=value.shape) for value in expected]
    executor.backward([head.astype(np.float32) for head in heads])

    exact = _bound(_model(op, arrays, lengths, onnx.TensorProto.DOUBLE, **attributes), arrays, "d")

    def loss(name: str, moved: np.ndarray) -> float:
        exact.arg_dict[name][:] = moved
        outputs = exact.forward(is_train=True)
        return sum(float((o.asnumpy() * h).sum()) for o, h in zip(outputs, heads))

    for name in ("x", "w", "r", "b", "h", *(n for n in ("c", "p") if n in arrays)):
        direction = generator.normal(size=arrays[name].shape)
        ends = [loss(name, arrays[name] + step * direction) for step in (STEP, -STEP)]
        loss(name, arrays[name])
        slope = float((executor.grad_dict[name].asnumpy() * direction).sum())
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * STEP), rel=1e-3, abs=2e-3), name


def test_unknown_activations_are_refused() -> None:
    model = _model("RNN", _arrays("RNN", 1, False), None, 1, activations=["Swish"])
    with pytest.raises(UnsupportedError, match=r"'node' \(RNN of opset 17\): the activation Swish"):
        sym.from_onnx(model, params=[]).infer_shape()
