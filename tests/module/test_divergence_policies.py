"""NaN and infinity in training: found in every array, before the update, and named."""

import logging

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.engine.finite import DeviceSums, FiniteCheck
from symbucket.errors import DivergenceError, InvalidArgumentError
from symbucket.runtime import NDArray

ROWS, WORDS = 4, 3


def _network(aux=False):
    """sqrt(square(x)), whose gradient is NaN at 0; the table has more elements than a cache."""
    x = sym.Embedding(sym.Variable("data"), input_dim=4000, output_dim=8, name="embed")
    x = sym.sqrt(sym.square(sym.sum(x, axis=1), name="squared"), name="root")
    x = sym.Reshape(x, shape=(-1, 8))
    if aux:
        x = sym.Dropout(sym.BatchNorm(x, fix_gamma=False, name="norm"), p=0.2, name="drop")
    x = sym.FullyConnected(x, num_hidden=3, name="fc")
    return sym.SoftmaxOutput(x, sym.Variable("softmax_label"), name="softmax")


def _data(bad, batches=3):
    """Batches of words above 0, but in ``bad`` ones, which have word 0 alone."""
    words = np.arange(1, batches * ROWS * WORDS + 1).reshape(-1, WORDS)
    for batch in bad:
        words[batch * ROWS : (batch + 1) * ROWS] = 0
    return sb.io.NDArrayIter(words, np.arange(len(words)) % 3, ROWS)


def _parameters(module):
    rng = np.random.default_rng(0)
    values = {n: rng.normal(size=a.shape) for n, a in module.store.args.items()}
    values["embed_weight"][0] = 0
    return values


OPTIMIZERS = {
    "adam": ("adam", {"learning_rate": 0.1}),
    "momentum": ("sgd", {"learning_rate": 0.1, "momentum": 0.9}),
    "by rows": ("sgd", {"learning_rate": 0.1}),
}


def _trained(bad, kind="adam", aux=False, epochs=1, batches=3, **fit):
    optimizer, params = OPTIMIZERS[kind]
    sb.random.seed(1)
    module = sb.mod.Module(_network(aux))
    data = _data(bad, batches)
    module.bind(data.provide_data, data.provide_label)
    module.init_params(arg_params=_parameters(module), initializer=sb.init.One())
    module.init_optimizer(optimizer=optimizer, optimizer_params=params)
    error = None
    try:
        module.fit(data, num_epoch=epochs, **fit)
    except DivergenceError as raised:
        error = raised
    return module, error


def _numbers(module):
    arg, aux = module.get_params()
    arrays = {n: a.asnumpy() for n, a in {**arg, **aux}.items()}
    return {**arrays, **module.updater.states()}, module.updater.counters()


def _assert_same(one, other):
    (arrays, counters), (expected, expected_counters) = _numbers(one), _numbers(other)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name], name)
    assert counters == expected_counters


@pytest.mark.parametrize("aux", [False, True], ids=["plain", "with states"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_fit_stops_before_the_update_and_says_where_it_comes_from(kind, aux):
    module, error = _trained([2], kind, aux)
    assert error is not None
    text = str(error)
    assert "epoch 0, batch 2: the gradient of 'embed_weight' has NaN" in text
    assert "'grad/root/Sqrt/Div' (Div, in the backward graph)" in text
    before, error = _trained([], kind, aux, batches=2)
    assert error is None
    _assert_same(module, before)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_batch_that_is_skipped_leaves_no_trace(kind, caplog):
    with caplog.at_level(logging.WARNING):
        metric = sb.metric.CrossEntropy()
        module, error = _trained([2], kind, True, on_divergence="skip", eval_metric=metric)
    assert error is None
    assert "Epoch[0] Batch [2] skipped (1 so far in this epoch)" in caplog.text
    assert "the gradient of 'embed_weight' has NaN" in caplog.text
    assert np.isfinite(metric.get()[1])
    before, _ = _trained([], kind, True, batches=2)
    _assert_same(module, before)


def test_fit_may_go_on_without_looking():
    module, error = _trained([2], on_divergence="ignore")
    assert error is None
    assert np.isnan(module.get_params()[0]["embed_weight"].asnumpy()[0]).all()


@pytest.mark.parametrize("metric", ["acc", "ce", "nll_loss", "top_k_acc", "perplexity"])
def test_a_loss_that_is_nan_is_one_in_metrics_and_log(metric, caplog):
    """In the last of three batches, whose words have no number; also where the graph sums it."""
    keywords = {"perplexity": {"ignore_label": None}, "top_k_acc": {"top_k": 2}}.get(metric, {})
    metric = sb.metric.create(metric, **keywords)
    net, data = _network(), _data([2])
    module = sb.mod.Module(net)
    module.bind(data.provide_data, data.provide_label)
    values = _parameters(module)
    values["embed_weight"][0, 3] = np.nan
    module.init_params(arg_params=values, initializer=sb.init.One())
    with caplog.at_level(logging.INFO):
        module.fit(data, eval_data=data, num_epoch=1, eval_metric=metric, on_divergence="ignore")
    lines = [line for line in caplog.messages if f"-{metric.name}" in line]
    assert [line.split("=")[0] for line in lines] == [
        f"Epoch[0] Train-{metric.name}",
        f"Epoch[0] Validation-{metric.name}",
    ]
    assert all(line.endswith("=nan") for line in lines)


def test_policies_are_checked():
    with pytest.raises(InvalidArgumentError, match="on_divergence is 'stop'; expected one of"):
        _trained([], on_divergence="stop")
    module = sb.mod.Module(_network())
    data = _data([])
    module.bind(data.provide_data, data.provide_label, grad_req="add")
    with pytest.raises(InvalidArgumentError, match="needs gradients that each batch writes"):
        module.fit(data, num_epoch=1, on_divergence="skip")


def test_a_loop_by_hand_asks():
    module, _ = _trained([])
    (good, bad) = list(_data([1], 2))
    module.forward_backward(good)
    assert module.failures() == []
    module.forward_backward(bad)
    assert module.failures() == ["the gradient of 'embed_weight' has NaN"]


@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "has NaN"), (np.inf, "is infinite"), (-np.inf, "is infinite")]
)
@pytest.mark.parametrize("place", [0, 20_000, -1])
def test_one_element_is_found_anywhere(value, word, place):
    check, array = FiniteCheck(), np.ones(50_000, np.float32)
    named = [("a", NDArray(np.ones(3))), ("b", NDArray(array)), ("c", 1.0), ("d", np.arange(3))]
    assert check.failures(named) == []
    named[1][1].view()[place] = value
    assert check.failures([*named, ("e", float(value))]) == [f"b {word}", f"e {word}"]


