"""What stops a gradient: a reason that somebody gave, or an error that names node and input."""

import numpy as np
import onnx_ir as ir
import pytest

from symbucket.compiler.autodiff.differentiate import differentiate, needs_head
from symbucket.errors import UnsupportedError
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    append_scan,
    gradient,
    new_body,
    new_graph,
    no_gradient,
    shape_rule,
)
from symbucket.ir.registry import _OPS

FLOAT = ir.DataType.FLOAT


@pytest.fixture
def graph():
    """A builder, two inputs, and the node ``Tried`` of both, which is forgotten after the test."""
    shape_rule("Tried", domain=OWN_DOMAIN)(lambda node: [((2,), FLOAT)])
    g = Builder(new_graph("refusals"))
    a, b = (g.input(name, (2,), FLOAT) for name in "ab")
    yield g, a, b, g.own("Tried", a, b)
    _OPS.pop((OWN_DOMAIN, "Tried"), None)


def derive(g, y, variables):
    return differentiate(g, [y], {y: g.input("head", (2,), FLOAT)}, variables)


def test_a_rule_that_leaves_out_an_input_is_refused_only_if_that_is_needed(graph):
    g, a, b, y = graph
    gradient("Tried", domain=OWN_DOMAIN)(lambda a, b, dy: (lambda: dy * b, None))
    with pytest.raises(UnsupportedError, match=r"Tried \(symbucket::Tried\): .* input 1 \(b\)"):
        derive(g, y, [a, b])
    assert set(derive(Builder(g.graph), y, [a])) == {a}


def test_a_stated_input_has_no_gradient_and_makes_nothing_active(graph):
    g, a, b, y = graph
    gradient("Tried", domain=OWN_DOMAIN)(lambda a, b, dy: (lambda: dy * b, None))
    no_gradient("Tried", domain=OWN_DOMAIN, inputs=[1], because="is tried")
    assert set(derive(g, y, [a, b])) == {a}
    assert derive(Builder(g.graph), y, [b]) == {}
    assert needs_head([y], [a]) == [True]
    assert needs_head([y], [b]) == [False]


def test_a_statement_may_hold_for_some_nodes(graph):
    g, a, b, y = graph
    no_gradient(
        "Tried",
        domain=OWN_DOMAIN,
        because="is tried",
        when=lambda node: node.inputs[1].name == "b",
    )
    assert derive(g, y, [a, b]) == {}
    other = g.own("Tried", b, a)
    with pytest.raises(UnsupportedError, match="operators without a gradient"):
        differentiate(g, [other], {other: g.input("head2", (2,), FLOAT)}, [a])


def test_a_rule_takes_the_place_of_a_statement(graph):
    g, a, b, y = graph
    no_gradient("Tried", domain=OWN_DOMAIN, because="is tried")
    gradient("Tried", domain=OWN_DOMAIN)(lambda a, b, dy: (dy, dy))
    assert set(derive(g, y, [a, b])) == {a, b}


def test_one_value_in_several_places_needs_one_gradient(graph):
    g, a, _, _ = graph
    y = g.own("Tried", a, a)
    gradient("Tried", domain=OWN_DOMAIN)(lambda x, other, dy: dy * x * 2.0)
    assert set(derive(g, y, [a])) == {a}


def test_integers_that_nothing_is_stated_about_are_refused(graph):
    """An operator that returns integers only may be a quantization that nobody described."""
    g, a, b, _ = graph
    shape_rule("Tried", domain=OWN_DOMAIN)(lambda node: [((2,), ir.DataType.INT64)])
    y = g.op("Mul", g.cast(g.own("Tried", a, b), FLOAT), a)
    with pytest.raises(UnsupportedError, match=r"Tried_1 \(symbucket::Tried\)"):
        derive(g, y, [a])
    index = g.own("Tried", a, b)  # as an index it is stated to have no gradient
    y = g.op("Gather", b, index)
    assert set(derive(Builder(g.graph), y, [a, b])) == {b}


def quantized_loop(carried):
    """A loop that quantizes each slice; the integers are stacked, or carried to the next step."""
    g = Builder(new_graph("loop"))
    x = g.input("x", (3, 2), FLOAT)
    scale, zero = g.const(np.float32(0.1)), g.const(np.int8(0))
    body = new_body(g.graph, "body")
    state = ir.Value(name="state", shape=ir.Shape((2,)), type=ir.TensorType(ir.DataType.INT8))
    one = ir.Value(name="slice", shape=ir.Shape((2,)), type=ir.TensorType(FLOAT))
    body.inputs.extend([state, one])
    with g.inside(body):
        rounded = g.op("QuantizeLinear", one, scale, zero)
        result = g.op("DequantizeLinear", state if carried else rounded, scale, zero)
        kept = g.op("Identity", rounded)
    body.outputs.extend([rounded, result if carried else kept])
    start = g.const(np.zeros(2, np.int8))
    _, stack = append_scan(g, body, [start], [x], [0], [0])
    return g, x, stack if carried else g.op("DequantizeLinear", stack, scale, zero)


@pytest.mark.parametrize("carried", [False, True])
def test_integers_of_a_quantization_do_not_pass_the_steps_of_a_loop(carried):
    g, x, y = quantized_loop(carried)
    with pytest.raises(UnsupportedError, match="Scan: a gradient cannot pass integers"):
        differentiate(g, [y], {y: g.input("head", (3, 2), FLOAT)}, [x])
