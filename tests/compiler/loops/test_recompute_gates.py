"""Small LSTMs in training: the operator and the gates of all steps, with equal numbers."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.compiler.target import PORTABLE
from tests.compiler.loops.rolled import APART, scans_in, train_both
from tests.compiler.loops.test_cells_as_loops import CELLS, network, shapes_of
from tests.compiler.verify_graph import check_model

PASS = "recompute-gates"
STEPS = 12
LSTM = sb.rnn.LSTMCell


def trained(net, shapes):
    """The training step; its numbers are those of the unrolled network."""
    names = [n for n in net.list_arguments() if n != "label"]
    made, _ = train_both(net, shapes, names, options=APART)
    check_model(made.step)
    operators = [n for n in made.step.proto().graph.node if n.op_type == "LSTM"]
    assert len(operators) == made.step.passes[PASS]
    return made.step


def operators_in_bodies(program):
    return [
        [node.op_type for node in a.g.node]
        for scan in scans_in(program)
        for a in scan.attribute
        if a.name == "body"
    ]


@pytest.mark.parametrize(
    ("name", "reads", "layers"),
    [
        ("lstm", "each", 1),
        ("lstm", "last", 1),
        ("two_layers", "all", 2),
        ("residual", "all", 1),  # the other cell is a GRU
        ("zoneout", "all", 0),
    ],
)
def test_cells(name, reads, layers):
    net = network(CELLS[name](), STEPS, reads=reads)
    assert trained(net, shapes_of(net, STEPS, reads=reads)).passes[PASS] == layers


def test_the_cell_state_alone_is_left_in_the_loop():
    net = network(LSTM(5, prefix="l_"), STEPS)
    forward, backward = operators_in_bodies(trained(net, shapes_of(net, STEPS)))
    assert sorted(forward) == ["Add", "Identity", "Identity", "Mul"]
    assert "Gemm" in backward


@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_backwards_with_initial_states_that_are_read_at_the_end(layout):
    cell = sb.rnn.BidirectionalCell(LSTM(5, prefix="f_"), LSTM(5, prefix="b_"))
    data = sb.sym.Variable("data")
    begin = [sb.sym.Variable(f"begin{i}", shape=(3, 5)) for i in range(4)]
    outputs, last = cell.unroll(STEPS, data, begin_state=begin, layout=layout, merge_outputs=True)
    ends = [state for side in last for state in (side if isinstance(side, list) else [side])]
    parts = [outputs * outputs, *(state * state * 2.0 for state in ends)]
    net = sb.sym.Group([sb.sym.MakeLoss(sb.sym.sum(part)) for part in parts])
    shape = (3, STEPS, 4) if layout == "NTC" else (STEPS, 3, 4)
    step = trained(net, {"data": shape})
    assert step.passes[PASS] == 2
    directions = [
        a.s
        for node in step.proto().graph.node
        for a in node.attribute
        if node.op_type == "LSTM" and a.name == "direction"
    ]
    assert sorted(directions) == [b"forward", b"reverse"]


@pytest.mark.parametrize(
    ("units", "steps", "operators"), [(32, STEPS, 1), (33, STEPS, 0), (32, STEPS - 1, 0)]
)
def test_layers_that_multiply_for_long_and_short_loops_stay(units, steps, operators):
    net = network(LSTM(units, prefix="l_"), steps)
    names = [n for n in net.list_arguments() if n not in ("data", "label")]
    step = compile_training(net, shapes_of(net, steps), wanted=names).step
    assert step.passes[PASS] == operators


def test_targets_without_the_operator_and_the_switch():
    net = network(LSTM(5, prefix="l_"), STEPS)
    names = [n for n in net.list_arguments() if n not in ("data", "label")]
    off = CompilerOptions(disable={PASS})
    for given in ({"target": PORTABLE}, {"options": off}):
        step = compile_training(net, shapes_of(net, STEPS), wanted=names, **given).step
        assert PASS not in step.passes
        assert "LSTM" not in [node.op_type for node in step.proto().graph.node]


def test_parameters_after_some_steps_of_training_agree():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, STEPS, 3)).astype(np.float32)
    label = rng.integers(0, 4, (64, STEPS)).astype(np.float32)
    ends = []
    for disabled in ((), (PASS,)):
        net = network(LSTM(8, prefix="l_"), STEPS)
        module = sb.mod.Module(
            net, label_names=["label"], options=CompilerOptions(disable=disabled)
        )
        batches = sb.io.NDArrayIter({"data": data}, {"label": label}, batch_size=16)
        sb.random.seed(1)
        module.fit(
            batches,
            eval_metric=sb.metric.Loss(),
            optimizer="adam",
            num_epoch=3,
            initializer=sb.init.Constant(0.1),
            progress="none",
        )
        ends.append({n: a.asnumpy() for n, a in module.get_params()[0].items()})
    for name, value in ends[0].items():
        np.testing.assert_allclose(value, ends[1][name], rtol=0, atol=2e-5, err_msg=name)
