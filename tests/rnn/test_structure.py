"""What cells unroll into: names, order of arguments, shapes, number of nodes."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from symbucket import rnn
from symbucket import symbol as sym
from symbucket.ops.create import Zeros

RECORDED = Path(__file__).parent.parent / "data" / "lstm_sgd-4-symbol.json"
AUTOMATIC = re.compile(r"(_plus|_mul|activation|split|expand_dims|concat)\d+")


def _stack(kind, *sizes, **kwargs):
    stack = rnn.SequentialRNNCell()
    for i, size in enumerate(sizes):
        stack.add(kind(size, prefix=f"lstm_l{i}_", **kwargs))
    return stack


def _plain(symbol):
    """The graph as comparable rows; automatic names only by their kind."""
    nodes = symbol.nodes()
    index = {id(n): i for i, n in enumerate(nodes)}
    rows = []
    for n in nodes:
        automatic = AUTOMATIC.fullmatch(n.name)
        inputs = [(index[id(child)], i) for child, i in n.inputs]
        name = automatic.group(1) if automatic else n.name
        # MXNet's files repeat an operator's attributes in the variables that it made.
        attrs = {k: v for k, v in n.attrs.items() if k.startswith("__")}
        op = n.op  # states of zeros follow the inputs' dtype here; MXNet writes float32
        if isinstance(op, Zeros) and op.dtype == "float32":
            op = dataclasses.replace(op, dtype=None)
        rows.append((name, op, attrs, inputs))
    return rows


def _ops(symbol):
    """Operators beneath a symbol, with counts."""
    found = {}
    for node in symbol.nodes():
        if node.op is not None:
            found[node.op.op_name] = found.get(node.op.op_name, 0) + 1
    return found


def test_lstm_stack_is_the_recorded_graph_node_by_node():
    embed = sym.Embedding(sym.Variable("data"), input_dim=30, output_dim=8, name="embed")
    outputs, _ = _stack(rnn.LSTMCell, 12, 12).unroll(4, embed, merge_outputs=True)
    recorded = sym.load(str(RECORDED)).get_internals()["concat11_output"]
    assert _plain(outputs) == _plain(recorded)


def test_forget_bias_is_only_an_initial_value():
    outputs, _ = rnn.LSTMCell(3, forget_bias=2.5).unroll(1, [sym.Variable("x")])
    attrs = outputs[0].attr_dict()
    assert json.loads(attrs["lstm_i2h_bias"]["__init__"]) == ["lstmbias", {"forget_bias": 2.5}]
    assert "lstm_h2h_bias" not in attrs


@pytest.mark.parametrize(
    ("cell", "names", "shapes"),
    [
        (rnn.RNNCell(5), "rnn_", (5, 1)),
        (rnn.LSTMCell(5), "lstm_", (20, 2)),
        (rnn.GRUCell(5), "gru_", (15, 1)),
    ],
)
def test_arguments_and_shapes(cell, names, shapes):
    rows, states = shapes
    outputs, after = cell.unroll(3, sym.Variable("data"), merge_outputs=True)
    parameters = ["i2h_weight", "i2h_bias", "h2h_weight", "h2h_bias"]
    assert outputs.list_arguments() == ["data", *(names + p for p in parameters)]
    arg_shapes, out_shapes, _ = outputs.infer_shape(data=(2, 3, 7))
    assert arg_shapes == [(2, 3, 7), (rows, 7), (rows,), (rows, 5), (rows,)]
    assert out_shapes == [(2, 3, 5)]
    assert cell.state_shape == [(0, 5)] * states
    assert len(after) == states
    assert cell.state_info[0]["__layout__"] == "NC"
    assert outputs.get_internals()[f"{names}t2_out_output"].name == f"{names}t2_out"


def test_gate_names():
    assert list(rnn.RNNCell(1)._gate_names) == [""]
    assert list(rnn.LSTMCell(1)._gate_names) == ["_i", "_f", "_c", "_o"]
    assert list(rnn.GRUCell(1)._gate_names) == ["_r", "_z", "_o"]


def test_gru_node_names_are_those_of_mxnet():
    output, _ = rnn.GRUCell(2)(sym.Variable("x"), rnn.GRUCell(2).begin_state())
    names = {n.name for n in output.nodes()}
    assert {
        "gru_t0__i2h", "gru_t0__h2h", "gru_t0__i2h_slice", "gru_t0__h2h_slice",
        "gru_t0__r_act", "gru_t0__z_act", "gru_t0__h_act", "gru_t0_out", "gru_begin_state_0",
    } <= names  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "nodes"), [(rnn.RNNCell(4), 4), (rnn.LSTMCell(4), 13), (rnn.GRUCell(4), 15)]
)
def test_a_step_has_no_needless_nodes(cell, nodes):
    x = [sym.Variable(f"x{i}") for i in range(3)]
    _, states = cell.unroll(3, x, begin_state=cell.begin_state(func=sym.Variable))
    assert sum(_ops(sym.Group(states)).values()) == 3 * nodes


def test_outputs_come_merged_or_as_a_list():
    x = sym.Variable("data")
    cell = rnn.RNNCell(4)
    as_it_comes, _ = cell.unroll(3, x)
    assert [o.name for o in as_it_comes] == ["rnn_t0_out", "rnn_t1_out", "rnn_t2_out"]
    as_list, _ = cell.unroll(3, x, merge_outputs=False)
    assert [o.name for o in as_list] == ["rnn_t0_out", "rnn_t1_out", "rnn_t2_out"]
    merged, _ = cell.unroll(3, x, merge_outputs=True)
    assert merged.infer_shape(data=(2, 3, 6))[1] == [(2, 3, 4)]
    time_first, _ = cell.unroll(3, x, layout="TNC", merge_outputs=True)
    assert time_first.infer_shape(data=(3, 2, 6))[1] == [(3, 2, 4)]


def test_a_list_of_inputs_needs_no_slice():
    steps = [sym.Variable(f"data/{i}") for i in range(3)]
    outputs, _ = rnn.RNNCell(4).unroll(3, steps)
    assert "SliceChannel" not in _ops(sym.Group(outputs))
    assert [n for n in sym.Group(outputs).list_arguments() if n.startswith("data")] == [
        "data/0", "data/1", "data/2",
    ]  # fmt: skip


def test_begin_state_as_variables():
    cell = rnn.LSTMCell(6, prefix="l_")
    states = cell.begin_state(func=sym.Variable)
    assert [s.name for s in states] == ["l_begin_state_0", "l_begin_state_1"]
    assert states[0].attr("__layout__") == "NC"
    outputs, _ = cell.unroll(2, sym.Variable("data"), begin_state=states, merge_outputs=True)
    shapes = dict(zip(outputs.list_arguments(), outputs.infer_shape(data=(3, 2, 5))[0]))
    assert shapes["l_begin_state_0"] == shapes["l_begin_state_1"] == (3, 6)


def test_begin_state_passes_further_arguments_on():
    (state,) = rnn.RNNCell(6).begin_state(func=sym.Variable, lr_mult=0.0)
    assert state.attr("__lr_mult__") == "0.0"


def test_unroll_starts_counting_anew():
    cell = _stack(rnn.LSTMCell, 4, 4)
    first, _ = cell.unroll(2, sym.Variable("data"))
    second, _ = cell.unroll(3, sym.Variable("data"))
    assert [o.name for o in first] == ["lstm_l1_t0_out", "lstm_l1_t1_out"]
    assert second[0].name == "lstm_l1_t0_out"


def test_modifiers_reset_the_cell_inside():
    for wrap in (rnn.ResidualCell, lambda c: rnn.ResidualCell(rnn.ResidualCell(c))):
        cell = wrap(rnn.RNNCell(4, prefix="x_"))
        for _ in range(2):
            outputs, _ = cell.unroll(2, sym.Variable("data"))
            assert outputs[0].name.startswith("x_t0_out_plus_residual")


def test_states_of_a_stack_are_flat():
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.LSTMCell(4, prefix="a_"))
    stack.add(rnn.DropoutCell(0.0))
    stack.add(rnn.ResidualCell(rnn.GRUCell(4, prefix="b_")))
    assert len(stack) == 3
    assert isinstance(stack[1], rnn.DropoutCell)
    assert stack.state_shape == [(0, 4)] * 3
    states = stack.begin_state()
    assert [s.name for s in states] == [
        "a_begin_state_0", "a_begin_state_1", "b_begin_state_0",
    ]  # fmt: skip
    output, after = stack(sym.Variable("x"), states)
    assert output.name == "b_t0_out_plus_residual"
    assert [s.name for s in after] == ["a_t0_out", "a_t0_state", "b_t0_out"]
    _, after = stack.unroll(2, sym.Variable("data"))
    assert [s.name for s in after] == ["a_t1_out", "a_t1_state", "b_t1_out"]


def test_states_of_a_bidirectional_cell_can_be_fed_back():
    cell = rnn.BidirectionalCell(rnn.LSTMCell(3, "f_"), rnn.GRUCell(3, "b_"), output_prefix="o_")
    x = sym.Variable("data")
    outputs, states = cell.unroll(2, x)
    assert [[s.name for s in side] for side in states] == [["f_t1_out", "f_t1_state"], ["b_t1_out"]]
    assert [o.name for o in outputs] == ["o_t0", "o_t1"]
    again, _ = cell.unroll(2, x, begin_state=states, merge_outputs=True)
    assert again.name == "o_out"
    assert again.infer_shape(data=(5, 2, 4))[1] == [(5, 2, 6)]


def test_merged_bidirectional_output_is_one_concat_a_direction():
    cell = rnn.BidirectionalCell(rnn.RNNCell(3, prefix="f_"), rnn.RNNCell(3, prefix="b_"))
    outputs, _ = cell.unroll(4, sym.Variable("data"), merge_outputs=True)
    counts = _ops(outputs)
    assert counts["Concat"] == 3
    assert counts["expand_dims"] == 8
    assert counts["SliceChannel"] == 1


def test_activation_may_be_a_function():
    def cut(data, name):
        return sym.clip(data, a_min=-1.0, a_max=1.0, name=name)

    (output,), _ = rnn.RNNCell(3, activation=cut).unroll(1, [sym.Variable("x")])
    assert output.name == "rnn_t0_out"
    assert _ops(output)["clip"] == 1


def test_own_cell_in_the_manner_of_mxnet():
    class Plus(rnn.BaseRNNCell):
        state_info = property(lambda self: [{"shape": (0, 2), "__layout__": "NC"}])

        def __call__(self, inputs, states):
            self._counter += 1
            weight = self.params.get("w", init="one")
            output = sym.FullyConnected(
                inputs + states[0], weight, num_hidden=2, no_bias=True,
                name=f"{self._prefix}t{self._counter}_out",
            )  # fmt: skip
            return output, [output]

    stack = rnn.SequentialRNNCell()
    stack.add(Plus(prefix="p_"))
    stack.add(rnn.RNNCell(2))
    outputs, states = stack.unroll(2, sym.Variable("data"), merge_outputs=True)
    assert outputs.list_arguments()[:2] == ["data", "p_w"]
    assert states[0].name == "p_t1_out"
    assert stack.unpack_weights({"p_w": 1, **_zeros(stack)})["p_w"] == 1


def _zeros(stack):
    outputs, _ = stack.unroll(1, sym.Variable("data"), merge_outputs=True)
    shapes = zip(outputs.list_arguments(), outputs.infer_shape(data=(1, 1, 2))[0])
    return {n: np.zeros(s) for n, s in shapes if n not in ("data", "p_w")}


def test_sentence_tools_are_here_too():
    from symbucket import io

    assert rnn.BucketSentenceIter is io.BucketSentenceIter
    assert rnn.encode_sentences is io.encode_sentences
