"""Cells and networks rolled up: the numbers of the unrolled ones, and nodes that do not grow."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.engine.executor import Executor
from tests.compiler.loops.rolled import (
    UNROLLED,
    agree,
    draw_arrays,
    infer_both,
    rolled_nodes,
    scans_in,
    train_both,
)
from tests.compiler.verify_graph import check_model

ROWS, INPUT, HIDDEN = 2, 3, 4
rnn = sb.rnn


def stacked(*cells):
    stack = rnn.SequentialRNNCell()
    for cell in cells:
        stack.add(cell)
    return stack


def lstm(prefix="l_"):
    return rnn.LSTMCell(HIDDEN, prefix=prefix)


def gru(prefix="g_"):
    return rnn.GRUCell(HIDDEN, prefix=prefix)


class OwnCell(rnn.BaseRNNCell):
    """A user's cell: a state that leaks, with a product of input and state in it."""

    def __init__(self, prefix):
        super().__init__(prefix)
        self._weights = [self.params.get(f"{name}_weight") for name in ("in", "state", "gate")]
        self._bias = self.params.get("in_bias")

    @property
    def state_info(self):
        return [{"shape": (0, HIDDEN), "__layout__": "NC"}]

    def _step(self, inputs, states, name):
        i, r, g = self._weights
        h = states[0]
        new = sym.FullyConnected(inputs, i, self._bias, num_hidden=HIDDEN)
        old = sym.FullyConnected(h, r, no_bias=True, num_hidden=HIDDEN)
        gate = sym.FullyConnected(h, g, no_bias=True, num_hidden=HIDDEN)
        mixed = sym.Activation(new * old + new, act_type="tanh")
        h = 0.75 * h + 0.25 * sym.Activation(gate, act_type="sigmoid") * mixed
        return h, [h]


CELLS = {
    "lstm": lstm,
    "gru": gru,
    "tanh": lambda: rnn.RNNCell(HIDDEN, prefix="r_"),
    "relu": lambda: rnn.RNNCell(HIDDEN, activation="relu", prefix="r_"),
    "own": lambda: OwnCell("o_"),
    "two_layers": lambda: stacked(lstm("a_"), lstm("b_")),
    "three_kinds": lambda: stacked(lstm("a_"), gru("b_"), OwnCell("c_")),
    "residual": lambda: stacked(lstm("a_"), rnn.ResidualCell(gru("b_"))),
    "dropout": lambda: stacked(lstm("a_"), rnn.DropoutCell(0.4, prefix="d_"), lstm("b_")),
    "zoneout": lambda: rnn.ZoneoutCell(lstm(), zoneout_outputs=0.2, zoneout_states=0.3),
    "both_ways": lambda: rnn.BidirectionalCell(lstm("f_"), lstm("b_")),
    "both_ways_twice": lambda: stacked(
        rnn.BidirectionalCell(gru("f_"), gru("b_")), rnn.BidirectionalCell(gru("p_"), gru("q_"))
    ),
    "fused": lambda: rnn.FusedRNNCell(HIDDEN, num_layers=2, mode="lstm", prefix="u_").unfuse(),
}
# Scans of a training step; a random mask for every step is a piece like any other. Two ways are one
# loop, unless the way back has one step: the last output belongs to its first.
SCANS = dict.fromkeys(CELLS, 2) | {
    "two_layers": 4,
    "three_kinds": 6,
    "residual": 4,
    "dropout": 4,
    "both_ways_twice": 4,
    "fused": 4,
}


def network(cell, steps, layout="NTC", reads="all", begin=None):
    """Inputs of some size, the cell's outputs read in one way, a loss."""
    data = sym.Variable("data")
    merged = {"all": True, "last": False, "each": False}[reads]
    outputs, _ = cell.unroll(steps, data, begin_state=begin, layout=layout, merge_outputs=merged)
    if reads == "all":
        rows = sym.Reshape(outputs, shape=(-3, 0))
    elif reads == "last":
        rows = outputs[-1]
    else:
        weight = sym.Variable("each_weight")
        scores = [
            sym.FullyConnected(sym.sin(out), weight, no_bias=True, num_hidden=2) for out in outputs
        ]
        return sym.Group([sym.MakeLoss(sym.sum(s * (t + 1))) for t, s in enumerate(scores)])
    scores = sym.FullyConnected(rows, num_hidden=4, name="pred")
    label = sym.Reshape(sym.Variable("label"), shape=(-1,))
    return sym.SoftmaxOutput(scores, label, name="softmax", normalization="batch")


def shapes_of(net, steps, layout="NTC", reads="all"):
    shapes = {"data": (ROWS, steps, INPUT) if layout == "NTC" else (steps, ROWS, INPUT)}
    if "label" in net.list_arguments():
        shapes["label"] = (ROWS, steps) if reads == "all" else (ROWS,)
    return shapes


