"""The loops of every module: ``fit``, ``score``, ``predict``, ``iter_predict``."""

import logging

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.engine import network_interface
from symbucket.errors import DataError, InvalidArgumentError
from tests.small_networks import (
    VOCAB,
    bound_regression,
    generate,
    language_model,
    numbers,
    regression,
    regression_data,
    same,
)

X, Y = regression_data()


def _iter(batch_size=4, label=True, **kwargs):
    return sb.io.NDArrayIter(X, Y if label else None, batch_size, **kwargs)


def _sentences(count=40, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, VOCAB, rng.integers(2, 7)).tolist() for _ in range(count)]


def _sentence_iter(seed=1, batch_size=3):
    return sb.rnn.BucketSentenceIter(
        _sentences(), batch_size, buckets=[3, 6], invalid_label=0, seed=seed
    )


def _expected(params):
    return X @ params["fc_weight"].T + params["fc_bias"]


def test_predict_cuts_the_padding():
    module = bound_regression()
    wanted = _expected(numbers(module))
    np.testing.assert_allclose(module.predict(_iter()).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        module.predict(_iter(label=False)).asnumpy(), wanted, rtol=1e-5, atol=1e-6
    )
    assert len(module.executors) == 1


def test_predict_in_parts():
    module = bound_regression()
    parts = module.predict(_iter(), merge_batches=False)
    assert [[o.shape for o in part] for part in parts] == [[(4, 2)], [(4, 2)], [(2, 2)]]
    (whole,) = module.predict(_iter(), always_output_list=True)
    assert whole.shape == (10, 2)
    assert module.predict(_iter(), num_batch=2).shape == (8, 2)
    data = _iter()
    data.next()
    assert module.predict(data, reset=False).shape == (6, 2)


def test_predicted_parts_do_not_change_afterwards():
    module = bound_regression()
    parts = [outputs[0] for outputs, _, _ in module.iter_predict(_iter())]
    wanted = _expected(numbers(module))
    got = np.concatenate([p.asnumpy() for p in parts])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_predict_an_array():
    module = bound_regression()
    wanted = _expected(numbers(module))
    for rows in (4, 3):
        outputs = module.predict(X[:rows]).asnumpy()
        np.testing.assert_allclose(outputs, wanted[:rows], rtol=1e-5, atol=1e-6)


def test_iter_predict_gives_outputs_number_and_batch():
    module = bound_regression()
    found = [(n, o[0].shape, b.pad) for o, n, b in module.iter_predict(_iter())]
    assert found == [(0, (4, 2), 0), (1, (4, 2), 0), (2, (2, 2), 2)]


def test_outputs_that_are_no_rows_stay_whole():
    y = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
    net = sym.Group([y, sym.BlockGrad(sym.sum(y), name="total"), sym.Reshape(y, shape=(-1,))])
    module = sb.mod.Module(net, label_names=None)
    module.bind([("data", (4, 3))], for_training=False)
    module.init_params(sb.init.Uniform(0.5))
    rows, total, flat = module.predict(_iter(label=False))
    assert (rows.shape, total.shape, flat.shape) == ((10, 2), (3,), (20,))
    np.testing.assert_array_equal(flat.asnumpy(), rows.asnumpy().reshape(-1))


def test_predict_over_buckets():
    module = sb.mod.BucketingModule(generate, default_bucket_key=6)
    data = _sentence_iter()
    module.bind(data.provide_data, data.provide_label, for_training=False)
    module.init_params(sb.init.Uniform(0.2))
    parts = module.predict(data, merge_batches=False)
    assert {p[0].shape for p in parts} == {(9, VOCAB), (18, VOCAB)}
    merged = module.predict(data)
    assert merged.shape == (sum(p[0].shape[0] for p in parts), VOCAB)


def test_outputs_of_different_widths_do_not_merge():
    def widening(length):
        out = sym.BlockGrad(sym.Variable("data") * 1.0, name="out")
        return out, ("data",), None

    module = sb.mod.BucketingModule(widening, default_bucket_key=6)
    data = _sentence_iter()
    module.bind(data.provide_data, for_training=False)
    module.init_params()
    with pytest.raises(DataError, match="merge_batches=False"):
        module.predict(data)


