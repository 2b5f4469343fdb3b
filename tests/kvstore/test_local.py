"""``symbucket.kvstore``: sums by key, optimizers in the store."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, ShapeError, StateError, UnsupportedError


def ones(*shape):
    return sb.nd.ones(shape)


def test_push_replaces_by_the_sum_over_devices_and_pull_copies():
    store = sb.kv.create("device")
    store.init(3, ones(2, 3))
    out = sb.nd.zeros((2, 3))
    store.pull(3, out=out)
    assert out.asnumpy().tolist() == np.ones((2, 3)).tolist()
    store.push(3, [ones(2, 3) * 2, ones(2, 3) * 5])
    targets = [sb.nd.zeros((2, 3)), sb.nd.zeros((2, 3))]
    store.pull(3, out=targets)
    assert all((t.asnumpy() == 7).all() for t in targets)
    targets[0][:] = 0  # a copy: the store keeps its own
    store.pull(3, out=out)
    assert (out.asnumpy() == 7).all()
    assert (store.type, store.rank, store.num_workers) == ("device", 0, 1)


def test_lists_of_keys():
    store = sb.kv.create()
    store.init(["a", "b"], [ones(2), ones(3)])
    out = [ones(2), ones(3)]
    store.pushpull(["a", "b"], [ones(2) * 4, [ones(3), ones(3)]], out=out)
    assert [o.asnumpy().tolist() for o in out] == [[4, 4], [2, 2, 2]]


def test_updater_gets_the_sum_and_writes_into_the_stored_array():
    store = sb.kv.create("local")
    store.init("w", ones(4))
    pushed_sums = []

    def update(key, pushed, stored):
        pushed_sums.append((key, pushed.asnumpy().tolist()))
        stored[:] = stored - 0.5 * pushed

    store.set_updater(update)
    store.push("w", [ones(4), ones(4) * 2])
    out = ones(4)
    store.pull("w", out=out)
    assert pushed_sums == [("w", [3.0] * 4)]
    assert out.asnumpy().tolist() == [-0.5] * 4


def test_optimizer_in_the_store_equals_the_updater(tmp_path):
    rng = np.random.default_rng(7)
    gradients = rng.normal(size=(5, 3)).astype(np.float32)

    def optimizer():
        return sb.optimizer.create("adam", learning_rate=0.1)

    pulled, expected = sb.nd.array([1.0, 2.0, 3.0]), sb.nd.array([1.0, 2.0, 3.0])
    store, update = sb.kv.create(), sb.optimizer.get_updater(optimizer())
    store.init(0, pulled)
    store.set_optimizer(optimizer())
    for gradient in gradients:
        store.push(0, sb.nd.array(gradient))
        update(0, sb.nd.array(gradient), expected)
    store.pull(0, out=pulled)
    assert pulled.asnumpy().tolist() == expected.asnumpy().tolist()
    store.save_optimizer_states(tmp_path / "store.states")
    other = sb.kv.create()
    other.init(0, pulled)
    other.set_optimizer(optimizer())
    other.load_optimizer_states(tmp_path / "store.states")
    other.push(0, sb.nd.array(gradients[0]))
    update(0, sb.nd.array(gradients[0]), expected)
    other.pull(0, out=pulled)
    assert pulled.asnumpy().tolist() == expected.asnumpy().tolist()


def test_errors_change_nothing():
    store = sb.kv.create()
    store.init("a", ones(2))
    with pytest.raises(InvalidArgumentError, match="key 'a' has a value already"):
        store.init(["b", "a"], [ones(2), ones(2)])
    with pytest.raises(InvalidArgumentError, match="key 'b' has no value; call init first"):
        store.push("b", ones(2))
    with pytest.raises(ShapeError, match=r"key 'a' has shape \(3,\), the stored one \(2,\)"):
        store.push("a", ones(3))
    out = ones(2) * 9
    with pytest.raises(ShapeError, match=r"out has shape \(3,\)"):
        store.pull("a", out=[out, ones(3)])
    assert out.asnumpy().tolist() == [9, 9]
    with pytest.raises(InvalidArgumentError, match="out= is missing"):
        store.pull("a")
    with pytest.raises(InvalidArgumentError, match="2 keys, but 1 values"):
        store.push(["a", "b"], [ones(2)])
    with pytest.raises(InvalidArgumentError, match="comes twice"):
        store.push(["a", "a"], [ones(2), ones(2)])
    with pytest.raises(InvalidArgumentError, match="is a float; expected an NDArray"):
        store.push("a", 1.0)
    with pytest.raises(InvalidArgumentError, match=r"key is 1\.5; expected an integer, a string"):
        store.push(1.5, ones(2))
    with pytest.raises(StateError, match="call set_optimizer first"):
        store.save_optimizer_states("x")
    with pytest.raises(UnsupportedError, match="dist_async"):
        sb.kv.create("dist_async")
    with pytest.raises(InvalidArgumentError, match="Did you mean 'local'"):
        sb.kv.create("locl")


@pytest.mark.parametrize("method", ["init_optimizer", "fit"])
def test_modules_refuse_stores_that_would_have_no_effect(method):
    data = sb.io.NDArrayIter(np.ones((4, 3), np.float32), np.zeros(4, np.float32), batch_size=2)
    output = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    module = sb.mod.Module(sb.sym.SoftmaxOutput(output, name="softmax"))
    if method == "init_optimizer":
        module.bind(data.provide_data, data.provide_label)
        module.init_params()

    def call(store):
        if method == "fit":
            module.fit(data, kvstore=store, num_epoch=1)
        else:
            module.init_optimizer(store, force_init=True)

    with pytest.raises(UnsupportedError, match="kvstore is 'dist_async'; several processes train"):
        call("dist_async")
    # The optimizer in the place of the store: it would train with the default one.
    with pytest.raises(InvalidArgumentError, match="kvstore is 'adam'; expected one of 'local'"):
        call("adam")
    assert not module.optimizer_initialized
    assert module.binded == (method == "init_optimizer")
    for store in ("local", "device", None, sb.kv.create("device")):
        call(store)
    assert module.optimizer_initialized


def test_numbers_that_the_stored_dtype_does_not_hold_and_empty_lists_are_refused():
    store = sb.kv.create()
    store.init(1, sb.nd.array([1, 2], dtype="int32"))
    with pytest.raises(InvalidArgumentError, match=r"not hold 2 of its numbers, .* 0\.5"):
        store.push(1, [ones(2) * 0.5, ones(2) * 0.5])
    for method in (store.push, store.pull):
        with pytest.raises(InvalidArgumentError, match="key 1 has an empty list"):
            method(1, [])
    store.push(1, ones(2) * 3)
    out = sb.nd.zeros((2,))
    store.pull(1, out=out)
    assert out.asnumpy().tolist() == [3, 3]


@pytest.mark.parametrize("keys", [("3", 3), ("-1", -1), ("w", "'3'")])
def test_states_of_keys_that_look_like_numbers_return_to_them(keys, tmp_path):
    def store_of(optimizer, weights):
        store = sb.kv.create()
        store.init(list(keys), weights)
        store.set_optimizer(sb.optimizer.create(optimizer))
        return store

    def values(store, steps):
        for step in range(steps):
            store.push(list(keys), [ones(2) * (1 + step), ones(2) * (step - 3)])
        outs = [sb.nd.zeros((2,)), sb.nd.zeros((2,))]
        store.pull(list(keys), out=outs)
        return outs

    for name in ("adam", "dcasgd"):
        whole = store_of(name, [ones(2), ones(2)])
        weights = values(whole, 3)
        whole.save_optimizer_states(tmp_path / name)
        resumed = store_of(name, weights)
        resumed.load_optimizer_states(tmp_path / name)
        for a, b in zip(values(whole, 2), values(resumed, 2)):
            np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())