def scans(made):
    return sum(len(scans_in(p)) for p in made.models)


def both(net, shapes, wanted=None, **given):
    """Training and inference both ways; gives the rolled training step."""
    names = [n for n in net.list_arguments() if n != "label"]
    made, _ = train_both(net, shapes, names if wanted is None else wanted, **given)
    inferred = infer_both(net, shapes)
    for program in (*made.models, inferred):
        check_model(program)
    return made


@pytest.mark.parametrize("reads", ["all", "last", "each"])
@pytest.mark.parametrize("name", CELLS)
def test_cells(name, reads):
    net = network(CELLS[name](), 8, reads=reads)
    made = both(net, shapes_of(net, 8, reads=reads))
    assert scans(made) == SCANS[name]


# Random masks are drawn step by step, and two ways are put together step by step for a next layer.
GROWING = ("dropout", "zoneout", "both_ways_twice")


@pytest.mark.parametrize("name", sorted(set(CELLS) - set(GROWING)))
def test_nodes_do_not_grow_with_the_steps(name):
    counts = []
    for steps in (16, 24):
        net = network(CELLS[name](), steps)
        wanted = [n for n in net.list_arguments() if n not in ("data", "label")]
        counts.append(rolled_nodes(compile_training(net, shapes_of(net, steps), wanted=wanted)))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("steps", range(4, 10))
@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_numbers_of_steps(steps, layout):
    net = network(stacked(lstm("a_"), gru("b_")), steps, layout=layout)
    shapes = shapes_of(net, steps, layout)
    shapes["label"] = shapes["data"][:2]
    made = both(net, shapes)
    assert scans(made) == 4 or steps < 6


