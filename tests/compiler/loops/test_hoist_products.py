"""What leaves the body of a loop: invariants, values of slices, and what only outputs need."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from symbucket.compiler.loops.hoist_products import hoist_products
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import IR_VERSION, Builder, append_scan, body_of, new_body, new_graph
from tests.compiler.verify_graph import verify

STEPS, ROWS, WIDTH = 4, 2, 3
SHAPES = {
    "h": (ROWS, WIDTH),
    "x": (STEPS, ROWS, WIDTH),
    "w": (WIDTH, WIDTH),
    "r": (WIDTH, WIDTH),
    "a": (WIDTH,),
    "b": (WIDTH,),
}


def cell(g, h, x, w, r, a, b):
    """The step of an RNN and what an output layer makes of it."""
    mine, other = g.op("Gemm", x, w, a), g.op("Gemm", h, r, b)
    following = g.op("Tanh", g.op("Add", mine, other))
    return following, g.op("Sigmoid", g.op("Gemm", following, w))


def moved(g, h, x, w, r, a, b):
    """Operators that cut, join, reduce and reshape."""
    first, rest = g.ops("Split", x, g.ints(1, 2), axis=1, outputs=2)
    joined = g.transpose(g.op("Concat", rest, first, axis=1), [1, 0])
    scores = g.op("Softmax", g.reshape(joined, (ROWS, WIDTH)), axis=1)
    total = g.op("Mul", scores, g.reduce_sum(x, [1]))
    return g.op("Tanh", g.op("Add", g.op("Gemm", h, r), total)), g.op("Mul", total, b)


def invariant(g, h, x, w, r, a, b):
    """A product of weights, the same in every step."""
    both = g.op("Gemm", w, r)
    return g.op("Tanh", g.op("Gemm", h, both)), g.op("Add", x, a)


def loop(step, direction):
    g = Builder(new_graph("test"))
    inputs = {name: g.input(name, shape, ir.DataType.FLOAT) for name, shape in SHAPES.items()}
    body = new_body(g.graph, "body")
    inner = [
        ir.Value(name=name, shape=ir.Shape((ROWS, WIDTH)), type=inputs["h"].type)
        for name in ("carried", "slice")
    ]
    body.inputs.extend(inner)
    with g.inside(body):
        body.outputs.extend(step(g, *inner, *(inputs[name] for name in "wrab")))
    outs = append_scan(g, body, [inputs["h"]], [inputs["x"]], [direction], [direction])
    g.graph.outputs.extend(g.op("Neg", out) for out in outs)
    return g.graph


def run(graph, arrays):
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=IR_VERSION))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = {one.name for one in session.get_inputs()}
    return session.run(None, {n: a for n, a in arrays.items() if n in names})


def kinds_in_body(graph):
    (scan,) = (node for node in graph if body_of(node) is not None)
    return sorted(node.op_type for node in body_of(scan))


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize(
    ("step", "left"),
    [
        (cell, ["Gemm", "Identity", "Tanh"]),
        (moved, ["Gemm", "Tanh"]),
        (invariant, ["Gemm", "Tanh"]),
    ],
)
def test_what_leaves(step, left, direction):
    rng = np.random.default_rng(1)
    arrays = {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}
    plain, graph = loop(step, direction), loop(step, direction)
    assert hoist_products(graph) > 0
    verify(graph)
    remove_dead_nodes(graph)
    verify(graph)
    assert kinds_in_body(graph) == left
    for found, expected in zip(run(graph, arrays), run(plain, arrays)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_nothing_leaves_twice():
    graph = loop(cell, 0)
    hoist_products(graph)
    remove_dead_nodes(graph)
    assert hoist_products(graph) == 0
