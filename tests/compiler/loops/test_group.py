"""Equal steps of a symbol are grouped: what a loop reads, carries and returns, and reasons."""

import time

import onnx
import pytest

from symbucket import sym
from symbucket.compiler import compile_inference, compile_training
from symbucket.compiler.loops.group import group_steps
from symbucket.compiler.loops.loop_operators import Loop
from symbucket.compiler.target import PORTABLE
from symbucket.errors import ShapeError
from symbucket.ops.nn import FullyConnected
from tests.compiler.loops.test_cells_as_loops import CELLS, gru, lstm, network, stacked

ROWS, WIDTH = 2, 4
# Loops, and nodes of the new network, however many steps there are.
LOOPS = {
    "lstm": 1,
    "gru": 1,
    "tanh": 1,
    "relu": 1,
    "own": 1,
    "two_layers": 2,
    "three_kinds": 3,
    "residual": 2,
    "dropout": 2,
    "zoneout": 1,
    "both_ways": 2,
    "both_ways_twice": 4,
    "fused": 2,
}


def grouped(net):
    return group_steps(net.nodes(), net.heads)


def loops_of(net):
    return [node.op for node in grouped(net).nodes if isinstance(node.op, Loop)]


R, W = sym.Variable("r"), sym.Variable("w")


def product(x, weight):
    return sym.FullyConnected(x, weight, num_hidden=WIDTH, no_bias=True)


def parts(steps, name="data"):
    return sym.SliceChannel(sym.Variable(name), num_outputs=steps, axis=1, squeeze_axis=True)


@pytest.mark.parametrize("name", CELLS)
def test_cells(name):
    sizes = set()
    for steps in (6, 12):
        groups = grouped(network(CELLS[name](), steps))
        assert len(groups.loops) == LOOPS[name]
        assert all(f"({steps} steps)" in text for text in groups.loops)
        sizes.add(len(groups.nodes))
    if name != "zoneout":  # which begins with an array of zeros for each step's mask
        assert len(sizes) == 1


def test_what_a_loop_reads():
    (loop,) = loops_of(network(lstm(), 7))
    assert loop.steps == 7
    assert len(loop.carried) == 2
    assert [direction for _, direction in loop.sequences] == [0]
    assert len(loop.invariants) == 4  # two weights, two biases
    assert len(loop.stacked) == 1


def test_a_sequence_in_reverse():
    h = sym.zeros(shape=(ROWS, WIDTH))
    for x in reversed(list(parts(6))):
        h = sym.tanh(product(h, R) + x)
    (loop,) = loops_of(h)
    assert [direction for _, direction in loop.sequences] == [1]
    assert loop.direction == 1
    assert not loop.stacked


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_values_of_earlier_steps_are_carried(skip):
    history = [sym.Variable("begin")] * (skip + 1)
    for x in parts(8):
        near, far = product(history[-1], W), product(history[-1 - skip], R)
        history.append(sym.tanh(near + far + x))
    (loop,) = loops_of(history[-1])
    assert len(loop.carried) == skip + 2  # the state, and the product with an earlier one


def test_two_products_with_the_state_are_in_the_step():
    """The second one does not wait for the first; its last one is not there."""
    (loop,) = loops_of(network(CELLS["own"](), 6))
    assert len(loop.carried) == 1


def test_a_variable_for_each_step():
    h = sym.Variable("begin")
    for t in range(5):
        h = sym.tanh(product(h, R) + sym.Variable(f"x{t}"))
    (loop,) = loops_of(h)
    assert len(loop.sequences) == 1


def test_what_reads_one_step_each_is_in_the_step():
    outputs, _ = lstm().unroll(6, sym.Variable("data"), merge_outputs=False)
    net = sym.Group([sym.sum(product(out, W)) for out in outputs])
    (loop,) = loops_of(net)
    assert sum(node.name.startswith("fullyconnected") for node in loop.nodes) == 1


@pytest.mark.parametrize(("position", "steps"), [(0, 6), (6, 7)])
def test_a_first_step_that_differs_is_peeled(position, steps):
    """Of a last one all that is equal is in the loop."""
    h = sym.Variable("begin")
    for t, x in enumerate(parts(7)):
        function = sym.sigmoid if t == position else sym.tanh
        h = function(product(h, R) + x)
    (loop,) = loops_of(h)
    assert loop.steps == steps


def test_networks_with_one_weight_that_do_not_wait_for_each_other():
    cell = gru()
    ends = []
    for name in ("left", "right"):
        cell.reset()
        ends.append(cell.unroll(5, sym.Variable(name), merge_outputs=False)[0][-1])
    assert [loop.steps for loop in loops_of(ends[0] * ends[1])] == [5, 5]


@pytest.mark.parametrize("uses", [2, 3, 4])
@pytest.mark.parametrize("more", [0, 1])
def test_a_weight_that_a_step_uses_several_times_in_a_row(uses, more):
    """``more``: uses before the first step."""
    h = sym.Variable("begin")
    for _ in range(more):
        h = sym.tanh(product(h, R))
    for x in parts(5):
        for _ in range(uses - 1):
            h = sym.tanh(product(h, R))
        h = sym.sigmoid(product(h, R) + x)
    (loop,) = loops_of(h)
    assert loop.steps == 5
    assert sum(isinstance(node.op, FullyConnected) for node in loop.nodes) == uses