@pytest.mark.parametrize("mode", ["rnn_relu", "rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_operator(mode, bidirectional):
    data = sym.Variable("data")
    out = sym.RNN(
        data,
        state_size=HIDDEN,
        num_layers=2,
        mode=mode,
        bidirectional=bidirectional,
        state_outputs=True,
        name="rnn",
    )
    net = sym.Group([sym.MakeLoss(sym.sum(out[0] * out[0])), sym.MakeLoss(sym.sum(out[1]))])
    made = both(net, {"data": (6, ROWS, INPUT)})
    assert scans(made) == 4  # two directions are one loop


# What is given and wanted -------------------------------------------------------------------------


def begin_states(cell):
    return [sym.Variable(f"begin{i}", shape=(ROWS, HIDDEN)) for i in range(len(cell.state_info))]


@pytest.mark.parametrize("name", ["lstm", "gru", "own", "two_layers"])
@pytest.mark.parametrize("wanted", ["states", "weights", "data", "one"])
def test_states_given_as_data(name, wanted):
    cell = CELLS[name]()
    net = network(cell, 6, begin=begin_states(cell))
    names = [n for n in net.list_arguments() if n != "label"]
    states = [n for n in names if n.startswith("begin")]
    choice = {
        "states": states,
        "weights": [n for n in names if n not in ("data", *states)],
        "data": ["data"],
        "one": [next(n for n in names if n.endswith("weight"))],
    }[wanted]
    made = both(net, shapes_of(net, 6), choice)
    assert scans(made) == SCANS[name]


def test_states_that_are_handed_on():
    """The last states are outputs: the next batch starts from them."""
    cell = stacked(lstm("a_"), gru("b_"))
    outputs, states = cell.unroll(
        5, sym.Variable("data"), begin_state=begin_states(cell), merge_outputs=True
    )
    net = sym.Group([sym.MakeLoss(sym.sum(outputs)), *map(sym.BlockGrad, states)])
    assert scans(both(net, {"data": (ROWS, 5, INPUT)})) == 4


def test_head_gradients_cut_the_step_in_two():
    cell = stacked(lstm("a_"), gru("b_"))
    outputs, states = cell.unroll(6, sym.Variable("data"), merge_outputs=True)
    net = sym.Group([outputs, states[0]])
    made = both(net, {"data": (ROWS, 6, INPUT)})
    assert made.step is None
    assert [len(scans_in(p)) for p in made.models] == [2, 2]


@pytest.mark.parametrize("fetch", [(), None])
def test_all_states_are_outputs(fetch):
    outputs, _ = lstm().unroll(6, sym.Variable("data"), merge_outputs=False)
    net = sym.Group([*map(sym.BlockGrad, outputs), sym.MakeLoss(sym.sum(outputs[-1]))])
    assert scans(both(net, {"data": (ROWS, 6, INPUT)}, fetch=fetch)) == 2


def test_float64():
    steps = 6
    w, r = sym.Variable("w"), sym.Variable("r")
    parts = sym.SliceChannel(sym.Variable("data"), num_outputs=steps, axis=1, squeeze_axis=True)
    h = sym.zeros(shape=(ROWS, HIDDEN), dtype="float64")
    for part in parts:
        new = sym.FullyConnected(part, w, num_hidden=HIDDEN, no_bias=True)
        h = sym.tanh(new + sym.FullyConnected(h, r, num_hidden=HIDDEN, no_bias=True))
    net = sym.MakeLoss(sym.sum(h))
    shapes = {"data": (ROWS, steps, INPUT)}
    arrays = draw_arrays(net, shapes, dtype=np.float64)
    dtypes = dict.fromkeys(arrays, np.float64)
    made, numbers = train_both(net, shapes, arrays=arrays, dtypes=dtypes, tolerance=1e-12)
    assert {a.dtype for a in numbers.values()} == {np.dtype(np.float64)}
    assert scans(made) == 2


def test_gradients_that_add_up():
    """grad_req "add": the executor adds what the model gives."""
    net = network(lstm(), 5)
    shapes = shapes_of(net, 5)
    given = draw_arrays(net, shapes)
    found = []
    for options in (CompilerOptions(), UNROLLED):
        arrays = {n: sb.nd.array(a) for n, a in given.items()}
        grads = {n: sb.nd.ones(a.shape) for n, a in given.items() if n not in ("data", "label")}
        requests = {n: "add" if n in grads else "null" for n in given}
        executor = Executor(net, sb.cpu(), arrays, grads, requests, {}, options=options)
        for _ in range(2):
            executor.forward(is_train=True)
            executor.backward()
        found.append({n: g.asnumpy() for n, g in grads.items()})
    agree(*found)


# Networks ----------------------------------------------------------------------------------------


def test_layers_that_take_turns():
    """A loop of the user's own goes through both layers in every step."""
    cells, steps = [lstm("a_"), gru("b_")], 6
    states = [cell.begin_state() for cell in cells]
    outputs = []
    parts = sym.SliceChannel(sym.Variable("data"), num_outputs=steps, axis=1, squeeze_axis=True)
    for part in parts:
        value = part
        for i, cell in enumerate(cells):
            value, states[i] = cell(value, states[i])
        outputs.append(sym.expand_dims(value, axis=1))
    net = sym.MakeLoss(sym.sum(sym.sin(sym.Concat(*outputs, dim=1))))
    assert scans(both(net, {"data": (ROWS, steps, INPUT)})) == 4


@pytest.mark.parametrize("uses", [2, 3])
def test_a_weight_that_is_used_several_times_in_a_step(uses):
    r = sym.Variable("r")
    h = sym.Variable("begin", shape=(ROWS, HIDDEN))
    for part in sym.SliceChannel(sym.Variable("data"), num_outputs=6, axis=1, squeeze_axis=True):
        for _ in range(uses - 1):
            h = sym.tanh(sym.FullyConnected(h, r, num_hidden=HIDDEN, no_bias=True))
        h = sym.tanh(sym.FullyConnected(h, r, num_hidden=HIDDEN, no_bias=True) + part)
    assert scans(both(sym.MakeLoss(sym.sum(h)), {"data": (ROWS, 6, HIDDEN)})) == 2


def test_a_mean_of_the_outputs_that_forgets():
    """It is carried by nodes that only read the steps."""
    r, mean = sym.Variable("r"), sym.zeros(shape=(ROWS, HIDDEN))
    h = sym.Variable("begin", shape=(ROWS, HIDDEN))
    for part in sym.SliceChannel(sym.Variable("data"), num_outputs=6, axis=1, squeeze_axis=True):
        h = sym.tanh(sym.FullyConnected(h, r, num_hidden=HIDDEN, no_bias=True) + part)
        mean = mean * 0.9 + h * 0.1
    net = sym.MakeLoss(sym.sum(sym.sin(mean)))
    assert scans(both(net, {"data": (ROWS, 6, HIDDEN)})) == 2


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_states_of_earlier_steps(skip):
    w, r = sym.Variable("w"), sym.Variable("r")
    history = [sym.Variable("begin", shape=(ROWS, HIDDEN))] * (skip + 1)
    for part in sym.SliceChannel(sym.Variable("data"), num_outputs=7, axis=1, squeeze_axis=True):
        near = sym.FullyConnected(history[-1], w, num_hidden=HIDDEN, no_bias=True)
        far = sym.FullyConnected(history[-1 - skip], r, num_hidden=HIDDEN, no_bias=True)
        history.append(sym.tanh(near + far + part))
    both(sym.MakeLoss(sym.sum(history[-1])), {"data": (ROWS, 7, HIDDEN)})


def test_an_encoder_and_a_decoder_with_attention():
    """A decoder's step reads all states of the encoder, and its own last output."""
    steps = 6
    states, last = gru("enc_").unroll(steps, sym.Variable("data"), merge_outputs=True)
    cell, query = lstm("dec_"), sym.Variable("query_weight")
    back = sym.Variable("back_weight")
    state = [last[0], sym.zeros(shape=(ROWS, HIDDEN))]
    word = sym.Variable("start", shape=(ROWS, INPUT))
    outputs = []
    for _ in range(5):
        asked = sym.FullyConnected(state[0], query, num_hidden=HIDDEN, no_bias=True)
        scores = sym.batch_dot(states, sym.expand_dims(asked, axis=2))
        shares = sym.softmax(scores, axis=1)
        context = sym.sum(sym.broadcast_mul(states, shares), axis=1)
        out, state = cell(sym.Concat(word, context, dim=1), state)
        word = sym.tanh(sym.FullyConnected(out, back, num_hidden=INPUT, no_bias=True))
        outputs.append(word)
    net = sym.MakeLoss(sym.sum(sym.sin(sym.Concat(*outputs, dim=0))))
    assert scans(both(net, {"data": (ROWS, steps, INPUT)})) >= 3


@pytest.mark.parametrize("what", ["mask", "last", "reverse"])
def test_sequences_of_other_lengths(what):
    lengths = sym.Variable("lengths")
    data = sym.Variable("data")
    given = {"use_sequence_length": True}
    if what == "reverse":
        data = sym.SequenceReverse(data, lengths, **given)
    outputs, _ = lstm().unroll(6, data, layout="TNC", merge_outputs=True)
    if what == "mask":
        outputs = sym.SequenceMask(outputs, lengths, **given)
    if what == "last":
        outputs = sym.SequenceLast(outputs, lengths, **given)
    net = sym.MakeLoss(sym.sum(sym.sin(outputs)))
    shapes = {"data": (6, ROWS, INPUT), "lengths": (ROWS,)}
    wanted = [n for n in net.list_arguments() if n != "lengths"]
    assert scans(both(net, shapes, wanted)) == 2


def test_siamese_encoders():
    """Both use the same weights and do not wait for each other."""
    cell = lstm()
    ends = []
    for name in ("left", "right"):
        cell.reset()
        outputs, _ = cell.unroll(5, sym.Variable(name), merge_outputs=False)
        ends.append(outputs[-1])
    net = sym.MakeLoss(sym.sum(ends[0] * ends[1]))
    both(net, {"left": (ROWS, 5, INPUT), "right": (ROWS, 5, INPUT)})


def test_one_sequence_behind_the_other():
    """The same weights go on with the state that they have left."""
    cell = gru()
    first, state = cell.unroll(5, sym.Variable("data"), merge_outputs=False)
    second, _ = cell.unroll(5, sym.Variable("more"), begin_state=state, merge_outputs=False)
    net = sym.MakeLoss(sym.sum(first[-1] * second[-1]))
    both(net, {"data": (ROWS, 5, INPUT), "more": (ROWS, 5, INPUT)})


def test_a_table_that_is_the_output_layer_too():
    table = sym.Variable("table")
    words = sym.Embedding(sym.Variable("words"), table, input_dim=5, output_dim=HIDDEN)
    outputs, _ = lstm().unroll(6, words, merge_outputs=True)
    rows = sym.Reshape(outputs, shape=(-3, 0))
    scores = sym.FullyConnected(rows, table, num_hidden=5, name="pred")
    label = sym.Reshape(sym.Variable("label"), shape=(-1,))
    net = sym.SoftmaxOutput(scores, label, use_ignore=True, normalization="valid", name="softmax")
    shapes = {"words": (ROWS, 6), "label": (ROWS, 6)}
    wanted = [n for n in net.list_arguments() if n not in shapes]
    for fetch in (None, ()):
        made, _ = train_both(net, shapes, wanted, fetch=fetch)
        assert scans(made) == 2


def test_states_that_start_alike():
    """Zero twice: what both first steps compute is computed once."""
    steps = 6
    w, r = sym.Variable("w"), sym.Variable("r")
    h = k = sym.zeros(shape=(ROWS, HIDDEN))
    for part in sym.SliceChannel(
        sym.Variable("data"), num_outputs=steps, axis=1, squeeze_axis=True
    ):
        a = sym.FullyConnected(h, w, num_hidden=HIDDEN, no_bias=True) + part
        b = sym.FullyConnected(k, r, num_hidden=HIDDEN, no_bias=True) + part
        h, k = sym.tanh(a), sym.tanh(b) * sym.sigmoid(h)
    net = sym.Group([sym.MakeLoss(sym.sum(h)), sym.MakeLoss(sym.sum(k))])
    assert scans(both(net, {"data": (ROWS, steps, HIDDEN)})) >= 1
