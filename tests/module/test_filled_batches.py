"""Rows that fill up a last batch count nowhere: metrics do not depend on the batch size."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import UnsupportedError
from symbucket.module.filling import Filling

# Four rows are classified rightly and the last one wrongly: accuracy 0.8.
DATA = np.array([[3, 0]] * 4 + [[0, 3]], np.float32)
LABEL = np.zeros(5, np.float32)
WEIGHTS = {"fc_weight": np.eye(2), "fc_bias": np.zeros(2)}
SCORES = np.exp(DATA) / np.exp(DATA).sum(axis=1, keepdims=True)
CROSS_ENTROPY = float(-np.log(SCORES[:, 0]).mean())
SIZES = [1, 2, 3, 4, 5, 8]


def classifier():
    scores = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    return sb.sym.SoftmaxOutput(scores, sb.sym.Variable("softmax_label"), name="softmax")


class OwnAccuracy(sb.metric.EvalMetric):
    """A metric that symbucket cannot compute in the graph."""

    def __init__(self):
        super().__init__("own")

    def update(self, labels, preds):
        for label, pred in zip(labels, preds):
            classes = np.asarray(pred).argmax(axis=1)
            self.sum_metric += (classes == np.asarray(label)).sum()
            self.num_inst += len(classes)


METRICS = {
    "acc": (lambda: "acc", 0.8),
    "ce": (lambda: "ce", CROSS_ENTROPY),
    "own": (OwnAccuracy, 0.8),
    "both": (lambda: ["acc", "ce"], 0.8),
}


@pytest.mark.parametrize("batch_size", SIZES)
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("contexts", [1, 2])
def test_score_of_a_module(batch_size, name, contexts):
    if contexts > batch_size:
        return
    make, expected = METRICS[name]
    data = sb.io.NDArrayIter(DATA, LABEL, batch_size)
    module = sb.mod.Module(classifier(), context=[sb.cpu(i) for i in range(contexts)])
    module.bind(data.provide_data, data.provide_label, for_training=False)
    module.init_params(arg_params=WEIGHTS)
    assert module.score(data, make())[0][1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", SIZES)
def test_training_and_validation_metrics_of_fit(batch_size):
    reported = {}

    def note(param):
        reported["train"] = param.eval_metric.get_global_name_value()[0][1]

    def validated(param):
        reported["validation"] = param.eval_metric.get_global_name_value()[0][1]

    data = sb.io.NDArrayIter(DATA, LABEL, batch_size)
    module = sb.mod.Module(classifier())
    module.fit(
        data,
        sb.io.NDArrayIter(DATA, LABEL, batch_size),
        eval_metric="acc",
        validation_metric=sb.metric.Accuracy(),
        arg_params=WEIGHTS,
        optimizer_params={"learning_rate": 0.0},
        batch_end_callback=note,
        eval_end_callback=validated,
        num_epoch=1,
    )
    assert reported == {"train": pytest.approx(0.8), "validation": pytest.approx(0.8)}


@pytest.mark.parametrize("batch_size", SIZES)
def test_feedforward(batch_size):
    model = sb.model.FeedForward(
        classifier(), num_epoch=1, numpy_batch_size=batch_size, arg_params=WEIGHTS, aux_params={}
    )
    assert model.score((DATA, LABEL)) == pytest.approx(0.8)


ROWS = [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2], [2, 1, 3]]


@pytest.mark.parametrize("layout", ["NT", "TN"])
@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("batch_size", [5, 2, 4, 16])
def test_score_of_sequences(layout, merged, batch_size):
    """A table that predicts the word itself, where the label is the next one: always wrong.

    The rows that fill up are of invalid labels, which the table predicts rightly.
    """
    vectors = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=4, output_dim=4, name="e")
    label = sb.sym.Variable("softmax_label")
    if merged:
        vectors, label = sb.sym.Reshape(vectors, shape=(-1, 4)), sb.sym.Reshape(label, shape=(-1,))
        net = sb.sym.SoftmaxOutput(vectors, label, name="softmax")
    else:
        net = sb.sym.SoftmaxOutput(vectors, label, preserve_shape=True, name="softmax")
    data = sb.io.BucketSentenceIter(
        ROWS, batch_size, buckets=[3], invalid_label=0, last_batch="pad", layout=layout
    )
    module = sb.mod.BucketingModule(
        lambda key: (net, ["data"], ["softmax_label"]), default_bucket_key=3
    )
    module.bind(data.provide_data, data.provide_label, for_training=False)
    module.init_params(arg_params={"e_weight": np.eye(4) * 3})

    batches = []
    module.score(
        data, sb.metric.np(lambda label, pred: batches.append((label.copy(), pred.copy())) or 0.0)
    )
    labels = np.concatenate([label.reshape(-1) for label, _ in batches])
    predictions = np.concatenate([pred.reshape(-1, 4).argmax(axis=1) for _, pred in batches])
    assert labels.size == predictions.size == 15  # five rows of three words, over all batches
    # Its last word has no next one: the label is 0, which the table never predicts for a word.
    assert (predictions != labels).all()
    assert sorted(predictions.tolist()) == [1] * 5 + [2] * 5 + [3] * 5


def test_a_metric_that_ignores_the_filling_needs_no_second_model():
    """Perplexity with the label of padding: its sums in the graph are right as they are."""
    vectors = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=4, output_dim=4, name="e")
    net = sb.sym.SoftmaxOutput(
        sb.sym.Reshape(vectors, shape=(-1, 4)),
        sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,)),
        name="softmax",
    )
    for metric, builds in ((sb.metric.Perplexity(0), 1), (sb.metric.Perplexity(None), 2)):
        data = sb.io.BucketSentenceIter(ROWS, 2, buckets=[3], invalid_label=0, last_batch="pad")
        module = sb.mod.BucketingModule(
            lambda key: (net, ["data"], ["softmax_label"]), default_bucket_key=3
        )
        module.bind(data.provide_data, data.provide_label, for_training=False)
        module.init_params(arg_params={"e_weight": np.eye(4) * 3})
        assert module.score(data, metric)[0][1] == pytest.approx(23.0855, rel=1e-5)
        assert module.builds()[3]["inference"] == builds


def _tagger_in_parts(last):
    """Embedding, then a classifier of each word: a row of data is several rows of its output."""
    words = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=5, output_dim=4, name="emb")
    scores = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=5, name="fc")
    module = sb.mod.SequentialModule()
    module.add(sb.mod.Module(sb.sym.Reshape(words, shape=(-1, 4)), label_names=[]))
    if last == "python":
        module.add(sb.mod.Module(sb.sym.softmax(scores), label_names=[]), auto_wiring=True)
        loss = sb.mod.PythonLossModule(grad_func=lambda scores, labels: scores)
    else:
        labels = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        loss = sb.mod.Module(sb.sym.SoftmaxOutput(scores, labels, name="softmax"))
    return module.add(loss, take_labels=True, auto_wiring=True)


@pytest.mark.parametrize("last", ["python", "symbol"])
def test_rows_that_become_several_in_a_module_of_several(last):
    rng = np.random.default_rng(0)
    data, labels = (rng.integers(0, 5, (6, 3)).astype(np.float32) for _ in range(2))
    whole, filled = (sb.io.NDArrayIter(data, labels, size) for size in (6, 4))
    values = {
        "emb_weight": rng.standard_normal((5, 4)),
        "fc_weight": rng.standard_normal((5, 4)),
        "fc_bias": rng.standard_normal(5),
    }
    results = []
    for batches in (whole, filled):
        module = _tagger_in_parts(last)
        module.bind(batches.provide_data, batches.provide_label)
        module.init_params(arg_params=values)
        outputs = module.predict(batches).asnumpy()
        score = dict(module.score(batches, "acc"))["accuracy"]
        assert score == pytest.approx((outputs.argmax(axis=1) == labels.ravel()).mean())
        results.append(outputs)
    assert results[1].shape == (18, 5)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


def test_rows_that_fill_up_after_time_in_one_axis():
    filling = Filling(rows=4, count=1, steps=3)
    assert filling.of_output("y", (3, 4, 7)) == ("TN", 1)
    with pytest.raises(UnsupportedError, match="batch after time in one axis"):
        filling.of_output("y", (12, 7))
    filling = Filling(rows=4, count=1)
    assert filling.of_output("y", (12, 7)) == ("N", 3)
    assert filling.of_output("y", (1,)) == ("N", 0)
    labels = Filling(rows=12, count=3).cut_label(np.arange(12).reshape(4, 3))
    assert labels.tolist() == np.arange(9).reshape(3, 3).tolist()
