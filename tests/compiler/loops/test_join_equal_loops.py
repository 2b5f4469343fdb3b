"""Loops of one form run as one: which are joined, and that numbers stay what they are."""

import numpy as np
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_inference, compile_training
from symbucket.compiler.loops.join_equal_loops import join_equal_loops
from symbucket.ir import Builder, append_scan, body_of, new_body, new_graph
from symbucket.ir.notes import Phase
from tests.compiler.loops.rolled import (
    APART,
    agree,
    draw_arrays,
    run_training,
    scans_in,
    train_both,
)
from tests.compiler.loops.test_hoist_products import run
from tests.compiler.loops.test_loops_fuzz import ROWS, WIDTH, Cell
from tests.compiler.verify_graph import check_model, verify

rnn = sb.rnn
STEPS, UNITS = 6, 4


def append_loop(g, name, direction, x=None):
    """``h' = tanh(h w + x)`` over the steps of x, with its own w and h."""
    h = g.input(f"{name}_h", (ROWS, WIDTH), ir.DataType.FLOAT)
    w = g.input(f"{name}_w", (WIDTH, WIDTH), ir.DataType.FLOAT)
    x = x or g.input(f"{name}_x", (STEPS, ROWS, WIDTH), ir.DataType.FLOAT)
    body = new_body(g.graph, f"{name}_body")
    carried, piece = (
        ir.Value(name=g.unique(f"{name}_{one}"), shape=h.shape, type=h.type) for one in "cp"
    )
    body.inputs.extend([carried, piece])
    with g.inside(body):
        new = g.op("Tanh", g.op("Gemm", carried, w, piece))
        body.outputs.extend([new, g.op("Identity", new)])
    return append_scan(g, body, [h], [x], [direction], [direction])


def two_directions(phase):
    """Two loops forward, and in this phase two that read what those return, last steps first."""
    g = Builder(new_graph("test"))
    left = append_loop(g, "left", 0)
    used = g.op("Exp", left[1])  # stands between the loops
    right = append_loop(g, "right", 1)
    with g.scoped("", phase):
        outs = append_loop(g, "right_back", 0, right[1]) + append_loop(g, "left_back", 1, left[1])
    g.graph.outputs.extend(g.op("Neg", out) for out in (*left, used, *right, *outs))
    rng = np.random.default_rng(1)
    return g.graph, {v.name: rng.normal(size=v.shape.numpy()).astype("f") for v in g.graph.inputs}


def operators(graph):
    return [node.op_type for node in graph]


def test_two_directions_are_one_loop():
    graph, arrays = two_directions(Phase.BACKWARD)
    before = run(graph, arrays)
    assert operators(graph)[:5] == ["Scan", "Exp", "Scan", "Scan", "Scan"]
    assert join_equal_loops(graph) == 2
    verify(graph)
    assert [operators(body_of(node)) for node in graph if node.op_type == "Scan"] == [
        # x of both in, the joined product, all y as one stack for the loop back, y of each out
        ["Concat", "MatMul", "Add", "Tanh", "Identity", "Split"],
        ["MatMul", "Add", "Tanh", "Split"],
    ]
    for old, new in zip(before, run(graph, arrays)):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
    assert join_equal_loops(graph) == 0


def test_without_a_backward_pass_nothing_is_joined():
    graph, _ = two_directions(Phase.FORWARD)
    assert join_equal_loops(graph) == 0


# Networks -----------------------------------------------------------------------------------------

KINDS = {
    "lstm": lambda prefix: rnn.LSTMCell(UNITS, prefix=prefix),
    "gru": lambda prefix: rnn.GRUCell(UNITS, prefix=prefix),
    "relu": lambda prefix: rnn.RNNCell(UNITS, activation="relu", prefix=prefix),
    "residual": lambda prefix: rnn.ResidualCell(rnn.GRUCell(UNITS, prefix=prefix)),
}


def ways(left, right, begin=None):
    return rnn.BidirectionalCell(left, right).unroll(
        STEPS, sym.Variable("data"), begin_state=begin, merge_outputs=True
    )


def joined(net, shapes, units=UNITS, **given):
    """How many pairs of loops a training step joins; its numbers are the unrolled ones."""
    made, _ = train_both(net, shapes, [n for n in net.list_arguments() if n != "label"], **given)
    for program in made.models:
        check_model(program)
    return sum(program.passes["join-equal-loops"] for program in made.models)


def loss(value):
    return sym.MakeLoss(sym.sum(sym.sin(value)))


@pytest.mark.parametrize("kind", KINDS)
def test_cells_in_both_directions(kind):
    outputs, _ = ways(KINDS[kind]("l_"), KINDS[kind]("r_"))
    assert joined(loss(outputs), {"data": (3, STEPS, UNITS)}) == 2


@pytest.mark.parametrize("wanted", ["all", "one side", "data"])
def test_states_from_outside_and_last_states(wanted):
    begin = [sym.Variable(f"b{i}", shape=(3, UNITS)) for i in range(4)]
    outputs, states = ways(KINDS["lstm"]("l_"), KINDS["lstm"]("r_"), begin)
    net = sym.Group([loss(outputs), *(loss(one) for side in states for one in side)])
    shapes = {"data": (3, STEPS, 2)}
    names = net.list_arguments()
    choice = {"all": names, "one side": ["l_h2h_weight", "b1"], "data": ["data"]}[wanted]
    arrays = draw_arrays(net, shapes)
    made, numbers = train_both(net, shapes, choice, arrays)
    assert made.step.passes["join-equal-loops"] == (0 if wanted == "one side" else 2)
    apart = compile_training(net, shapes, wanted=choice, options=APART)
    agree(numbers, run_training(apart, arrays, net, shapes), 1e-6)


