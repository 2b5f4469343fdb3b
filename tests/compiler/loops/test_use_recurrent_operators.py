"""Scans that are recurrent cells become ONNX's operators: which ones, and with equal numbers."""

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket.compiler import CompilerOptions, compile_inference, compile_training
from symbucket.compiler.target import CPU, INFERENCE_FILE
from tests.compiler.loops.rolled import agree, draw_arrays, run_program
from tests.compiler.verify_graph import check_model

STEPS, ROWS = 6, 3


def unrolled(cell, size=4, layout="NTC", begin=False):
    """A network around a cell; ``begin``: its initial states are arguments."""
    data = sb.sym.Variable("data")
    states = None
    if begin:
        states = [sb.sym.Variable(f"begin{i}") for i in range(2)]
    outputs, last = cell.unroll(STEPS, data, begin_state=states, layout=layout, merge_outputs=True)
    net = sb.sym.Group([outputs, *last]) if begin else outputs
    shapes = {"data": (ROWS, STEPS, size) if layout == "NTC" else (STEPS, ROWS, size)}
    if begin:
        shapes |= {"begin0": (ROWS, 5), "begin1": (ROWS, 5)}
    return net, shapes


KINDS = ("LSTM", "GRU", "RNN")


def kernels(net, shapes, dtypes=None, target=CPU):
    """Recurrent nodes of the inference model; numbers must be those of the unrolled network."""
    whole = CompilerOptions(disable={"recompute-gates"})  # operators in place of Scans, no others
    made = compile_inference(net, shapes, dtypes, options=whole, target=target)
    check_model(made)
    arrays = draw_arrays(net, shapes, dtype=np.float64 if dtypes else np.float32)
    plain = compile_inference(net, shapes, dtypes, options=CompilerOptions(disable={"roll-loops"}))
    assert not {n.op_type for n in plain.proto().graph.node} & {*KINDS}
    agree(run_program(made, arrays), run_program(plain, arrays))
    found = [n for n in made.proto().graph.node if n.op_type in KINDS]
    assert len(found) == made.passes["use-recurrent-operators"]
    assert target is CPU or "Scan" not in [n.op_type for n in made.proto().graph.node]
    return found


def in_a_file(net, shapes):
    """The operators and their attributes in an exported model."""
    return [
        (n.op_type, {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute})
        for n in kernels(net, shapes, target=INFERENCE_FILE)
    ]


LSTM = sb.rnn.LSTMCell


@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_a_layer_is_one_node(layout):
    assert len(kernels(*unrolled(LSTM(5, prefix="a_"), layout=layout))) == 1


def test_two_layers_are_two_nodes():
    stack = sb.rnn.SequentialRNNCell()
    stack.add(LSTM(5, prefix="a_"))
    stack.add(LSTM(6, prefix="b_"))
    assert len(kernels(*unrolled(stack))) == 2


def test_both_directions():
    cell = sb.rnn.BidirectionalCell(LSTM(5, prefix="f_"), LSTM(5, prefix="b_"))
    assert len(kernels(*unrolled(cell))) == 2


def test_initial_and_last_states():
    (node,) = kernels(*unrolled(LSTM(5, prefix="a_"), begin=True))
    assert [bool(name) for name in node.input] == [True, True, True, True, False, True, True]


def test_a_forget_bias_and_no_bias():
    cell = LSTM(5, prefix="a_", forget_bias=2.0)
    assert len(kernels(*unrolled(cell))) == 1


def test_the_operator_of_fused_layers():
    data, states = sb.sym.Variable("data"), [sb.sym.Variable(n) for n in ("h", "c")]
    net = sb.sym.RNN(
        data,
        sb.sym.Variable("weights"),
        *states,
        state_size=5,
        num_layers=2,
        mode="lstm",
        bidirectional=True,
        state_outputs=True,
    )
    found = kernels(net, {"data": (STEPS, ROWS, 4)})
    directions = [a.s for node in found for a in node.attribute if a.name == "direction"]
    assert sorted(directions) == [b"forward", b"forward", b"reverse", b"reverse"]


@pytest.mark.parametrize("cell", [sb.rnn.GRUCell, sb.rnn.RNNCell])
def test_other_cells_stay_scans(cell):
    assert not kernels(*unrolled(cell(5, prefix="a_")))


def test_a_cell_that_differs_in_one_activation_stays_a_scan():
    data = sb.sym.Variable("data")
    h = c = sb.sym.zeros(shape=(ROWS, 5))
    x = sb.sym.SliceChannel(data, num_outputs=STEPS, axis=1, squeeze_axis=True)
    w, b, r, d = map(sb.sym.Variable, ("w", "b", "r", "d"))
    for t in range(STEPS):
        i2h = sb.sym.FullyConnected(x[t], w, b, num_hidden=20, name=f"i{t}")
        h2h = sb.sym.FullyConnected(h, r, d, num_hidden=20, name=f"h{t}")
        parts = sb.sym.SliceChannel(i2h + h2h, num_outputs=4, axis=1)
        gates = [sb.sym.Activation(parts[i], act_type="sigmoid") for i in range(4)]
        c = gates[0] * c + gates[1] * gates[2]  # the candidate is squashed as a gate is
        h = gates[3] * sb.sym.tanh(c)
    assert not kernels(h, {"data": (ROWS, STEPS, 4)})


