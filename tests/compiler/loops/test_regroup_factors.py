"""Factors of a step that are known before the loop: they come together, and leave it."""

import numpy as np
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.compiler.loops.hoist_products import hoist_products
from symbucket.compiler.loops.regroup_factors import regroup_factors
from symbucket.ir import Builder, append_scan, body_of, new_body, new_graph
from tests.compiler.loops.rolled import (
    UNROLLED,
    agree,
    draw_arrays,
    run_program,
    scans_in,
    train_both,
)
from tests.compiler.loops.test_hoist_products import run
from tests.compiler.verify_graph import verify

STEPS, ROWS, WIDTH = 5, 2, 3


def loop(step, state=WIDTH, rows=ROWS):
    """A loop over a and b with this step, which gets a builder, z = h r, and slices of a and b."""
    g = Builder(new_graph("test"))
    shapes = {
        "h": (rows, state),
        "r": (state, WIDTH),
        "a": (STEPS, rows, WIDTH),
        "b": (STEPS, rows, WIDTH),
    }
    inputs = {name: g.input(name, shape, ir.DataType.FLOAT) for name, shape in shapes.items()}
    body = new_body(g.graph, "body")
    body.inputs.extend(
        ir.Value(name=name, shape=ir.Shape(shape), type=inputs["h"].type)
        for name, shape in (
            ("carried", (rows, state)),
            ("a0", (rows, WIDTH)),
            ("b0", (rows, WIDTH)),
        )
    )
    carried, a, b = body.inputs
    with g.inside(body):
        body.outputs.append(step(g, g.op("Gemm", carried, inputs["r"]), a, b))
    outs = append_scan(g, body, [inputs["h"]], [inputs["a"], inputs["b"]], [0, 0], [])
    g.graph.outputs.extend(g.op("Neg", out) for out in outs)
    rng = np.random.default_rng(1)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return g.graph, arrays


def operators(nodes):
    return [node.op_type for node in nodes]


def rewritten(step, **sizes):
    """Run both passes; returns the changes of the first, operators outside and in the body."""
    graph, arrays = loop(step, **sizes)
    plain, _ = loop(step, **sizes)
    changes = regroup_factors(graph)
    verify(graph)
    hoist_products(graph)
    verify(graph)
    for ours, expected in zip(run(graph, arrays), run(plain, arrays)):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
    (scan,) = (node for node in graph if body_of(node) is not None)
    outside = [node for node in graph if node is not scan and node.op_type != "Neg"]
    return changes, operators(outside), operators(body_of(scan))


def test_two_factors_of_a_product_become_one():
    assert rewritten(lambda g, z, a, b: g.op("Mul", g.op("Mul", z, a), b)) == (
        1,
        ["Mul"],
        ["Gemm", "Mul"],
    )


def test_factors_may_stand_on_either_side():
    assert rewritten(lambda g, z, a, b: g.op("Mul", b, g.op("Mul", a, z))) == (
        1,
        ["Mul"],
        ["Gemm", "Mul"],
    )


def test_slopes_are_computed_for_all_steps():
    def step(g, z, a, b):
        return g.op("Mul", z, g.op("Sub", g.const(1.0, like=a), g.op("Mul", a, a)))

    assert rewritten(step) == (0, ["Mul", "Sub"], ["Gemm", "Mul"])


def test_a_concat_of_products_becomes_a_product_of_concats():
    def step(g, z, a, b):
        return g.op("Concat", g.op("Mul", z, a), g.op("Mul", z, b), axis=1)

    assert rewritten(step, state=2 * WIDTH) == (1, ["Concat"], ["Gemm", "Concat", "Mul"])


def test_a_product_that_something_else_reads_stays():
    def step(g, z, a, b):
        inner = g.op("Mul", z, a)
        return g.op("Add", g.op("Mul", inner, b), inner)

    assert rewritten(step) == (0, [], ["Gemm", "Mul", "Mul", "Add"])


def test_factors_of_large_values_stay_in_the_step():
    """The slices are in the cache when they are needed."""
    rows = (1 << 16) // (4 * WIDTH) + 1
    assert rewritten(lambda g, z, a, b: g.op("Mul", g.op("Mul", z, a), b), rows=rows) == (
        0,
        [],
        ["Gemm", "Mul", "Mul"],
    )


