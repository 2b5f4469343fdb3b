"""Notes of graphs and nodes; phases of the nodes that builders and copies make."""

import onnx_ir as ir

from symbucket import sym
from symbucket.compiler import CompileRequest
from symbucket.compiler.pipeline import run_pipeline
from symbucket.ir import Builder, copy_node, new_graph
from symbucket.ir.notes import Phase, graph_notes, node_notes, phase_of, set_phase


def small():
    made = new_graph("g")
    g = Builder(made)
    return g, g.input("x", (2,), ir.DataType.FLOAT)


def test_notes_belong_to_one_object():
    g, x = small()
    a, b = g.op("Exp", x), g.op("Neg", x)
    assert graph_notes(g.graph) is graph_notes(g.graph)
    assert graph_notes(g.graph).names.keys() >= {"x", "Exp", "Neg"}
    node_notes(a.producer()).phase = Phase.BACKWARD
    assert node_notes(b.producer()).phase is Phase.FORWARD


def test_nodes_are_of_the_forward_part_unless_told():
    g, x = small()
    assert phase_of(g.op("Exp", x).producer()) is Phase.FORWARD
    with g.scoped("grad/loss", Phase.BACKWARD):
        gradient = g.op("Neg", x)
        with g.scoped("inner"):
            inner = g.typed("Neg", [2], x)
    assert phase_of(gradient.producer()) is Phase.BACKWARD
    assert phase_of(inner.producer()) is Phase.BACKWARD
    assert g.phase is Phase.FORWARD
    assert phase_of(Builder(g.graph, anchor=gradient.producer()).op("Abs", x).producer()) is (
        Phase.BACKWARD
    )
    with g.beside(gradient.producer()):
        beside = g.op("Abs", x).producer()
    assert (beside.name, phase_of(beside)) == ("grad/loss/Abs", Phase.BACKWARD)
    assert phase_of(copy_node(beside, [x])) is Phase.BACKWARD
    set_phase(beside, Phase.FORWARD)
    assert phase_of(beside) is Phase.FORWARD


def test_the_backward_graph_is_marked():
    net = sym.MakeLoss(sym.sum(sym.tanh(sym.Variable("x") * sym.Variable("w"))))
    request = CompileRequest(net, {"x": (3,), "w": (3,)}, training=True, gradients=["w"])
    (step,) = run_pipeline(request).graphs
    for node in step.graph:
        assert (phase_of(node) is Phase.BACKWARD) == node.name.startswith("grad/"), node.name