def test_score():
    module = bound_regression()
    wanted = ((_expected(numbers(module)) - Y) ** 2).mean()
    exact = sb.io.NDArrayIter(X, Y, 5)
    ((name, value),) = module.score(exact, "mse")
    assert name == "mse"
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    ended = []
    found = module.score(
        exact,
        sb.metric.create(["mse", "mae"]),
        num_batch=1,
        batch_end_callback=lambda p: ended.append(p.nbatch),
        score_end_callback=lambda p: ended.append(("end", p.nbatch)),
    )
    assert [n for n, _ in found] == ["mse", "mae"]
    assert ended == [0, ("end", 1)]


def test_fit_calls_back_logs_and_learns(caplog):
    module = sb.mod.Module(regression())
    epochs, batches, validated = [], [], []
    with caplog.at_level(logging.INFO):
        module.fit(
            _iter(),
            eval_data=_iter(),
            eval_metric="mse",
            num_epoch=3,
            begin_epoch=1,
            optimizer_params={"learning_rate": 0.3},
            epoch_end_callback=lambda epoch, net, arg, aux: epochs.append((epoch, sorted(arg))),
            batch_end_callback=[lambda p: batches.append((p.epoch, p.nbatch))],
            eval_end_callback=lambda p: validated.append(p.eval_metric.get()[1]),
        )
    assert epochs == [(1, ["fc_bias", "fc_weight"]), (2, ["fc_bias", "fc_weight"])]
    assert batches == [(e, b) for e in (1, 2) for b in range(3)]
    assert validated[1] < validated[0]
    for words in ("Epoch[1] Train-mse=", "Epoch[2] Validation-mse=", "Epoch[2] Time cost="):
        assert words in caplog.text


def test_fit_needs_to_know_how_long():
    with pytest.raises(InvalidArgumentError, match="num_epoch"):
        sb.mod.Module(regression()).fit(_iter())


@pytest.mark.parametrize("data", [None, [np.ones((4, 3))], np.ones((4, 3))])
def test_what_is_no_iterator_is_refused(data):
    module = bound_regression()
    said = r"(None|a list|a ndarray), without .*reset.*symbucket.io.NDArrayIter\(data"
    with pytest.raises(InvalidArgumentError, match=f"fit: train_data is {said}"):
        module.fit(data, num_epoch=1)
    with pytest.raises(InvalidArgumentError, match=f"score: eval_data is {said}"):
        module.score(data, "mse")
    if data is not None:
        with pytest.raises(InvalidArgumentError, match=f"fit: eval_data is {said}"):
            module.fit(_iter(), data, num_epoch=1)
    with pytest.raises(InvalidArgumentError, match="num_epoch is -1"):
        module.fit(_iter(), num_epoch=-1)


def test_fit_goes_on_with_what_it_is_given():
    module = bound_regression()
    before = numbers(module)
    module.fit(_iter(), num_epoch=0, eval_metric="mse")
    assert same(numbers(module), before)
    given = {"fc_weight": np.ones((2, 3)), "fc_bias": np.ones(2)}
    other = sb.mod.Module(regression())
    other.fit(_iter(), num_epoch=0, eval_metric="mse", arg_params=given)
    assert same(numbers(other), given)


def _fitted(seed, sym_gen=None):
    def with_dropout(length):
        return language_model(length, dropout=0.3), ("data",), ("softmax_label",)

    sb.random.seed(seed)
    module = sb.mod.BucketingModule(sym_gen or with_dropout, default_bucket_key=6)
    metric = sb.metric.Perplexity(0)
    module.fit(
        _sentence_iter(seed=seed),
        eval_metric=metric,
        num_epoch=2,
        optimizer="adam",
        optimizer_params={"learning_rate": 0.02},
        initializer=sb.init.Xavier(),
    )
    return numbers(module), metric.get()[1]


def test_the_same_seeds_give_exactly_the_same_training():
    first, perplexity = _fitted(7)
    again, same_perplexity = _fitted(7)
    assert same(first, again)
    assert perplexity == same_perplexity
    other, _ = _fitted(8)
    assert not same(first, other)


