"""A step on one key is seen by every other key, by inference sessions too.

Parameters that a session folds, packs or copies would pass the first step and train on stale
weights afterwards. So every session is built and run before the updates already, several steps are
made, and what each key computes is compared with numpy and with modules that were never trained.
"""

from itertools import pairwise

import numpy as np
import pytest

import symbucket as sb
from tests.small_networks import bucketing, generate, numbers, same, sentence_batch, shapes

KEYS = (6, 3, 4)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _language_model_in_numpy(params, tokens):
    """The probabilities of ``small_networks.language_model``, written down once more."""
    p = {k: v.astype(np.float64) for k, v in params.items()}
    rows, length = tokens.shape
    size = p["lstm_h2h_weight"].shape[1]
    h = c = np.zeros((rows, size))
    outputs = []
    for t in range(length):
        gates = p["embed_weight"][tokens[:, t]] @ p["lstm_i2h_weight"].T + p["lstm_i2h_bias"]
        gates = gates + h @ p["lstm_h2h_weight"].T + p["lstm_h2h_bias"]
        i, f, g, o = np.split(gates, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        outputs.append(h)
    hidden = np.stack(outputs, axis=1).reshape(rows * length, size)
    scores = hidden @ p["pred_weight"].T + p["pred_bias"]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def _output(module, batch, is_train):
    module.forward(batch, is_train=is_train)
    return module.get_outputs()[0].asnumpy()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_key_and_mode_sees_every_step(optimizer):
    rng = np.random.default_rng(0)
    module = bucketing(optimizer=optimizer, rate=0.5 if optimizer == "sgd" else 0.05)
    probes = {key: sentence_batch(rng, key) for key in KEYS}
    for key in KEYS:  # all sessions, training and inference, exist before the first update
        for is_train in (True, False):
            _output(module, probes[key], is_train)
    before = numbers(module)
    seen = []
    for step in range(6):
        trained = KEYS[step % len(KEYS)]
        module.forward_backward(sentence_batch(rng, trained))
        module.update()
        params = numbers(module)
        assert all(not np.array_equal(params[n], before[n]) for n in params)
        before = params
        for key in KEYS:
            wanted = _language_model_in_numpy(params, probes[key].data[0])
            for is_train in (False, True):
                got = _output(module, probes[key], is_train)
                np.testing.assert_allclose(
                    got, wanted, atol=2e-6, rtol=1e-4, err_msg=f"step {step}, key {key}, {is_train}"
                )
        seen.append(wanted)
    # The comparison can fail: outputs of consecutive steps differ by far more than the tolerance.
    assert min(np.abs(a - b).max() for a, b in pairwise(seen)) > 1e-3


def test_inference_sessions_built_after_updates_agree_with_those_built_before():
    rng = np.random.default_rng(1)
    module = bucketing()
    probe = {key: sentence_batch(rng, key) for key in KEYS}
    _output(module, probe[3], is_train=False)
    for _ in range(3):
        module.forward_backward(sentence_batch(rng, 6))
        module.update()
    fresh = bucketing()
    fresh.set_params(*module.get_params())
    for key in KEYS:
        np.testing.assert_array_equal(
            _output(module, probe[key], False), _output(fresh, probe[key], False)
        )


def test_gradients_of_every_key_are_those_of_the_new_parameters():
    rng = np.random.default_rng(2)
    module = bucketing()
    batches = {key: sentence_batch(rng, key) for key in KEYS}
    for _ in range(2):
        for key in KEYS:
            module.forward_backward(batches[key])
            module.update()
        for key in (3, 4):
            module.forward_backward(batches[key])
            found = {n: g.asnumpy() for n, g in module.gradients().items()}
            fresh = bucketing()
            fresh.set_params(*module.get_params())
            fresh.forward_backward(batches[key])
            for name, grad in fresh.gradients().items():
                np.testing.assert_allclose(found[name], grad.asnumpy(), rtol=1e-5, atol=1e-7)


def test_bucketed_training_equals_training_one_module_with_the_same_parameters():
    """Bucket by bucket, the module does what single modules do that hand parameters over."""
    rng = np.random.default_rng(3)
    module = bucketing()
    params = module.get_params()
    batches = [sentence_batch(rng, key) for key in (3, 6, 4, 3, 6)]
    for batch in batches:
        module.forward_backward(batch)
        module.update()
    for batch in batches:
        single = sb.mod.Module(generate(batch.bucket_key)[0])
        single.bind(*shapes(batch.bucket_key))
        single.init_params(None, *params)
        single.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 0.5})
        single.forward_backward(batch)
        single.update()
        params = single.get_params()
    wanted = {n: a.asnumpy() for n, a in params[0].items()}
    for name, array in numbers(module).items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-5, atol=1e-7)