def test_large_numbers_whose_squares_overflow_are_finite():
    assert FiniteCheck().failures([("a", NDArray(np.full(4, 1e30, np.float32)))]) == []


def test_other_devices_sum_there():
    arrays = [NDArray(np.ones((2, 3))), NDArray(np.full((4,), 2.0))]
    sums = DeviceSums(arrays, sb.cpu())
    np.testing.assert_array_equal(sums.run(arrays), [6, 16])
    arrays[1][1] = np.inf
    assert np.isinf(sums.run(arrays)[1])


def test_infinite_losses_and_bad_data_are_named():
    x = sym.FullyConnected(sym.Variable("data"), num_hidden=1, no_bias=True, name="fc")
    net = sym.Group([sym.MakeLoss(x, name="loss"), sym.BlockGrad(sym.log(x, name="logged"))])
    module = sb.mod.Module(net, label_names=None)
    module.bind([("data", (2, 2))])
    weight = {"fc_weight": np.ones((1, 2))}

    def fit(values):
        data = sb.io.NDArrayIter(np.array(values, np.float32), None, 2)
        module.fit(data, num_epoch=1, arg_params=weight, eval_metric=sb.metric.Loss())

    module.keep_outputs = True
    with pytest.raises(DivergenceError, match=r"is infinite.*'logged/Log' \(Log, in the forward"):
        fit([[1, 1], [0, 0]])
    with pytest.raises(DivergenceError, match="the input 'data' has NaN already"):
        fit([[1, np.nan], [1, 1]])


def test_all_keys_and_contexts_say_the_node():
    def generate(length):
        return _network(), ["data"], ["softmax_label"]

    module = sb.mod.BucketingModule(
        generate, default_bucket_key=3, context=[sb.cpu(0), sb.cpu(1)], max_executors=1
    )
    data = _data([])
    module.bind(data.provide_data, data.provide_label)
    module.init_params(arg_params=_parameters(module), initializer=sb.init.One())

    class Batches(sb.io.DataIter):
        provide_data, provide_label = data.provide_data, data.provide_label

        def reset(self):
            pass

        def __iter__(self):
            for key, word in ((5, 1), (3, 1), (5, 0)):
                yield sb.io.DataBatch(
                    [np.full((ROWS, key), word)],
                    [np.zeros(ROWS)],
                    bucket_key=key,
                    provide_data=[("data", (ROWS, key))],
                    provide_label=[("softmax_label", (ROWS,))],
                )

    with pytest.raises(
        DivergenceError, match=r"epoch 0, batch 2, bucket key 5: .*'embed_weight'.*root/Sqrt/Div"
    ):
        module.fit(Batches(ROWS), num_epoch=1, optimizer="adam")


def test_states_that_are_carried_over_are_those_before_a_batch_that_is_skipped():
    def steps(count):
        outputs, states = sb.rnn.RNNCell(4, prefix="rnn_").unroll(
            count,
            sym.Variable("data"),
            layout="NTC",
            merge_outputs=True,
            begin_state=[sym.Variable("h", shape=(2, 4))],
        )
        scores = sym.FullyConnected(sym.Reshape(outputs, shape=(-1, 4)), num_hidden=1, name="fc")
        label = sym.Reshape(sym.Variable("label"), shape=(-1, 1))
        loss = sym.LinearRegressionOutput(scores, label, name="loss")
        return sym.Group([loss, *states]), ["data"], ["label"]

    def train(values):
        sb.random.seed(2)
        data = np.random.default_rng(0).normal(size=(len(values) * 2, 3, 2))
        for batch, value in enumerate(values):
            data[2 * batch : 2 * batch + 2] *= value
        module = sb.mod.RecurrentModule(steps, ["h"], unroll=2, carry_states=True)
        batches = sb.io.NDArrayIter(data, {"label": np.ones((len(data), 3))}, 2)
        module.fit(batches, num_epoch=1, eval_metric="mse", on_divergence="skip")
        return module.get_params()[0], module._begin["h"]

    (skipped, state), (without, expected) = train([1, 2, np.nan]), train([1, 2])
    for name, array in without.items():
        np.testing.assert_array_equal(skipped[name], array, name)
    np.testing.assert_array_equal(state, expected)
