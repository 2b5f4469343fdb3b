"""Cells against numbers recorded from MXNet 1.9.1: outputs, final states and all gradients."""

import json
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from symbucket import rnn
from symbucket import symbol as sym
from symbucket.rnn.base import flatten

DATA = Path(__file__).parent.parent / "data"
ROWS = {row["case"]: row for row in json.loads((DATA / "cells.json").read_text())["cells"]}


def _sequential():
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.LSTMCell(5, "l0_"))
    stack.add(rnn.GRUCell(5, "g1_"))
    stack.add(rnn.ResidualCell(rnn.RNNCell(5, prefix="r2_")))
    return stack


def _fused(mode, bidirectional=False):
    return rnn.FusedRNNCell(
        5, num_layers=2, mode=mode, bidirectional=bidirectional, get_next_state=True, prefix="fu_"
    )


CELLS = {
    "rnn_tanh": lambda: rnn.RNNCell(5, activation="tanh", prefix="r_"),
    "rnn_relu": lambda: rnn.RNNCell(5, activation="relu", prefix="r_"),
    "lstm": lambda: rnn.LSTMCell(5, prefix="l_"),
    "gru": lambda: rnn.GRUCell(5, prefix="g_"),
    "sequential": _sequential,
    "bidirectional": lambda: rnn.BidirectionalCell(rnn.LSTMCell(5, "f_"), rnn.GRUCell(5, "b_")),
    "fused_rnn_tanh": lambda: _fused("rnn_tanh"),
    "fused_gru": lambda: _fused("gru", bidirectional=True),
    "fused_lstm": lambda: _fused("lstm"),
}
FUSED = [case for case in CELLS if case.startswith("fused")]


@pytest.fixture(scope="module")
def recorded():
    with np.load(DATA / "cells.npz") as arrays:
        return dict(arrays)


def _numbered(recorded, case, kind):
    stem = f"cell/{case}/{kind}/"
    return [recorded[f"{stem}{i}"] for i in range(sum(k.startswith(stem) for k in recorded))]


def _run(cell, length, layout, arrays, heads):
    outputs, states = cell.unroll(length, sym.Variable("data"), layout=layout, merge_outputs=True)
    net = sym.Group([outputs, *flatten(states)])
    executor = net.simple_bind(sb.cpu(), "write", data=arrays["data"].shape)
    executor.copy_params_from(arrays)
    executor.forward(is_train=True)
    executor.backward(heads)
    grads = {name: grad.asnumpy() for name, grad in executor.grad_dict.items()}
    return net, [out.asnumpy() for out in executor.outputs], grads


def _close(got, wanted, what):
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5, err_msg=what)


def test_every_recorded_cell_is_tested():
    assert sorted(CELLS) == sorted(ROWS)


@pytest.mark.parametrize("case", CELLS)
def test_outputs_and_gradients(case, recorded):
    row = ROWS[case]
    arrays = {name: recorded[f"cell/{case}/in/{name}"] for name in row["args"]}
    heads = _numbered(recorded, case, "head")
    net, outputs, grads = _run(CELLS[case](), row["T"], row["layout"], arrays, heads)
    assert net.list_arguments() == row["args"]
    wanted = _numbered(recorded, case, "out")
    assert len(outputs) == len(wanted)
    for i, (got, want) in enumerate(zip(outputs, wanted)):
        _close(got, want, f"output {i}")
    for name in row["args"]:
        _close(grads[name], recorded[f"cell/{case}/grad/{name}"], f"gradient of {name}")


@pytest.mark.parametrize("case", FUSED)
def test_unfused_cells_compute_what_the_fused_one_did(case, recorded):
    fused = CELLS[case]()
    stack = fused.unfuse()
    weights = stack.pack_weights(
        fused.unpack_weights({"fu_parameters": recorded[f"cell/{case}/in/fu_parameters"]})
    )
    arrays = {"data": recorded[f"cell/{case}/in/data"], **weights}
    out_head, *state_heads = _numbered(recorded, case, "head")
    # The fused cell's states are stacked by layer and direction, state by state.
    heads = [out_head, *(h for parts in zip(*state_heads) for h in parts)]
    _, outputs, grads = _run(stack, 4, "NTC", arrays, heads)
    wanted_out, *wanted_states = _numbered(recorded, case, "out")
    _close(outputs[0], wanted_out, "outputs")
    got_states = [np.stack(outputs[1 + i :: len(wanted_states)]) for i in range(len(wanted_states))]
    for got, want in zip(got_states, wanted_states):
        _close(got, want, "states")
    vector = fused.pack_weights(stack.unpack_weights(grads))["fu_parameters"]
    _close(vector, recorded[f"cell/{case}/grad/fu_parameters"], "gradient of the weights")
    _close(grads["data"], recorded[f"cell/{case}/grad/data"], "gradient of data")
