"""Learning rates, multipliers and counts of updates."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from symbucket import optimizer
from symbucket.errors import (
    InvalidArgumentError,
    StateError,
)
from symbucket.lr_scheduler import FactorScheduler
from symbucket.runtime.ndarray import NDArray
from tests.optimizer.optimizer_training import NAMES


class FakeSymbol:
    def attr_dict(self):
        return {
            "fc_weight": {"__lr_mult__": "0.5", "__wd_mult__": "3"},
            "fc_bias": {"__wd_mult__": "1"},
        }

    def list_arguments(self):
        return ["data", "fc_weight", "fc_bias", "bn_gamma"]


def _mults(made):
    return (
        [made._mult("lr", i) for i in range(4)],
        [made._mult("wd", i) for i in range(4)],
    )


def test_weight_decay_spares_all_but_weights_and_gammas_where_names_are_known():
    assert _mults(optimizer.create("sgd", param_idx2name=NAMES)) == ([1, 1, 1, 1], [1, 0, 1, 1])
    assert _mults(optimizer.create("sgd")) == ([1, 1, 1, 1], [1, 1, 1, 1])


def test_multipliers_come_from_symbol_then_dict_then_param_dict():
    made = optimizer.create("sgd", param_idx2name=NAMES, sym=FakeSymbol())
    assert _mults(made) == ([0.5, 1, 1, 1], [3, 1, 1, 1])
    made.set_lr_mult({"fc_bias": 0.1, 2: 4})
    made.set_wd_mult({"fc_weight": 0, "bn_gamma": 0})
    assert _mults(made) == ([0.5, 0.1, 4, 1], [0, 1, 0, 1])
    made.set_lr_mult({})
    assert _mults(made)[0] == [0.5, 1, 1, 1]

    class Parameter:
        lr_mult, wd_mult = 7, 8

    made = optimizer.create("sgd", param_idx2name=NAMES, param_dict={0: Parameter()})
    assert _mults(made) == ([7, 1, 1, 1], [8, 0, 1, 1])


def test_multipliers_that_name_nothing_are_told_and_bad_ones_refused(caplog):
    made = optimizer.create("sgd", param_idx2name=NAMES)
    with caplog.at_level(logging.WARNING):
        made.set_lr_mult({"fc_wieght": 0.1})
    assert "'fc_wieght', which is no parameter. Did you mean 'fc_weight'?" in caplog.text
    with pytest.raises(InvalidArgumentError, match="wd_mult of 'fc_bias' must be a finite number"):
        made.set_wd_mult({"fc_bias": None})
    with pytest.raises(InvalidArgumentError, match="expects a dict"):
        made.set_lr_mult([0.1])
    assert made.wd_mult == {"fc_bias": 0.0}


def test_parameters_of_equal_multipliers_share_their_scalars():
    made = optimizer.create("adam", wd=0.1, param_idx2name=NAMES)
    made._update_count(list(NAMES))
    rows, chosen = made.table(list(NAMES))
    assert chosen == [0, 1, 0, 0]
    assert ["l2" in row for row in rows] == [True, False]


def test_a_scheduler_decides_the_learning_rate():
    asked = []

    def schedule(num_update):
        asked.append(num_update)
        return 0.5**num_update

    made = optimizer.create("sgd", lr_scheduler=schedule, begin_num_update=2)
    updater, weight = optimizer.get_updater(made), NDArray(np.zeros(2))
    for _ in range(3):
        updater(0, NDArray(np.ones(2)), weight)
    assert asked == [3, 4, 5]
    np.testing.assert_allclose(weight.view(), -(0.5**3 + 0.5**4 + 0.5**5), rtol=1e-6)
    assert made.learning_rate == 0.5**5
    with pytest.raises(StateError, match="lr_scheduler=function decides"):
        made.set_learning_rate(0.1)


def test_learning_rate_and_base_lr_of_a_scheduler_agree_as_in_mxnet(caplog):
    schedule = FactorScheduler(10, 0.5, base_lr=0.3)
    made = optimizer.create("sgd", lr_scheduler=schedule)
    assert (made.lr, made.learning_rate, schedule.base_lr) == (0.3, 0.3, 0.3)
    assert not caplog.records
    made = optimizer.create("sgd", lr_scheduler=schedule, learning_rate=0.2)
    assert (made.lr, made.learning_rate, schedule.base_lr) == (0.2, 0.2, 0.2)
    assert "learning_rate=0.2 replaces the scheduler's base_lr=0.3" in caplog.text
    assert optimizer.create("sgd").learning_rate == 0.01
    with pytest.raises(InvalidArgumentError, match="lr_scheduler must be a callable"):
        optimizer.create("sgd", lr_scheduler=0.1)


def test_set_learning_rate():
    made = optimizer.create("adam")
    made.set_learning_rate(0.25)
    assert made.learning_rate == 0.25
    with pytest.raises(InvalidArgumentError, match="learning_rate must be a finite number >= 0"):
        made.set_learning_rate(-1)


def test_a_parameter_that_joins_late_has_a_count_of_its_own():
    made = optimizer.create("adam", learning_rate=0.1)
    updater = optimizer.get_updater(made)
    old, new = NDArray(np.zeros(3)), NDArray(np.zeros(3))
    for _ in range(5):
        updater([0], [NDArray(np.ones(3))], [old])
    updater([0, 1], [NDArray(np.ones(3))] * 2, [old, new])
    assert made.num_update == 6
    np.testing.assert_allclose(new.view(), -0.1, rtol=1e-5)  # Adam's first step is lr
