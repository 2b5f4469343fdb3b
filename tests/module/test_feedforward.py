"""``FeedForward`` over arrays, iterators and buckets."""

import inspect
import logging

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import (
    CheckpointError,
    DataError,
    DivergenceError,
)
from symbucket.model import FeedForward
from tests.module.feedforward_networks import (
    VOCAB,
    classes,
    feedforward,
    lstm_network,
    mlp,
    text,
)


@pytest.fixture(autouse=True)
def _seed():
    sb.random.seed(1)


# --- arrays ----------------------------------------------------------------------------------


def test_learns_from_arrays():
    X, y = classes()
    model = feedforward()
    model.fit(X, y, eval_data=classes(100, seed=1))
    assert model.score(classes(100, seed=2)) > 0.9
    assert model.arg_params["fc1_weight"].shape == (16, 2)
    assert model.aux_params == {}


def test_predict_cuts_the_padding():
    X, y = classes(70)
    model = feedforward(num_epoch=1)
    model.fit(X, y)
    found = model.predict(X)
    assert isinstance(found, np.ndarray)
    assert found.shape == (70, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    w = {name: value.asnumpy() for name, value in model.arg_params.items()}
    hidden = np.maximum(X @ w["fc1_weight"].T + w["fc1_bias"], 0)
    score = np.exp(hidden @ w["fc2_weight"].T + w["fc2_bias"])
    np.testing.assert_allclose(found, score / score.sum(axis=1, keepdims=True), rtol=1e-4)
    assert model.predict(X, num_batch=2).shape == (64, 3)
    assert model.predict(sb.nd.array(X)).shape == (70, 3)


def test_return_data_and_reset():
    X, y = classes(70)
    model = feedforward(num_epoch=1)
    model.fit(X, y)
    data = sb.io.NDArrayIter(X, y, 32)
    outputs, inputs, labels = model.predict(data, return_data=True)
    assert outputs.shape == (70, 3)
    np.testing.assert_array_equal(inputs, X)
    np.testing.assert_array_equal(labels, y)
    data.reset()
    next(data)
    np.testing.assert_array_equal(model.predict(data, reset=False), outputs[32:])
    with pytest.raises(DataError, match="no batch"):
        model.predict(data, reset=False)


def test_score_counts_every_row_once():
    X, y = classes(70)
    model = feedforward(num_epoch=1)
    model.fit(X, y)
    y[:10] = (y[:10] + 1) % 3  # rows that a padded last batch would repeat
    want = (model.predict(X).argmax(axis=1) == y).mean()
    assert 0 < want < 1
    assert model.score((X, y)) == pytest.approx(want)
    both = model.score((X, y), ["acc", "ce"])
    assert both[0] == pytest.approx(want)
    assert len(both) == 2
    seen = []
    model.score((X, y), num_batch=1, batch_end_callback=lambda param: seen.append(param.nbatch))
    assert seen == [0]


def test_one_label_under_any_name_and_column_labels():
    X, y = classes()
    model = feedforward(mlp("kind_label"))
    model.fit(X, y.reshape(-1, 1))
    assert "kind_label" not in model.arg_params
    assert model.score((X, y)) > 0.9


def test_runs_repeat_from_the_seed():
    X, y = classes()
    found = []
    for _ in range(2):
        sb.random.seed(7)
        model = feedforward(num_epoch=2)
        model.fit(X, y)
        found.append(model.arg_params["fc2_weight"].asnumpy())
    np.testing.assert_array_equal(*found)


def test_second_fit_goes_on_from_the_first():
    X, y = classes()
    model = feedforward()
    model.fit(X, y)
    before = model.arg_params["fc1_weight"].asnumpy()
    model.num_epoch, model.kwargs = 1, {"learning_rate": 0.0}
    model.fit(X, y)
    np.testing.assert_array_equal(model.arg_params["fc1_weight"].asnumpy(), before)


def test_given_optimizer_and_create():
    X, y = classes()
    adam = sb.optimizer.create("adam", learning_rate=0.05, rescale_grad=1 / 100)
    model = FeedForward.create(
        mlp(), sb.io.NDArrayIter(X, y, 100), num_epoch=8, optimizer=adam, eval_data=(X, y)
    )
    assert model.score((X, y)) > 0.9
    assert adam.num_update == 24


def test_callbacks_and_epoch_size():
    X, y = classes(64)
    batches, epochs, evaluations, orders = [], [], [], []
    data = sb.io.NDArrayIter(X, y, 16)  # 4 batches

    def batch_end(param):
        batches.append((param.epoch, param.nbatch))
        orders.append(float(param.locals["data_batch"].data[0][0, 0]))

    model = feedforward(num_epoch=4, begin_epoch=1, epoch_size=3)
    model.fit(
        data,
        eval_data=(X, y),
        batch_end_callback=[batch_end],
        epoch_end_callback=lambda e, s, arg, aux: epochs.append((e, s is model.symbol, len(arg))),
        eval_end_callback=lambda param: evaluations.append(param.eval_metric.num_inst),
    )
    assert batches == [(e, n) for e in (1, 2, 3) for n in (1, 2, 3)]  # from 1, as in MXNet
    assert epochs == [(e, True, 4) for e in (1, 2, 3)]
    assert evaluations == [64] * 3
    # The second epoch goes on with the fourth batch of the data.
    first = [float(X[16 * i, 0]) for i in range(4)]
    np.testing.assert_allclose(orders, [first[i % 4] for i in range(9)])


def test_new_parameters_are_used_at_once():
    X, y = classes()
    model = feedforward(num_epoch=1)
    model.fit(X, y)
    model.predict(X)
    model.arg_params = {name: np.zeros(a.shape) for name, a in model.arg_params.items()}
    np.testing.assert_allclose(model.predict(X), 1 / 3, rtol=1e-6)


# --- buckets ---------------------------------------------------------------------------------


def test_trains_over_buckets():
    scores = []
    metric = sb.metric.Perplexity(0)
    model = FeedForward(
        ctx=sb.cpu(),
        symbol=lstm_network,
        num_epoch=6,
        learning_rate=1.0,
        momentum=0.9,
        wd=0.00001,
        initializer=sb.init.Xavier(factor_type="in", magnitude=2.34),
    )
    model.fit(
        X=text(),
        eval_data=text(seed=1),
        eval_metric=metric,
        batch_end_callback=sb.callback.Speedometer(10, 50),
        eval_end_callback=lambda param: scores.append(param.eval_metric.get_global()[1]),
    )
    assert len(scores) == 6
    assert scores[-1] < 0.5 * scores[0]
    assert scores[-1] < 2 < VOCAB - 1
    assert model.score(text(seed=1), sb.metric.Perplexity(0)) == pytest.approx(scores[-1])
    # The default key's network, whichever bucket came last.
    assert model.symbol.infer_shape(data=(2, 5), softmax_label=(2, 5))[1] == [(10, VOCAB)]
    assert model.predict(text()).shape[1] == VOCAB
    with pytest.raises(DataError, match="cannot join the data"):
        model.predict(text(), return_data=True)


def test_each_network_is_made_once():
    keys = []

    def sym_gen(key):
        keys.append(key)
        return lstm_network(key)

    model = FeedForward(sym_gen, num_epoch=2, learning_rate=0.1)
    model.fit(text(), eval_data=text(1), eval_metric=sb.metric.Perplexity(0))
    model.predict(text())
    model.fit(text(), eval_metric=sb.metric.Perplexity(0))
    assert sorted(keys) == [3, 5]


def test_sym_gen_with_loaded_parameters(tmp_path):
    model = FeedForward(lstm_network, num_epoch=1, epoch_size=4, learning_rate=0.1)
    model.fit(text(), eval_metric=sb.metric.Perplexity(0))
    model.save(str(tmp_path / "lm"))
    symbol, arg, aux = sb.model.load_checkpoint(str(tmp_path / "lm"), 1)
    assert symbol.list_arguments() == model.symbol.list_arguments()
    again = FeedForward(lstm_network, arg_params=arg, aux_params=aux)
    np.testing.assert_allclose(again.predict(text()), model.predict(text()), rtol=1e-6)
    assert again.symbol is not None


def test_labels_may_come_after_predicting():
    arg = {"fc1_weight": np.ones((16, 2)), "fc1_bias": np.zeros(16)}
    arg |= {"fc2_weight": np.ones((3, 16)), "fc2_bias": np.array([0, 1, 0])}
    X, _ = classes(20)
    model = FeedForward(mlp(), arg_params=arg)
    found = model.predict(X)
    for order in range(2):  # the second time everything is bound already
        assert model.score((X, np.ones(20))) == 1, order
        np.testing.assert_array_equal(model.predict(X), found)


# --- files -----------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    X, y = classes()
    prefix = str(tmp_path / "mlp")
    model = feedforward(mlp(batch_norm=True), num_epoch=3)
    model.fit(X, y)
    model.save(prefix)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mlp-0003.params", "mlp-symbol.json"]
    again = FeedForward.load(prefix, 3, ctx=sb.cpu(), num_epoch=4, learning_rate=0.5)
    assert again.begin_epoch == 3
    assert set(again.aux_params) == {"bn_moving_mean", "bn_moving_var"}
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-6)
    assert again.score((X, y)) == model.score((X, y))
    epochs = []
    again.fit(X, y, epoch_end_callback=lambda *args: epochs.append(args[0]))
    assert epochs == [3]
    model.save(prefix, 7)
    assert (tmp_path / "mlp-0007.params").exists()
    with pytest.raises(CheckpointError, match="mlp-0005"):
        FeedForward.load(prefix, 5)