def test_set_params_and_writing_into_the_store_reach_every_session():
    rng = np.random.default_rng(4)
    module = bucketing()
    probes = {key: sentence_batch(rng, key) for key in KEYS}
    for key in KEYS:
        _output(module, probes[key], False)
        _output(module, probes[key], True)
    changed = {n: a.asnumpy() * 3 for n, a in module.get_params()[0].items()}
    module.set_params(changed)
    for is_train in (True, False):
        for key in KEYS:
            wanted = _language_model_in_numpy(changed, probes[key].data[0])
            np.testing.assert_allclose(
                _output(module, probes[key], is_train), wanted, atol=2e-6, rtol=1e-4
            )
    module.store.args["pred_bias"][:] = np.arange(10)
    changed["pred_bias"] = np.arange(10.0)
    wanted = _language_model_in_numpy(changed, probes[3].data[0])
    np.testing.assert_allclose(_output(module, probes[3], False), wanted, atol=2e-6, rtol=1e-4)


def test_parameters_stay_at_their_addresses():
    rng = np.random.default_rng(5)
    module = bucketing(optimizer="adam", rate=0.1)
    places = {n: a.ortvalue.data_ptr() for n, a in module.store.args.items()}
    for key in (3, 6, 4):
        module.forward_backward(sentence_batch(rng, key))
        module.update()
        module.set_params(*module.get_params())
    assert {n: a.ortvalue.data_ptr() for n, a in module.store.args.items()} == places
    for key in KEYS:
        module.switch_bucket(key, None)
        executor = module.current_module.executor
        assert all(executor.arg_dict[n] is a for n, a in module.store.args.items())


def test_auxiliary_states_are_shared_too():
    def with_batch_norm(length):
        x = sb.sym.Reshape(sb.sym.Variable("data"), shape=(-1, 2))
        y = sb.sym.FullyConnected(
            sb.sym.BatchNorm(x, name="bn", momentum=0.5), num_hidden=1, name="fc"
        )
        return sb.sym.MakeLoss(y), ("data",), None

    module = sb.mod.BucketingModule(with_batch_norm, default_bucket_key=4)
    module.bind([("data", (3, 4, 2))])
    module.init_params(sb.init.One())
    rng = np.random.default_rng(6)
    mean = np.zeros(2)
    for key in (4, 2, 4, 2):
        data = rng.normal(size=(3, key, 2))
        batch = sb.io.DataBatch(
            [data], bucket_key=key, provide_data=[("data", (3, key, 2))], provide_label=[]
        )
        module.forward_backward(batch)
        mean = 0.5 * mean + 0.5 * data.reshape(-1, 2).mean(0)
        stored = module.get_params()[1]["bn_moving_mean"].asnumpy()
        np.testing.assert_allclose(stored, mean, rtol=1e-5, atol=1e-6)


def test_a_copy_of_the_parameters_does_not_follow_training():
    rng = np.random.default_rng(7)
    module = bucketing()
    taken = module.get_params()
    before = {n: a.asnumpy() for n, a in taken[0].items()}
    module.forward_backward(sentence_batch(rng, 3))
    module.update()
    assert same({n: a.asnumpy() for n, a in taken[0].items()}, before)
    assert not same(numbers(module), before)
