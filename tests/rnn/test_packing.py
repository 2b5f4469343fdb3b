"""pack_weights and unpack_weights: names, order of gates, round trips, errors."""

import numpy as np
import pytest

from symbucket import rnn
from symbucket.errors import ParameterError

H, C = 3, 4


def _cell_weights(prefix, gates, columns=C, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "i2h_weight": (gates * H, columns),
        "i2h_bias": (gates * H,),
        "h2h_weight": (gates * H, H),
        "h2h_bias": (gates * H,),
    }
    return {prefix + n: rng.random(s, dtype=np.float32) for n, s in shapes.items()}


def _same(got, wanted):
    assert sorted(got) == sorted(wanted)
    for name, array in wanted.items():
        assert np.asarray(got[name]).dtype == array.dtype
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("cell", "prefix", "gates"),
    [
        (rnn.RNNCell(H), "rnn_", [""]),
        (rnn.LSTMCell(H), "lstm_", ["_i", "_f", "_c", "_o"]),
        (rnn.GRUCell(H), "gru_", ["_r", "_z", "_o"]),
        (rnn.ResidualCell(rnn.GRUCell(H)), "gru_", ["_r", "_z", "_o"]),
    ],
)
def test_gate_by_gate(cell, prefix, gates):
    other = np.ones(2, np.int32)
    args = {**_cell_weights(prefix, len(gates)), "pred_bias": other}
    before = dict(args)
    unpacked = cell.unpack_weights(args)
    assert len(unpacked) == 4 * len(gates) + 1
    for i, gate in enumerate(gates):
        for group in ("i2h", "h2h"):
            for kind in ("weight", "bias"):
                whole = args[f"{prefix}{group}_{kind}"]
                part = unpacked[f"{prefix}{group}{gate}_{kind}"]
                np.testing.assert_array_equal(part, whole[i * H : (i + 1) * H])
                assert not np.shares_memory(part, whole)
    assert unpacked["pred_bias"] is other
    assert args == before
    _same(cell.pack_weights(unpacked), args)


def test_stacks_pack_cell_by_cell():
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.LSTMCell(H, prefix="a_"))
    stack.add(rnn.DropoutCell(0.5))
    stack.add(rnn.BidirectionalCell(rnn.GRUCell(H, "l_"), rnn.RNNCell(H, prefix="r_")))
    args = {**_cell_weights("a_", 4), **_cell_weights("l_", 3, H), **_cell_weights("r_", 1, H)}
    unpacked = stack.unpack_weights(args)
    assert len(unpacked) == 16 + 12 + 4
    _same(stack.pack_weights(unpacked), args)


def test_names_are_those_of_shared_params():
    cell = rnn.LSTMCell(H, prefix="b_", params=rnn.LSTMCell(H, prefix="a_").params)
    assert "a_i2h_f_bias" in cell.unpack_weights(_cell_weights("a_", 4))


def test_missing_weights():
    args = _cell_weights("lstm_", 4)
    del args["lstm_h2h_bias"]
    with pytest.raises(ParameterError, match=r"LSTMCell\('lstm_'\) needs 'lstm_h2h_bias'"):
        rnn.LSTMCell(H).unpack_weights(args)
    with pytest.raises(ParameterError, match=r"'lstm_i2h_i_weight'.*pack_weights takes"):
        rnn.LSTMCell(H).pack_weights(args)
    assert len(args) == 3


def test_wrong_shapes():
    cell = rnn.LSTMCell(H)
    args = _cell_weights("lstm_", 4)
    args["lstm_i2h_weight"] = np.zeros((11, C))
    with pytest.raises(ParameterError, match=r"\(11, 4\), expected \(12, any\)"):
        cell.unpack_weights(args)
    unpacked = cell.unpack_weights(_cell_weights("lstm_", 4))
    unpacked["lstm_i2h_f_weight"] = np.zeros((H, C + 1))
    with pytest.raises(ParameterError, match=r"'lstm_i2h_f_weight' has shape \(3, 5\)"):
        cell.pack_weights(unpacked)


# Fused -----------------------------------------------------------------------------------------

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


def _size(mode, layers, directions):
    gates, total = GATES[mode], 0
    for layer in range(layers):
        columns = C if layer == 0 else directions * H
        total += directions * gates * H * (columns + H + 2)
    return total


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("mode", GATES)
def test_fused_round_trip_through_the_unfused_stack(mode, layers, bidirectional):
    fused = rnn.FusedRNNCell(H, layers, mode, bidirectional, prefix="f_")
    size = _size(mode, layers, 1 + bidirectional)
    args = {"f_parameters": np.arange(size, dtype=np.float32), "x": np.zeros(1)}
    unpacked = fused.unpack_weights(args)
    stack = fused.unfuse()
    packed = stack.pack_weights(unpacked)
    names = {n for cell in stack._cells for n in cell.params} | {"x"}
    assert set(packed) == names
    assert packed["f_l0_i2h_weight"].shape == (GATES[mode] * H, C)
    _same(fused.pack_weights(stack.unpack_weights(packed)), args)


def test_fused_vector_has_all_weights_before_all_biases():
    fused = rnn.FusedRNNCell(H, 2, "lstm", prefix="f_")
    size = _size("lstm", 2, 1)
    packed = fused.unfuse().pack_weights(
        fused.unpack_weights({"f_parameters": np.arange(size, dtype=np.float32)})
    )
    order = [f"f_l{i}_{g}_weight" for i in (0, 1) for g in ("i2h", "h2h")]
    order += [f"f_l{i}_{g}_bias" for i in (0, 1) for g in ("i2h", "h2h")]
    joined = np.concatenate([packed[name].reshape(-1) for name in order])
    np.testing.assert_array_equal(joined, np.arange(size))


def test_fused_errors():
    fused = rnn.FusedRNNCell(H, 2, "gru", prefix="f_")
    with pytest.raises(ParameterError, match="'f_parameters'"):
        fused.unpack_weights({})
    for wrong in (np.zeros(100), np.zeros(_size("gru", 2, 1) - C * 3 * H), np.zeros((10, 10))):
        with pytest.raises(ParameterError, match=r"x \(number of input channels\)"):
            fused.unpack_weights({"f_parameters": wrong})
    weights = fused.unpack_weights({"f_parameters": np.zeros(_size("gru", 2, 1))})
    weights["f_l1_h2h_z_bias"] = np.zeros(H + 1)
    with pytest.raises(ParameterError, match=r"'f_l1_h2h_z_bias' has shape \(4,\), expected \(3\)"):
        fused.pack_weights(weights)
    del weights["f_l1_h2h_z_bias"]
    with pytest.raises(ParameterError, match="needs 'f_l1_h2h_z_bias'"):
        fused.pack_weights(weights)
