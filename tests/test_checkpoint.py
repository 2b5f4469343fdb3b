"""Checkpoints: what is in the files, and that training goes on from them as if never stopped."""

import json
import os

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import CheckpointError, InvalidArgumentError, ParameterError
from tests.small_networks import (
    bound_regression,
    bucketing,
    generate,
    language_model,
    numbers,
    regression_data,
    same,
    sentence_batch,
    shapes,
)

X, Y = regression_data()


def _batches(count=7, seed=0):
    rng = np.random.default_rng(seed)
    return [sentence_batch(rng, key) for _, key in zip(range(count), (6, 3, 4) * count)]


def _train(module, batches):
    for batch in batches:
        module.forward_backward(batch)
        module.update()


OPTIMIZERS = [
    ("sgd", {"learning_rate": 0.5, "momentum": 0.9, "wd": 1e-3}),
    ("adam", {"learning_rate": 0.02}),
    ("rmsprop", {"learning_rate": 0.02, "centered": True}),
    ("ftrl", {"learning_rate": 0.1}),
]


@pytest.mark.parametrize(("optimizer", "params"), OPTIMIZERS, ids=[o for o, _ in OPTIMIZERS])
def test_resumed_training_equals_uninterrupted_training_exactly(optimizer, params, tmp_path):
    def fresh():
        sb.random.seed(0)
        module = bucketing()
        module.init_optimizer(optimizer=optimizer, optimizer_params=params, force_init=True)
        return module

    batches = _batches()
    whole = fresh()
    _train(whole, batches)

    stopped = fresh()
    _train(stopped, batches[:5])
    prefix = str(tmp_path / "model")
    stopped.save_checkpoint(prefix, 3, save_optimizer_states=True)
    resumed = sb.mod.BucketingModule.load(
        prefix, 3, load_optimizer_states=True, sym_gen=generate, default_bucket_key=6
    )
    resumed.bind(*shapes(6))
    assert resumed.params_initialized
    assert same(numbers(resumed), numbers(stopped))
    resumed.init_optimizer(optimizer=optimizer, optimizer_params=params)
    _train(resumed, batches[5:])
    assert same(numbers(resumed), numbers(whole))
    assert resumed.updater.optimizer.num_update == len(batches)

    without = sb.mod.BucketingModule.load(prefix, 3, sym_gen=generate, default_bucket_key=6)
    without.bind(*shapes(6))
    without.init_optimizer(optimizer=optimizer, optimizer_params=params)
    _train(without, batches[5:])
    assert not same(numbers(without), numbers(whole))  # the states matter


def test_fit_resumes_with_schedule_and_auxiliary_states(tmp_path):
    def net():
        x = sym.BatchNorm(sym.Variable("data"), name="bn", fix_gamma=False)
        y = sym.FullyConnected(x, num_hidden=2, name="fc")
        return sym.LinearRegressionOutput(y, sym.Variable("softmax_label"), name="out")

    def fit(module, begin, end):
        module.fit(
            sb.io.NDArrayIter(X, Y, 4),
            begin_epoch=begin,
            num_epoch=end,
            eval_metric="mse",
            initializer=sb.init.Xavier(),
            optimizer="adam",
            optimizer_params={
                "learning_rate": 0.1,
                "lr_scheduler": sb.lr_scheduler.FactorScheduler(step=4, factor=0.5),
            },
        )
        return numbers(module)

    whole = fit(sb.mod.Module(net()), 0, 4)
    sb.random.seed(0)
    first = sb.mod.Module(net())
    fit(first, 0, 2)
    prefix = str(tmp_path / "model")
    first.save_checkpoint(prefix, 2, save_optimizer_states=True)
    resumed = sb.mod.Module.load(prefix, 2, load_optimizer_states=True)
    assert same(fit(resumed, 2, 4), whole)


def test_the_files(tmp_path):
    module = bound_regression(optimizer="adam")
    prefix = str(tmp_path / "model")
    module.save_checkpoint(prefix, 12, save_optimizer_states=True)
    names = ["model-0012.params", "model-0012.states", "model-symbol.json"]
    assert sorted(os.listdir(tmp_path)) == names
    assert sym.load(f"{prefix}-symbol.json").tojson() == module.symbol.tojson()
    for name in names:
        content = (tmp_path / name).read_bytes()
        assert content[8:9] == b"{" or content[:1] == b"{"  # JSON headers, no pickle
        mask = os.umask(0)
        os.umask(mask)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~mask
    header = (tmp_path / "model-0012.params").read_bytes()
    size = int.from_bytes(header[:8], "little")
    keys = json.loads(header[8 : 8 + size])
    assert sorted(k for k in keys if k != "__metadata__") == ["arg:fc_bias", "arg:fc_weight"]


def test_load_checkpoint_gives_symbol_and_arrays(tmp_path):
    prefix = str(tmp_path / "model")
    arguments = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "e": np.zeros((0, 2), "f")}
    auxiliary = {"m": np.array([1.5]), "i": np.arange(3, dtype=np.int64)}
    net = language_model(3)
    sb.model.save_checkpoint(prefix, 1, net, arguments, auxiliary)
    again, arg, aux = sb.model.load_checkpoint(prefix, 1)
    assert again.tojson() == net.tojson()
    assert same(arg, arguments)
    assert same(aux, auxiliary)
    assert aux["i"].dtype == np.int64
    assert aux["m"].dtype == np.float64
    sb.model.save_checkpoint(prefix, 2, None, arguments, {})
    assert sb.model.load_checkpoint(prefix, 2)[2] == {}
    with pytest.raises(InvalidArgumentError, match="is not a Symbol"):
        sb.model.save_checkpoint(prefix, 3, "net", arguments, {})