def test_two_uses_of_a_weight_side_by_side():
    h = sym.Variable("begin")
    for x in parts(6):
        h = sym.tanh(product(h, R) + product(sym.sin(h), R) + x)
    (loop,) = loops_of(h)
    assert loop.steps == 5  # one is peeled


def test_steps_that_take_turns_are_steps_of_two():
    h = sym.Variable("begin")
    for t, x in enumerate(parts(10)):
        h = (sym.sigmoid if t % 2 else sym.tanh)(product(h, R) + x)
    (loop,) = loops_of(h)
    assert loop.steps == 5


def test_what_carries_outputs_of_the_steps_on_is_in_the_loop():
    """A mean that forgets, with a state of its own."""
    h, mean = sym.Variable("begin"), sym.Variable("mean")
    for x in parts(6):
        h = sym.tanh(product(h, R) + x)
        mean = mean * 0.9 + h * 0.1
    (loop,) = loops_of(mean)
    assert len(loop.carried) == 2
    assert len(grouped(mean).nodes) == 8  # of 26


def test_uses_that_do_not_wait_for_each_other_are_no_steps():
    net = sym.Group([product(x, R) for x in parts(20)])
    groups = grouped(net)
    assert groups.loops == groups.unrolled == ()


def test_one_weight_in_many_recurrences():
    ends = []
    for i in range(9):
        h = sym.Variable(f"begin{i}")
        for x in parts(4, f"data{i}"):
            h = sym.tanh(product(h, R) + x)
        ends.append(h)
    groups = grouped(sym.Group(ends))
    assert not groups.loops
    assert groups.unrolled == ("r: 36 uses in more than 8 recurrences",)


def test_steps_beside_a_graph_from_an_onnx_file():
    """The graph stays as it is and keeps random numbers of its own; the steps are a loop."""
    steps = 6
    unrolled = "\n".join(f"z{t} = MatMul(h{t}, w) h{t + 1} = Tanh(z{t})" for t in range(steps))
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 21]>
        g (float[{ROWS},{WIDTH}] h0, float[{WIDTH},{WIDTH}] w) => (float[{ROWS},{WIDTH}] y) {{
            {unrolled}
            n = RandomUniformLike(h{steps})
            y = Add(h{steps}, n)
        }}"""
    )
    h = sym.Dropout(sym.Variable("begin", shape=(ROWS, WIDTH)), p=0.5)
    for x in parts(steps):
        h = sym.tanh(product(h, R) + x)
    foreign = sym.from_onnx(model)(h0=h, name="foreign")
    net = sym.Dropout(foreign, p=0.5)
    groups = grouped(net)
    assert len(groups.loops) == 1
    (reason,) = groups.unrolled
    assert reason.startswith("w: 6 products of ")
    shapes = {"data": (ROWS, steps, WIDTH), "r": (WIDTH, WIDTH), "w": (WIDTH, WIDTH)}
    program = compile_training(net, shapes, wanted=["r"], target=PORTABLE).forward
    seeds = [a.f for n in program.proto().graph.node for a in n.attribute if a.name == "seed"]
    assert len(set(seeds)) == len(seeds) == 3


def test_reasons():
    h = sym.Variable("begin")
    for t, x in enumerate(parts(7)):
        function = sym.sigmoid if t == 3 else sym.tanh
        h = function(product(h, R) + x)
    groups = grouped(h)
    assert not groups.loops
    (reason,) = groups.unrolled
    assert reason.startswith("r: ")
    assert "is not the operation of" in reason


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_stay(steps):
    groups = grouped(network(lstm(), steps))
    assert not groups.loops
    expected = [] if steps == 1 else [f"l_h2h_weight: {steps} steps; a loop has 4 or more"]
    assert [text for text in groups.unrolled if "weight" in text] == expected


def test_networks_without_a_recurrence_stay():
    x = sym.Variable("data")
    for i in range(6):
        x = sym.Activation(sym.FullyConnected(x, num_hidden=4, name=f"f{i}"), act_type="tanh")
    groups = grouped(x)
    assert groups.nodes == x.nodes()
    assert groups.loops == groups.unrolled == ()


def test_a_program_says_its_loops():
    net = network(stacked(lstm("a_"), gru("b_")), 5)
    shapes = {"data": (ROWS, 5, 3), "label": (ROWS, 5)}
    program = compile_training(net, shapes, wanted=["a_i2h_weight"]).step
    assert len(program.loops) == 2
    assert program.unrolled == ()


def test_errors_name_the_nodes_of_the_user():
    net = network(lstm(), 5, begin=[sym.Variable("h", shape=(2, 9)), sym.Variable("c")])
    with pytest.raises(ShapeError, match="Node 'l_t1_h2h'"):
        compile_inference(net, {"data": (ROWS, 5, 3), "label": (ROWS, 5)})


@pytest.mark.slow
def test_compiling_costs_what_one_step_costs():
    def seconds(steps):
        net = network(stacked(lstm("a_"), lstm("b_")), steps)
        shapes = {"data": (ROWS, steps, 3), "label": (ROWS, steps)}
        start = time.process_time()
        compile_training(net, shapes, wanted=["a_i2h_weight", "b_h2h_weight"])
        return time.process_time() - start

    seconds(5)
    assert seconds(500) < 0.6  # about 0.12; unrolled it was 5
