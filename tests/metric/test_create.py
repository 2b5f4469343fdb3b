"""Metrics by name, from configs, and several as one."""

from __future__ import annotations

import math

import numpy as np
import pytest

import symbucket.metric as metric
from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    ShapeError,
    UnsupportedError,
)
from tests.metric.classifier_outputs import LABELS, PROBS


@pytest.mark.parametrize(
    ("name", "args", "kind"),
    [
        ("acc", (), metric.Accuracy),
        ("Accuracy", (), metric.Accuracy),
        ("top_k_acc", (2,), metric.TopKAccuracy),
        ("top_k_accuracy", (2,), metric.TopKAccuracy),
        ("perplexity", (0,), metric.Perplexity),
        ("ce", (), metric.CrossEntropy),
        ("nll_loss", (), metric.NegativeLogLikelihood),
        ("f1", (), metric.F1),
        ("mae", (), metric.MAE),
        ("mse", (), metric.MSE),
        ("rmse", (), metric.RMSE),
        ("loss", (), metric.Loss),
        ("composite", (), metric.CompositeEvalMetric),
    ],
)
def test_create_by_name_and_config(name, args, kind):
    m = metric.create(name, *args)
    assert type(m) is kind
    config = m.get_config()
    again = metric.create(config)
    assert type(again) is kind
    assert again.get_config() == config
    assert again.name == m.name
    assert metric.create(m) is m


def test_create_errors():
    with pytest.raises(InvalidArgumentError, match=r"'perplexty'.*Did you mean 'perplexity'"):
        metric.create("perplexty")
    with pytest.raises(
        InvalidArgumentError, match=r"cannot make metric 'perplexity'.*ignore_label"
    ):
        metric.create("perplexity")
    with pytest.raises(InvalidArgumentError, match=r"found a metric class.*Accuracy\(\.\.\.\)"):
        metric.create(metric.Accuracy)
    with pytest.raises(InvalidArgumentError, match="found 3 of type int"):
        metric.create(3)
    with pytest.raises(InvalidArgumentError, match=r"top_k must be.*found 0"):
        metric.TopKAccuracy(0)
    with pytest.raises(InvalidArgumentError, match=r"ignore_label must be.*found 0\.5"):
        metric.Perplexity(0.5)
    with pytest.raises(InvalidArgumentError, match="eps"):
        metric.CrossEntropy(-1)


def test_register_own_name():
    @metric.register
    @metric.alias("mine_short")
    class MyMetric(metric.EvalMetric):
        def __init__(self, name="mine"):
            super().__init__(name)

    assert type(metric.create("mymetric")) is MyMetric
    assert metric.create("mine_short", name="other").name == "other"


def test_composite():
    m = metric.create(["acc", metric.Perplexity(None)])
    m.add("ce")
    m.update([LABELS], [PROBS])
    names, values = m.get()
    assert names == ["accuracy", "perplexity", "cross-entropy"]
    assert values[0] == 0.5
    assert values[1] == pytest.approx(math.exp(values[2]))
    assert m.get_name_value() == list(zip(names, values))
    assert m.get_metric(1).name == "perplexity"
    with pytest.raises(InvalidArgumentError, match="no metric number 7 among 3"):
        m.get_metric(7)
    m.reset_local()
    assert all(math.isnan(v) for v in m.get()[1])
    assert m.get_global() == (names, values)
    with pytest.raises(UnsupportedError, match="accuracy, perplexity, cross-entropy"):
        m.update_sums(1, 1)
    nested = metric.create(["acc", m])
    assert len(nested.get()[0]) == 4
    config = m.get_config()
    assert metric.create(config).get_config() == config
    m.reset()
    assert all(math.isnan(v) for v in m.get_global()[1])


def test_composite_adds_a_batch_to_all_or_none():
    inner = metric.CompositeEvalMetric([metric.Accuracy(), metric.F1(average="micro")])
    m = metric.CompositeEvalMetric([inner, metric.MSE()])
    good = [[1, 0]], [np.array([[0.1, 0.9], [0.2, 0.8]])]
    before = inner.get()
    with pytest.raises(ShapeError):  # MSE cannot take (2,) with (2, 2)
        m.update(*good)
    np.testing.assert_equal(inner.get(), before)
    np.testing.assert_equal(inner.get_global(), before)
    inner.update(*good)
    assert inner.get()[1][0] == 0.5


def test_update_dict_picks_names():
    labels = {"y": LABELS, "z": np.array([5.0])}
    preds = {"state": np.zeros((7, 7)), "softmax_output": PROBS, "z_output": np.array([7.0])}
    acc = metric.Accuracy(output_names=["softmax_output"], label_names=["y"])
    mse = metric.MSE(output_names=["z_output"], label_names=["z"])
    both = metric.CompositeEvalMetric([acc, mse])
    both.update_dict(labels, preds)
    assert both.get()[1] == [0.5, 4.0]
    limited = metric.CompositeEvalMetric(
        ["acc"], output_names=["softmax_output"], label_names=["y"]
    )
    limited.update_dict(labels, preds)
    assert limited.get()[1] == [0.5]
    with pytest.raises(DataError, match=r"wants the output 'softmax_output'.*'state'"):
        acc.update_dict(labels, {"state": PROBS})
    with pytest.raises(ShapeError, match=r"2 labels and 3 outputs.*label_names="):
        metric.Accuracy().update_dict(labels, preds)
