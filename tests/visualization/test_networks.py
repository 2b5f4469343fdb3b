"""What is read from symbols, models, files and bundles."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import symbucket as sb
from symbucket.errors import BundleError, InvalidArgumentError, ShapeError
from symbucket.visualization.diagram import (
    BACKWARD,
    DATA,
    FORWARD,
    OUTPUT,
    PARAMETER,
    STATE,
    UPDATE,
)
from symbucket.visualization.from_onnx import from_onnx
from symbucket.visualization.sources import networks_of
from tests.visualization.viz_networks import language_model, perceptron


def only(networks):
    (network,) = networks.values()
    return network


def named(network):
    return {b.name: b for b in network.boxes}


def test_a_symbol_has_its_variables_nodes_and_outputs():
    data = sb.sym.Variable("data")
    net = sb.sym.BatchNorm(sb.sym.FullyConnected(data, num_hidden=4, name="fc"), name="bn")
    boxes = named(only(networks_of(net, {"data": (2, 3)})))
    kinds = {name: box.kind for name, box in boxes.items()}
    assert kinds == {
        **{"data": DATA, "fc_weight": PARAMETER, "fc_bias": PARAMETER, "fc": FORWARD},
        **{"bn_gamma": PARAMETER, "bn_beta": PARAMETER, "bn_moving_mean": STATE},
        **{"bn_moving_var": STATE, "bn": FORWARD, "bn_output": OUTPUT},
    }
    assert boxes["fc_weight"].outputs[0].text == "4\N{MULTIPLICATION SIGN}3"
    assert boxes["fc"].attributes["num_hidden"] == "4"
    assert boxes["fc"].param == ""
    assert boxes["fc_weight"].param == "fc_weight"


def test_a_symbol_without_shapes_is_drawn_too():
    boxes = named(only(networks_of(perceptron())))
    assert (
        boxes["fc0"].outputs[0].text == "?\N{MULTIPLICATION SIGN}8"
        or not boxes["fc0"].outputs[0].text
    )
    assert boxes["data"].outputs[0].text == ""


def test_a_variable_passed_as_a_weight_is_a_parameter_whatever_its_name():
    shared = sb.sym.Variable("table")
    net = sb.sym.Embedding(sb.sym.Variable("ids"), weight=shared, input_dim=5, output_dim=2)
    kinds = {n: b.kind for n, b in named(only(networks_of(net))).items()}
    assert (kinds["table"], kinds["ids"]) == (PARAMETER, DATA)


def test_a_variable_that_declares_what_parameters_have_is_one_wherever_it_is_read():
    words, table = sb.sym.Variable("words"), sb.sym.Variable("table", shape=(1, 5, 2))
    net = sb.sym.broadcast_add(words, table)
    kinds = {n: b.kind for n, b in named(only(networks_of(net))).items()}
    assert (kinds["table"], kinds["words"]) == (PARAMETER, DATA)
    kinds = {n: b.kind for n, b in named(only(networks_of(net, {"table": (1, 5, 2)}))).items()}
    assert kinds["table"] == DATA
    assert sb.viz.summary.summarize(net, {"words": (3, 5, 2)}).parameters == 10


def test_edges_of_a_training_graph_all_have_shapes_and_phases_flow_forward():
    symbol, shapes = language_model(5)
    network = only(networks_of(symbol, shapes, "training", unrolled=True))
    order = [FORWARD, BACKWARD, UPDATE]
    for edge in network.edges:
        source, target = network.boxes[edge.source], network.boxes[edge.target]
        assert source.outputs[edge.output].text, source.name
        assert edge.source < edge.target
        if source.kind in order and target.kind in order:
            assert order.index(source.kind) <= order.index(target.kind)
    boxes = named(network)
    assert boxes["softmax_label"].kind == DATA
    gradients = {b.param for b in network.boxes if b.kind == OUTPUT and b.param}
    assert (
        gradients
        == {b.name for b in network.boxes if b.kind == PARAMETER}
        == set(network.parameters)
    )
    assert boxes["pred_weight.grad"].outputs[0].text == boxes["pred_weight"].outputs[0].text


def foreign():
    """A model as other programs write it: a scope in names, a size with a name, an inner graph."""
    inner = helper.make_graph(
        [helper.make_node("Add", ["y", "y"], ["twice"])], "then", [], [_info("twice", [None, 2])]
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["y"], ["same"])], "else", [], [_info("same", [None, 2])]
    )
    nodes = [
        helper.make_node("Constant", [], ["one"], name="c", value_float=1.0),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="/enc/MatMul"),
        helper.make_node(
            "If", ["flag"], ["z"], name="/enc/If", then_branch=inner, else_branch=other
        ),
        helper.make_node("Relu", ["z"], ["out"]),
    ]
    weight = onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    axes = onnx.numpy_helper.from_array(np.array([1], np.int64), "axes")
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    graph = helper.make_graph(
        nodes, "foreign", [_info("x", ["N", 3]), flag], [_info("out", ["N", 2])], [weight, axes]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def _info(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_a_model_of_another_program():
    network = from_onnx(foreign())
    boxes = named(network)
    assert set(boxes) == {"x", "flag", "w", "/enc/MatMul", "/enc/If", "out"} | {
        network.boxes[-2].name
    }
    assert boxes["w"].kind == PARAMETER
    assert boxes["x"].outputs[0].text == "N\N{MULTIPLICATION SIGN}3"
    # What the model does not say is inferred.
    assert boxes["/enc/MatMul"].outputs[0].text == "N\N{MULTIPLICATION SIGN}2"
    assert boxes["/enc/If"].attributes["then_branch"] == "graph of 1 nodes"
    number = {b.name: i for i, b in enumerate(network.boxes)}
    edges = {(e.source, e.target) for e in network.edges}
    assert (number["/enc/MatMul"], number["/enc/If"]) in edges  # read inside of the branches


def test_files_and_bundles(tmp_path):
    path = tmp_path / "foreign.onnx"
    onnx.save(foreign(), str(path))
    assert list(networks_of(path)) == ["foreign"]
    symbol, shapes = language_model(4)
    symbol.save(str(tmp_path / "net-symbol.json"))
    network = only(networks_of(str(tmp_path / "net-symbol.json"), shapes))
    assert "lstm_l0_t3_i2h" in named(network)


def bundle(folder):
    module = sb.mod.BucketingModule(
        lambda key: (language_model(key)[0], ("data",), ("softmax_label",)), default_bucket_key=6
    )
    module.bind([("data", (3, 6))], [("softmax_label", (3, 6))], for_training=False)
    module.init_params()
    module.switch_bucket(4, [("data", (3, 4))], [("softmax_label", (3, 4))])
    module.export(str(folder))
    return folder


def test_a_bundle_has_a_network_for_every_key(tmp_path):
    folder = bundle(tmp_path / "bundle")
    networks = networks_of(folder)
    assert sorted(networks) == ["4", "6"]
    for network in networks.values():
        kinds = {b.name: b.kind for b in network.boxes if not b.op}
        assert kinds["lstm_l0_i2h_weight"] == kinds["embed_weight"] == PARAMETER
        assert kinds["data"] == DATA
    assert networks["4"].parameters == networks["6"].parameters
    assert list(networks_of(folder, key=4)) == ["4"]
    with pytest.raises(InvalidArgumentError, match="no network of key 5; its keys are"):
        networks_of(folder, key=5)
    next(folder.glob("*4*.onnx")).unlink()
    with pytest.raises(BundleError, match="lacks the file"):
        networks_of(folder)


def test_several_symbols_by_key():
    symbols, shapes = {}, {}
    for key in (3, 5):
        symbols[key], shapes[key] = language_model(key)
    networks = networks_of(symbols, shapes, "forward")
    assert list(networks) == ["3", "5"]
    assert networks["3"].parameters == networks["5"].parameters
    assert list(networks_of(symbols, shapes, key=5)) == ["5"]
    with pytest.raises(InvalidArgumentError, match="no network of key 4; the keys are 3, 5"):
        networks_of(symbols, shapes, key=4)


@pytest.mark.parametrize(
    ("source", "options", "error", "said"),
    [
        (3, {}, InvalidArgumentError, "cannot draw a int; expected a Symbol"),
        ({}, {}, InvalidArgumentError, "the mapping is empty"),
        ("missing.onnx", {}, InvalidArgumentError, "there is no file 'missing.onnx'"),
        (perceptron(), {"key": 3}, InvalidArgumentError, "a Symbol has no keys"),
        (perceptron(), {"graph": "backward"}, InvalidArgumentError, "expected 'symbol'"),
        (perceptron(), {"graph": "training"}, ShapeError, "cannot be inferred"),
        (perceptron(), {"shape": {"date": (1, 2)}}, InvalidArgumentError, "date"),
    ],
)
def test_what_cannot_be_drawn(source, options, error, said):
    with pytest.raises(error, match=said):
        networks_of(source, **options)


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(InvalidArgumentError, match="is no ONNX file"):
        networks_of(path)