def test_single_outputs_and_two_layers():
    outputs, _ = ways(KINDS["gru"]("l_"), KINDS["gru"]("r_"))
    upper = rnn.BidirectionalCell(KINDS["gru"]("p_"), KINDS["gru"]("q_"))
    pieces, _ = upper.unroll(STEPS, outputs, merge_outputs=False)
    net = sym.Group([loss(pieces[t]) for t in (0, 2, STEPS - 1)])
    assert joined(net, {"data": (3, STEPS, 2)}) == 4


def test_two_encoders_of_two_sequences():
    cells = [rnn.GRUCell(UNITS, prefix=prefix) for prefix in ("a_", "b_")]
    ends = [
        cell.unroll(STEPS, sym.Variable(name), merge_outputs=False)[0][-1]
        for cell, name in zip(cells, ("data", "other"))
    ]
    shapes = {"data": (3, STEPS, 2), "other": (3, STEPS, 2)}
    assert joined(loss(ends[0] * ends[1]), shapes) == 2


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (KINDS["lstm"]("l_"), KINDS["gru"]("r_")),
        (rnn.GRUCell(4, prefix="l_"), rnn.GRUCell(5, prefix="r_")),
        (rnn.RNNCell(4, prefix="l_"), rnn.RNNCell(4, activation="relu", prefix="r_")),
    ],
)
def test_loops_of_two_forms(left, right):
    assert joined(loss(ways(left, right)[0]), {"data": (3, STEPS, 4)}) == 0


def test_a_loop_over_the_outputs_of_another():
    stack = rnn.SequentialRNNCell()
    for prefix in ("a_", "b_"):
        stack.add(rnn.LSTMCell(UNITS, prefix=prefix))
    outputs, _ = stack.unroll(STEPS, sym.Variable("data"), merge_outputs=True)
    assert joined(loss(outputs), {"data": (3, STEPS, UNITS)}) == 0


def passes_of(units, rows=3, **options):
    outputs, _ = ways(rnn.LSTMCell(units, prefix="l_"), rnn.LSTMCell(units, prefix="r_"))
    net = loss(outputs)
    shapes = {"data": (rows, STEPS, 2)}
    wanted = [n for n in net.list_arguments() if n != "data"]
    made = compile_training(net, shapes, wanted=wanted, options=CompilerOptions(**options))
    return made.step.passes["join-equal-loops"]


def test_large_steps_and_limits_of_memory_leave_loops_apart():
    assert passes_of(64, rows=16) == 2
    assert passes_of(128, rows=16) == 0
    assert passes_of(64, rows=16, memory_limit=1 << 30) == 0


def test_for_inference_and_with_head_gradients_loops_stay_apart():
    outputs, _ = ways(KINDS["gru"]("l_"), KINDS["gru"]("r_"))
    shapes = {"data": (3, STEPS, 2)}
    assert len(scans_in(compile_inference(loss(outputs), shapes))) == 2
    assert joined(outputs, shapes) == 0


def check_random_cell(seed):
    """One random cell in two directions, each with its own weights."""
    rng = np.random.default_rng(seed)
    cell = Cell(rng)
    older = sym.zeros(shape=(ROWS, WIDTH))
    pieces = sym.SliceChannel(sym.Variable("data"), num_outputs=STEPS, axis=0, squeeze_axis=True)
    read = []
    for side in "lr":
        weights = {name: sym.Variable(f"{side}_{name}") for name in ("shared", "wide")}
        weights["bias"] = sym.Variable(f"{side}_bias", shape=(WIDTH,))
        weights["own"] = [sym.Variable(f"{side}_w{i}") for i in range(12)]
        states = [sym.Variable(f"{side}_s{i}", shape=(ROWS, WIDTH)) for i in range(cell.states)]
        before = older
        for piece in list(pieces)[:: 1 if side == "l" else -1]:
            previous = states[0]
            states, other = cell.step(piece, states, before, weights)
            before = previous
            read.append(loss(states[0]) if len(read) % 3 else loss(other))
        read += [loss(state) for state in states]
    net = sym.Group(read)
    shapes = {n: (STEPS, ROWS, WIDTH) for n in net.list_arguments() if n == "data"}
    frozen = {n[2:] for n in net.list_arguments() if rng.random() < 0.2} - {"s0"}
    wanted = [n for n in net.list_arguments() if n[2:] not in frozen]
    made, _ = train_both(net, shapes, wanted, draw_arrays(net, shapes, seed))
    check_model(made.step)
    return made.step.passes["join-equal-loops"]


def test_random_cells_in_two_directions():
    assert sum(check_random_cell(seed) for seed in range(14)) >= 10


@pytest.mark.slow
def test_many_random_cells_in_two_directions():
    assert sum(check_random_cell(seed) for seed in range(100, 180)) >= 60