def test_a_network_that_reads_the_cell_states_stays_a_scan():
    cell = LSTM(5, prefix="a_")
    states, kept = cell.begin_state(), []
    data = sb.sym.Variable("data")
    for piece in sb.sym.SliceChannel(data, num_outputs=STEPS, axis=1, squeeze_axis=True):
        _, states = cell(piece, states)
        kept.append(sb.sym.expand_dims(states[1], axis=1))
    assert not kernels(sb.sym.Concat(*kept, dim=1), {"data": (ROWS, STEPS, 4)})


def test_large_layers_and_training_stay_scans():
    net, shapes = unrolled(LSTM(600, prefix="a_"))
    assert compile_inference(net, shapes).passes["use-recurrent-operators"] == 0
    net, shapes = unrolled(LSTM(5, prefix="a_"))
    loss = sb.sym.MakeLoss(net)
    wanted = [n for n in loss.list_arguments() if n != "data"]
    assert compile_training(loss, shapes, wanted=wanted).step.passes["use-recurrent-operators"] == 0


def test_the_plan_counts_what_the_kernel_needs():
    net, shapes = unrolled(LSTM(32, prefix="a_"))
    made = compile_inference(net, shapes)
    assert made.passes["use-recurrent-operators"] == 1
    assert made.plan.arena >= STEPS * ROWS * 4 * 32 * 4  # the gates of all steps


def test_every_cell_of_a_file_is_an_operator():
    ((kind, attributes),) = in_a_file(*unrolled(sb.rnn.GRUCell(5, prefix="a_")))
    assert (kind, attributes["linear_before_reset"], attributes["hidden_size"]) == ("GRU", 1, 5)
    ((kind, attributes),) = in_a_file(*unrolled(sb.rnn.RNNCell(5, prefix="a_")))
    assert (kind, "activations" in attributes) == ("RNN", False)
    ((kind, _),) = in_a_file(*unrolled(LSTM(600, prefix="a_")))
    assert kind == "LSTM"


@pytest.mark.parametrize(
    ("name", "onnx_name"),
    [("relu", "Relu"), ("sigmoid", "Sigmoid"), ("softrelu", "Softplus"), ("softsign", "Softsign")],
)
def test_activations_of_plain_cells(name, onnx_name):
    ((_, attributes),) = in_a_file(*unrolled(sb.rnn.RNNCell(5, activation=name, prefix="a_")))
    assert attributes["activations"] == [onnx_name.encode()]


@pytest.mark.parametrize(("mode", "kind"), [("gru", "GRU"), ("rnn_tanh", "RNN"), ("lstm", "LSTM")])
def test_fused_layers_of_a_file(mode, kind):
    states = [sb.sym.Variable(n) for n in (("h", "c") if mode == "lstm" else ("h",))]
    net = sb.sym.RNN(
        sb.sym.Variable("data"),
        sb.sym.Variable("weights"),
        *states,
        state_size=5,
        num_layers=2,
        mode=mode,
        bidirectional=True,
        state_outputs=True,
    )
    found = in_a_file(net, {"data": (STEPS, ROWS, 4)})
    assert [name for name, _ in found] == [kind] * 4
    assert sorted(a["direction"] for _, a in found) == [b"forward"] * 2 + [b"reverse"] * 2


def test_both_directions_of_plain_and_gated_cells():
    for cell in (sb.rnn.GRUCell, sb.rnn.RNNCell):
        both = sb.rnn.BidirectionalCell(cell(5, prefix="f_"), cell(5, prefix="b_"))
        assert len(in_a_file(*unrolled(both))) == 2


def _by_hand(step, gates):
    """A recurrence written node by node; ``step(x's products, h, product of h)`` is the new h."""
    data = sb.sym.Variable("data")
    h = sb.sym.zeros(shape=(ROWS, 5))
    x = sb.sym.SliceChannel(data, num_outputs=STEPS, axis=1, squeeze_axis=True)
    weights = {n: sb.sym.Variable(n) for n in ("w", "b", "r", "d", "rn")}

    def product(value, weight, name, bias=None, size=5 * gates):
        return sb.sym.FullyConnected(
            value, weights[weight], *([weights[bias]] if bias else []),
            num_hidden=size, no_bias=bias is None, name=name,
        )  # fmt: skip

    for t in range(STEPS):
        i2h = product(x[t], "w", f"i{t}", "b")
        h = step(i2h, h, lambda *a, _t=t, **k: product(a[0], a[1], f"{a[1]}{_t}", *a[2:], **k))
    return h, {"data": (ROWS, STEPS, 4)}


def test_a_gru_that_resets_before_the_product():
    def step(i2h, h, product):
        xs = sb.sym.SliceChannel(i2h, num_outputs=3, axis=1)
        hs = sb.sym.SliceChannel(product(h, "r", "d", size=10), num_outputs=2, axis=1)
        reset = sb.sym.sigmoid(xs[0] + hs[0])
        update = sb.sym.sigmoid(xs[1] + hs[1])
        new = sb.sym.tanh(xs[2] + product(reset * h, "rn", size=5))
        return (1.0 - update) * new + update * h

    ((kind, attributes),) = in_a_file(*_by_hand(step, 3))
    assert (kind, attributes.get("linear_before_reset", 0)) == ("GRU", 0)


def test_a_cell_that_is_none_of_them_is_written_out():
    def mixed(i2h, h, product):
        return 0.5 * h + sb.sym.tanh(i2h + product(h, "r", "d"))

    assert not in_a_file(*_by_hand(mixed, 1))

    def cubed(i2h, h, product):
        return sb.sym.tanh(i2h + product(h * h, "r", "d"))

    assert not in_a_file(*_by_hand(cubed, 1))
