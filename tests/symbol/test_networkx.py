"""Symbols and models as networkx graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import onnx
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket.compiler import compile_inference
from symbucket.errors import ShapeError
from symbucket.ir import to_networkx


def network() -> sb.Symbol:
    data = sb.sym.Variable("data")
    hidden = sb.sym.FullyConnected(data, num_hidden=4, name="fc")
    parts = sb.sym.split(hidden, num_outputs=2, name="parts")
    return sb.sym.Group([parts[1] * 2.0, sb.sym.BatchNorm(parts[0], name="bn")])


def test_a_symbol_as_a_graph() -> None:
    graph = network().to_networkx()
    assert isinstance(graph, nx.MultiDiGraph)
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.nodes["data"] == {"op": "null", "name": "data", "attrs": {}}
    assert graph.nodes["fc"]["op"] == "FullyConnected"
    assert graph.nodes["fc"]["attrs"] == {"num_hidden": "4"}
    assert graph.edges["fc_weight", "fc", 0] == {"output": 0, "input": 1, "argument": "weight"}
    assert graph.edges["parts", "_mulscalar0", 0] == {"output": 1, "input": 0, "argument": "data"}
    assert graph.edges["bn_moving_var", "bn", 0]["argument"] == "moving_var"
    assert graph.graph["heads"] == [("_mulscalar0", 0), ("bn", 0)]
    assert nx.ancestors(graph, "_mulscalar0") == {"data", "fc_weight", "fc_bias", "fc", "parts"}


def test_nodes_stand_in_topological_order() -> None:
    symbol = network()
    graph = symbol.to_networkx()
    assert list(graph) == [node.name for node in symbol.nodes()]
    places = {name: i for i, name in enumerate(graph)}
    assert all(places[source] < places[target] for source, target in graph.edges())


def test_shapes_of_outputs() -> None:
    graph = network().to_networkx(data=(8, 3))
    assert graph.nodes["fc_weight"]["shapes"] == [(4, 3)]
    assert graph.nodes["parts"]["shapes"] == [(8, 2), (8, 2)]
    with pytest.raises(ShapeError):
        network().to_networkx(data=(8, 3), fc_weight=(4, 2))


def test_one_value_used_twice_is_two_edges() -> None:
    x = sb.sym.Variable("x")
    graph = (x * x).to_networkx()
    assert [edge["argument"] for edge in graph["x"]["_mul0"].values()] == ["lhs", "rhs"]


def test_nodes_of_one_name_are_two_nodes() -> None:
    x = sb.sym.Variable("x")
    graph = sb.sym.tanh(sb.sym.tanh(x, name="t"), name="t").to_networkx()
    assert list(graph.edges()) == [("x", "t"), ("t", "t#1")]
    assert graph.nodes["t#1"]["name"] == "t"


def model() -> onnx.ModelProto:
    program = compile_inference(network(), {"data": (8, 3)})
    return onnx.load_from_string(program.model)


def test_a_model_as_a_graph() -> None:
    proto = model()
    graph = sb.viz.to_networkx(proto)
    kinds = [kind for _, kind in graph.nodes(data="kind")]
    assert kinds.count("node") == len(proto.graph.node)
    assert kinds.count("input") == len(proto.graph.input)
    assert kinds.count("constant") == len(proto.graph.initializer)
    assert graph.nodes["data"]["shapes"] == [(8, 3)]
    assert graph.nodes["data"]["dtypes"] == ["FLOAT"]
    assert len(graph.graph["outputs"]) == len(proto.graph.output)
    uses = sum(bool(name) for node in proto.graph.node for name in node.input)
    assert graph.number_of_edges() == uses
    (gemm,) = (node for node, op in graph.nodes(data="op") if op == "Gemm")
    assert {e["input"]: e["value"] for _, _, e in graph.in_edges(gemm, data=True)} == {
        0: "data",
        1: "fc_weight",
        2: "fc_bias",
    }


def test_a_model_in_every_form_is_the_same_graph(tmp_path: Path) -> None:
    proto = model()
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    parsed = ir.from_proto(proto)
    forms: list[Any] = [proto, parsed, parsed.graph, path, str(path)]
    graphs = [to_networkx(form) for form in forms]
    assert all(nx.utils.graphs_equal(graph, graphs[0]) for graph in graphs)


def test_what_a_body_reads_is_an_edge() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    agraph (bool cond, float[2] x, float[2] y) => (float[2] z) {
        w = Neg(x)
        z = If(cond) <
            then_branch = then_graph () => (float[2] a) { a = Add(w, y) },
            else_branch = else_graph () => (float[2] b) { b = Identity(y) }
        >
    }
    """
    graph = to_networkx(onnx.parser.parse_model(text))
    (choice,) = (node for node, op in graph.nodes(data="op") if op == "If")
    edges = [(s, e["value"], e["input"]) for s, _, e in graph.in_edges(choice, data=True)]
    assert edges[0] == ("cond", "cond", 0)
    assert sorted(value for _, value, position in edges if position is None) == ["w", "y", "y"]
    assert graph.nodes[choice]["attrs"] == {}
