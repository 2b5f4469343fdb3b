"""Checkpoints with cells: weights lie in the file gate by gate."""

import numpy as np
import pytest

from symbucket import rnn
from symbucket import symbol as sym
from symbucket.errors import InvalidArgumentError, ParameterError

checkpoint = pytest.importorskip("symbucket.checkpoint")
rnn_checkpoint = pytest.importorskip("symbucket.rnn.checkpoint")


def _network():
    fused = rnn.FusedRNNCell(3, 2, "gru", prefix="f_")
    stack = fused.unfuse()
    outputs, _ = stack.unroll(2, sym.Variable("data"), merge_outputs=True)
    net = sym.FullyConnected(outputs, num_hidden=2, name="pred")
    rng = np.random.default_rng(0)
    shapes = zip(net.list_arguments(), net.infer_shape(data=(1, 2, 4))[0])
    params = {n: rng.random(s, dtype=np.float32) for n, s in shapes if n != "data"}
    return fused, stack, net, params


def test_round_trip_and_from_unfused_to_fused(tmp_path):
    fused, stack, net, params = _network()
    prefix = str(tmp_path / "model")
    rnn_checkpoint.save_rnn_checkpoint(stack, prefix, 3, net, params, {})
    _, raw, _ = checkpoint.load_checkpoint(prefix, 3)
    assert "f_l0_i2h_r_weight" in raw
    assert "f_l0_i2h_weight" not in raw
    symbol, again, aux = rnn_checkpoint.load_rnn_checkpoint([stack], prefix, 3)
    assert symbol.list_arguments() == net.list_arguments()
    assert aux == {}
    assert set(again) == set(params)
    for name, array in params.items():
        np.testing.assert_array_equal(np.asarray(again[name]), array)
    _, other, _ = rnn_checkpoint.load_rnn_checkpoint(fused, prefix, 3)
    assert set(other) == {"f_parameters", "pred_weight", "pred_bias"}
    back = stack.pack_weights(fused.unpack_weights(other))
    np.testing.assert_array_equal(np.asarray(back["f_l1_h2h_bias"]), params["f_l1_h2h_bias"])


def test_missing_weights_write_nothing(tmp_path):
    _, stack, net, params = _network()
    del params["f_l1_h2h_bias"]
    with pytest.raises(ParameterError, match="f_l1_h2h_bias"):
        rnn_checkpoint.save_rnn_checkpoint(stack, str(tmp_path / "model"), 1, net, params, {})
    assert list(tmp_path.iterdir()) == []


def test_callback_every_second_epoch(tmp_path):
    _, stack, net, params = _network()
    callback = rnn_checkpoint.do_rnn_checkpoint(stack, str(tmp_path / "model"), period=2)
    callback(0, net, params, {})
    assert list(tmp_path.iterdir()) == []
    callback(1, net, params, {})
    rnn_checkpoint.load_rnn_checkpoint(stack, str(tmp_path / "model"), 2)


def test_errors(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"cells of symbucket\.rnn, not 'lstm'"):
        rnn_checkpoint.do_rnn_checkpoint(["lstm"], str(tmp_path))
    for period in (0, 1.5, True):
        with pytest.raises(InvalidArgumentError, match=r"period is .*integer of 1 or more"):
            rnn_checkpoint.do_rnn_checkpoint(rnn.LSTMCell(3), str(tmp_path), period)
