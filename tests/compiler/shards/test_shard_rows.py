"""Training steps in shards: the numbers of the whole batch, for every kind of recurrent network."""

import re

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions
from symbucket.compiler.generic_model import Family, outline
from symbucket.compiler.shards.labels import RefusedError, rows
from symbucket.compiler.shards.prove import prove
from symbucket.compiler.shards.rules import base
from symbucket.ir import Builder, new_graph
from symbucket.metric import GraphMetric
from tests.compiler.shards.run_shards import check, compile_both, draw, reason
from tests.small_networks import language_model

BATCH, LENGTH, WIDTH, CLASSES = 8, 5, 6, 7
AXES = {"data": 0, "softmax_label": 0}
WORDS = {"data": (BATCH, LENGTH), "softmax_label": (BATCH, LENGTH)}
VECTORS = {"data": (BATCH, LENGTH, 4), "softmax_label": (BATCH, LENGTH)}
NLL = GraphMetric("nll", "softmax_output", "softmax_label", 0.0)


def classifier(outputs, **softmax):
    rows = sym.Reshape(outputs, shape=(-1, WIDTH))
    scores = sym.FullyConnected(rows, num_hidden=CLASSES, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    return sym.SoftmaxOutput(scores, label, name="softmax", **softmax)


CELLS = {
    "lstm": lambda: sb.rnn.LSTMCell(WIDTH, prefix="l_"),
    "gru": lambda: sb.rnn.GRUCell(WIDTH, prefix="g_"),
    "rnn": lambda: sb.rnn.RNNCell(WIDTH, prefix="r_"),
    "both ways": lambda: sb.rnn.BidirectionalCell(
        sb.rnn.LSTMCell(WIDTH // 2, prefix="l_"), sb.rnn.GRUCell(WIDTH // 2, prefix="r_")
    ),
}


@pytest.mark.parametrize("batch", [8, 12])
@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell, batch):
    outputs, _ = CELLS[cell]().unroll(LENGTH, sym.Variable("data"), merge_outputs=True)
    shapes = {"data": (batch, LENGTH, 4), "softmax_label": (batch, LENGTH)}
    shard = check(classifier(outputs), shapes, AXES)
    assert shard.sharding.parts == 2
    pieces = {port.name: shard.sharding.pieces[port.name].kind for port in shard.outputs}
    kinds = {"rows" if name == "softmax_output" else "sum" for name in pieces}
    assert {kind for name, kind in pieces.items()} == kinds
    assert shard.loops


@pytest.mark.parametrize("normalization", ["null", "batch", "valid"])
def test_labels_are_counted_in_the_whole_batch(normalization):
    outputs, _ = CELLS["lstm"]().unroll(LENGTH, sym.Variable("data"), merge_outputs=True)
    net = classifier(outputs, normalization=normalization, grad_scale=3.0)
    shard = check(net, VECTORS, AXES, fetch=(), metrics=[NLL])
    whole = [port for port in shard.inputs if port.name == "softmax_label.whole"]
    assert len(whole) == (normalization == "valid")
    assert all(port.of == "softmax_label" and port.shape == (BATCH, LENGTH) for port in whole)


def test_time_major_with_three_layers_and_dropout():
    cells = sb.rnn.SequentialRNNCell()
    for i in range(3):
        cells.add(sb.rnn.LSTMCell(WIDTH, prefix=f"l{i}_"))
        cells.add(sb.rnn.DropoutCell(0.4, prefix=f"d{i}_"))
    data = sym.Variable("data")
    outputs, _ = cells.unroll(LENGTH, data, layout="TNC", merge_outputs=True)
    shapes = {"data": (LENGTH, BATCH, 4), "softmax_label": (LENGTH, BATCH)}
    shard = check(classifier(outputs), shapes, {"data": 1, "softmax_label": 1})
    assert shard.sharding.pieces["data"].outer == LENGTH
    noise = [port for port in shard.inputs if port.name.startswith("noise/")]
    assert noise
    assert all(shard.sharding.pieces[port.name].kind == "rows" for port in noise)


@pytest.mark.parametrize("sparse", [False, True])
def test_embeddings(sparse):
    net = language_model(LENGTH, vocab=CLASSES)
    shard = check(net, WORDS, AXES, row_sparse=["embed_weight"] if sparse else [], metrics=[NLL])
    kinds = {name: piece.kind for name, piece in shard.sharding.pieces.items()}
    assert kinds.get("embed_weight.grad", "") == ("" if sparse else "sum")
    assert kinds.get("embed_weight.values", "") == ("rows" if sparse else "")


def attention_decoder(steps=3):
    """Each step looks at all steps of an encoder, and reads its last context again."""
    encoder = sb.rnn.GRUCell(WIDTH, prefix="enc_")
    memory, states = encoder.unroll(LENGTH, sym.Variable("data"), merge_outputs=True)
    cell = sb.rnn.LSTMCell(WIDTH, prefix="dec_")
    state = [states[0], sym.tanh(states[0])]
    query, score = sym.Variable("query_weight"), sym.Variable("score_weight")
    context, outputs = sym.zeros_like(states[0]), []
    for _ in range(steps):
        output, state = cell(context, state)
        asked = sym.FullyConnected(output, query, num_hidden=WIDTH, no_bias=True)
        mixed = sym.tanh(sym.broadcast_add(memory, sym.expand_dims(asked, axis=1)))
        scores = sym.FullyConnected(
            sym.Reshape(mixed, shape=(-1, WIDTH)), score, num_hidden=1, no_bias=True
        )
        weights = sym.softmax(sym.Reshape(scores, shape=(-1, LENGTH)), axis=1)
        context = sym.sum(sym.broadcast_mul(memory, sym.expand_dims(weights, axis=2)), axis=1)
        outputs.append(sym.expand_dims(context, axis=1))
    return classifier(sym.Concat(*outputs, dim=1))


def test_an_attention_decoder():
    shapes = {"data": (BATCH, LENGTH, 4), "softmax_label": (BATCH, 3)}
    check(attention_decoder(), shapes, AXES, metrics=[NLL])


def test_losses_of_ones_own_and_a_gradient_of_the_data():
    outputs, _ = CELLS["gru"]().unroll(LENGTH, sym.Variable("data"), merge_outputs=True)
    error = sym.square(sym.sum(outputs, axis=2) - sym.Variable("softmax_label"))
    net = sym.Group([sym.MakeLoss(error, name="loss"), sym.BlockGrad(outputs, name="seen")])
    wanted = [name for name in net.list_arguments() if name != "softmax_label"]
    shard = check(net, VECTORS, AXES, wanted=wanted)
    kinds = {name: piece.kind for name, piece in shard.sharding.pieces.items()}
    assert kinds["data.grad"] == kinds["loss_output"] == kinds["seen_output"] == "rows"


def test_begin_states_that_are_data():
    cell = sb.rnn.LSTMCell(WIDTH, prefix="l_")
    states = [sym.Variable("h"), sym.Variable("c")]
    outputs, lasts = cell.unroll(
        LENGTH, sym.Variable("data"), begin_state=states, merge_outputs=True
    )
    net = sym.Group(
        [classifier(outputs), *(sym.BlockGrad(s, name=f"s{i}") for i, s in enumerate(lasts))]
    )
    shapes = {**VECTORS, "h": (BATCH, WIDTH), "c": (BATCH, WIDTH)}
    check(net, shapes, {**AXES, "h": 0, "c": 0})
    # Without axes they are the same for all rows.
    assert "has the size of the batch" in reason(net, shapes, AXES)


def mixing(function):
    """A network that mixes the rows of its features."""
    outputs, _ = CELLS["rnn"]().unroll(LENGTH, sym.Variable("data"), merge_outputs=True)
    return classifier(function(outputs))


MIXING = {
    "moments of a batch": (lambda x: sym.BatchNorm(x, name="bn", fix_gamma=False), "Batch"),
    "mean over the batch": (
        lambda x: sym.broadcast_sub(x, sym.mean(x, axis=0, keepdims=True)),
        "not linear|no sum|different",
    ),
    "rows in reverse": (lambda x: sym.reverse(x, axis=0), "cuts between"),
    "rows times rows": (
        lambda x: sym.Reshape(
            sym.dot(
                sym.dot(
                    sym.Reshape(x, shape=(BATCH, -1)),
                    sym.Reshape(x, shape=(BATCH, -1)),
                    transpose_b=True,
                ),
                sym.Reshape(x, shape=(BATCH, -1)),
            ),
            shape=(BATCH, LENGTH, WIDTH),
        ),
        "different places",
    ),
    "rows torn apart": (
        lambda x: sym.Reshape(
            sym.tanh(sym.transpose(sym.Reshape(x, shape=(3, 5, 16)), axes=(1, 0, 2))),
            shape=(BATCH, LENGTH, WIDTH),
        ),
        "tears",
    ),
    "row numbers": (
        lambda x: sym.broadcast_add(x, sym.Reshape(sym.arange(0, BATCH), shape=(BATCH, 1, 1))),
        "size of the batch",
    ),
    "sorted rows": (lambda x: sym.sort(x, axis=0), "along the batch's rows"),
    "a part of the rows": (
        lambda x: sym.Concat(
            sym.slice_axis(x, axis=0, begin=2, end=8),
            sym.slice_axis(x, axis=0, begin=0, end=2),
            dim=0,
        ),
        "cuts between",
    ),
    "softmax over the rows": (lambda x: sym.softmax(x, axis=0), "along the batch's rows"),
    "norm over everything": (
        lambda x: sym.broadcast_div(x, sym.Reshape(sym.norm(x), shape=(1, 1, 1))),
        "not linear|no sum",
    ),
}


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_rows_stays_whole(name):
    function, why = MIXING[name]
    assert re.search(why, reason(mixing(function), VECTORS, AXES))


def test_a_batch_that_cannot_be_cut():
    outputs, _ = CELLS["rnn"]().unroll(2, sym.Variable("data"), merge_outputs=True)
    for batch in (7, 6):
        shapes = {"data": (batch, 2, 4), "softmax_label": (batch, 2)}
        assert "cannot be cut" in reason(classifier(outputs), shapes, AXES)
    shapes = {"data": (15, 2, 4), "softmax_label": (15, 2)}
    assert check(classifier(outputs), shapes, AXES, parts=4).sharding.parts == 3


def test_nothing_is_cut_unless_it_is_asked():
    outputs, _ = CELLS["rnn"]().unroll(2, sym.Variable("data"), merge_outputs=True)
    shapes = {"data": (8, 2, 4), "softmax_label": (8, 2)}
    net = classifier(outputs)
    assert reason(net, shapes, AXES, parts=1) == ""
    assert reason(net, shapes, {}) == ""
    assert reason(net, shapes, {"data": 3}) == "'data' has no axis 3"
    assert reason(net, shapes, AXES, options=CompilerOptions(disable=["shard-rows"])) == ""
    assert "faster" in reason(net, shapes, AXES, pays=False)
    assert "limited" in reason(net, shapes, AXES, options=CompilerOptions(memory_limit=1 << 30))
    plain = sym.tanh(outputs, name="out")
    assert "head gradients" in reason(plain, {"data": (8, 2, 4)}, AXES)


def test_plan_and_ports_are_of_the_whole_batch():
    outputs, _ = CELLS["lstm"]().unroll(LENGTH, sym.Variable("data"), merge_outputs=True)
    whole, shard = compile_both(classifier(outputs), VECTORS, AXES)
    for before, after in ((whole.inputs, shard.inputs), (whole.outputs, shard.outputs)):
        assert set(before) == set(after)
    assert shard.plan.inputs == whole.plan.inputs
    assert shard.plan.outputs == whole.plan.outputs
    assert np.isclose(shard.plan.arena, whole.plan.arena, rtol=0.3)
    assert shard.passes["shard-rows"] == 2
    model = shard.proto().graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in model] == [BATCH // 2, LENGTH, 4]


def test_a_wrong_rule_costs_a_compilation(monkeypatch):
    """Shapes are inferred anew after the proof."""
    turned = sym.transpose(
        sym.Variable("data") * sym.Variable("w", shape=(8, 8, 4)), axes=(1, 0, 2)
    )
    net = sym.MakeLoss(sym.tanh(turned))
    shapes = {"data": (8, 8, 4), "w": (8, 8, 4)}
    axes = {"data": 0, "w": 0}
    assert compile_both(net, shapes, axes, wanted=["w"])[1].sharding
    monkeypatch.setitem(base._RULES, "Transpose", lambda v: [v.labels[0]])
    assert "of a shard has the shape" in reason(net, shapes, axes, wanted=["w"])


def test_lengths_and_batches_share_a_model():
    """Shapes of shards are constants, like all others that differ from key to key."""

    def step(batch, length):
        outputs, _ = CELLS["gru"]().unroll(length, sym.Variable("data"), merge_outputs=True)
        net = classifier(outputs, normalization="valid")
        shapes = {"data": (batch, length, 4), "softmax_label": (batch, length)}
        return compile_both(net, shapes, AXES)[1]

    first, second, third = step(8, 11), step(12, 13), step(16, 17)
    family = Family(outline(first), outline(second))
    assert family.admits(outline(third))
    session = onnxruntime.InferenceSession(family.model(third), providers=["CPUExecutionProvider"])
    feed = draw(third, np.random.default_rng(3))
    own = {value.name: value.shape for value in _inputs(third)}
    half = {name: np.resize(feed[name], shape) for name, shape in own.items()}
    results = session.run(None, {**half, **family.constants_of(outline(third))})
    alone = onnxruntime.InferenceSession(third.model, providers=["CPUExecutionProvider"])
    for shared, expected in zip(results, alone.run(None, half)):
        np.testing.assert_allclose(shared, expected, rtol=0, atol=1e-6)


def _inputs(program):
    return onnxruntime.InferenceSession(
        program.model, providers=["CPUExecutionProvider"]
    ).get_inputs()


def test_rows_of_lengths_for_what_is_the_same_for_all():
    """A parameter is reversed up to the lengths of the rows."""
    table = sym.SequenceReverse(
        sym.Variable("w", shape=(LENGTH, BATCH, WIDTH)), sym.Variable("ids"), True
    )
    cell = CELLS["rnn"]()
    outputs, _ = cell.unroll(LENGTH, sym.Variable("data"), merge_outputs=True)
    net = sym.Group([classifier(outputs), sym.MakeLoss(sym.square(table))])
    lengths = np.arange(BATCH, dtype=np.float32) % LENGTH + 1
    shapes = {**VECTORS, "ids": (BATCH,)}
    shard = check(net, shapes, {**AXES, "ids": 0}, feed={"ids": lengths})
    assert shard.sharding.pieces["ids.whole"].kind == "same"


def test_no_loop_runs_whole_in_every_shard():
    """What data that is sorted along the batch goes through is cheap, but for the loop after it."""
    data = sym.sort(sym.Variable("data"), axis=0)
    outputs, _ = CELLS["lstm"]().unroll(LENGTH, data, merge_outputs=True)
    net = sym.Group([sym.MakeLoss(sym.square(outputs)), sym.MakeLoss(sym.Variable("x") * 2)])
    shapes, axes = {"data": (BATCH, LENGTH, 4), "x": (BATCH, 3)}, {"data": 0, "x": 0}
    assert "each shard would run all of the loop" in reason(net, shapes, axes)
    # As for data without a batch axis.
    assert "all of the loop" in reason(net, shapes, {"x": 0})


@pytest.mark.parametrize("mean", [False, True])
def test_integers_that_are_rounded_are_not_divided_by_the_shard(mean):
    """5 // 2 + 3 // 2 is not 8 // 2."""

    def divided(dtype):
        g = Builder(new_graph("quotient"))
        x = g.input("x", (8, 2), dtype)
        total = g.op("ReduceSum", x, g.ints(0), keepdims=0)
        two = g.const(np.array(2, dtype.numpy()))
        quotient = g.op("ReduceMean", total, g.ints(0)) if mean else g.op("Div", total, two)
        g.graph.outputs.append(quotient)
        return prove(g.graph, {x: rows(1)}, 2).label(quotient)

    assert divided(ir.DataType.FLOAT).is_sum
    with pytest.raises(RefusedError, match="not linear"):
        divided(ir.DataType.INT64)
