"""Every node of every model for CUDA has a kernel there, and nothing is copied between nodes."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session
from tests.examples import (
    test_char_lm,
    test_classify,
    test_ctc_ocr,
    test_image_buckets,
    test_step_scheduler,
    test_terminals,
    test_tree_rnn,
)
from tests.examples.example_runs import load, run
from tests.fuzz.networks import _names, draw_network
from tests.optimizer.optimizer_training import RULES
from tests.small_networks import bucketing, language_model, sentence_batch

ROWS, STEPS, WIDTH = 4, 6, 5
LABEL = sym.Variable("softmax_label")


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch):
    """Load models only: some kernels ask cuDNN which algorithm to take, and get no answer."""
    monkeypatch.setattr(Session, "run", lambda session: None)


def train(symbol: sb.Symbol, data: dict[str, tuple[int, ...]], optimizer="adam", **settings):
    """Load the models of a step, of its update and of inference."""
    names = [name for name in data if name != "softmax_label"]
    module = sb.mod.Module(symbol, names, context=sb.gpu(0))
    module.bind([(n, data[n]) for n in names], [("softmax_label", data["softmax_label"])])
    module.init_params(sb.init.Uniform(0.1))
    module.init_optimizer(optimizer=optimizer, optimizer_params=settings)
    arrays = [sb.nd.zeros(data[n]) for n in names]
    batch = sb.io.DataBatch(arrays, [sb.nd.zeros(data["softmax_label"])])
    module.forward_backward(batch)
    module.update()
    module.forward(batch, is_train=False)
    return module


def classifier(features: sb.Symbol) -> sb.Symbol:
    scores = sym.FullyConnected(features, num_hidden=3, name="scores")
    return sym.SoftmaxOutput(scores, LABEL, name="softmax")


@pytest.mark.parametrize("seeds", [range(n, n + 30) for n in range(0, 150, 30)], ids=str)
def test_networks_of_every_operator(models, seeds):
    for seed in seeds:
        network, context = draw_network(seed), sb.gpu(0)
        args = {n: sb.nd.array(a, dtype=a.dtype, ctx=context) for n, a in network.args.items()}
        aux = {n: sb.nd.array(a, dtype=a.dtype, ctx=context) for n, a in network.aux.items()}
        grads = {n: NDArray.zeros(args[n].shape, args[n].dtype, context) for n in network.wanted}
        requests = {n: "write" if n in grads else "null" for n in args}
        bound = sb.Executor(network.symbol, context, args, grads, requests, aux)
        bound.forward(is_train=True)
        bound.backward(network.heads())
        bound.forward(is_train=False)
    assert len(models.models) >= 2 * len(seeds)


def test_the_networks_have_every_operator():
    drawn = {op.op_name for seed in range(150) for op in draw_network(seed).operators}
    assert set(_names()) <= drawn


def lstm(prefix="lstm_"):
    return sb.rnn.LSTMCell(WIDTH, prefix=prefix)


def stack(*cells):
    whole = sb.rnn.SequentialRNNCell()
    for cell in cells:
        whole.add(cell)
    return whole


CELLS = {
    "rnn": lambda: sb.rnn.RNNCell(WIDTH, prefix="rnn_"),
    "lstm": lstm,
    "gru": lambda: sb.rnn.GRUCell(WIDTH, prefix="gru_"),
    "two layers": lambda: stack(lstm(), sb.rnn.DropoutCell(0.2), lstm("other_")),
    "bidirectional": lambda: sb.rnn.BidirectionalCell(lstm(), lstm("back_")),
    "residual": lambda: sb.rnn.ResidualCell(lstm()),
    "zoneout": lambda: sb.rnn.ZoneoutCell(lstm(), 0.1, 0.2),
    "fused": lambda: sb.rnn.FusedRNNCell(WIDTH, num_layers=2, mode="gru", bidirectional=True),
}


@pytest.mark.parametrize("kind", CELLS)
def test_recurrences_are_loops(models, kind):
    cell = CELLS[kind]()
    outputs, _ = cell.unroll(STEPS, sym.Variable("data"), layout="NTC", merge_outputs=True)
    train(classifier(outputs), {"data": (ROWS, STEPS, WIDTH), "softmax_label": (ROWS,)})
    assert models.named("training").on_device["Scan"] >= 2
    assert models.named("inference").on_device["Scan"] >= 1


def test_the_recurrent_operator_and_lengths(models):
    lengths = sym.Variable("lengths", dtype="int32")
    data = sym.transpose(sym.Variable("data"), axes=(1, 0, 2))
    zeros = sym.zeros((1, ROWS, WIDTH))
    weight = sym.Variable("rnn_weight")
    rnn = sym.RNN(data, weight, zeros, zeros, state_size=WIDTH, num_layers=1, mode="lstm")
    last = sym.SequenceLast(rnn, lengths, use_sequence_length=True)
    shapes = {"data": (ROWS, STEPS, WIDTH), "lengths": (ROWS,), "softmax_label": (ROWS,)}
    train(classifier(last), shapes)
    assert "Scan" in models.op_types


def test_a_decoder_with_attention(models):
    source, cell = sym.Variable("data"), lstm()
    states, outputs = cell.begin_state(), []
    for step in range(STEPS):
        word = sym.Reshape(sym.slice_axis(source, axis=1, begin=step, end=step + 1), shape=(0, -1))
        output, states = cell(word, states)
        scores = sym.batch_dot(source, sym.expand_dims(output, axis=2))
        weights = sym.softmax(scores, axis=1)
        seen = sym.sum(sym.broadcast_mul(source, weights), axis=1)
        outputs.append(sym.Concat(output, seen, dim=1))
    shapes = {"data": (ROWS, STEPS, WIDTH), "softmax_label": (ROWS,)}
    train(classifier(sym.Concat(*outputs, dim=1)), shapes)


def test_convolutions(models):
    x = sym.Variable("data")
    for i, kind in enumerate(("max", "avg")):
        x = sym.Convolution(x, kernel=(3, 3), pad=(1, 1), num_filter=8, name=f"conv{i}")
        x = sym.Activation(sym.BatchNorm(x, name=f"bn{i}"), act_type="relu")
        x = sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type=kind)
    grouped = sym.Convolution(x, kernel=(3, 3), num_filter=8, num_group=4, name="grouped")
    larger = sym.Deconvolution(grouped, kernel=(4, 4), stride=(2, 2), num_filter=4, name="larger")
    shapes = {"data": (ROWS, 3, 16, 16), "softmax_label": (ROWS,)}
    train(classifier(sym.Flatten(larger)), shapes, "sgd", momentum=0.9)


def test_a_transformer(models):
    heads, size = 2, 4
    x = sym.Embedding(sym.Variable("data"), input_dim=20, output_dim=heads * size, name="embed")
    normal = sym.LayerNorm(x, name="norm")
    parts = [
        sym.transpose(
            sym.Reshape(
                sym.FullyConnected(normal, num_hidden=heads * size, flatten=False, name=name),
                shape=(0, 0, heads, size),
            ),
            axes=(0, 2, 1, 3),
        )
        for name in ("query", "key", "value")
    ]
    q, k, v = (sym.Reshape(part, shape=(-3, 0, 0)) for part in parts)
    weights = sym.softmax(sym.batch_dot(q, k, transpose_b=True) * size**-0.5, axis=-1)
    mixed = sym.Reshape(sym.batch_dot(weights, v), shape=(-4, -1, heads, 0, 0))
    mixed = sym.Reshape(sym.transpose(mixed, axes=(0, 2, 1, 3)), shape=(0, 0, -3))
    x = x + sym.Dropout(mixed, p=0.1)
    inner = sym.FullyConnected(x, num_hidden=16, flatten=False, name="inner")
    inner = sym.LeakyReLU(inner, act_type="gelu")
    x = x + sym.FullyConnected(inner, num_hidden=heads * size, flatten=False, name="outer")
    shapes = {"data": (ROWS, STEPS), "softmax_label": (ROWS,)}
    train(classifier(sym.mean(x, axis=1)), shapes)


@pytest.mark.parametrize("use_data_lengths", [False, True])
def test_ctc(models, use_data_lengths):
    outputs, _ = lstm().unroll(STEPS, sym.Variable("data"), layout="NTC", merge_outputs=True)
    flat = sym.FullyConnected(sym.Reshape(outputs, shape=(-1, WIDTH)), num_hidden=7, name="scores")
    scores = sym.transpose(sym.Reshape(flat, shape=(-1, STEPS, 7)), axes=(1, 0, 2))
    shapes = {"data": (ROWS, STEPS, WIDTH), "softmax_label": (ROWS, 3)}
    lengths = []
    if use_data_lengths:
        lengths, shapes["lengths"] = [sym.Variable("lengths")], (ROWS,)
    loss = sym.contrib.ctc_loss(scores, LABEL, *lengths, use_data_lengths=use_data_lengths)
    train(sym.MakeLoss(loss), shapes)


def test_control_flow(models):
    weight = sym.Variable("weight", shape=(WIDTH, WIDTH))
    data = sym.transpose(sym.Variable("data"), axes=(1, 0, 2))

    def step(x, state):
        new = sym.tanh(sym.FullyConnected(x + state, weight, num_hidden=WIDTH, no_bias=True))
        return new, new

    begin = sym.zeros((ROWS, WIDTH))
    outputs, last = sym.contrib.foreach(step, data, begin)
    chosen = sym.contrib.cond(sym.sum(last) > 0, lambda: last * 2, lambda: last - 1)
    shapes = {"data": (ROWS, STEPS, WIDTH), "softmax_label": (ROWS,)}
    train(classifier(chosen + sym.mean(outputs, axis=0)), shapes)


def test_many_words(models):
    """The output layer in pieces, without the rows that are ignored; gradients by rows."""
    network = language_model(STEPS, vocab=12_000, embed=16, hidden=16)
    shapes = {"data": (32, STEPS), "softmax_label": (32, STEPS)}
    train(network, shapes)
    ids = sb.io.NDArrayIter(np.zeros(shapes["data"]), np.zeros(shapes["softmax_label"]), 32)
    for optimizer in ("sgd", "adam"):
        module = sb.mod.Module(network, context=sb.gpu(0))
        module.fit(ids, num_epoch=1, optimizer=optimizer, eval_metric=sb.metric.Perplexity(0))


@pytest.mark.parametrize("optimizer", RULES)
def test_optimizers(models, optimizer):
    for rule in RULES[optimizer]:
        settings = {"learning_rate": 0.1, "wd": 0.01, "clip_gradient": 1.0, **rule}
        shapes = {"data": (ROWS, 3), "softmax_label": (ROWS,)}
        train(classifier(sym.Variable("data")), shapes, optimizer, **settings)
    assert any(model.name == f"optimizer {optimizer}" for model in models.models)


METRICS = ["acc", "ce", "f1", "loss", "mae", "mcc", "mse", "nll_loss", "pearsonr", "rmse"]


@pytest.mark.parametrize("name", METRICS)
def test_metrics(models, name):
    metric = sb.metric.create(name)
    scores = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
    regression = name in ("mae", "mse", "rmse", "pearsonr")
    layer = sym.LinearRegressionOutput if regression else sym.SoftmaxOutput
    labels = np.ones((8, 2)) if regression else np.arange(8) % 2
    module = sb.mod.Module(layer(scores, LABEL, name="softmax"), context=sb.gpu(0))
    rows = sb.io.NDArrayIter(np.ones((8, 3)), labels, 4)
    module.bind(rows.provide_data, rows.provide_label)
    module.init_params()
    module.score(rows, metric)


def test_gradients_of_float64_and_of_integers_that_index(models):
    table = sym.Variable("table")
    for dtype in ("int32", "int64", "float32"):
        ids = sym.Variable("ids", dtype=dtype)
        bound = sym.MakeLoss(sym.take(table, ids)).simple_bind(
            sb.gpu(0), table=(9, 3), ids=(4,), type_dict={"ids": dtype}
        )
        bound.forward(is_train=True)
        bound.backward()


EXAMPLES = {
    "char_lm": [*test_char_lm.SMALL, "--num-epochs", 1, "--characters", 400],
    "classify": ["train", *test_classify.SMALL, "--num-epochs", 1],
    "ctc_ocr": [*test_ctc_ocr.SMALL, "--num-epochs", 1],
    "image_buckets": [*test_image_buckets.SMALL, "--num-epochs", 1],
    "multi_task": "--pairs 400 --texts 400 --held-out 80 --steps 12".split(),
    "step_scheduler": [*test_step_scheduler.SMALL, "--num-epochs", 1, "--table-runs", 1],
    "terminals": [*test_terminals.SMALL, "--num-epochs", 1],
    "tree_rnn": [*test_tree_rnn.SMALL],
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_examples(models, name, monkeypatch, tmp_path):
    """Whatever they load until they notice that no number makes sense."""
    monkeypatch.setattr("symbucket.engine.contexts.cpu", sb.gpu)
    arguments = EXAMPLES[name]
    if name == "classify":
        sentences = test_classify.write_sentences(tmp_path / "sentences.tsv")
        arguments = [*arguments, "--data", sentences, "--folder", tmp_path]
    run(load(name), *arguments)
    assert sum(model.on_device.total() for model in models.models) > 400


def test_several_keys(models, monkeypatch):
    monkeypatch.setattr("symbucket.engine.contexts.cpu", sb.gpu)
    module = bucketing(rows=ROWS, optimizer="adam")
    for length in (6, 3, 5):
        module.forward_backward(sentence_batch(np.random.default_rng(0), length, ROWS))
        module.update()
    assert sum("training" in model.name for model in models.models) == 3
