"""Shapes and dtypes of whole networks, from what is given in either direction."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, ShapeError


def _mlp():
    h = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="fc1")
    h = sym.BatchNorm(sym.Activation(h, act_type="tanh"), name="bn")
    return sym.SoftmaxOutput(sym.FullyConnected(h, num_hidden=3, name="fc2"), name="softmax")


def test_parameter_label_and_auxiliary_shapes_follow_from_data():
    net = _mlp()
    arguments, outputs, auxiliary = net.infer_shape(data=(8, 5))
    assert dict(zip(net.list_arguments(), arguments)) == {
        "data": (8, 5),
        "fc1_weight": (4, 5),
        "fc1_bias": (4,),
        "bn_gamma": (4,),
        "bn_beta": (4,),
        "fc2_weight": (3, 4),
        "fc2_bias": (3,),
        "softmax_label": (8,),
    }
    assert outputs == [(8, 3)]
    assert auxiliary == [(4,), (4,)]


def test_knowledge_flows_upwards_too():
    x = sym.Variable("x")
    net = sym.Group([x + sym.Variable("y"), x * 2])
    assert net.infer_shape(y=(2, 3))[0] == [(2, 3), (2, 3)]
    arguments, outputs, _ = net.infer_shape_partial(x=(2, 0), y=(0, 3))
    assert arguments == [(2, 3), (2, 3)]
    assert outputs == [(2, 3), (2, 3)]


def test_partial_inference_leaves_open_what_is_open():
    net = _mlp()
    arguments, outputs, _ = net.infer_shape_partial()
    found = dict(zip(net.list_arguments(), arguments))
    assert found["data"] == ()
    assert found["fc1_bias"] == (4,)
    assert found["fc2_weight"] in ((), (3, 0), (3, 4))
    assert outputs[0] == () or outputs[0][0] == 0


@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_begin_states_of_an_unrolled_lstm_get_the_batch_size_of_the_data(layout):
    cells = sb.rnn.SequentialRNNCell()
    cells.add(sb.rnn.LSTMCell(6, prefix="a_"))
    cells.add(sb.rnn.GRUCell(7, prefix="b_"))
    out, states = cells.unroll(3, sym.Variable("data"), layout=layout, merge_outputs=True)
    group = sym.Group([out, *states])
    data = (8, 3, 5) if layout == "NTC" else (3, 8, 5)
    arguments, outputs, _ = group.infer_shape(data=data)
    assert outputs == [(8, 3, 7) if layout == "NTC" else (3, 8, 7), (8, 6), (8, 6), (8, 7)]
    found = dict(zip(group.list_arguments(), arguments))
    assert found["a_i2h_weight"] == (24, 5)
    assert found["b_h2h_weight"] == (21, 7)


def test_begin_states_given_as_variables_are_inferred():
    cell = sb.rnn.LSTMCell(6, prefix="a_")
    begin = [sym.Variable("h", shape=(0, 6)), sym.Variable("c")]
    out, _ = cell.unroll(2, sym.Variable("data"), begin_state=begin, merge_outputs=True)
    arguments, _, _ = out.infer_shape(data=(8, 2, 5))
    found = dict(zip(out.list_arguments(), arguments))
    assert found["h"] == found["c"] == (8, 6)


def test_shapes_that_cannot_be_inferred_are_named():
    with pytest.raises(ShapeError) as caught:
        _mlp().complete_shapes()
    message = str(caught.value)
    assert "cannot be inferred: data (unknown), fc1_weight" in message
    assert "Give them as data=(...)" in message


def test_inference_that_knows_too_little_warns_and_gives_none():
    with pytest.warns(UserWarning, match="cannot be inferred: data"):
        assert _mlp().infer_shape() == (None, None, None)
    with pytest.warns(UserWarning, match="dtypes of data, fc1_weight"):
        assert _mlp().infer_type() == (None, None, None)
    arguments, outputs, auxiliary = _mlp().infer_type_partial()
    assert {*arguments, *outputs, *auxiliary} == {None}
    assert sym.relu(sym.Variable("x")).infer_type_partial(x="int32")[1] == [np.int32]


def test_a_shape_that_is_given_takes_precedence_over_the_variables():
    total = sym.Variable("a", shape=(2, 3)) + sym.Variable("b")
    assert total.infer_shape(a=(5, 6))[1] == [(5, 6)]
    assert total.infer_shape()[1] == [(2, 3)]
    assert total.infer_shape(a=(0, 3))[1] == [(2, 3)]


def test_shapes_go_back_through_a_convolution():
    data = sym.Variable("a", shape=(0, 10, 0, 0))
    conv = sym.Convolution(data, num_filter=21, kernel=(3, 3), pad=(1, 1), name="c")
    total = sym.elemwise_add(conv, sym.Variable("b", shape=(5, 21, 32, 32)))
    assert total.infer_shape()[0][0] == (5, 10, 32, 32)
    strided = sym.Convolution(data, num_filter=2, kernel=(3, 3), stride=(2, 1), name="c")
    total = sym.elemwise_add(strided, sym.Variable("b", shape=(5, 2, 4, 4)))
    assert total.infer_shape_partial()[0][0] == (5, 10, 0, 6)


def test_contradictions_name_the_node_and_what_came_in():
    with pytest.raises(ShapeError) as caught:
        _mlp().infer_shape(data=(8, 5), fc1_weight=(4, 6))
    message = str(caught.value)
    assert "Node 'fc1' (FullyConnected; data=data(8, 5), weight=fc1_weight" in message
    with pytest.raises(ShapeError, match=r"shape=\(2, 3\)"):
        sym.relu(sym.Variable("v", shape=(2, 3))).infer_shape(v=(0, 4))


def test_shapes_for_unknown_names_are_refused():
    with pytest.raises(InvalidArgumentError, match="given for dta, but the symbol's inputs are"):
        _mlp().infer_shape(dta=(8, 5))


def test_a_damaged_shape_attribute_names_its_variable():
    with pytest.raises(InvalidArgumentError, match="'v': its attribute __shape__ is 'wide'"):
        sym.relu(sym.Variable("v", attr={"__shape__": "wide"})).infer_shape()


def test_dtypes_default_to_float32_and_spread():
    net = _mlp()
    assert set(net.complete_types()[0]) == {np.dtype("float32")}
    arguments, outputs, auxiliary = net.infer_type(data="float64")
    found = dict(zip(net.list_arguments(), arguments))
    assert {found[n] for n in found if n != "softmax_label"} == {np.dtype("float64")}
    assert outputs == [np.float64]
    assert set(auxiliary) <= {np.dtype("float64"), np.dtype("float32")}


def test_ids_of_an_embedding_say_nothing_about_its_weight():
    net = sym.Embedding(sym.Variable("data"), input_dim=4, output_dim=2, name="embed")
    arguments, outputs, _ = net.infer_type(data=np.int64)
    assert arguments == [np.int64, np.float32]
    assert outputs == [np.float32]


@pytest.mark.parametrize("said", ["6", "int64", np.int64])
def test_dtypes_of_variables_may_be_numbers_of_mxnet_files(said):
    attr = {"__dtype__": said} if isinstance(said, str) else None
    v = sym.Variable("v", attr=attr, dtype=None if attr else said)
    assert v.infer_type()[0] == [np.int64]
    with pytest.raises(InvalidArgumentError, match="'v': dtype '99'"):
        sym.Variable("v", attr={"__dtype__": "99"}).infer_type()


@pytest.mark.parametrize(
    ("begin", "end", "step", "expected"),
    [
        ((None, None), (None, 10), None, (0, 10)),
        ((None, None), (None, 10), (None, 2), (0, 5)),
        ((2, 3), (None, 10), (3, 3), (0, 3)),
        ((2,), (5,), None, (0, 20)),
    ],
)
def test_a_slice_knows_its_axes_of_known_size(begin, end, step, expected):
    data = sym.Variable("data", shape=(0, 20))
    part = sym.slice(data, begin=begin, end=end, step=step)
    assert part.infer_shape_partial()[1] == [expected]


def test_a_range_is_as_long_as_what_it_is_added_to():
    numbers = sym.arange(start=2, step=3, repeat=2, infer_range=True)
    total = sym.elemwise_add(numbers, sym.Variable("x"))
    assert total.infer_shape(x=(5,)) == ([(5,)], [(5,)], [])
    (result,) = total.eval(x=sb.nd.zeros((5,)))
    assert result.asnumpy().tolist() == [2.0, 2.0, 5.0, 5.0, 8.0]


def test_an_identity_tells_the_shape_of_the_other():
    w = sym.Variable("w")
    wide = sym.broadcast_add(w, sym.Variable("shift", shape=(1,)))
    like = sym._internal._identity_with_attr_like_rhs(wide, w)
    net = sym.FullyConnected(sym.Variable("data"), weight=like, num_hidden=3, no_bias=True)
    shapes = dict(zip(net.list_arguments(), net.infer_shape(data=(2, 4))[0]))
    assert shapes["w"] == (3, 4)


@pytest.mark.parametrize(
    ("of_data", "of_zeros"),
    [("float64", "float64"), ("float16", "float16"), ("int32", "int32"), (None, "float32")],
)
def test_zeros_without_a_dtype_take_it_from_their_use(of_data, of_zeros):
    zeros = sym.zeros(shape=(0, 3), name="zeros")
    net = sym.Group([zeros, sym.where(sym.Variable("x"), sym.Variable("y"), zeros)])
    dtypes = {} if of_data is None else {"y": of_data}
    assert net.infer_type(x="float32", **dtypes)[1][0] == np.dtype(of_zeros)
    assert sym.zeros((2,), dtype="float32").infer_type()[1] == [np.float32]
    assert sym.ones((2,)).infer_type()[1] == [np.float32]


def test_zeros_of_a_dtype_keep_it():
    net = sym.Variable("x") + sym.zeros(shape=(0, 3), dtype="float32", name="zeros")
    assert net.get_internals()["zeros_output"].infer_type()[1] == [np.float32]
    with pytest.raises(ShapeError, match=r"float32 \(of zeros\) and float64 \(of x\)"):
        net.simple_bind(sb.cpu(), "null", {"x": "float64"}, x=(2, 3)).forward()
