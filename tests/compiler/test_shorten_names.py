"""Short names in models that only a runtime reads."""

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from symbucket.compiler.shorten_names import shorten_names


def _graph(nodes):
    value = {
        n: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"])
        for n in ("v1", "y", "a/long/name")
    }
    constant = helper.make_tensor("a/constant", TensorProto.FLOAT, [1], [3.0])
    graph = helper.make_graph(nodes, "g", [value["v1"]], [value["y"]], [constant])
    graph.value_info.append(value["a/long/name"])
    return graph


def test_inner_names_become_short_and_the_model_stays_the_same():
    graph = _graph(
        [
            helper.make_node("Clip", ["v1", "", "a/constant"], ["a/long/name"], name="first/Clip"),
            helper.make_node("Add", ["a/long/name", "v1"], ["another/long/name"]),
            helper.make_node("Mul", ["another/long/name", "a/constant"], ["y"]),
        ]
    )
    shorten_names(graph)
    assert [(*n.input, "->", *n.output) for n in graph.node] == [
        ("v1", "", "v0", "->", "v2"),  # v1 is taken by the input
        ("v2", "v1", "->", "v3"),
        ("v3", "v0", "->", "y"),
    ]
    assert [n.name for n in graph.node] == ["first/Clip", "", ""]
    assert [t.name for t in graph.initializer] == ["v0"]
    assert [v.name for v in graph.value_info] == ["v2"]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    (y,) = ReferenceEvaluator(model).run(None, {"v1": np.float32([1, 5])})
    assert y.tolist() == [6.0, 24.0]


def test_graphs_within_a_graph_are_renamed_with_it():
    inner = helper.make_graph(
        [helper.make_node("Identity", ["a/long/name"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n"])],
    )
    graph = _graph(
        [
            helper.make_node("Add", ["v1", "a/constant"], ["a/long/name"]),
            helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
        ]
    )
    shorten_names(graph)
    assert [(*n.input, "->", *n.output) for n in graph.node] == [
        ("v1", "v0", "->", "v2"),
        ("v3", "->", "y"),
    ]
    for attribute in graph.node[1].attribute:
        assert list(attribute.g.node[0].input) == ["v2"]
        assert attribute.g.node[0].output[0] == attribute.g.output[0].name == "v4"
