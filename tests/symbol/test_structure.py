"""Composition, indexing, listing, attributes; symbols never change."""

import copy
import json
import pickle

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, NameConflictError


def _net():
    h = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="fc1")
    h = sym.BatchNorm(h, name="bn")
    return sym.FullyConnected(h, num_hidden=2, name="fc2")


def test_a_symbol_cannot_be_changed():
    net = _net()
    with pytest.raises(AttributeError, match="immutable"):
        net.name = "other"
    with pytest.raises(AttributeError, match="immutable"):
        net._heads = ()
    with pytest.raises(TypeError):
        net.heads[0] = None
    net.list_attr()["num_hidden"] = "7"
    net.attr_dict()["fc2"]["num_hidden"] = "7"
    assert net.attr("num_hidden") == "2"


def test_composing_leaves_the_parts_as_they_were():
    x = sym.Variable("x")
    y = x + 1
    before = y.tojson()
    _ = sym.Group([y * 2, sym.relu(y)])
    assert y.tojson() == before
    assert x.list_arguments() == ["x"]


def test_lists_of_names():
    net = _net()
    params = ["fc1_weight", "fc1_bias", "bn_gamma", "bn_beta", "fc2_weight", "fc2_bias"]
    assert net.list_arguments() == ["data", *params]
    assert net.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    assert net.list_outputs() == ["fc2_output"]
    assert sorted(net.list_inputs()) == sorted(net.list_arguments() + net.list_auxiliary_states())


def test_a_variable_lists_itself():
    x = sym.Variable("x")
    assert x.list_arguments() == x.list_outputs() == x.list_inputs() == ["x"]
    assert x.get_children() is None
    assert repr(x) == "<Symbol x>"


def test_internals_are_found_by_output_name_and_by_node_name():
    internals = _net().get_internals()
    assert internals.list_outputs()[:4] == ["data", "fc1_weight", "fc1_bias", "fc1_output"]
    hidden = internals["fc1_output"]
    assert hidden.list_arguments() == ["data", "fc1_weight", "fc1_bias"]
    assert internals["fc1"].list_outputs() == ["fc1_output"]
    assert internals["data"].name == "data"


def test_children_are_the_direct_inputs():
    net = _net()
    assert net.get_children().list_outputs() == ["bn_output", "fc2_weight", "fc2_bias"]
    assert sym.Group([net, sym.Variable("z")]).get_children().list_outputs() == [
        "bn_output", "fc2_weight", "fc2_bias",
    ]  # fmt: skip


def test_group_index_slice_and_iteration():
    a, b = sym.Variable("a"), sym.Variable("b")
    group = sym.Group([a, a + b, b])
    assert len(group) == 3
    assert group.name is None
    assert group.list_outputs() == ["a", "_plus0_output", "b"]
    assert [s.list_outputs()[0] for s in group] == group.list_outputs()
    assert group[0].name == "a"
    assert group[-1].name == "b"
    assert group[np.int64(2)].name == "b"
    assert group[1:].list_outputs() == ["_plus0_output", "b"]
    assert group["b"].list_arguments() == ["b"]
    assert group["_plus0"].list_arguments() == ["a", "b"]
    assert "3 in all" not in repr(group)
    assert repr(group) == "<Symbol group [a, _plus0_output, b]>"


def test_outputs_of_one_node():
    parts = sym.SliceChannel(sym.Variable("x"), num_outputs=3, name="split")
    assert parts.list_outputs() == ["split_output0", "split_output1", "split_output2"]
    assert [p.list_outputs() for p in parts] == [[n] for n in parts.list_outputs()]
    first, *_ = parts
    assert first.name == "split"


def test_wrong_indices():
    group = sym.Group([sym.Variable("a"), sym.Variable("b")])
    with pytest.raises(IndexError, match="output 2 of a symbol with 2 outputs"):
        group[2]
    with pytest.raises(IndexError, match="selects none of the 2 outputs"):
        group[5:]
    with pytest.raises(InvalidArgumentError, match="no output named 'c'; the outputs are: a, b"):
        group["c"]
    with pytest.raises(InvalidArgumentError, match="2 outputs named 'a'"):
        sym.Group([group[0], group[0]])["a"]
    with pytest.raises(InvalidArgumentError, match=r"by number, name or slice, not by 1\.5"):
        group[1.5]


