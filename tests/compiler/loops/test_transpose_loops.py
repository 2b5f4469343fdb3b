"""Loops with samples as columns: which ones, how they are read, and with equal numbers."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.compiler import CompilerOptions, compile_inference, compile_training
from symbucket.compiler.target import CPU, PORTABLE, Target
from tests.compiler.loops.rolled import APART, scans_in, train_both
from tests.compiler.loops.test_cells_as_loops import CELLS, network, shapes_of
from tests.compiler.loops.test_loops_fuzz import random_network
from tests.compiler.verify_graph import check_model

PASS = "transpose-loops"
STEPS = 5


@pytest.fixture
def _always(monkeypatch):
    """Weights are large enough, however small, and their layers stay loops."""
    monkeypatch.setattr("symbucket.compiler.loops.recompute_gates.MAX_UNITS", 0)
    monkeypatch.setattr("symbucket.compiler.loops.transpose_loops.is_faster", lambda product: True)


def step_of(units, rows, steps=4, target=CPU, **options):
    """The training step of an LSTM; only compiled."""
    net = network(sb.rnn.LSTMCell(units, prefix="l_"), steps)
    shapes = {"data": (rows, steps, 8), "label": (rows, steps)}
    wanted = [n for n in net.list_arguments() if n not in shapes]
    chosen = CompilerOptions(**options)
    return compile_training(net, shapes, wanted=wanted, options=chosen, target=target).step


def by_name(program):
    return {out: node for node in program.proto().graph.node for out in node.output}


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize(
    "name", ["lstm", "gru", "own", "two_layers", "residual", "zoneout", "both_ways"]
)
def test_cells(name):
    net = network(CELLS[name](), STEPS)
    names = [n for n in net.list_arguments() if n != "label"]
    made, _ = train_both(net, shapes_of(net, STEPS), names, options=APART)
    check_model(made.step)
    assert made.step.passes[PASS] == len(scans_in(made.step)) > 0


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_random_cells(seed):
    net, shapes, _ = random_network(np.random.default_rng(seed))
    shapes = {n: s for n, s in shapes.items() if n in net.list_arguments()}
    made, _ = train_both(net, shapes, net.list_arguments())
    for program in made.models:
        check_model(program)


@pytest.mark.usefixtures("_always")
def test_random_cells_are_transposed():
    transposed = loops = 0
    for seed in range(0, 60, 6):
        with sb.NameManager():
            net, shapes, _ = random_network(np.random.default_rng(seed))
        shapes = {n: s for n, s in shapes.items() if n in net.list_arguments()}
        program = compile_inference(net, shapes)
        transposed += program.passes[PASS]
        loops += len(scans_in(program))
    assert loops > transposed >= loops // 3, f"{transposed} of {loops}"


def test_the_weight_is_the_left_operand():
    step = step_of(256, 32)
    assert step.passes[PASS] == 2
    made, lefts = by_name(step), []
    for scan in scans_in(step):
        (body,) = (a.g for a in scan.attribute if a.name == "body")
        lefts += [node.input[0] for node in body.node if node.op_type == "Gemm"]
        assert all(
            [d.dim_value for d in v.type.tensor_type.shape.dim][-1] == 32 for v in body.input
        )
    forward, backward = lefts
    assert forward == "l_h2h_weight"
    assert made[backward].op_type == "Transpose"
    assert made[backward].input[0] == forward


def test_what_the_loops_leave_is_not_turned_back():
    step = step_of(256, 32)
    made = by_name(step)
    for name in ("l_h2h_weight.grad", "l_i2h_weight.grad"):
        product = made[name]
        assert not [a for a in product.attribute if a.name == "transA" and a.i]
        matrix = made[made[product.input[0]].input[0]]
        assert matrix.op_type == "Transpose"
        assert list(matrix.attribute[0].ints) == [1, 0, 2]
    swapped = [
        node
        for node in made.values()
        if node.op_type == "Transpose" and list(node.attribute[0].ints) == [0, 2, 1]
    ]
    assert len(swapped) == 1  # the data on their way in; their gradient is not wanted


@pytest.mark.parametrize(
    ("units", "rows", "loops"),
    [
        (256, 32, 2),
        (200, 32, 2),
        (256, 60, 2),
        (64, 32, 0),  # the weight is small
        (256, 4, 0),  # samples are few
        (256, 128, 0),  # or many
        (256, 17, 0),  # or just more than a kernel computes at once
    ],
)
def test_sizes(units, rows, loops):
    assert step_of(units, rows).passes[PASS] == loops


def test_numbers_of_a_large_layer():
    net = network(sb.rnn.LSTMCell(256, prefix="l_"), STEPS)
    shapes = {"data": (32, STEPS, 8), "label": (32, STEPS)}
    made, _ = train_both(net, shapes, [n for n in net.list_arguments() if n != "label"])
    assert made.step.passes[PASS] == 2


def test_devices_read_weights_as_they_are():
    assert step_of(256, 32, target=Target("other", copies_weights=False)).passes[PASS] == 0


def test_it_can_be_switched_off():
    assert PASS not in step_of(256, 32, disable=[PASS]).passes


@pytest.mark.usefixtures("_always")
def test_files_for_other_runtimes_have_no_such_loops():
    net = network(CELLS["lstm"](), STEPS)
    made = compile_inference(net, shapes_of(net, STEPS), target=PORTABLE)
    assert PASS not in made.passes
    assert not scans_in(made)
