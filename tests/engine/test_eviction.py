"""Modules that keep only so many executors: what is dropped comes back as it was."""

import gc
import weakref

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, StateError
from tests.small_networks import bucketing, generate, sentence_batch, shapes


def _network(rows):
    x = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="one")
    x = sym.FullyConnected(sym.Activation(x, act_type="tanh"), num_hidden=3, name="two")
    net = sym.SoftmaxOutput(x, sym.Variable("softmax_label"), name="softmax")
    return net, ("data",), ("softmax_label",)


def _batch(rng, rows):
    data, label = rng.normal(size=(rows, 5)).astype(np.float32), rng.integers(0, 3, rows)
    return sb.io.DataBatch(
        [data],
        [label.astype(np.float32)],
        bucket_key=rows,
        provide_data=[("data", data.shape)],
        provide_label=[("softmax_label", label.shape)],
    )


def _module(**limits):
    module = sb.mod.BucketingModule(_network, default_bucket_key=100, **limits)
    module.bind([("data", (100, 5))], [("softmax_label", (100,))])
    sb.random.seed(4)
    module.init_params(sb.init.Uniform(0.3))
    module.init_optimizer(
        optimizer="sgd", optimizer_params={"learning_rate": 0.1, "momentum": 0.9, "wd": 1e-3}
    )
    return module


@pytest.mark.parametrize("limits", [{"max_executors": 3}, {"max_executors_bytes": 700_000}])
def test_200_random_keys_with_a_small_limit_train_as_without_one(limits):
    rng = np.random.default_rng(2)
    free, bounded = _module(), _module(**limits)
    keys = [int(k) for k in rng.integers(1, 41, 200)]
    for key in keys:
        batch = _batch(rng, key)
        outputs = []
        for module in (free, bounded):
            module.forward_backward(batch)
            module.update()
            outputs.append(module.get_outputs()[0].asnumpy())
        np.testing.assert_array_equal(*outputs)
    for a, b in zip(free.get_params()[0].values(), bounded.get_params()[0].values()):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())
    distinct = len(set(keys))
    whole, stats = free.executor_stats(), bounded.executor_stats()
    assert (whole.misses, whole.evictions) == (distinct + 1, 0)
    assert whole.hits == len(keys) - distinct
    assert stats.evictions > 100
    assert stats.misses - stats.evictions == len(stats.keys)
    assert stats.hits + stats.misses == len(keys) + 1
    assert {100, keys[-1]} <= set(stats.keys)
    if "max_executors" in limits:
        assert len(stats.keys) == 3
    else:
        assert 2 <= len(stats.keys) < distinct
        assert stats.nbytes <= 700_000
    assert sum(c["training"] for c in bounded.builds().values()) == stats.misses - 1


def test_the_least_recently_used_key_goes_first_and_the_default_one_stays():
    rng = np.random.default_rng(0)
    module = _module(max_executors=3)
    for key in (1, 2, 1, 3):
        module.forward(_batch(rng, key))
    assert module.executor_stats().keys == (100, 1, 3)
    module.forward(_batch(rng, 2))
    assert module.executor_stats().keys == (100, 3, 2)
    assert module.bucket_keys == [100, 1, 2, 3]
    module.forward(_batch(rng, 100))
    assert module.executor_stats().keys == (3, 2, 100)


def test_dropped_executors_are_freed():
    rng = np.random.default_rng(0)
    module = _module(max_executors=2)
    module.forward(_batch(rng, 7))
    gone = weakref.ref(module.current_module.executor)
    module.forward(_batch(rng, 8))
    gc.collect()
    assert gone() is None
    assert module.executor_stats().evictions == 1


def test_fit_measures_as_without_a_limit():
    rng = np.random.default_rng(1)
    batches = [sentence_batch(rng, int(n)) for n in (3, 6, 4, 5, 3, 6, 5, 4)]

    class Batches:
        provide_data, provide_label = shapes(6)

        def __iter__(self):
            return iter(batches)

        def reset(self):
            pass

    values = []
    for limit in (None, 2):
        module = sb.mod.BucketingModule(generate, default_bucket_key=6, max_executors=limit)
        metric = sb.metric.Perplexity(0)
        sb.random.seed(3)
        module.fit(Batches(), eval_metric=metric, num_epoch=2, optimizer_params={"wd": 0.01})
        values.append(metric.get())
    assert values[0] == values[1]
    assert module.executor_stats().evictions > 4


def test_a_module_keeps_the_shapes_it_was_bound_with():
    rng = np.random.default_rng(0)
    module = sb.mod.Module(_network(0)[0], max_executors=2)
    module.bind([("data", (9, 5))], [("softmax_label", (9,))])
    module.init_params()
    for rows in (1, 2, 3, 9, 2):
        module.forward(_batch(rng, rows), is_train=True)
        module.backward()
    assert [{n: s for n, s, _ in key}["data"] for key in module.executor_stats().keys] == [
        (9, 5),
        (2, 5),
    ]
    assert module.builds() == {"training": 5}
    assert len(module.executors) == 2


def test_a_key_switched_to_after_it_was_dropped_is_built_again():
    rng = np.random.default_rng(0)
    module = _module(max_executors=2)
    for key in (5, 6):
        module.forward(_batch(rng, key))
    module.switch_bucket(5, None)
    assert module.current_module.executor.arg_dict["data"].shape == (5, 5)
    # Outputs are those of the last forward, which was key 6's.
    assert module.get_outputs()[0].shape == (6, 3)
    with pytest.raises(StateError, match="no outputs yet"):
        module.current_module.get_outputs()


def test_outputs_of_all_keys_lie_in_the_memory_of_the_largest():
    rng = np.random.default_rng(0)
    module = bucketing(default=6)
    for length in (2, 6, 4, 5, 3):
        module.forward(sentence_batch(rng, length))
        assert module.get_outputs()[0].shape == (length * 3, 10)
    one = bucketing(default=6)
    one.forward(sentence_batch(rng, 6))
    assert module.executor_stats().pool_nbytes == one.executor_stats().pool_nbytes


def test_backward_of_a_key_that_another_one_overwrote_is_refused():
    rng = np.random.default_rng(0)
    module = _module()
    module.forward(_batch(rng, 5), is_train=True)
    module.forward(_batch(rng, 6), is_train=True)
    module.switch_bucket(5, None)
    with pytest.raises(StateError, match=r"bucket key 5: the activations of its last run are gone"):
        module.backward()


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "3"])
@pytest.mark.parametrize("name", ["max_executors", "max_executors_bytes"])
def test_limits_are_checked(name, limit):
    expected = rf"{name} is {limit!r}; expected an integer of 1"
    with pytest.raises(InvalidArgumentError, match=expected):
        _module(**{name: limit})
