"""``FeedForward`` over arrays, iterators and buckets."""

import inspect
import math

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import (
    CheckpointError,
    DataError,
    DivergenceError,
    InvalidArgumentError,
    ParameterError,
    StateError,
)
from symbucket.model import FeedForward

VOCAB = 8


def _classes(rows=300, seed=0):
    """Three clouds of points on a plane."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    return (centres[y] + 0.5 * rng.standard_normal((rows, 2))).astype(np.float32), y


def _mlp(label="softmax_label", batch_norm=False):
    net = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=16, name="fc1")
    if batch_norm:
        net = sb.sym.BatchNorm(net, name="bn", fix_gamma=False)
    net = sb.sym.Activation(net, act_type="relu", name="relu")
    net = sb.sym.FullyConnected(net, num_hidden=3, name="fc2")
    return sb.sym.SoftmaxOutput(net, sb.sym.Variable(label), name="softmax")


def _model(symbol=None, **kwargs):
    given = {"num_epoch": 8, "learning_rate": 0.5, "numpy_batch_size": 32, **kwargs}
    return FeedForward(_mlp() if symbol is None else symbol, initializer=sb.init.Xavier(), **given)


def _sym_gen(length):
    embed = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=VOCAB, output_dim=6, name="embed")
    outputs, _ = sb.rnn.LSTMCell(10, prefix="lstm_").unroll(length, embed, merge_outputs=True)
    pred = sb.sym.FullyConnected(
        sb.sym.Reshape(outputs, shape=(-1, 10)), num_hidden=VOCAB, name="pred"
    )
    label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
    return sb.sym.SoftmaxOutput(
        pred, label, use_ignore=True, ignore_label=0, normalization="valid", name="softmax"
    )


def _sentences(count=120, seed=0):
    """Each word follows from the one before: 1 2 3 ... 7 1 2 ..."""
    rng = np.random.default_rng(seed)
    # As many of each length as fill whole batches, so that every epoch has the same sentences.
    starts, lengths = rng.integers(0, VOCAB - 1, count), np.repeat([3, 5], count // 2)
    return [[(s + i) % (VOCAB - 1) + 1 for i in range(n)] for s, n in zip(starts, lengths)]


def _text(seed=0):
    return sb.rnn.BucketSentenceIter(
        _sentences(seed=seed), 10, buckets=[3, 5], invalid_label=0, seed=seed
    )


@pytest.fixture(autouse=True)
def _seed():
    sb.random.seed(1)


# --- arrays ----------------------------------------------------------------------------------


def test_learns_from_arrays():
    X, y = _classes()
    model = _model()
    model.fit(X, y, eval_data=_classes(100, seed=1))
    assert model.score(_classes(100, seed=2)) > 0.9
    assert model.arg_params["fc1_weight"].shape == (16, 2)
    assert model.aux_params == {}


def test_predict_cuts_the_padding():
    X, y = _classes(70)
    model = _model(num_epoch=1)
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
    X, y = _classes(70)
    model = _model(num_epoch=1)
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
    X, y = _classes(70)
    model = _model(num_epoch=1)
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
    X, y = _classes()
    model = _model(_mlp("kind_label"))
    model.fit(X, y.reshape(-1, 1))
    assert "kind_label" not in model.arg_params
    assert model.score((X, y)) > 0.9


def test_runs_repeat_from_the_seed():
    X, y = _classes()
    found = []
    for _ in range(2):
        sb.random.seed(7)
        model = _model(num_epoch=2)
        model.fit(X, y)
        found.append(model.arg_params["fc2_weight"].asnumpy())
    np.testing.assert_array_equal(*found)


def test_second_fit_goes_on_from_the_first():
    X, y = _classes()
    model = _model()
    model.fit(X, y)
    before = model.arg_params["fc1_weight"].asnumpy()
    model.num_epoch, model.kwargs = 1, {"learning_rate": 0.0}
    model.fit(X, y)
    np.testing.assert_array_equal(model.arg_params["fc1_weight"].asnumpy(), before)


def test_given_optimizer_and_create():
    X, y = _classes()
    adam = sb.optimizer.create("adam", learning_rate=0.05, rescale_grad=1 / 100)
    model = FeedForward.create(
        _mlp(), sb.io.NDArrayIter(X, y, 100), num_epoch=8, optimizer=adam, eval_data=(X, y)
    )
    assert model.score((X, y)) > 0.9
    assert adam.num_update == 24


def test_callbacks_and_epoch_size():
    X, y = _classes(64)
    batches, epochs, evaluations, orders = [], [], [], []
    data = sb.io.NDArrayIter(X, y, 16)  # 4 batches

    def batch_end(param):
        batches.append((param.epoch, param.nbatch))
        orders.append(float(param.locals["batch"].data[0][0, 0]))

    model = _model(num_epoch=4, begin_epoch=1, epoch_size=3)
    model.fit(
        data,
        eval_data=(X, y),
        batch_end_callback=[batch_end],
        epoch_end_callback=lambda e, s, arg, aux: epochs.append((e, s is model.symbol, len(arg))),
        eval_end_callback=lambda param: evaluations.append(param.eval_metric.num_inst),
    )
    assert batches == [(e, n) for e in (1, 2, 3) for n in range(3)]
    assert epochs == [(e, True, 4) for e in (1, 2, 3)]
    assert evaluations == [64] * 3
    # The second epoch goes on with the fourth batch of the data.
    first = [float(X[16 * i, 0]) for i in range(4)]
    np.testing.assert_allclose(orders, [first[i % 4] for i in range(9)])


def test_new_parameters_are_used_at_once():
    X, y = _classes()
    model = _model(num_epoch=1)
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
        symbol=_sym_gen,
        num_epoch=6,
        learning_rate=1.0,
        momentum=0.9,
        wd=0.00001,
        initializer=sb.init.Xavier(factor_type="in", magnitude=2.34),
    )
    model.fit(
        X=_text(),
        eval_data=_text(seed=1),
        eval_metric=metric,
        batch_end_callback=sb.callback.Speedometer(10, 50),
        eval_end_callback=lambda param: scores.append(param.eval_metric.get_global()[1]),
    )
    assert len(scores) == 6
    assert scores[-1] < 0.5 * scores[0]
    assert scores[-1] < 2 < VOCAB - 1
    assert model.score(_text(seed=1), sb.metric.Perplexity(0)) == pytest.approx(scores[-1])
    # The default key's network, whichever bucket came last.
    assert model.symbol.infer_shape(data=(2, 5), softmax_label=(2, 5))[1] == [(10, VOCAB)]
    assert model.predict(_text()).shape[1] == VOCAB
    with pytest.raises(DataError, match="cannot join the data"):
        model.predict(_text(), return_data=True)


def test_each_network_is_made_once():
    keys = []

    def sym_gen(key):
        keys.append(key)
        return _sym_gen(key)

    model = FeedForward(sym_gen, num_epoch=2, learning_rate=0.1)
    model.fit(_text(), eval_data=_text(1), eval_metric=sb.metric.Perplexity(0))
    model.predict(_text())
    model.fit(_text(), eval_metric=sb.metric.Perplexity(0))
    assert sorted(keys) == [3, 5]


def test_sym_gen_with_loaded_parameters(tmp_path):
    model = FeedForward(_sym_gen, num_epoch=1, epoch_size=4, learning_rate=0.1)
    model.fit(_text(), eval_metric=sb.metric.Perplexity(0))
    model.save(str(tmp_path / "lm"))
    symbol, arg, aux = sb.model.load_checkpoint(str(tmp_path / "lm"), 1)
    assert symbol.list_arguments() == model.symbol.list_arguments()
    again = FeedForward(_sym_gen, arg_params=arg, aux_params=aux)
    np.testing.assert_allclose(again.predict(_text()), model.predict(_text()), rtol=1e-6)
    assert again.symbol is not None


def test_labels_may_come_after_predicting():
    arg = {"fc1_weight": np.ones((16, 2)), "fc1_bias": np.zeros(16)}
    arg |= {"fc2_weight": np.ones((3, 16)), "fc2_bias": np.array([0, 1, 0])}
    X, _ = _classes(20)
    model = FeedForward(_mlp(), arg_params=arg)
    found = model.predict(X)
    for order in range(2):  # the second time everything is bound already
        assert model.score((X, np.ones(20))) == 1, order
        np.testing.assert_array_equal(model.predict(X), found)


# --- files -----------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    X, y = _classes()
    prefix = str(tmp_path / "mlp")
    model = _model(_mlp(batch_norm=True), num_epoch=3)
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


# --- errors ----------------------------------------------------------------------------------


def test_arguments_are_checked():
    with pytest.raises(InvalidArgumentError, match="symbol is a int"):
        FeedForward(3)
    adam = sb.optimizer.create("adam")
    with pytest.raises(InvalidArgumentError, match=r"'learning_rate' are arguments.*ready Adam"):
        FeedForward(_mlp(), optimizer=adam, learning_rate=1)
    for name in ("numpy_batch_size", "epoch_size"):
        with pytest.raises(InvalidArgumentError, match=f"{name} is 0; expected an integer"):
            FeedForward(_mlp(), **{name: 0})
    X, y = _classes(10)
    with pytest.raises(InvalidArgumentError, match="num_epoch="):
        FeedForward(_mlp()).fit(X, y)
    with pytest.raises(InvalidArgumentError, match=r"expected a symbucket\.mon\.Monitor"):
        _model().fit(X, y, monitor=object())
    with pytest.raises(InvalidArgumentError, match="num_epochs"):
        _model(num_epochs=3).fit(X, y)
    with pytest.raises(InvalidArgumentError, match="which epoch"):
        FeedForward(_mlp()).save("nowhere")


def test_no_parameters_yet(tmp_path):
    X, y = _classes(10)
    for use in (
        lambda m: m.predict(X),
        lambda m: m.score((X, y)),
        lambda m: m.save(str(tmp_path / "a")),
    ):
        with pytest.raises(StateError, match="no parameters yet"):
            use(_model())
    assert list(tmp_path.iterdir()) == []


def test_data_are_checked():
    X, y = _classes(10)
    model = _model()
    with pytest.raises(DataError, match="its labels y must be given"):
        model.fit(X)
    with pytest.raises(DataError, match="an iterator brings its own labels"):
        model.fit(sb.io.NDArrayIter(X, y), y)
    with pytest.raises(DataError, match="X is a str; expected an iterator"):
        model.fit("data")
    with pytest.raises(DataError, match=r"y has shape \(10, 2\)"):
        model.fit(X, np.zeros((10, 2)))
    with pytest.raises(DataError, match="has 5 rows but 'data' has 10"):
        model.fit(X, y[:5])
    with pytest.raises(DataError, match="eval_data needs labels"):
        model.fit(X, y, eval_data=X)
    with pytest.raises(DataError, match=r"labels are other, but the network's are softmax_label"):
        model.fit(sb.io.NDArrayIter(X, y, label_name="other"))
    assert model.arg_params is None
    model.arg_params = {"fc1_weight": np.zeros((16, 2))}
    with pytest.raises(DataError, match=r"X needs labels"):
        model.score(X)
    with pytest.raises(ParameterError, match="lack fc1_bias"):
        model.predict(X)


def test_buckets_need_keys():
    X, y = _classes(10)
    model = FeedForward(_sym_gen, num_epoch=1)
    with pytest.raises(DataError, match="arrays have no bucket keys"):
        model.fit(X, y)
    with pytest.raises(DataError, match="NDArrayIter has no default_bucket_key"):
        model.fit(sb.io.NDArrayIter(X, y))


def test_extra_parameters():
    X, y = _classes()
    extra = {"fc1_weight": np.ones((16, 2)), "old_weight": np.ones(3)}
    with pytest.raises(ParameterError, match="old_weight"):
        _model(arg_params=extra).fit(X, y)
    model = _model(arg_params=extra, allow_extra_params=True, num_epoch=1)
    model.kwargs = {"learning_rate": 0.0}
    model.fit(X, y)
    assert set(model.arg_params) == {"fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias"}
    np.testing.assert_array_equal(model.arg_params["fc1_weight"].asnumpy(), 1)
    assert np.abs(model.arg_params["fc2_weight"].asnumpy()).max() > 0
    given = dict(model.arg_params)
    again = FeedForward(
        _mlp(), arg_params={**given, "old_weight": np.ones(3)}, allow_extra_params=True
    )
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-6)


def test_divergence_keeps_the_last_whole_epoch():
    X, y = _classes(64)
    kept = []

    def poison(epoch, symbol, arg, aux):
        kept.append(arg)
        X[0, 0] = math.nan

    model = _model(num_epoch=3)
    data = sb.io.NDArrayIter({"data": X}, y, 32)
    with pytest.raises(DivergenceError, match="epoch 1, batch 0"):
        model.fit(data, epoch_end_callback=poison)
    assert len(kept) == 1
    assert model.arg_params is kept[0]
    clean, _ = _classes(5)
    assert np.isfinite(model.predict(clean)).all()


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
    assert names == (
        "X y eval_data eval_metric epoch_end_callback batch_end_callback kvstore logger "
        "work_load_list monitor eval_end_callback eval_batch_end_callback"
    ).split(" ")