def test_views_and_other_orders_are_written_as_their_values(tmp_path):
    base = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    arrays = {"t": base.T, "s": base[::2, 1:3], "f": np.asfortranarray(base)}
    prefix = str(tmp_path / "p")
    sb.model.save_checkpoint(prefix, 0, sym.Variable("x"), arrays, {})
    assert same(sb.model.load_checkpoint(prefix, 0)[1], arrays)


def test_save_and_load_params(tmp_path):
    path = str(tmp_path / "now.params")
    module = bucketing()
    before = numbers(module)
    module.save_params(path)
    _train(module, _batches(2))
    assert not same(numbers(module), before)
    module.load_params(path)
    assert same(numbers(module), before)


def test_a_checkpoint_of_one_network_serves_other_lengths(tmp_path):
    module = bucketing()
    _train(module, _batches(3))
    prefix = str(tmp_path / "model")
    module.save_checkpoint(prefix, 1)
    probe = sentence_batch(np.random.default_rng(9), 6)
    module.forward(probe, is_train=False)
    single = sb.mod.Module.load(prefix, 1)  # the symbol of the default key
    single.bind(*shapes(6), for_training=False)
    single.forward(probe)
    np.testing.assert_array_equal(
        single.get_outputs()[0].asnumpy(), module.get_outputs()[0].asnumpy()
    )


def test_a_refused_checkpoint_leaves_the_module_unbound_and_usable(tmp_path):
    prefix = str(tmp_path / "model")
    bound_regression().save_checkpoint(prefix, 1)
    module = sb.mod.Module.load(prefix, 1)
    with pytest.raises(CheckpointError, match=r"'fc_weight' has shape \(2, 5\).*\(2, 3\)"):
        module.bind([("data", (4, 5))], [("softmax_label", (4, 2))])
    assert not module.binded
    module.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
    assert module.params_initialized
    wanted = sb.model.load_checkpoint(prefix, 1)[1]
    assert same(numbers(module), wanted)


def test_states_of_another_optimizer_are_refused(tmp_path):
    path = str(tmp_path / "adam.states")
    adam = bound_regression(optimizer="adam")
    adam.forward_backward(sb.io.DataBatch([X[:4]], [Y[:4]]))
    adam.update()
    adam.save_optimizer_states(path)
    with pytest.raises(CheckpointError, match="states of optimizer 'adam'; this one is 'sgd'"):
        bound_regression().load_optimizer_states(path)


def test_set_params_takes_what_load_checkpoint_gave(tmp_path):
    prefix = str(tmp_path / "model")
    module = bound_regression()
    module.save_checkpoint(prefix, 1)
    other = bound_regression()
    _, arguments, auxiliary = sb.model.load_checkpoint(prefix, 1)
    other.set_params(arguments, auxiliary)
    assert same(numbers(other), numbers(module))
    with pytest.raises(ParameterError, match="lack fc_weight, fc_bias"):
        other.set_params({})


def test_do_checkpoint_saves_the_symbol_of_the_default_key(tmp_path):
    """Whatever key came last: the default key's network has all parameters."""

    def sym_gen(length):
        data = sb.sym.Variable("data")
        outputs, _ = sb.rnn.RNNCell(3, prefix="r_").unroll(length, data, merge_outputs=True)
        scores = sb.sym.FullyConnected(outputs, num_hidden=2, flatten=False, name="p")
        label = sb.sym.Variable("softmax_label")
        loss = sb.sym.SoftmaxOutput(scores, label, preserve_shape=True, name="softmax")
        return loss, ["data"], ["softmax_label"]

    keys = [5, 5, 3, 3]
    data = sb.io.KeyedIter(
        keys,
        [np.ones((k, 2)) for k in keys],
        [np.ones(k) for k in keys],
        2,
        shuffle=False,
        default_bucket_key=5,
    )
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=5)
    prefix = str(tmp_path / "ck")
    cell = sb.rnn.RNNCell(3, prefix="r_")
    module.fit(
        data,
        num_epoch=1,
        epoch_end_callback=[
            sb.callback.do_checkpoint(prefix),
            sb.rnn.do_rnn_checkpoint(cell, prefix + "-rnn"),
        ],
    )
    for name in (prefix, prefix + "-rnn"):
        internals = sb.sym.load(f"{name}-symbol.json").get_internals().list_outputs()
        assert sum(output.endswith("i2h_output") for output in internals) == 5


def test_parameters_of_another_network_are_told_when_training_goes_on(tmp_path, caplog):
    def sym_gen(activation):
        def network(length):
            hidden = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="hidden")
            hidden = sym.Activation(hidden, act_type=activation)
            scores = sym.FullyConnected(hidden, num_hidden=2, name="scores")
            return sym.SoftmaxOutput(scores, name="softmax"), ["data"], ["softmax_label"]

        return network

    def described():
        return [("data", (2, 3))], [("softmax_label", (2,))]

    module = sb.mod.BucketingModule(sym_gen("tanh"), default_bucket_key=3)
    module.bind(*described())
    module.init_params()
    module.save_checkpoint(f"{tmp_path}/net", 1)

    def load(activation, for_training):
        caplog.clear()
        again = sb.mod.BucketingModule.load(
            f"{tmp_path}/net", 1, sym_gen=sym_gen(activation), default_bucket_key=3
        )
        again.bind(*described(), for_training=for_training)
        return caplog.text

    assert "was saved with another network" in load("relu", True)
    assert load("relu", False) == load("tanh", True) == ""
