"""The initializer of fused cells: pieces by name, put back into one vector."""

import json

import numpy as np
import pytest

from symbucket import init, random, rnn
from symbucket import symbol as sym
from symbucket.context import cpu
from symbucket.engine.parameters import ParameterSpec, ParameterStore
from symbucket.errors import InvalidArgumentError, ParameterError, ShapeError

MODES = ["rnn_relu", "rnn_tanh", "lstm", "gru"]


def unpacked(cell, args):
    """Return the weights of a cell, one numpy array a gate."""
    return {name: np.asarray(array) for name, array in cell.unpack_weights(args).items()}


def _filled(cell, global_init, size):
    """The cell's vector, initialised by what its own variable says, then unpacked."""
    variable = cell.params.get("parameters")
    (name,) = variable.list_arguments()
    arr = np.full(size, np.nan, np.float32)
    desc = init.InitDesc(name, variable.attr_dict()[name], global_init=global_init)
    global_init(desc, arr)
    return unpacked(cell, {name: arr})


def _size(cell, num_input):
    return sum(int(np.prod(shape)) for _, shape in cell._slots(num_input))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_pieces_follow_their_names(mode, bidirectional):
    cell = rnn.FusedRNNCell(4, 2, mode, bidirectional, forget_bias=2.5, prefix="enc_")
    pieces = _filled(cell, init.Uniform(0.1), _size(cell, 3))
    assert len(pieces) == 2 * 2 * 2 * (2 if bidirectional else 1) * cell._num_gates
    for name, piece in pieces.items():
        if name.endswith("weight"):
            assert 0 < np.abs(piece).max() <= 0.1
            assert len(np.unique(piece)) == piece.size
        elif mode == "lstm" and name.endswith("_f_bias"):
            assert (piece == 2.5).all()
        else:
            assert (piece == 0).all()


def test_own_initializer_goes_before_the_global_one():
    own = init.FusedRNN(init.Constant(3.0), 4, 1, "gru")
    arr = np.zeros(_size(rnn.FusedRNNCell(4, 1, "gru"), 2), np.float32)
    init.Zero()(init.InitDesc("gru_parameters", {"__init__": own.dumps()}), arr)
    pieces = unpacked(rnn.FusedRNNCell(4, 1, "gru"), {"gru_parameters": arr})
    assert (pieces["gru_l0_i2h_r_weight"] == 3).all()
    assert (pieces["gru_l0_i2h_r_bias"] == 0).all()


def test_global_initializer_sees_the_full_names():
    cell = rnn.FusedRNNCell(3, 1, "lstm", prefix="dec_")
    mixed = init.Mixed(["dec_l0_h2h_c_weight", ".*"], [init.One(), init.Constant(5.0)])
    # Mixed chooses for the vector first (".*"), then for every piece again.
    pieces = _filled(cell, mixed, _size(cell, 2))
    assert (pieces["dec_l0_h2h_c_weight"] == 1).all()
    assert (pieces["dec_l0_i2h_c_weight"] == 5).all()
    load = init.Load({"dec_l0_i2h_o_weight": np.full((3, 2), 7.0)}, init.Zero())
    pieces = _filled(cell, load, _size(cell, 2))
    assert (pieces["dec_l0_i2h_o_weight"] == 7).all()
    assert (pieces["dec_l0_h2h_f_bias"] == 1).all()


def test_xavier_takes_the_fans_of_each_piece():
    cell = rnn.FusedRNNCell(40, 1, "rnn_tanh", prefix="r_")
    pieces = _filled(cell, init.Xavier(), _size(cell, 200))
    for name, fans in (("r_l0_i2h_weight", 240), ("r_l0_h2h_weight", 80)):
        bound = np.sqrt(3 / (fans / 2))
        assert bound * 0.95 < np.abs(pieces[name]).max() <= bound * (1 + 1e-6)


