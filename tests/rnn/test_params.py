"""RNNParams: making variables once, sharing them, and the errors of sharing wrongly."""

import pytest

from symbucket import rnn
from symbucket import symbol as sym
from symbucket.errors import InvalidArgumentError, NameConflictError, ParameterError


def test_get_makes_a_variable_once():
    params = rnn.RNNParams("p_")
    first = params.get("w", shape=(2, 3))
    assert first.name == "p_w"
    assert params.get("w") is first
    assert list(params) == ["p_w"]
    assert "p_w" in params
    assert params.prefix == "p_"


def test_cells_share_by_params():
    first = rnn.GRUCell(4, prefix="a_")
    second = rnn.GRUCell(4, prefix="b_", params=first.params)
    x = sym.Variable("x")
    net = sym.Group([c.unroll(1, [x])[0][0] for c in (first, second)])
    assert net.list_arguments() == ["x", *first.params]
    assert second.params is first.params


def test_sharing_with_another_shape_is_refused():
    params = rnn.LSTMCell(5, prefix="a_").params
    with pytest.raises(ParameterError) as caught:
        rnn.LSTMCell(6, prefix="b_", params=params)
    text = str(caught.value)
    assert "LSTMCell('b_') needs 'a_i2h_weight' with shape (24, ?)" in text
    assert "LSTMCell('a_') uses it with shape (20, ?)" in text
    assert "another prefix" in text


def test_same_rows_but_another_hidden_size_is_refused():
    params = rnn.RNNCell(20, prefix="a_").params
    with pytest.raises(ParameterError, match=r"'a_h2h_weight' with shape \(20, 5\).*\(20, 20\)"):
        rnn.LSTMCell(5, params=params)


def test_networks_with_two_cells_of_one_prefix_cannot_be_bound(caplog):
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.LSTMCell(4))
    stack.add(rnn.LSTMCell(4))  # as in MXNet, it unrolls
    assert "parameter 'lstm_i2h_weight' of their own" in caplog.text
    outputs, _ = stack.unroll(2, sym.Variable("data"), merge_outputs=True)
    with pytest.raises(NameConflictError, match="'lstm_i2h_weight'"):
        outputs.simple_bind(data=(2, 2, 3))
    both = rnn.BidirectionalCell(rnn.RNNCell(4), rnn.RNNCell(4))
    outputs, _ = both.unroll(2, sym.Variable("data"), merge_outputs=True)
    with pytest.raises(NameConflictError, match="rnn_i2h_weight"):
        outputs.list_arguments()


def test_shared_cells_can_be_stacked():
    first = rnn.RNNCell(4)
    stack = rnn.SequentialRNNCell()
    stack.add(first)
    stack.add(rnn.RNNCell(4, params=first.params))
    outputs, _ = stack.unroll(2, sym.Variable("data"), merge_outputs=True)
    assert outputs.list_arguments() == ["data", *first.params]


def test_params_of_a_container_replace_those_of_its_cells():
    source = rnn.SequentialRNNCell()
    source.add(rnn.LSTMCell(4, prefix="a_"))
    source.add(rnn.ResidualCell(rnn.RNNCell(4, prefix="b_")))
    inner = rnn.SequentialRNNCell()
    inner.add(rnn.ResidualCell(rnn.RNNCell(4, prefix="b_")))
    target = rnn.SequentialRNNCell(params=source.params)
    target.add(rnn.LSTMCell(4, prefix="a_"))
    target.add(inner)
    x = sym.Variable("data")
    net = sym.Group([c.unroll(2, x, merge_outputs=True)[0] for c in (source, target)])
    assert net.list_arguments() == ["data", *source.params]  # no name stands twice


def test_params_of_a_container_must_fit():
    source = rnn.LSTMCell(4, prefix="a_")
    target = rnn.SequentialRNNCell(params=source.params)
    with pytest.raises(ParameterError, match=r"'a_i2h_weight' with shape \(20, \?\).*\(16, \?\)"):
        target.add(rnn.LSTMCell(5, prefix="a_"))
    with pytest.raises(InvalidArgumentError, match="one of the two"):
        target.add(rnn.LSTMCell(4, prefix="b_", params=rnn.RNNParams("b_")))
    assert len(target) == 0


def test_params_must_be_rnnparams():
    with pytest.raises(InvalidArgumentError, match=r"params must be an RNNParams.*'a_'"):
        rnn.LSTMCell(4, params="a_")
    with pytest.raises(InvalidArgumentError, match="prefix must be a string"):
        rnn.LSTMCell(4, prefix=3)