# --- names -----------------------------------------------------------------------------------


def test_namespaces():
    assert sb.model.FeedForward is FeedForward
    assert sb.model.BatchEndParam is sb.callback.BatchEndParam
    assert callable(sb.model.save_checkpoint)
    from symbucket.rnn import checkpoint as rnn_checkpoint
    from symbucket.rnn import do_rnn_checkpoint, load_rnn_checkpoint, save_rnn_checkpoint

    assert save_rnn_checkpoint is rnn_checkpoint.save_rnn_checkpoint is sb.rnn.save_rnn_checkpoint
    assert load_rnn_checkpoint is rnn_checkpoint.load_rnn_checkpoint is sb.rnn.load_rnn_checkpoint
    assert do_rnn_checkpoint is rnn_checkpoint.do_rnn_checkpoint is sb.rnn.do_rnn_checkpoint
    for name in sb.__all__:
        assert hasattr(sb, name)


def test_argument_names_are_mxnets():
    names = list(inspect.signature(FeedForward).parameters)
    assert names == (
        "symbol ctx num_epoch epoch_size optimizer initializer numpy_batch_size arg_params "
        "aux_params allow_extra_params begin_epoch kwargs"
    ).split(" ")
    names = list(inspect.signature(FeedForward.fit).parameters)[1:]
    assert names[:12] == (
        "X y eval_data eval_metric epoch_end_callback batch_end_callback kvstore logger "
        "work_load_list monitor eval_end_callback eval_batch_end_callback"
    ).split(" ")
    assert names[12:] == ["on_divergence", "checkpoint", "resume", "early_stopping"]


