"""FusedRNNCell: its stack of cells, its states, and the node it makes."""

import json

import pytest

from symbucket import rnn
from symbucket import symbol as sym


def test_unfuse_gives_layers_directions_and_dropout():
    fused = rnn.FusedRNNCell(4, 2, "gru", bidirectional=True, dropout=0.3, prefix="f_")
    stack = fused.unfuse()
    kinds = [type(cell) for cell in stack._cells]
    assert kinds == [rnn.BidirectionalCell, rnn.DropoutCell, rnn.BidirectionalCell]
    assert stack[1].dropout == 0.3
    assert list(stack.params)[::4] == [
        "f_l0_i2h_weight", "f_r0_i2h_weight", "f_l1_i2h_weight", "f_r1_i2h_weight",
    ]  # fmt: skip
    outputs, _ = rnn.FusedRNNCell(4, 2, "rnn_relu").unfuse().unroll(3, sym.Variable("data"))
    assert outputs[0].name == "rnn_relu_l1_t0_out"
    assert outputs[0].attr("act_type") == "relu"


def test_unfused_lstm_keeps_the_forget_bias():
    stack = rnn.FusedRNNCell(4, forget_bias=0.5, prefix="f_").unfuse()
    attr = stack.params.get("f_l0_i2h_bias").attr("__init__")
    assert json.loads(attr) == ["lstmbias", {"forget_bias": 0.5}]


def test_the_initializer_is_in_the_variable():
    cell = rnn.FusedRNNCell(4, 2, "gru", bidirectional=True)
    assert list(cell.params) == ["gru_parameters"]
    name, settings = json.loads(cell.params.get("parameters").attr("__init__"))
    assert name == "fusedrnn"
    assert settings == {
        "init": None, "num_hidden": 4, "num_layers": 2, "mode": "gru",
        "bidirectional": True, "forget_bias": 1.0,
    }  # fmt: skip


def test_states():
    assert rnn.FusedRNNCell(4, 3, "lstm").state_shape == [(3, 0, 4)] * 2
    both = rnn.FusedRNNCell(4, 3, "gru", bidirectional=True)
    assert both.state_shape == [(6, 0, 4)]
    assert both.state_info[0]["__layout__"] == "LNC"


@pytest.mark.parametrize("layout", ["NTC", "TNC"])
@pytest.mark.parametrize("next_state", [False, True])
def test_unroll_is_one_node(layout, next_state):
    cell = rnn.FusedRNNCell(4, 2, "lstm", True, get_next_state=next_state, prefix="f_")
    outputs, states = cell.unroll(3, sym.Variable("data"), layout=layout)
    shape = (5, 3, 6) if layout == "NTC" else (3, 5, 6)
    net = sym.Group([outputs, *states])
    made = [n.op.op_name for n in net.nodes() if n.op is not None]
    assert made.count("RNN") == 1
    assert made.count("SwapAxis") == (2 if layout == "NTC" else 0)
    assert net.list_arguments() == ["data", "f_parameters"]
    arg_shapes, out_shapes, _ = net.infer_shape(data=shape)
    per_direction = [4 * 4 * (6 + 4 + 2), 4 * 4 * (8 + 4 + 2)]
    assert arg_shapes[1] == (2 * sum(per_direction),)
    assert out_shapes == [(*shape[:2], 8), *[(4, 5, 4)] * (2 * next_state)]


def test_outputs_as_a_list():
    cell = rnn.FusedRNNCell(4, mode="gru")
    outputs, states = cell.unroll(3, [sym.Variable(f"x{i}") for i in range(3)], merge_outputs=False)
    assert len(outputs) == 3
    assert states == []
    assert outputs[0].infer_shape(x0=(5, 6))[1] == [(5, 4)]