def test_group_takes_symbols_only():
    for wrong in ([], [sym.Variable("a"), 3]):
        with pytest.raises(InvalidArgumentError, match="one or more Symbols"):
            sym.Group(wrong)


def test_a_symbol_has_no_truth_value():
    x = sym.Variable("x")
    with pytest.raises(TypeError, match="no truth value"):
        bool(x > 0)
    with pytest.raises(TypeError, match="no truth value"):
        assert x == x


def test_variable_attributes():
    v = sym.Variable(
        "v",
        attr={"__mine__": "1"},
        shape=(3, 0),
        dtype="int32",
        lr_mult=0.5,
        wd_mult=0,
        init=sb.init.Constant(2.0),
        __other__=7,
    )
    assert v.attr("__shape__") == "(3, 0)"
    assert v.attr("__dtype__") == "4"  # MXNet's number
    assert v.attr("__lr_mult__") == "0.5"
    assert v.attr("__wd_mult__") == "0"
    assert v.attr("__mine__") == "1"
    assert v.attr("__other__") == "7"
    assert "onstant" in v.attr("__init__")
    assert v.attr("nothing") is None
    assert v.attr_dict() == {"v": v.list_attr()}


def test_variable_shape_and_dtype_are_used():
    v = sym.Variable("v", shape=(2, 0), dtype=np.float64)
    net = v + sym.Variable("w")
    assert net.infer_shape(w=(0, 5))[0] == [(2, 5), (2, 5)]
    assert net.infer_type()[1] == [np.float64]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("",), "non-empty string, not ''"),
        ((3,), "non-empty string, not 3"),
        (("a\ud800",), "cannot be written as UTF-8: its character 1 is half of a surrogate pair"),
        (("v", None, "abc"), "shape='abc' must be a tuple"),
        (("v", None, 3), "shape=3 must be a tuple"),
        (("v", None, (2, -1)), r"shape=\(2, -1\) must be a tuple"),
    ],
)
def test_wrong_variables(arguments, words):
    with pytest.raises(InvalidArgumentError, match=words):
        sym.Variable(*arguments)


@pytest.mark.parametrize("name", [5, "\ud800"])
def test_wrong_names_of_operators(name):
    with pytest.raises(InvalidArgumentError, match=r"The name .*of FullyConnected"):
        sym.FullyConnected(sym.Variable("x"), num_hidden=1, name=name)
    text = sym.Variable("x").tojson().replace('"name": "x"', f'"name": {json.dumps(name)}')
    with pytest.raises(InvalidArgumentError, match=r"he name .*of a node"):
        sym.load_json(text)


def test_wrong_variable_keywords():
    with pytest.raises(InvalidArgumentError, match="dtype 'flot32' is not a numpy dtype"):
        sym.Variable("v", dtype="flot32")
    with pytest.raises(InvalidArgumentError, match="unknown argument 'learning'"):
        sym.Variable("v", learning=3)
    with pytest.raises(InvalidArgumentError, match="only 'default' exists"):
        sym.Variable("v", stype="csr")


def test_operator_attributes_are_checked():
    x = sym.Variable("x")
    with pytest.raises(InvalidArgumentError, match=r"'num_hiden'\. Did you mean 'num_hidden'\?"):
        sym.FullyConnected(x, num_hiden=3)
    with pytest.raises(InvalidArgumentError, match="attribute 'num_hidden' is missing"):
        sym.FullyConnected(x)
    with pytest.raises(InvalidArgumentError, match="num_hidden='q' is not an integer"):
        sym.FullyConnected(x, num_hidden="q")
    with pytest.raises(InvalidArgumentError, match="num_hidden=0 must be positive"):
        sym.FullyConnected(x, num_hidden=0)
    with pytest.raises(InvalidArgumentError, match="act_type='rleu' is not one of 'relu'"):
        sym.Activation(x, act_type="rleu")
    with pytest.raises(AttributeError, match="Did you mean 'FullyConnected'"):
        sym.FullyConected(x, num_hidden=3)