def test_bucketed_training_lowers_perplexity():
    module = sb.mod.BucketingModule(generate, default_bucket_key=6)
    seen = []
    # Sentences that count upwards: what comes next is certain.
    sentences = [list(range(s, s + n)) for s in range(1, 5) for n in (2, 3, 4, 5)] * 3
    data = sb.rnn.BucketSentenceIter(sentences, 4, buckets=[3, 6], invalid_label=0, seed=0)
    module.fit(
        data,
        eval_data=data,
        eval_metric=sb.metric.Perplexity(0),
        num_epoch=5,
        optimizer="adam",
        optimizer_params={"learning_rate": 0.05, "rescale_grad": 1.0},
        initializer=sb.init.Xavier(),
        eval_end_callback=lambda p: seen.append(p.eval_metric.get()[1]),
    )
    assert seen[-1] < 0.5 * seen[0]
    assert all(counts["training"] == 1 for counts in module.builds().values())
    assert all(counts["inference"] == 1 for counts in module.builds().values())


class _Fading(sb.io.DataIter):
    """Batches of ``epochs`` epochs; after them there are none."""

    def __init__(self, epochs, key=None):
        super().__init__(4)
        self.left, self.key, self.batches = epochs, key, []
        shape = (4, 3) if key is None else (4, key)
        targets = (4, 2) if key is None else (4, key)
        self.provide_data, self.provide_label = [("data", shape)], [("softmax_label", targets)]

    def reset(self):
        count = 2 if self.left > 0 else 0
        self.left -= 1
        self.batches = [
            sb.io.DataBatch(
                [np.ones(self.provide_data[0][1])],
                [np.ones(self.provide_label[0][1])],
                bucket_key=self.key,
                provide_data=self.provide_data,
                provide_label=self.provide_label,
            )
        ] * count

    def next(self):
        if not self.batches:
            raise StopIteration
        return self.batches.pop()


def _either(kind):
    if kind == "Module":
        return sb.mod.Module(regression()), None
    return sb.mod.BucketingModule(generate, default_bucket_key=6), 6


@pytest.mark.parametrize("kind", ["Module", "BucketingModule"])
def test_fit_on_nothing_says_so_and_leaves_the_module_as_it_is(kind):
    module, key = _either(kind)
    with pytest.raises(DataError, match=r"_Fading, yields no batch in epoch 3.*reset\(\)"):
        module.fit(_Fading(0, key), eval_metric="mse", begin_epoch=3, num_epoch=5)
    assert not module.binded
    assert not module.params_initialized
    assert not module.optimizer_initialized
    metric = sb.metric.Loss()
    module.fit(_Fading(1, key), eval_metric=metric, num_epoch=1)  # and it is as good as new
    before, updates = numbers(module), module.updater.optimizer.num_update
    assert updates == 2
    with pytest.raises(DataError, match="yields no batch in epoch 0"):
        module.fit(_Fading(0, key), eval_metric=metric, num_epoch=1)
    assert same(numbers(module), before)
    assert module.updater.optimizer.num_update == updates


@pytest.mark.parametrize("kind", ["Module", "BucketingModule"])
def test_an_epoch_without_batches_ends_the_training(kind):
    module, key = _either(kind)
    ended = []
    with pytest.raises(DataError, match="yields no batch in epoch 2"):
        module.fit(
            _Fading(2, key),
            eval_metric=sb.metric.Loss(),
            epoch_end_callback=lambda epoch, *_: ended.append((epoch, numbers(module))),
            num_epoch=4,
        )
    assert [epoch for epoch, _ in ended] == [0, 1]
    assert same(numbers(module), ended[-1][1])


def test_data_are_reset_once_an_epoch():
    data = _iter()
    sb.mod.Module(regression()).fit(data, eval_metric="mse", num_epoch=3)
    assert data.epoch == 3
    sb.mod.Module(regression()).fit(data, eval_metric="mse", begin_epoch=2, num_epoch=2)
    assert data.epoch == 3  # no epoch, and none begun


def test_a_second_fit_infers_no_shapes(monkeypatch):
    module = sb.mod.Module(regression())
    module.fit(_iter(), eval_metric="mse", num_epoch=1)

    def infer(*_):
        raise AssertionError("shapes are inferred again")

    monkeypatch.setattr(network_interface, "infer_interface", infer)
    module.fit(_iter(), eval_metric="mse", num_epoch=1)


def test_a_label_of_another_name_than_declared():
    loss = sb.sym.SoftmaxOutput(sb.sym.Variable("data"), name="softmax")
    said = "label_names has 'label'.*its labels are 'softmax_label'"
    with pytest.raises(InvalidArgumentError, match=said):
        sb.mod.Module(loss, ["data"], ["label"])
    sb.mod.Module(sb.sym.Variable("data") + 1, ["data"], ["label"])  # for prediction
