"""What a step computes from its inputs alone leaves the Scan: on small text, before and after."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.compiler.loops.hoist_factors import hoist_factors
from symbucket.compiler.loops.roll_loops import roll_loops
from symbucket.ir import body_of
from tests.compiler.loops.rolled import (
    UNROLLED,
    agree,
    draw_arrays,
    run_program,
    scans_in,
    train_both,
)
from tests.compiler.loops.test_roll_loops import body_lines, without_bodies
from tests.compiler.rewrite.graph_text import graph, lines
from tests.compiler.verify_graph import verify

STEPS = 5


def taken_out(step, inputs="a, b", state=3, width=3, rows=2):
    """The pass over steps of this text; ``{t}`` is the step, ``{h}`` the state before it."""
    text = []
    for name in inputs.split(", "):
        parts = ", ".join(f"{name}{t}" for t in range(STEPS))
        text.append(f"{parts} = Split<axis = 0, num_outputs = {STEPS}>({name})")
    for t in range(STEPS):
        text += [line.format(t=t, h=f"h{t}", new=f"h{t + 1}") for line in step]
    text.append(f"y = Neg(h{STEPS})")
    given = ", ".join(f"float[{rows * STEPS},{width}] {name}" for name in inputs.split(", "))
    made = graph(
        f"""(float[{rows},{state}] h0, float[{state},{width}] r, {given}) => (
        float[{rows},{state}] y) <float one = {{1.0}}> {{ {chr(10).join(text)} }}"""
    )
    assert roll_loops(made) == 1
    verify(made)
    count = hoist_factors(made)
    verify(made)
    return count, lines(made), next(body_lines(n) for n in made if body_of(n) is not None)


def test_two_factors_of_a_product_become_one():
    count, after, body = taken_out(
        ["z{t} = Gemm({h}, r)", "m{t} = Mul(z{t}, a{t})", "{new} = Mul(m{t}, b{t})"]
    )
    assert count == 1
    assert without_bodies(after) == [
        "%0 = Reshape(a, [5, 2, 3])",
        "%1 = Reshape(b, [5, 2, 3])",
        "%2 = Mul(%0, %1)",
        "%3 = Scan(h0, %2",
        "y = Neg(%3)",
        "-> y",
    ]
    assert body == ["z1 = Gemm(state0, r)", "h2 = Mul(z1, piece0)", "-> h2"]


def test_slopes_are_computed_for_all_steps():
    count, after, body = taken_out(
        [
            "z{t} = Gemm({h}, r)",
            "q{t} = Mul(a{t}, a{t})",
            "s{t} = Sub(one, q{t})",
            "{new} = Mul(z{t}, s{t})",
        ],
        inputs="a",
    )
    assert count == 1
    assert without_bodies(after)[1:4] == [
        "%1 = Mul(%0, %0)",
        "%2 = Sub(1.0, %1)",
        "%3 = Scan(h0, %2",
    ]
    assert body == ["z1 = Gemm(state0, r)", "h2 = Mul(z1, piece0)", "-> h2"]


def test_a_concat_of_products_becomes_a_product_of_concats():
    count, after, body = taken_out(
        [
            "z{t} = Gemm({h}, r)",
            "m{t} = Mul(z{t}, a{t})",
            "n{t} = Mul(z{t}, b{t})",
            "{new} = Concat<axis = 1>(m{t}, n{t})",
        ],
        state=6,
    )
    assert count == 1
    assert without_bodies(after)[2:4] == ["%2 = Concat(%0, %1, axis=2)", "%3 = Scan(h0, %2"]
    assert [line.split(" = ")[-1].split("(")[0] for line in body] == [
        "Gemm",
        "Concat",
        "Mul",
        body[-1],
    ]


def test_a_piece_that_is_a_factor_already_stays_one():
    count, _, body = taken_out(["z{t} = Gemm({h}, r)", "{new} = Mul(z{t}, a{t})"], inputs="a")
    assert count == 0
    assert body == ["z1 = Gemm(state0, r)", "h2 = Mul(z1, piece0)", "-> h2"]


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
    agree(found, run(disable={"hoist-factors"}))
    agree(found, run(disable=UNROLLED.disable))


def test_large_values_stay_in_the_step():
    hidden = 80
    net, shapes = lstm(5, hidden, rows=256)  # 80 kB for a gate
    wanted = [n for n in net.list_arguments() if n not in shapes]
    made = compile_training(net, shapes, wanted=wanted).step
    assert made.passes["roll-loops"] == 2
    assert made.passes["hoist-factors"] == 0


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
