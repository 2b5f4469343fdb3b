"""Random initial values: what repeats and what differs."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket.initializer as init
import symbucket.random as sb_random
from symbucket.errors import (
    InvalidArgumentError,
)
from tests.initializer.filled import filled


def network(names, initializer):
    return {name: filled(initializer, name) for name in names}


def test_same_seed_same_parameters_in_any_order():
    names = ["a_weight", "b_weight", "c_weight"]
    sb_random.seed(5)
    first = network(names, init.Uniform())
    sb_random.seed(5)
    sb_random.generator().normal(size=100)  # other draws do not matter
    second = network([*reversed(names), "d_weight"], init.Uniform())
    for name in names:
        np.testing.assert_array_equal(first[name], second[name])
    assert not np.array_equal(first["a_weight"], first["b_weight"])
    sb_random.seed(6)
    assert not np.array_equal(filled(init.Uniform(), "a_weight"), first["a_weight"])


def test_second_time_gives_new_values():
    first, second = filled(init.Uniform()), filled(init.Uniform())
    assert not np.array_equal(first, second)
    sb_random.seed(0)
    np.testing.assert_array_equal(filled(init.Uniform()), first)
    np.testing.assert_array_equal(filled(init.Uniform()), second)


def test_own_seed_does_not_look_at_the_librarys():
    mine = init.Normal(seed=4)
    first = filled(mine)
    sb_random.seed(99)
    np.testing.assert_array_equal(filled(mine), first)
    assert not np.array_equal(filled(init.Normal(seed=5)), first)
    # A variable's own initializer without a seed takes the network's.
    attrs = {"__init__": '["normal", {}]'}
    np.testing.assert_array_equal(filled(init.Zero(), attrs=attrs) == first, False)
    np.testing.assert_array_equal(filled(init.Uniform(seed=4), attrs=attrs), first)


def test_numpys_global_state_is_left_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    network(["a_weight"], init.Xavier())
    sb_random.seed(3)
    sb_random.generator().random()
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_seed_restarts_the_generator():
    sb_random.seed(7)
    first = sb_random.generator().random(4)
    assert not np.array_equal(sb_random.generator().random(4), first)
    sb_random.seed(7)
    np.testing.assert_array_equal(sb_random.generator().random(4), first)
    with pytest.raises(InvalidArgumentError, match=r"seed is -3.5; expected an integer"):
        sb_random.seed(-3.5)
    sb_random.seed(-3, ctx="all")  # as MXNet takes it
    below = sb_random.generator().random(4)
    sb_random.seed(-3)
    np.testing.assert_array_equal(sb_random.generator().random(4), below)
    np.testing.assert_array_equal(sb_random.stream("x").random(), sb_random.stream("x").random())
    assert sb_random.stream("x", 1).random() != sb_random.stream("x", 2).random()


def test_a_stream_never_changes():
    # Recorded: parameters of a seed must not change between versions of symbucket.
    value = sb_random.stream("init", "fc_weight", seed=0).integers(1 << 30, size=2)
    assert value.tolist() == [1073201090, 414881670]
