"""The updater: arrays in and out, and optimizer states that stop and go on."""

from __future__ import annotations

import os

import numpy as np
import pytest

from symbucket import optimizer
from symbucket.errors import CheckpointError, InvalidArgumentError, ShapeError, UnsupportedError
from symbucket.lr_scheduler import FactorScheduler
from symbucket.runtime.ndarray import NDArray
from tests.optimizer.optimizer_training import NAMES, RULES, Training


def test_one_at_a_time_and_all_at_once_are_the_same():
    both = []
    for single in (False, True):
        training = Training(optimizer.create("nadam", wd=0.01, param_idx2name=NAMES))
        if single:
            whole = training.updater

            def one_by_one(indices, grads, weights, whole=whole):
                for i, g, w in zip(indices, grads, weights):
                    whole(i, g, w)

            training.updater = one_by_one
        for _ in range(5):
            training.step()
        both.append(training.values())
        if single:
            assert whole.builds == 4
    for a, b in zip(*both):
        np.testing.assert_array_equal(a, b)


def test_parameters_of_one_shape_share_a_graph():
    updater = optimizer.get_updater(optimizer.create("sgd", learning_rate=1, momentum=0.5))
    weights = [NDArray(np.zeros(3)) for _ in range(5)]
    for _ in range(2):
        for i, weight in enumerate(weights):
            updater(i, NDArray(np.full(3, float(i))), weight)
    assert updater.builds == 1
    for i, weight in enumerate(weights):
        np.testing.assert_array_equal(weight.view(), -2.5 * i)


def test_numpy_arrays_are_updated_too_and_none_is_left_out():
    updater = optimizer.get_updater(optimizer.create("sgd", learning_rate=0.5, momentum=0.5))
    base = np.ones((4, 6), np.float32)
    weight, fixed = base[:, ::2], np.ones(2, np.float32)
    for _ in range(2):
        updater([7, "fixed"], [np.ones((4, 3), np.float32), None], [weight, fixed])
    np.testing.assert_allclose(base[:, ::2], 1 - 0.5 - 0.75)
    np.testing.assert_array_equal(base[:, 1::2], 1)
    np.testing.assert_array_equal(fixed, 1)
    assert list(updater.states()) == ["sgd/mom/7"]
    updater(8, None, weight)
    assert updater.optimizer.counters()["index_update_count"] == [[7, 2]]


