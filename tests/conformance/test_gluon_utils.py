"""``gluon.utils`` and ``misc``: what scripts of symbols use of them. Values are of MXNet 1.9.1."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, InvalidArgumentError


def test_gradients_are_clipped_in_place_by_the_norm_of_all():
    arrays = [sb.nd.array([3.0]), sb.nd.array([[0.0, 4.0]])]
    norm = sb.gluon.utils.clip_global_norm(arrays, 1.0)
    assert norm == 5.0
    assert isinstance(norm, np.float32)
    assert arrays[0].asnumpy() == pytest.approx([0.6])
    assert arrays[1].asnumpy()[0] == pytest.approx([0.0, 0.8])
    again = sb.gluon.utils.clip_global_norm(arrays, 10.0, check_isfinite=False)
    assert again.asnumpy() == pytest.approx([1.0])
    assert arrays[0].asnumpy() == pytest.approx([0.6])


def test_norms_that_are_not_finite_are_said():
    arrays = [sb.nd.array([float("nan")]), sb.nd.array([4.0])]
    with pytest.warns(UserWarning, match="NaN or infinity"):
        norm = sb.gluon.utils.clip_global_norm(arrays, 1.0)
    assert np.isnan(norm)
    assert np.isnan(arrays[1].asnumpy()).all()


def test_data_in_parts():
    data = sb.nd.arange(10).reshape((5, 2))
    parts = sb.gluon.utils.split_data(data, 2, even_split=False)
    assert [part.asnumpy().tolist() for part in parts] == [
        [[0, 1], [2, 3], [4, 5]],
        [[6, 7], [8, 9]],
    ]
    columns = sb.gluon.utils.split_data(data, 2, batch_axis=1)
    assert columns[1].asnumpy().tolist() == [[1], [3], [5], [7], [9]]
    with pytest.raises(DataError, match=r"\(5, 2\) cannot be split into 2 equal parts"):
        sb.gluon.utils.split_data(data, 2)
    with pytest.raises(DataError, match="at least 7 rows"):
        sb.gluon.utils.split_data(data, 7, even_split=False)
    loaded = sb.gluon.utils.split_and_load([1, 2, 3, 4], [sb.cpu(0), sb.cpu(1)])
    assert [(part.context, part.asnumpy().tolist()) for part in loaded] == [
        (sb.cpu(0), [1, 2]),
        (sb.cpu(1), [3, 4]),
    ]


def test_wrong_arguments():
    with pytest.raises(InvalidArgumentError, match="arrays must be NDArrays"):
        sb.gluon.utils.clip_global_norm([np.ones(2)], 1.0)
    with pytest.raises(InvalidArgumentError, match="batch_axis=2 is no axis"):
        sb.gluon.utils.split_data(np.ones((2, 2)), 1, batch_axis=2)
    with pytest.raises(InvalidArgumentError, match="no context"):
        sb.gluon.utils.split_and_load(np.ones(2), [])


def test_blocks_are_not_here_and_the_message_says_what_is():
    gluon = importlib.import_module("symbucket.gluon")
    for name in ("nn", "Trainer"):
        with pytest.raises(ImportError, match=rf"no gluon\.{name}: .* only gluon\.utils"):
            getattr(gluon, name)


def test_schedule_of_misc():
    schedule = sb.misc.FactorScheduler(3, 0.5)
    schedule.base_lr = 1.0
    assert [schedule(n) for n in range(8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    for arguments in ((0, 0.1), (3, 1.0)):
        with pytest.raises(InvalidArgumentError, match=r"misc\.FactorScheduler"):
            sb.misc.FactorScheduler(*arguments)