def test_seeds():
    cell = rnn.FusedRNNCell(4, prefix="a_")
    other = rnn.FusedRNNCell(4, prefix="b_")
    size = _size(cell, 3)

    def weight(made, initializer):
        return _filled(made, initializer, size)[f"{made._params.prefix}l0_i2h_i_weight"]

    random.seed(5)
    first = weight(cell, init.Normal())
    random.seed(5)
    different = weight(other, init.Normal())
    np.testing.assert_array_equal(weight(cell, init.Normal()), first)
    assert (first != different).any()
    seeded = weight(cell, init.Normal(seed=3))
    np.testing.assert_array_equal(weight(cell, init.Normal(seed=3)), seeded)
    # A global seed reaches an inner initializer that has none.
    own = init.FusedRNN("normal", 4, 1, "lstm").dumps()
    values = [np.zeros(size, np.float32) for _ in range(2)]
    for arr in values:
        init.Uniform(seed=9)(init.InitDesc("a_parameters", {"__init__": own}), arr)
    np.testing.assert_array_equal(*values)
    assert np.abs(values[0]).max() > 0


def test_texts():
    made = init.FusedRNN(init.Uniform(0.5), 4, 2, "lstm", True, 0.5)
    name, settings = json.loads(made.dumps())
    assert name == "fusedrnn"
    assert settings == {
        "init": '["uniform", {"scale": 0.5}]',
        "num_hidden": 4,
        "num_layers": 2,
        "mode": "lstm",
        "bidirectional": True,
        "forget_bias": 0.5,
    }
    assert init.create(made.dumps()).dumps() == made.dumps()
    cell = rnn.FusedRNNCell(4, 2, "lstm", True, forget_bias=0.5)
    text = cell.params.get("parameters").attr("__init__")
    assert json.loads(text) == ["fusedrnn", {**settings, "init": None}]
    assert init.create(text).dumps() == text


def test_callers_instance_is_not_changed():
    inner = init.Uniform(0.5)
    own = init.FusedRNN(inner, 4, 1, "lstm")
    own.seed = 4
    own._init_weight(init.InitDesc("x_parameters"), np.zeros(_size(rnn.FusedRNNCell(4), 3)))
    assert inner.seed is None


def test_parameter_store_fills_a_network_with_a_fused_cell():
    cell = rnn.FusedRNNCell(4, 1, "lstm", prefix="lstm_", forget_bias=1.5)
    net, _ = cell.unroll(5, sym.Variable("data"), merge_outputs=True)
    shapes = dict(zip(net.list_arguments(), net.infer_shape(data=(2, 5, 3))[0]))
    attrs = net.attr_dict()
    store = ParameterStore(cpu())
    name = "lstm_parameters"
    spec = ParameterSpec(name, shapes[name], np.dtype(np.float32), "write", attrs[name])
    store.admit("net", [spec], [])
    store.initialize(init.Uniform(0.2), None, None, False, False)
    pieces = unpacked(cell, {name: store.args[name].asnumpy()})
    assert (pieces["lstm_l0_i2h_f_bias"] == 1.5).all()
    assert 0 < np.abs(pieces["lstm_l0_i2h_f_weight"]).max() <= 0.2


def test_errors():
    with pytest.raises(InvalidArgumentError, match="mode is 'lstmm'; expected one of"):
        init.FusedRNN(None, 4, 1, "lstmm")
    with pytest.raises(InvalidArgumentError, match="no initializer is registered under 'xavvier'"):
        init.FusedRNN("xavvier", 4, 1, "lstm")
    arr = np.full(50, 8.0, np.float32)
    own = init.FusedRNN(init.One(), 4, 1, "lstm")
    with pytest.raises(
        ParameterError, match=r"'p_parameters' has shape \(50,\); expected a vector"
    ):
        own._init_weight(init.InitDesc("p_parameters"), arr)
    with pytest.raises(ShapeError, match="dtype is int32"):
        own._init_weight(init.InitDesc("p_parameters"), np.zeros(144, np.int32))
    with pytest.raises(InvalidArgumentError, match="there is none"):
        init.FusedRNN(None, 4, 1, "lstm")(init.InitDesc("p_weight"), arr)
    assert (arr == 8).all()