def test_the_updater_refuses_what_does_not_fit():
    made = optimizer.create("adam", param_idx2name=NAMES)
    updater = optimizer.get_updater(made)
    good, whole = NDArray(np.ones(3)), NDArray(np.ones(3, np.int32))
    refused = [
        (UnsupportedError, "a weight of float64 and a gradient of float32", good, np.ones(3)),
        (UnsupportedError, "weight of 'fc_weight' has dtype float16", good, np.ones(3, np.float16)),
        (UnsupportedError, "gradient of 'fc_weight' has dtype int", whole, good),
        (ShapeError, r"gradient of 'fc_weight' has shape \(2,\)", NDArray(np.ones(2)), good),
        (InvalidArgumentError, "is a list; expected an NDArray", [1.0], good),
        (UnsupportedError, r"shape \(\).*shape \(1,\)", NDArray(1.0), NDArray(1.0)),
    ]
    for error, message, grad, weight in refused:
        with pytest.raises(error, match=message):
            updater(0, grad, weight)
    frozen = np.ones(3, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(InvalidArgumentError, match="read-only"):
        updater(0, good, frozen)
    with pytest.raises(InvalidArgumentError, match=r"2 indices \(1 different"):
        updater([0, 0], [good, good], [good, good])
    assert made.num_update == 0
    updater(0, NDArray(np.ones(3)), good)
    with pytest.raises(ShapeError, match=r"shape \(4,\), its state 'mean' \(3,\)"):
        updater(0, NDArray(np.ones(4)), NDArray(np.ones(4)))
    with pytest.raises(InvalidArgumentError, match="needs an Optimizer"):
        optimizer.get_updater("sgd")


# States.


@pytest.mark.parametrize("name", [*RULES, "momentum"])
@pytest.mark.parametrize("allocated", [False, True])
def test_resumed_training_is_uninterrupted_training(name, allocated, tmp_path):
    def make():
        params = {"momentum": 0.9} if name == "momentum" else {}
        kind = "sgd" if name == "momentum" else name
        schedule = FactorScheduler(2, 0.7, base_lr=0.1)
        return optimizer.create(
            kind, param_idx2name=NAMES, wd=0.01, learning_rate=0.1, lr_scheduler=schedule, **params
        )

    training = Training(make())
    for _ in range(4):
        training.step()
    training.updater.save(tmp_path / "now.states")
    weights, generator = training.values(), training.rng.bit_generator.state
    for _ in range(4):
        training.step()

    resumed = Training(make())
    for array, values in zip(resumed.weights, weights):
        array[...] = values
    resumed.rng.bit_generator.state = generator
    if allocated:
        resumed.updater.allocate(list(NAMES), resumed.weights)
    resumed.updater.load(tmp_path / "now.states")
    for _ in range(4):
        resumed.step()
    for a, b in zip(training.values(), resumed.values()):
        np.testing.assert_array_equal(a, b)
    assert resumed.updater.counters() == training.updater.counters()


def test_states_are_copies_with_telling_names():
    training = Training(optimizer.create("adam", param_idx2name=NAMES))
    training.step()
    states = training.updater.states()
    assert sorted(states) == sorted(
        f"adam/{k}/{n}" for k in ("mean", "var") for n in NAMES.values()
    )
    kept = states["adam/mean/fc_bias"].copy()
    training.step()
    np.testing.assert_array_equal(states["adam/mean/fc_bias"], kept)
    assert training.updater.counters() == {
        "num_update": 2,
        "index_update_count": dict.fromkeys(NAMES.values(), 2),
    }


def test_states_move_to_another_order_of_parameters():
    training = Training(optimizer.create("adam", param_idx2name=NAMES))
    training.step()
    turned = {3 - i: n for i, n in NAMES.items()}
    other = optimizer.get_updater(optimizer.create("adam", param_idx2name=turned))
    other.set_states(training.updater.states(), training.updater.counters())
    assert other.states().keys() == training.updater.states().keys()
    other(2, NDArray(np.ones(4)), NDArray(np.ones(4)))  # fc_bias has index 2 here
    assert other.counters()["index_update_count"]["fc_bias"] == 2
    assert other.get_states() != training.updater.get_states()


def _changed(states, change):
    states = dict(states)
    if change == "missing":
        del states["adam/var/fc_bias"]
    elif change == "unknown":
        states["adam/var/fc2_bias"] = states["adam/var/fc_bias"]
    elif change == "kind":
        states["adam/mom/fc_bias"] = states["adam/var/fc_bias"]
    elif change == "shape":
        states["adam/var/fc_bias"] = np.zeros(5, np.float32)
    elif change == "dtype":
        states["adam/var/fc_bias"] = np.zeros(4)
    return states


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "1 states are missing: adam/var/fc_bias"),
        ("unknown", "'adam/var/fc2_bias' is unknown here.*fc_bias"),
        ("kind", r"'adam/mom/fc_bias' is unknown here.*\['mean', 'var'\]"),
        ("shape", r"'adam/var/fc_bias' is float32 of shape \(5,\).*shape \(4,\)"),
        ("dtype", "'adam/var/fc_bias' is float64"),
    ],
)
def test_states_that_do_not_fit_change_nothing(change, message):
    training = Training(optimizer.create("adam", param_idx2name=NAMES))
    training.step()
    states, counters = training.updater.states(), training.updater.counters()
    training.step()
    before = training.updater.get_states()
    with pytest.raises(CheckpointError, match=message):
        training.updater.set_states(_changed(states, change), counters)
    assert training.updater.get_states() == before
    for bad in ({"num_update": 1}, {**counters, "more": 1}, 7, {**counters, "num_update": "x"}):
        with pytest.raises(CheckpointError, match="counters"):
            training.updater.set_states(states, bad)
        assert training.updater.get_states() == before
    training.updater.set_states(states, counters)
    assert training.updater.get_states() != before


def test_files_of_another_optimizer_or_no_optimizer_are_refused(tmp_path):
    adam = Training(optimizer.create("adam"))
    adam.step()
    adam.updater.save(tmp_path / "adam.states")
    with pytest.raises(CheckpointError, match="states of optimizer 'adam'; this one is 'sgd'"):
        optimizer.get_updater(optimizer.create("sgd")).load(tmp_path / "adam.states")
    before = adam.updater.get_states()
    whole = (tmp_path / "adam.states").read_bytes()
    for damaged in (b"", b"no states at all", whole[:-10], b"\x80\x04pickle"):
        (tmp_path / "bad.states").write_bytes(damaged)
        with pytest.raises(
            CheckpointError, match=r"bad\.states is damaged or no file of optimizer states"
        ):
            adam.updater.load(tmp_path / "bad.states")
    with pytest.raises(CheckpointError, match="there is no file of optimizer states"):
        adam.updater.load(tmp_path / "none.states")
    assert adam.updater.get_states() == before
    with pytest.raises(UnsupportedError, match="dump_optimizer"):
        adam.updater.get_states(dump_optimizer=True)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    training = Training(optimizer.create("adam"))
    training.step()
    training.updater.save(tmp_path / "a.states")
    old = (tmp_path / "a.states").read_bytes()
    training.step()

    def fail(fd):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="disk full"):
        training.updater.save(tmp_path / "a.states")
    assert (tmp_path / "a.states").read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.states"]


@pytest.mark.parametrize("arguments", [{"momentum": 0.9}, {"ema_decay": 0.9}])
def test_states_of_an_optimizer_that_kept_fewer_are_refused_before_the_first_update(arguments):
    weight, gradient = NDArray.empty((3,)), NDArray.empty((3,))
    weight[...], gradient[...] = 1, 1
    plain = optimizer.get_updater(optimizer.create("sgd"))
    plain(0, gradient, weight)
    updater = optimizer.get_updater(optimizer.create("sgd", **arguments))
    with pytest.raises(CheckpointError, match=r"missing: sgd/\w+/0.*with the same arguments"):
        updater.set_states(plain.get_states())
    assert updater.counters()["index_update_count"] == {}
