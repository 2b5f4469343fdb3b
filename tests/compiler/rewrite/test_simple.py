"""The small passes on small text: before and after."""

import onnx
import onnx_ir as ir

from symbucket.compiler.rewrite.expand_own_nodes import expand_own_nodes
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.compiler.rewrite.remove_identities import remove_identities
from tests.compiler.verify_graph import verify


def _graph(text):
    text = '<ir_version: 10, opset_import: ["": 21, "symbucket": 1]>\n' + text
    graph = ir.serde.deserialize_model(onnx.parser.parse_model(text)).graph
    for i, node in enumerate(graph):
        node.name = f"node{i}"
    return graph


def _lines(graph):
    """Nodes and outputs as readable lines; names of new values count from new0."""
    names: dict[ir.Value, str] = {}

    def name(value):
        if value is None:
            return ""
        fresh = value.name is None or "/" in value.name or value.name.startswith("node")
        return names.setdefault(value, f"new{len(names)}") if fresh else value.name

    lines = []
    for node in graph:
        inputs = ", ".join(name(v) for v in node.inputs)
        outputs = ", ".join(name(v) for v in node.outputs)
        lines.append(f"{outputs} = {node.op_type}({inputs})")
    return [*lines, "-> " + ", ".join(name(v) for v in graph.outputs)]


def test_dead_nodes():
    graph = _graph(
        """g (float[2] x) => (float[2] y)
        <float[2] unused = {1, 2}, float[2] used = {3, 4}, float[2] a, float[2] b, float[2] c>
        {
            a = Add(x, used)
            b = Mul(x, unused)
            c = Neg(b)
            y = Tanh(a)
        }"""
    )
    assert remove_dead_nodes(graph) == 2
    assert _lines(graph) == ["a = Add(x, used)", "y = Tanh(a)", "-> y"]
    assert list(graph.initializers) == ["used"]
    assert remove_dead_nodes(graph) == 0


def test_a_node_lives_by_any_of_its_outputs():
    graph = _graph(
        """g (float[4] x) => (float[2] y)
        <int64[2] sizes = {2, 2}, float[2] a, float[2] b>
        {
            a, b = Split <axis = 0> (x, sizes)
            y = Neg(b)
        }"""
    )
    assert remove_dead_nodes(graph) == 0
    assert len(_lines(graph)) == 3


def test_identities_are_read_through():
    graph = _graph(
        """g (float[2] x) => (float[2] y)
        <float[2] a, float[2] b, float[2] c>
        {
            a = Identity(x)
            b = Identity(a)
            c = Neg(b)
            y = Identity(c)
        }"""
    )
    assert remove_identities(graph) == 3
    assert _lines(graph) == ["c = Neg(x)", "-> c"]


def test_identities_that_make_outputs_of_inputs_constants_and_outputs_stay():
    graph = _graph(
        """g (float[2] x) => (float[2] a, float[2] b, float[2] c, float[2] d)
        <float[2] k = {1, 2}>
        {
            a = Identity(x)
            b = Identity(k)
            c = Neg(x)
            d = Identity(c)
        }"""
    )
    assert remove_identities(graph) == 0
    assert _lines(graph)[-1] == "-> a, b, c, d"
    assert len(_lines(graph)) == 5


def test_two_identities_of_one_value_as_outputs_keep_one():
    graph = _graph(
        """g (float[2] x) => (float[2] a, float[2] b)
        <float[2] c>
        {
            c = Neg(x)
            a = Identity(c)
            b = Identity(c)
        }"""
    )
    assert remove_identities(graph) == 1
    assert _lines(graph) == ["c = Neg(x)", "b = Identity(c)", "-> c, b"]
    verify(graph)


def test_own_nodes_are_written_in_standard_onnx():
    graph = _graph(
        """g (float[2,3] x) => (float[2,3] y)
        <float[2,3] a>
        {
            a = symbucket.BlockGrad(x)
            y = symbucket.SoftmaxOutput <axis: int = 1> (a, a)
        }"""
    )
    assert expand_own_nodes(graph) == 2
    lines = _lines(graph)
    assert [line.split(" = ")[-1].split("(")[0] for line in lines[:-1]] == ["Identity", "Softmax"]
    assert set(graph.opset_imports) == {""}
    remove_identities(graph)
    assert _lines(graph) == ["new0 = Softmax(x)", "-> new0"]
    verify(graph)
