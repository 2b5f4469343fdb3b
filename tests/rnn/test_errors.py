"""Wrong use of cells: each message says what was found, what was expected, and what to do."""

import pytest

from symbucket import rnn
from symbucket import symbol as sym
from symbucket.errors import InvalidArgumentError, StateError, UnsupportedError

X = sym.Variable("data")


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", True])
@pytest.mark.parametrize("cell", [rnn.RNNCell, rnn.LSTMCell, rnn.GRUCell, rnn.FusedRNNCell])
def test_num_hidden(cell, size):
    with pytest.raises(InvalidArgumentError, match=r"num_hidden is .*integer of 1 or more"):
        cell(size)


def test_unknown_activation_lists_the_known_ones():
    with pytest.raises(InvalidArgumentError, match=r"activation='tan'.*'relu'.*'tanh'"):
        rnn.RNNCell(4, activation="tan")


def test_number_of_inputs():
    with pytest.raises(InvalidArgumentError, match=r"LSTMCell\('lstm_'\).*length=3.*2 inputs"):
        rnn.LSTMCell(4).unroll(3, [X, X])


@pytest.mark.parametrize("length", [0, -2, 1.5, None, True])
def test_length(length):
    with pytest.raises(InvalidArgumentError, match="number of time steps"):
        rnn.LSTMCell(4).unroll(length, X)


def test_inputs_must_be_symbols():
    cell = rnn.LSTMCell(4)
    with pytest.raises(InvalidArgumentError, match="not None"):
        cell.unroll(2, None)
    with pytest.raises(InvalidArgumentError, match="a list with 3 in it"):
        cell.unroll(2, [X, 3])
    parts = sym.split(X, num_outputs=2)
    with pytest.raises(InvalidArgumentError, match=r"2 outputs.*list\(inputs\)"):
        cell.unroll(2, parts)
    with pytest.raises(InvalidArgumentError, match="input 1 of unroll has 2 outputs"):
        cell.unroll(2, [X, parts])
    with pytest.raises(InvalidArgumentError, match="one step must be one Symbol"):
        cell([X], cell.begin_state())


@pytest.mark.parametrize("layout", ["NCT", "", "ntc", None])
@pytest.mark.parametrize("cell", [rnn.RNNCell(4), rnn.DropoutCell(0.5), rnn.FusedRNNCell(4)])
def test_layout(cell, layout):
    with pytest.raises(InvalidArgumentError, match="expected 'NTC'"):
        cell.unroll(2, X, layout=layout)


def test_states():
    cell = rnn.LSTMCell(4)
    with pytest.raises(InvalidArgumentError, match=r"2 states of shapes \(0, 4\), \(0, 4\)"):
        cell(X, [X])
    with pytest.raises(InvalidArgumentError, match="got 'h'"):
        cell.unroll(2, X, begin_state="h")
    with pytest.raises(InvalidArgumentError, match="sets shape= of each state itself"):
        cell.begin_state(shape=(3, 4))


def test_wrong_begin_state_leaves_a_stack_usable():
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.RNNCell(4))
    with pytest.raises(InvalidArgumentError, match="1 states"):
        stack.unroll(2, X, begin_state=[X, X])
    assert stack.unroll(2, X)[0][0].name == "rnn_t0_out"


def test_empty_stack():
    with pytest.raises(InvalidArgumentError, match=r"use add\(cell\)"):
        rnn.SequentialRNNCell().unroll(2, X)
    with pytest.raises(InvalidArgumentError, match="made of cells"):
        rnn.SequentialRNNCell().add("lstm")


@pytest.mark.parametrize("wrap", [rnn.ResidualCell, lambda c: rnn.ZoneoutCell(c, 0.1, 0.1)])
def test_a_modified_cell_is_only_used_by_its_modifier(wrap):
    base = rnn.RNNCell(4)
    states = base.begin_state()
    modifier = wrap(base)
    for use in (
        lambda: base(X, states),
        lambda: base.unroll(2, X),
        base.begin_state,
        lambda: rnn.SequentialRNNCell().add(base),
    ):
        with pytest.raises(StateError, match=r"RNNCell\('rnn_'\) is inside a modifier"):
            use()
    assert modifier.begin_state()[0].name == "rnn_begin_state_1"
    assert modifier.params is base.params
    assert modifier.begin_state(init_sym=sym.Variable)[0].heads[0][0].op is None


def test_a_modifier_that_fails_leaves_the_cell_alone():
    base = rnn.RNNCell(4)
    with pytest.raises(InvalidArgumentError, match=r"zoneout_outputs is 1\.0"):
        rnn.ZoneoutCell(base, 1.0)
    with pytest.raises(InvalidArgumentError, match="modifies a cell"):
        rnn.ResidualCell("lstm")
    assert base.begin_state()[0].name == "rnn_begin_state_0"


def test_an_error_inside_a_modifier_locks_the_cell_again():
    base = rnn.RNNCell(4)
    modifier = rnn.ResidualCell(base)
    with pytest.raises(InvalidArgumentError):
        modifier.begin_state(func=sym.Variable, shape=(1, 4))
    with pytest.raises(StateError):
        base.begin_state()


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, "0.5", True])
def test_dropout(share):
    with pytest.raises(InvalidArgumentError, match=r"dropout is .* from 0 up to but excluding 1"):
        rnn.DropoutCell(share)


def test_cells_that_cannot_be_stepped():
    both = rnn.BidirectionalCell(rnn.RNNCell(4, prefix="l_"), rnn.RNNCell(4, prefix="r_"))
    with pytest.raises(UnsupportedError, match="use unroll"):
        both(X, [X, X])
    fused = rnn.FusedRNNCell(4)
    with pytest.raises(UnsupportedError, match=r"unfuse\(\)"):
        fused(X, [X, X])
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.ResidualCell(both))
    for cell, advice in ((fused, "unfuse"), (stack, "each of its two cells")):
        with pytest.raises(UnsupportedError, match=advice):
            rnn.ZoneoutCell(cell, 0.5)
        cell.begin_state()  # it was not locked


def test_forget_bias():
    with pytest.raises(InvalidArgumentError, match="forget_bias is 'one'"):
        rnn.LSTMCell(4, forget_bias="one")


def test_fused_arguments():
    with pytest.raises(InvalidArgumentError, match=r"mode is 'elman'; expected one of .*'gru'"):
        rnn.FusedRNNCell(4, mode="elman")
    with pytest.raises(InvalidArgumentError, match="num_layers is 0"):
        rnn.FusedRNNCell(4, num_layers=0)


def test_a_cell_without_a_step():
    class Empty(rnn.BaseRNNCell):
        state_info = property(lambda self: [])

    with pytest.raises(UnsupportedError, match="override __call__ or _step"):
        Empty()(X, [])
    with pytest.raises(UnsupportedError, match="state_info"):
        rnn.BaseRNNCell().begin_state()