def test_operator_inputs_are_checked():
    x, y = sym.Variable("x"), sym.Variable("y")
    with pytest.raises(InvalidArgumentError, match="no input 'wieght'; it has data, weight, bias"):
        sym.FullyConnected(x, wieght=y, num_hidden=1)
    with pytest.raises(InvalidArgumentError, match="input 'data' is given twice"):
        sym.FullyConnected(x, data=y, num_hidden=1)
    with pytest.raises(InvalidArgumentError, match="4 inputs were given, it takes data, weight"):
        sym.FullyConnected(x, x, x, x, num_hidden=1)
    with pytest.raises(InvalidArgumentError, match=r"has 2 outputs; choose one with \[i\]"):
        sym.relu(sym.Group([x, y]))
    with pytest.raises(InvalidArgumentError, match="'abc' is not a Symbol"):
        sym.relu(x, "abc")


def test_two_variables_of_one_name_are_refused_wherever_names_matter():
    net = sym.Variable("w") + sym.Variable("w")
    words = "Two different variables are both named 'w'"
    for use in (
        net.list_arguments,
        lambda: net.infer_shape(w=(2,)),
        lambda: net.simple_bind(w=(2,)),
        lambda: net.eval(w=np.ones(2)),
        lambda: sb.mod.Module(net, data_names=["w"]),
    ):
        with pytest.raises(NameConflictError, match=words):
            use()


def test_copies_are_the_symbol_itself_and_pickling_keeps_the_graph():
    net = sym.Group([_net(), sym.Variable("z", shape=(2,))])
    assert copy.copy(net) is net
    assert copy.deepcopy(net) is net
    again = pickle.loads(pickle.dumps(net))
    assert again.tojson() == net.tojson()
    assert again.list_outputs() == ["fc2_output", "z"]


def test_deep_graphs_meet_no_recursion_limit():
    depth = 5000
    net = x = sym.Variable("x")
    for _ in range(depth):
        net = net + 1
    assert len(net.nodes()) == depth + 1
    assert net.list_arguments() == ["x"]
    assert net.infer_shape(x=(2,))[1] == [(2,)]
    assert len(net.get_internals()) == depth + 1
    again = pickle.loads(pickle.dumps(net))
    executor = again.simple_bind(x=(2,))
    (out,) = executor.forward(is_train=True, x=np.array([0.0, 0.5]))
    assert out.asnumpy().tolist() == [5000.0, 5000.5]
    executor.backward(np.array([1.0, 2.0]))
    assert executor.grad_dict["x"].asnumpy().tolist() == [1.0, 2.0]
    assert x.list_outputs() == ["x"]


def test_a_network_is_composed_with_others():
    inner = sym.FullyConnected(sym.Variable("data"), num_hidden=3, name="fc")
    outer = sym.FullyConnected(sym.Variable("data2"), num_hidden=4, name="fc2")
    both = outer(data2=inner, name="both")
    assert both.list_arguments() == ["data", "fc_weight", "fc_bias", "fc2_weight", "fc2_bias"]
    assert both.list_outputs() == ["both_output"]
    assert outer.list_arguments() == ["data2", "fc2_weight", "fc2_bias"]
    assert outer(data2=inner).name == "fc2"
    with pytest.raises(InvalidArgumentError, match="'dat' is no variable"):
        outer(dat=inner)
    with pytest.raises(InvalidArgumentError, match="give a Symbol of one output"):
        outer(data2=sym.Group([inner, inner]))


def test_the_graph_as_text():
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=3, no_bias=True, name="fc")
    lines = net.debug_str().splitlines()
    assert lines[:4] == [
        "Symbol Outputs:",
        "\toutput[0]=fc(0)",
        "Variable:data",
        "Variable:fc_weight",
    ]
    assert "\targ[1]=fc_weight(0) version=0" in lines
    assert "\tnum_hidden=3" in lines