def test_log_lines_are_mxnets(caplog):
    X, y = classes(32)
    with caplog.at_level(logging.INFO):
        feedforward(num_epoch=1).fit(X, y, eval_data=(X, y))
    start, reset, cost, validation = caplog.messages
    assert start == "Start training with [cpu(0)]"
    assert reset == "Epoch[0] Resetting Data Iterator"
    assert cost.startswith("Epoch[0] Time cost=")
    assert validation.startswith("Epoch[0] Validation-accuracy=")


def test_fit_passes_on_what_guards_training(tmp_path):
    X, y = classes(32)
    X[3] = np.nan
    with pytest.raises(DivergenceError):
        feedforward(num_epoch=1).fit(sb.io.NDArrayIter(X, y, 8))
    model = feedforward(num_epoch=6)
    stopping = sb.callback.EarlyStopping("val-accuracy", patience=1)
    model.fit(
        sb.io.NDArrayIter(X, y, 8),
        eval_data=(X[4:], np.zeros(28)),
        on_divergence="skip",
        checkpoint=str(tmp_path / "run"),
        early_stopping=stopping,
    )
    assert all(np.isfinite(a.asnumpy()).all() for a in model.arg_params.values())
    assert stopping.best_epoch >= 0
    assert list((tmp_path / "run").iterdir())
