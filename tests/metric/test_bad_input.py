"""What metrics refuse, and the NaN that they never hide."""

from __future__ import annotations

import math

import numpy as np
import pytest

import symbucket.metric as metric
from symbucket.errors import (
    DataError,
    ShapeError,
    SymbucketError,
)
from tests.metric.classifier_outputs import LABELS, PROBS, value

CLASSIFIERS = [
    metric.Accuracy,
    lambda: metric.Accuracy(ignore_label=-1),
    lambda: metric.TopKAccuracy(2),
    lambda: metric.Perplexity(None),
    lambda: metric.Perplexity(-1),
    metric.CrossEntropy,
    metric.NegativeLogLikelihood,
]


@pytest.mark.parametrize("make", CLASSIFIERS)
@pytest.mark.parametrize(
    ("bad", "shown"), [(3, "3"), (-2, "-2"), (1.5, "1.5"), (math.nan, "nan"), (math.inf, "inf")]
)
def test_label_out_of_range(make, bad, shown):
    m = make()
    m.update([LABELS], [PROBS])
    before = m.get()
    label = np.array([[2, 1], [bad, 1]], np.float32)
    match = rf"label {shown} at \(1, 0\) of labels of shape \(2, 2\).*\[0, 3\).*ignored.*1 of 4"
    with pytest.raises(DataError, match=match):
        # the first pair is good: nothing of it may be kept either
        m.update([LABELS, label], [PROBS, PROBS])
    assert m.get() == before


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_label_count(make):
    m = make()
    with pytest.raises(ShapeError, match=r"\(3,\) are 3 labels, but .* 4 rows of 3 classes"):
        m.update([LABELS[:3]], [PROBS])
    with pytest.raises(ShapeError, match="1 labels and 2 outputs"):
        m.update([LABELS], [PROBS, PROBS])
    with pytest.raises(SymbucketError):
        m.update([np.array(["a"] * 4)], [PROBS])
    assert math.isnan(m.get()[1])


def test_axis_that_is_not_there():
    with pytest.raises(ShapeError, match=r"class axis 2 does not exist.*\(4, 3\)"):
        metric.Accuracy(axis=2).update([LABELS], [PROBS])
    with pytest.raises(ShapeError, match="no classes"):
        metric.Perplexity(None).update([np.zeros(0)], [np.zeros((4, 0))])
    with pytest.raises(DataError, match=r"\(rows, classes\)"):
        metric.TopKAccuracy(2).update([LABELS], [PROBS[None]])


@pytest.mark.parametrize("make", [*CLASSIFIERS, metric.MSE, metric.MAE, metric.RMSE, metric.Loss])
def test_nan_is_never_hidden(make):
    m = make()
    if isinstance(m, (metric.MSE, metric.MAE, metric.RMSE, metric.Loss)):
        good, bad = [np.zeros(4)], [np.array([0, 0, np.nan, 0])]
        m.update(good, good)
        m.update(good, bad)
    else:
        pred = PROBS.copy()
        pred[2] = np.nan  # what a softmax of NaN gives
        m.update([LABELS], [PROBS])
        m.update([LABELS], [pred])
        m.update([LABELS], [PROBS])
    assert math.isnan(m.get()[1])
    m.reset_local()
    assert math.isnan(m.get_global()[1])
    m.reset()
    m.update_sums(math.nan, 3)
    m.update_sums(1, 3)
    assert math.isnan(m.get()[1])


def test_nan_in_f1_and_in_class_numbers():
    pred = np.array([[0.2, 0.8], [np.nan, np.nan]])
    for average in ("macro", "micro"):
        assert math.isnan(value(metric.F1(average=average), ([[1, 0]], [pred])))
    assert math.isnan(value(metric.Accuracy(), ([[1, 0]], [[1, np.nan]])))


@pytest.mark.parametrize(
    ("total", "count", "message"),
    [
        (1, -1, "count must be a finite number >= 0, found -1"),
        (1, math.nan, "count"),
        (1, math.inf, "count"),
        (np.zeros(2), 1, r"total must be one number, found shape \(2,\)"),
        ("1", 1, "total must be one number"),
        (1, np.zeros((1, 2)), "count must be one number"),
    ],
)
def test_bad_sums(total, count, message):
    m = metric.Accuracy()
    with pytest.raises(DataError, match=message):
        m.update_sums(total, count)
    assert (m.sum_metric, m.num_inst) == (0, 0)


def test_dtypes_of_labels_and_outputs():
    for label_type in (np.int32, np.uint8, np.int64, np.float16, np.float64):
        for pred_type in (np.float16, np.float32, np.float64):
            m = metric.Perplexity(None)
            got = value(m, ([LABELS.astype(label_type)], [PROBS.astype(pred_type)]))
            assert got == pytest.approx(math.exp(-math.log(0.7 * 0.25 * 0.3) / 4), rel=1e-3)
    # a single array stands for a list of one, nested lists for arrays
    assert value(metric.Accuracy(), (LABELS, PROBS)) == 0.5
    assert value(metric.Accuracy(), ([[0]], [[[0.9, 0.1]]])) == 1.0


def test_nothing_added_is_nan_and_text():
    m = metric.Accuracy()
    assert math.isnan(m.get()[1])
    m.update([np.zeros(0)], [np.zeros((0, 3))])
    assert math.isnan(m.get()[1])
    m.update_sums(1, 2)
    assert str(m) == "EvalMetric: {'accuracy': 0.5}"
