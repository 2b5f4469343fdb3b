"""Inference over the loops of a network tells what inference over all of its steps tells."""

import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import bounds_of_inputs, infer_interface, inference
from symbucket.compiler.loops.group import grouped
from symbucket.errors import ShapeError
from symbucket.symbol.bounds import input_bounds
from symbucket.symbol.infer import infer_shapes

STEPS = 6


def _tagger():
    x = sym.Embedding(sym.Variable("data"), input_dim=11, output_dim=5, name="embed")
    cell = sb.rnn.BidirectionalCell(sb.rnn.GRUCell(4, prefix="l_"), sb.rnn.LSTMCell(4, prefix="r_"))
    outputs, states = cell.unroll(STEPS, x, merge_outputs=True)
    scores = sym.FullyConnected(sym.Reshape(outputs, shape=(-1, 8)), num_hidden=3, name="pred")
    label = sym.Reshape(sym.Variable("label"), shape=(-1,))
    return sb.sym.Group(
        [sym.SoftmaxOutput(scores, label, name="softmax"), sym.BlockGrad(states[0][0])]
    )


def _embedded_steps():
    """An Embedding in every step: its ids are inputs of a loop's body."""
    cell, state = sb.rnn.RNNCell(4, prefix="rnn_"), None
    cell.reset()
    state = cell.begin_state()
    weight = sym.Variable("table")
    for t in range(STEPS):
        ids = sym.Variable(f"ids{t}")
        x = sym.Embedding(ids, weight, input_dim=7, output_dim=3, name=f"embed{t}")
        output, state = cell(x, state)
    return output


@pytest.mark.parametrize(
    ("network", "shapes"),
    [
        (_tagger, {"data": (2, STEPS), "label": (2, STEPS)}),
        (_embedded_steps, {f"ids{t}": (2,) for t in range(STEPS)}),
    ],
    ids=["tagger", "embedded steps"],
)
def test_loops_tell_what_all_steps_tell(network, shapes):
    symbol = network()
    assert grouped(symbol).loops
    inferred = infer_interface(symbol, shapes, {"data": "int32"} if "data" in shapes else {})
    assert inferred.shapes == symbol.complete_shapes(**shapes)
    dtypes = {"data": "int32"} if "data" in shapes else {}
    assert inferred.dtypes == symbol.complete_types(**dtypes)
    nodes = symbol.nodes()
    expected = input_bounds(nodes, infer_shapes(nodes, shapes).shape_of)
    assert expected
    assert bounds_of_inputs(symbol, shapes) == expected


def test_what_was_worked_out_from_less_is_not_worked_out_again(monkeypatch):
    calls = []

    def counting(nodes, shapes):
        calls.append(dict(shapes))
        return infer_shapes(nodes, shapes)

    monkeypatch.setattr(inference, "infer_shapes", counting)
    symbol = _tagger()
    shapes = {"data": (2, STEPS), "label": (2, STEPS)}
    inferred = infer_interface(symbol, shapes, {})
    assert infer_interface(symbol, shapes, {}) == inferred
    all_shapes = dict(zip(symbol.list_arguments(), inferred.shapes[0]))
    bounds = bounds_of_inputs(symbol, all_shapes)
    assert calls == [shapes]
    larger = dict.fromkeys(shapes, (3, STEPS))
    assert infer_interface(symbol, larger, {}).shapes == symbol.complete_shapes(**larger)
    assert bounds_of_inputs(symbol, {"data": (3, STEPS), "label": (3, STEPS)}) == bounds
    wrong = {**all_shapes, "pred_bias": (4,)}
    with pytest.raises(ShapeError, match="pred_bias"):
        infer_interface(symbol, wrong, {})


def test_errors_are_those_of_the_written_steps():
    symbol = _tagger()
    shapes = {"data": (2, STEPS), "label": (2, STEPS), "l_h2h_weight": (12, 5)}
    with pytest.raises(ShapeError) as ours:
        infer_interface(symbol, shapes, {})
    with pytest.raises(ShapeError) as theirs:
        symbol.complete_shapes(**shapes)
    assert str(ours.value) == str(theirs.value)
    assert "l_t0_" in str(ours.value)


def test_equal_records_are_one_object_and_different_ones_are_not():
    x = sym.Variable("x")

    def record(name, **attributes):
        return getattr(sym, name)(x, **attributes)[0].heads[0][0].op

    assert record("Activation", act_type="tanh") is record("Activation", act_type="tanh")
    assert record("Activation", act_type="tanh") is not record("Activation", act_type="relu")
    zero, minus_zero = (x * v for v in (0.0, -0.0))
    assert str(zero.heads[0][0].op.scalar) == "0.0"
    assert str(minus_zero.heads[0][0].op.scalar) == "-0.0"
    assert record("Reshape", shape=(1, -1)).shape == (1, -1)


def test_attr_dict_has_equal_records_under_each_name():
    x = sym.Variable("x", lr_mult=2.0)
    a = sym.Activation(x, act_type="tanh", name="a", attr={"note": "first"})
    b = sym.Activation(a, act_type="tanh", name="b")
    assert b.attr_dict() == {
        "x": {"__lr_mult__": "2.0", "lr_mult": "2.0"},
        "a": {"act_type": "tanh", "note": "first"},
        "b": {"act_type": "tanh"},
    }