def lstm(steps, hidden, rows=4):
    cell = sb.rnn.LSTMCell(hidden, prefix="lstm_")
    outputs, _ = cell.unroll(steps, sb.sym.Variable("data"), merge_outputs=True)
    return (
        sb.sym.LinearRegressionOutput(outputs, sb.sym.Variable("label"), name="out"),
        {"data": (rows, steps, 3), "label": (rows, steps, hidden)},
    )


def test_the_backward_step_of_an_lstm():
    net, shapes = lstm(7, 5)
    made, _ = train_both(net, shapes)
    (backward,) = (n for n in scans_in(made.step) if n.name.startswith("grad/"))
    body = next(a.g for a in backward.attribute if a.name == "body")
    kinds = sorted(node.op_type for node in body.node)
    assert kinds == sorted(["Gemm", "Sum", "Mul", "Sum", "Mul", "Concat", "Mul"])


@pytest.mark.parametrize("hidden", [5, 40])
def test_no_number_changes(hidden):
    net, shapes = lstm(7, hidden)
    arrays = draw_arrays(net, shapes)
    wanted = [n for n in net.list_arguments() if n not in shapes]

    def run(**options):
        made = compile_training(net, shapes, wanted=wanted, options=CompilerOptions(**options))
        return run_program(made.step, arrays)

    found = run()
    agree(found, run(disable={"regroup-factors"}))
    agree(found, run(disable=UNROLLED.disable))


def test_large_values_stay_in_the_step():
    hidden = 80
    net, shapes = lstm(5, hidden, rows=256)  # 80 kB for a gate
    wanted = [n for n in net.list_arguments() if n not in shapes]
    made = compile_training(net, shapes, wanted=wanted).step
    assert made.passes["roll-loops"] == 2
    assert made.passes["regroup-factors"] == 0


def test_what_is_taken_out_does_not_depend_on_chance():
    net, shapes = lstm(6, 8)
    wanted = [n for n in net.list_arguments() if n not in shapes]
    models = {compile_training(net, shapes, wanted=wanted).step.model for _ in range(4)}
    assert len(models) == 1
    assert np.frombuffer(models.pop(), np.uint8).size > 0


def test_a_factor_that_leaves_the_loop_is_still_an_output_of_it() -> None:
    """The product's operand is stacked for the gradient of its weight, and known beforehand."""
    inputs = sym.SliceChannel(sym.Variable("x"), num_outputs=5, axis=1, squeeze_axis=True)
    state, weights = sym.Variable("state"), [sym.Variable(n) for n in ("w", "r")]
    for slice_ in inputs:
        new = sym.FullyConnected(
            sym.tanh(slice_ * 0.5), weights[0], num_hidden=3, no_bias=True
        ) + sym.FullyConnected(state, weights[1], num_hidden=3, no_bias=True)
        state = sym.tanh(new)
    rng = np.random.default_rng(1)
    shapes = {"x": (2, 5, 4), "state": (2, 3), "w": (3, 4), "r": (3, 3)}
    arrays = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    gradients = []
    for disable in ({"hoist-products"}, {"hoist-products", "roll-loops"}):
        args = {n: sb.nd.array(a) for n, a in arrays.items()}
        grads = {n: sb.nd.zeros(s) for n, s in shapes.items()}
        options = CompilerOptions(disable=disable)
        requests = dict.fromkeys(args, "write")
        bound = sb.Executor(state, sb.cpu(), args, grads, requests, {}, options=options)
        bound.forward(is_train=True)
        bound.backward([np.ones((2, 3))])
        gradients.append({n: a.asnumpy() for n, a in grads.items()})
    for name in shapes:
        np.testing.assert_allclose(*(g[name] for g in gradients), rtol=1e-4, atol=1e-5)


def test_names_of_a_backward_graph_are_not_those_in_its_loops():
    """It is cut off from the forward graph, with bodies whose nodes have names already."""
    outputs, states = sb.rnn.LSTMCell(3, prefix="a_").unroll(6, sym.Variable("data"))
    net = sym.Group([*outputs, states[1]])
    options = CompilerOptions(disable={"hoist-products", "batch-gemms"})
    programs = compile_training(net, {"data": (2, 6, 4)}, wanted=["data"], options=options)
    assert len(programs.models) == 2
    for program in programs.models:
        bodies = [a.g for n in scans_in(program) for a in n.attribute if a.name == "body"]
        names = [node.name for graph in (program.proto().graph, *bodies) for node in graph.node]
        assert len(set(names)) == len(names)
