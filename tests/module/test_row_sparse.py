"""Row-sparse updates of embedding tables: used where they are exact, and equal to dense ones."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import optimizer
from symbucket.runtime import NDArray, RowSparse

VOCABULARY, BATCH = 50, 8


def sym_gen(length):
    vectors = sb.sym.Embedding(
        sb.sym.Variable("data"), input_dim=VOCABULARY, output_dim=6, name="embed"
    )
    outputs, _ = sb.rnn.LSTMCell(7, prefix="lstm_").unroll(length, vectors, merge_outputs=True)
    scores = sb.sym.FullyConnected(
        sb.sym.Reshape(outputs, shape=(-1, 7)), num_hidden=VOCABULARY, name="pred"
    )
    label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
    return sb.sym.SoftmaxOutput(
        scores, label, name="softmax", use_ignore=True, ignore_label=0, normalization="valid"
    )


def fitted(keep_outputs, optimizer="sgd", **settings):
    """A module after two epochs, and its metric."""
    sb.random.seed(3)
    rng = np.random.default_rng(0)
    # Few words, so that rows come several times in a batch.
    sentences = [list(rng.integers(1, 9, n)) for n in rng.integers(2, 10, 60)]
    train = sb.io.BucketSentenceIter(sentences, BATCH, buckets=[5, 9], invalid_label=0, seed=1)
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=9)
    module.keep_outputs = keep_outputs
    metric = sb.metric.Perplexity(0)
    module.fit(
        train,
        eval_metric=metric,
        optimizer=optimizer,
        optimizer_params={"learning_rate": 0.5, "rescale_grad": 1.0, **settings},
        num_epoch=2,
        initializer=sb.init.Uniform(0.1),
    )
    return module, metric


def fit(keep_outputs, **settings):
    module, metric = fitted(keep_outputs, **settings)
    params, _ = module.get_params()
    by_rows = set(module.current_module.executor.row_gradients)
    return {n: a.asnumpy() for n, a in params.items()}, metric.get_global()[1], by_rows


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lr_scheduler": lambda updates: 0.5 / updates},
        {"momentum": 0.9},
        {"wd": 0.01},
        {"clip_gradient": 0.1},
        {"optimizer": "adam", "learning_rate": 0.01},
    ],
    ids=["plain", "schedule", "momentum", "decay", "clip", "adam"],
)
def test_gradients_by_rows_and_dense_ones_give_equal_updates(settings):
    params, perplexity, by_rows = fit(False, **settings)
    dense, same_perplexity, none = fit(True, **settings)
    assert by_rows == {"embed_weight"}
    assert none == set()
    for name, values in params.items():
        np.testing.assert_allclose(values, dense[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert perplexity == pytest.approx(same_perplexity, rel=1e-5)


def test_the_gradient_of_a_table_is_whole_after_an_update_that_needs_it():
    gradients = []
    for keep_outputs in (False, True):
        module, _ = fitted(keep_outputs, momentum=0.9)
        gradients.append(module.current_module.executor.grad_dict["embed_weight"].asnumpy())
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-7)
    assert np.any(gradients[0])


def test_rows_are_made_dense_where_the_optimizer_needs_it():
    start = np.arange(12, dtype=np.float32).reshape(4, 3)
    grad = RowSparse(NDArray(np.array([[1], [3], [1]])), NDArray(np.ones((3, 3))))
    by_rows, dense = NDArray(start), NDArray(start)
    settings = {"learning_rate": 0.1, "momentum": 0.9}
    updater = optimizer.get_updater(optimizer.create("sgd", **settings))
    other = optimizer.get_updater(optimizer.create("sgd", **settings))
    for _ in range(3):
        updater.update_rows(0, grad, by_rows)
        other(0, NDArray(grad.dense((4, 3))), dense)
    np.testing.assert_allclose(by_rows.asnumpy(), dense.asnumpy(), rtol=1e-6)
    assert updater.counters() == other.counters()


def test_a_table_read_twice_stays_dense():
    words = sb.sym.Variable("data")
    table = sb.sym.Variable("table")
    one = sb.sym.Embedding(words, table, input_dim=5, output_dim=2)
    two = sb.sym.Embedding(words, table, input_dim=5, output_dim=2)
    loss = sb.sym.MakeLoss(sb.sym.sum(one * one * two))
    executor = loss.simple_bind(data=(3,), grad_req={"table": "write"})
    executor.arg_dict["table"][...] = np.arange(10).reshape(5, 2)
    executor.feed({"data": np.array([1, 2, 1])})
    executor.measure(True, (), ["table"])
    rows = executor.row_gradients.get("table")
    found = executor.grad_dict["table"].asnumpy() if rows is None else rows.dense((5, 2))
    values = np.arange(10.0).reshape(5, 2)
    expected = np.zeros((5, 2))
    for word in (1, 2, 1):
        expected[word] += 3 * values[word] ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)
