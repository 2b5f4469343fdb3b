from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket.compiler import CompilerOptions, compile_inference
from symbucket.errors import InvalidArgumentError, ShapeError
from tests.ops.differences import apply, bound, check, draw, run

MODES = ("rnn_relu", "rnn_tanh", "lstm", "gru")
GATES = {"rnn_relu": 1, "rnn_tanh": 1, "lstm": 4, "gru": 3}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unpack(vector, channels, hidden, layers, directions, gates):
    """[(w, r, bw, br), ...] layer by layer, direction by direction; cuDNN's order."""
    shapes = []
    for layer in range(layers):
        wide = channels if layer == 0 else hidden * directions
        shapes += [(gates * hidden, wide), (gates * hidden, hidden)] * directions
    shapes += [(gates * hidden,)] * (2 * layers * directions)
    parts, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(vector[start : start + size].reshape(shape))
        start += size
    assert start == vector.size
    count = 2 * layers * directions
    return [
        (parts[i], parts[i + 1], parts[count + i], parts[count + i + 1]) for i in range(0, count, 2)
    ]


def step(mode, x, h, c, weights):
    w, r, bw, br = weights
    if mode == "gru":
        xr, xz, xn = np.split(x @ w.T + bw, 3, axis=1)
        hr, hz, hn = np.split(h @ r.T + br, 3, axis=1)
        z = sigmoid(xz + hz)
        return (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h, c
    total = x @ w.T + bw + h @ r.T + br
    if mode == "lstm":
        i, f, new, o = np.split(total, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
        return sigmoid(o) * np.tanh(c), c
    return (np.maximum(total, 0) if mode == "rnn_relu" else np.tanh(total)), c


def rnn(mode, hidden, layers, bidirectional, finals=True):
    directions = 2 if bidirectional else 1

    def reference(data, parameters, state, state_cell=None):
        cells = unpack(parameters, data.shape[2], hidden, layers, directions, GATES[mode])
        last_h, last_c = [], []
        for layer in range(layers):
            sides = []
            for d in range(directions):
                i = layer * directions + d
                h, c = state[i], None if state_cell is None else state_cell[i]
                outputs = []
                for x in data[::-1] if d else data:
                    h, c = step(mode, x, h, c, cells[i])
                    outputs.append(h)
                sides.append(np.stack(outputs[::-1] if d else outputs))
                last_h.append(h)
                last_c.append(c)
            data = np.concatenate(sides, axis=2)
        if not finals:
            return data
        return [data, np.stack(last_h), *([np.stack(last_c)] if mode == "lstm" else [])]

    return reference


def inputs_of(mode, steps=3, batch=2, channels=3, hidden=2, layers=1, directions=1, seed=8):
    gates, size = GATES[mode], 0
    for layer in range(layers):
        wide = channels if layer == 0 else hidden * directions
        size += directions * gates * hidden * (wide + hidden + 2)
    frame = (layers * directions, batch, hidden)
    data, vector, h, c = draw(seed, (steps, batch, channels), (size,), frame, frame)
    if mode == "rnn_relu":  # all units of so small a network may be dead
        biases = 2 * gates * hidden * layers * directions
        vector[-biases:] = np.abs(vector[-biases:])
    inputs = {"data": data, "parameters": vector * np.float32(0.7), "state": h}
    return {**inputs, "state_cell": c} if mode == "lstm" else inputs


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("layers", "bidirectional", "steps", "batch"),
    [(1, False, 3, 2), (2, False, 2, 3), (1, True, 3, 1), (2, True, 2, 2), (1, False, 1, 2)],
)
def test_values_and_gradients(mode, layers, bidirectional, steps, batch):
    inputs = inputs_of(mode, steps, batch, layers=layers, directions=1 + bidirectional)
    symbol = apply(
        "RNN",
        inputs,
        mode=mode,
        state_size=2,
        num_layers=layers,
        bidirectional=bidirectional,
        state_outputs=True,
    )
    check(symbol, rnn(mode, 2, layers, bidirectional), inputs, list(inputs))


@pytest.mark.parametrize("mode", MODES)
def test_without_state_outputs(mode):
    inputs = inputs_of(mode, layers=2)
    symbol = apply("RNN", inputs, mode=mode, state_size=2, num_layers=2)
    assert symbol.list_outputs() == ["x_output"]
    reference = rnn(mode, 2, 2, False, finals=False)
    check(symbol, reference, inputs, ["data", "parameters", "state"])
    np.testing.assert_allclose(run(symbol, inputs)[0], reference(**inputs), rtol=1e-4, atol=1e-5)


def test_names():
    data = sb.sym.Variable("data")
    symbol = sb.sym.RNN(
        data, mode="lstm", state_size=2, num_layers=1, state_outputs=True, name="rnn"
    )
    assert symbol.list_arguments() == ["data", "rnn_parameters", "rnn_state", "rnn_state_cell"]
    assert symbol.list_outputs() == [
        "rnn_output",
        "rnn_state_output",
        "rnn_statecell_output",
    ]
    symbol = sb.sym.RNN(data, mode="gru", state_size=2, num_layers=1, state_outputs=True, name="r")
    assert symbol.list_arguments() == ["data", "r_parameters", "r_state"]
    assert symbol.list_outputs() == ["r_output", "r_state_output"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_vector_is_as_long_as_its_cells(mode, bidirectional):
    symbol = sb.sym.RNN(
        sb.sym.Variable("data"),
        mode=mode,
        state_size=6,
        num_layers=2,
        bidirectional=bidirectional,
        name="r",
    )
    args, outs, _ = symbol.infer_shape(data=(5, 4, 3))
    directions = 1 + bidirectional
    vector = inputs_of(mode, 5, 4, 3, 6, 2, directions)["parameters"]
    assert args[1] == vector.shape
    assert set(args[2:]) == {(2 * directions, 4, 6)}
    assert outs == [(5, 4, 6 * directions)]


def test_partial_shapes():
    symbol = sb.sym.RNN(
        sb.sym.Variable("data"),
        mode="lstm",
        state_size=2,
        num_layers=1,
        state_outputs=True,
        name="r",
    )
    args, outs, _ = symbol.infer_shape_partial(data=(5, 0, 3))
    assert args == [(5, 0, 3), (56,), (1, 0, 2), (1, 0, 2)]
    assert outs == [(5, 0, 2), (1, 0, 2), (1, 0, 2)]
    # The batch from the state, the channels from the vector.
    args, outs, _ = symbol.infer_shape_partial(
        data=(5, 0, 0), r_parameters=(56,), r_state=(1, 4, 2)
    )
    assert args == [(5, 4, 3), (56,), (1, 4, 2), (1, 4, 2)]
    assert outs == [(5, 4, 2), (1, 4, 2), (1, 4, 2)]


def test_dropout_stands_between_layers_in_training_only():
    inputs = inputs_of("rnn_tanh", steps=4, batch=64, layers=2, hidden=2)
    settings = {"mode": "rnn_tanh", "state_size": 2, "num_layers": 2}
    plain, dropped = (apply("RNN", inputs, p=p, **settings) for p in (0.0, 0.5))
    exact = run(plain, inputs)[0]
    np.testing.assert_array_equal(run(dropped, inputs)[0], exact)
    executor = bound(dropped, inputs)
    first = executor.forward(is_train=True)[0].asnumpy().copy()
    assert np.abs(first - exact).max() > 0.1
    assert np.abs(first).min() > 0  # the last layer's outputs are never dropped
    second = executor.forward(is_train=True)[0].asnumpy()
    assert np.abs(second - first).max() > 0.1  # drawn anew each time


def test_one_layer_has_nothing_to_drop():
    inputs = inputs_of("gru")
    symbol = apply("RNN", inputs, mode="gru", state_size=2, num_layers=1, p=0.9)
    check(symbol, rnn("gru", 2, 1, False, finals=False), inputs, ["data", "parameters"])


def test_gradients_flow_through_dropout():
    inputs = inputs_of("lstm", layers=2)
    symbol = apply("RNN", inputs, mode="lstm", state_size=2, num_layers=2, p=0.5)
    executor = bound(symbol, inputs, ["data"])
    executor.forward(is_train=True)
    executor.backward([np.ones((3, 2, 2), np.float32)])
    assert np.isfinite(executor.grad_dict["data"].asnumpy()).all()
    assert np.abs(executor.grad_dict["data"].asnumpy()).max() > 0


def test_the_inputs_of_all_steps_are_one_product():
    inputs = inputs_of("lstm", steps=7, layers=2)
    symbol = apply("RNN", inputs, mode="lstm", state_size=2, num_layers=2)
    shapes = {n: a.shape for n, a in inputs.items()}
    program = compile_inference(symbol, shapes, options=CompilerOptions(disable={"roll-loops"}))
    kinds = [node.op_type for node in program.proto().graph.node]
    assert kinds.count("Gemm") == 2 * (1 + 7)
    program = compile_inference(
        symbol, shapes, options=CompilerOptions(disable={"use-recurrent-operators"})
    )
    kinds = [node.op_type for node in program.proto().graph.node]
    assert (kinds.count("Gemm"), kinds.count("Scan")) == (2, 2)
    kinds = [node.op_type for node in compile_inference(symbol, shapes).proto().graph.node]
    assert (kinds.count("Gemm"), kinds.count("LSTM")) == (0, 2)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"mode": "lstm", "num_layers": 1}, r"RNN: attribute 'state_size' is missing"),
        ({"mode": "lstm", "state_size": 2}, r"attribute 'num_layers' is missing"),
        ({"state_size": 2, "num_layers": 1}, r"'mode' is missing; it must be one of 'rnn_relu', "),
        ({"mode": "elman", "state_size": 2, "num_layers": 1}, r"mode='elman' is not one of 'rnn_r"),
        ({"mode": "gru", "state_size": 0, "num_layers": 1}, r"state_size=0 must be positive"),
        ({"mode": "gru", "state_size": 2, "num_layers": 0}, r"num_layers=0 must be positive"),
        ({"mode": "gru", "state_size": 2, "num_layers": 1, "p": 1}, r"p=1\.0 must be from 0 up to"),
        (
            {"mode": "gru", "state_size": 2, "num_layers": 1, "projection_size": 1},
            r"projection_size=1 is for mode='lstm' only, not for mode='gru'",
        ),
        (
            {"mode": "lstm", "state_size": 2, "num_layers": 1, "lstm_state_clip_min": -1},
            r"lstm_state_clip_min=-1\.0 and lstm_state_clip_max=None: set both, in order",
        ),
    ],
)
def test_wrong_attributes(attributes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        sb.sym.RNN(sb.sym.Variable("data"), **attributes)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"data": (5, 4)}, r"data must be \(steps, n, channels\), it has shape \(5, 4\)"),
        ({"data": (5, 4, 3), "r_parameters": (57,)}, r"shapes \(57,\) and \(56,\) differ"),
        (
            {"data": (5, 4, 0), "r_parameters": (57,)},
            r"parameters has 57 elements; expected 32 \+ 8 \* channels",
        ),
        ({"data": (5, 4, 3), "r_state": (2, 4, 2)}, r"\(1, 0, 2\) and \(2, 4, 2\) differ"),
        ({"data": (5, 4, 3), "r_state": (1, 6, 2)}, r"\(0, 6\) and \(5, 4\) differ"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    symbol = sb.sym.RNN(sb.sym.Variable("data"), mode="lstm", state_size=2, num_layers=1, name="r")
    with pytest.raises(ShapeError, match=r"Node 'r' \(RNN; .*" + message):
        symbol.infer_shape(**shapes)
