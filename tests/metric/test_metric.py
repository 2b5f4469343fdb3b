from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import symbucket.metric as metric
from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    ShapeError,
    UnsupportedError,
)
from tests.metric.classifier_outputs import LABELS, PROBS, Arraylike, value

# --- perplexity and likelihoods --------------------------------------------------------------


def test_perplexity_by_hand():
    p = [0.7, 0.25, 0.3, 1.0]
    want = math.exp(-sum(map(math.log, p)) / 4)
    assert value(metric.Perplexity(None), ([LABELS], [PROBS])) == pytest.approx(want)
    # label 1 does not count
    want = math.exp(-(math.log(0.7) + math.log(0.3)) / 2)
    assert value(metric.Perplexity(1), ([LABELS], [PROBS])) == pytest.approx(want)


def test_uniform_guess_has_the_vocabularys_perplexity():
    pred = np.full((12, 50), 1 / 50, np.float32)
    assert value(metric.Perplexity(-1), ([np.zeros((3, 4))], [pred])) == pytest.approx(50)


@given(st.data())
def test_perplexity_sums_over_buckets_exactly(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6), label="seed"))
    ignore = data.draw(st.sampled_from([None, -1, 0, 2]), label="ignore")
    m = metric.Perplexity(ignore)
    total, count = 0.0, 0
    for _ in range(data.draw(st.integers(1, 3))):
        n, t, v = (int(i) for i in rng.integers([1, 1, 3], [5, 5, 7]))
        label = rng.integers(0, v, (n, t)).astype(np.float32)
        if ignore is not None:
            label[rng.random((n, t)) < 0.4] = ignore
        pred = rng.dirichlet(np.ones(v), (n * t)).astype(np.float32)
        m.update([Arraylike(label)], [Arraylike(pred)])
        for row, y in enumerate(label.reshape(-1)):
            if ignore is None or y != ignore:
                total -= math.log(max(float(pred[row, int(y)]), 1e-10))
                count += 1
    got = m.get()[1]
    if count == 0:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(math.exp(total / count), rel=1e-9)
        assert m.num_inst == count


def test_perplexity_keeps_small_probabilities_apart_from_zero():
    m = metric.Perplexity(None)
    assert value(m, ([[2]], [[[0.5, 0.5, 0.0]]])) == pytest.approx(1e10)


def test_perplexity_axis():
    pred = np.moveaxis(PROBS.reshape(2, 2, 3), -1, 1)  # (N, V, T)
    want = value(metric.Perplexity(None), ([LABELS], [PROBS]))
    got = value(metric.Perplexity(None, axis=1), ([LABELS.reshape(2, 2)], [pred]))
    assert got == pytest.approx(want)


def test_perplexity_from_sums():
    whole, parts = metric.Perplexity(1), metric.Perplexity(1)
    whole.update([LABELS], [PROBS])
    parts.update_sums(np.float32(-math.log(0.7)), np.array([1], np.int64))
    parts.update_sums(-math.log(0.3), np.array(1.0))
    parts.update_sums(0.0, 0)
    assert parts.get()[1] == pytest.approx(whole.get()[1])
    assert parts.num_inst == 2
    parts.update_sums(1e6, 1)
    assert parts.get()[1] == math.inf


def test_cross_entropy_and_nll():
    want = -sum(math.log(p + 1e-12) for p in (0.7, 0.25, 0.3, 1.0)) / 4
    assert value(metric.CrossEntropy(), ([LABELS], [PROBS])) == pytest.approx(want)
    assert value(metric.NegativeLogLikelihood(), ([LABELS], [PROBS])) == pytest.approx(want)
    big = -sum(math.log(p + 0.1) for p in (0.7, 0.25, 0.3, 1.0)) / 4
    assert value(metric.CrossEntropy(eps=0.1), ([LABELS], [PROBS])) == pytest.approx(big)
    some = -(math.log(0.7) + math.log(0.3)) / 2
    got = value(metric.CrossEntropy(eps=0, ignore_label=1), ([LABELS], [PROBS]))
    assert got == pytest.approx(some)
    assert value(metric.CrossEntropy(eps=0), ([[0]], [[[0.0, 1.0]]])) == math.inf
    assert metric.CrossEntropy().name == "cross-entropy"
    assert metric.NegativeLogLikelihood().name == "nll-loss"


# --- right answers ---------------------------------------------------------------------------


def test_accuracy_by_hand():
    assert value(metric.Accuracy(), ([LABELS], [PROBS])) == 0.5
    m = metric.Accuracy()
    assert value(m, ([LABELS.reshape(2, 2)], [PROBS]), ([LABELS[:1]], [PROBS[:1]])) == 3 / 5
    assert (m.sum_metric, m.num_inst) == (3, 5)
    assert value(metric.Accuracy(ignore_label=0), ([LABELS], [PROBS])) == 2 / 3


def test_accuracy_of_class_numbers_and_other_axes():
    got = value(metric.Accuracy(), ([[0, 1, 2, 3]], [np.array([0.0, 1, 1, 3], np.float32)]))
    assert got == 0.75
    pred = np.moveaxis(PROBS.reshape(2, 2, 3), -1, 1)  # (N, V, T), label (N, T)
    assert value(metric.Accuracy(), ([LABELS.reshape(2, 2)], [pred])) == 0.5
    last = PROBS.reshape(2, 2, 3)
    assert value(metric.Accuracy(axis=-1), ([LABELS.reshape(2, 2)], [last])) == 0.5
    with pytest.raises(DataError, match=r"label -1 at \(1,\)"):
        metric.Accuracy().update([[0, -1]], [[0, 1]])


def test_top_k_by_hand():
    want = {1: 2 / 4, 2: 4 / 4, 3: 1.0, 9: 1.0}
    for k, share in want.items():
        m = metric.TopKAccuracy(top_k=k)
        assert m.name == f"top_k_accuracy_{k}"
        assert value(m, ([LABELS], [PROBS])) == share


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_top_k_agrees_with_a_stable_sort(seed, k):
    rng = np.random.default_rng(seed)
    pred = rng.integers(0, 4, (9, 5)).astype(np.float32)  # many ties
    label = rng.integers(0, 5, 9)
    best = np.argsort(-pred, axis=1, kind="stable")[:, :k]
    want = np.mean([label[i] in best[i] for i in range(9)])
    assert value(metric.TopKAccuracy(k), ([label], [pred])) == pytest.approx(want)
    one = value(metric.TopKAccuracy(1), ([label], [pred]))
    assert one == value(metric.Accuracy(), ([label], [pred]))


def test_f1_by_hand():
    pred = np.array([[0.2, 0.8], [0.1, 0.9], [0.7, 0.3], [0.6, 0.4], [0.4, 0.6]])
    label = np.array([1, 0, 1, 0, 1])
    # hits 2 (rows 0, 4), false alarm 1 (row 1), miss 1 (row 2): P = R = 2/3
    assert value(metric.F1(), ([label], [pred])) == pytest.approx(2 / 3)
    # second batch: no hit at all
    other = (np.array([1, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    batches = ([label], [pred]), ([other[0]], [other[1]])
    assert value(metric.F1(), *batches) == pytest.approx((2 / 3 + 0) / 2)
    # together: hits 2, false alarm 1, misses 3: P = 2/3, R = 2/5
    p, r = 2 / 3, 2 / 5
    micro = metric.F1(average="micro")
    assert value(micro, *batches) == pytest.approx(2 * p * r / (p + r))
    micro.reset_local()
    assert math.isnan(micro.get()[1])
    micro.update(*batches[1])
    assert micro.get()[1] == 0
    # all three batches: hits 2, false alarm 1, misses 5
    p, r = 2 / 3, 2 / 7
    assert micro.get_global()[1] == pytest.approx(2 * p * r / (p + r))
    with pytest.raises(UnsupportedError, match="micro"):
        micro.update_sums(1, 1)
    micro.reset()
    assert math.isnan(micro.get_global()[1])
    macro = metric.F1()
    macro.update_sums(1.5, 2)
    assert macro.get()[1] == 0.75


def test_f1_errors():
    with pytest.raises(DataError, match=r"\(rows, 2\), found shape \(4, 3\)"):
        metric.F1().update([LABELS], [PROBS])
    with pytest.raises(DataError, match=r"label 2 at \(0,\)"):
        metric.F1().update([[2]], [[[0.1, 0.9]]])
    with pytest.raises(InvalidArgumentError, match="'macro' or 'micro'"):
        metric.F1(average="none")


# --- distances and losses --------------------------------------------------------------------


def test_distances_average_updates():
    one = ([np.array([1.0, 2.0])], [np.array([[2.0], [4.0]])])  # errors 1, 2
    two = ([np.array([[0.0]])], [np.array([3.0])])  # error 3
    assert value(metric.MAE(), one, two) == pytest.approx((1.5 + 3) / 2)
    assert value(metric.MSE(), one, two) == pytest.approx((2.5 + 9) / 2)
    assert value(metric.RMSE(), one, two) == pytest.approx((math.sqrt(2.5) + 3) / 2)
    # (N, T) labels, N*T rows
    wide = ([np.ones((2, 3))], [np.zeros((6, 1))])
    assert value(metric.MSE(), wide) == 1


def test_distance_shapes_must_agree():
    m = metric.MSE()
    for label, pred in [((4, 1), (4, 3)), ((4,), (1, 4)), ((2, 3), (3, 2)), ((4,), (5,))]:
        with pytest.raises(ShapeError, match="do not match"):
            m.update([np.zeros(label)], [np.zeros(pred)])
    assert math.isnan(m.get()[1])


def test_loss_is_the_mean_of_elements():
    m = metric.Loss()
    m.update(None, [np.array([1.0, 2.0], np.float16), np.array([[6.0]])])
    m.update_sums(3, 2)
    assert m.get() == ("loss", 12 / 5)


# --- custom ----------------------------------------------------------------------------------


def test_functions():
    def off_by(label, pred):
        return abs(label - pred).sum()

    m = metric.create(off_by)
    assert m.name == "off_by"
    assert value(m, ([np.array([1, 2])], [np.array([2, 4])]), ([[0]], [[1]])) == 2
    exact = metric.np(lambda label, pred: (float((label == pred).sum()), label.size), name="eq")
    assert value(exact, ([np.array([1, 2, 3])], [np.array([1, 2, 4])]), ([[1]], [[1]])) == 3 / 4
    assert exact.name == "eq"
    assert metric.np(lambda label, pred: 0).name == "custom(<lambda>)"
    with pytest.raises(ShapeError, match="1 labels and 2 outputs"):
        m.update([[1]], [[1], [2]])
    extra = metric.CustomMetric(off_by, allow_extra_outputs=True)
    assert value(extra, ([[1]], [[1], [2]])) == 0
    with pytest.raises(UnsupportedError, match="config"):
        m.get_config()
    with pytest.raises(DataError, match=r"one number, found shape \(2,\)"):
        metric.np(lambda label, pred: np.zeros(2)).update([[1]], [[1]])
    with pytest.raises(InvalidArgumentError, match="function"):
        metric.CustomMetric(3)


def test_a_metric_of_ones_own_has_windows():
    class Counts(metric.EvalMetric):
        def update(self, labels, preds):
            self.sum_metric += float(np.sum(preds[0]))
            self.num_inst += 1

    m = Counts("counts")
    m.update([], [[1, 2]])
    m.reset_local()
    assert math.isnan(m.get()[1])
    m.update([], [[5]])
    assert m.get() == ("counts", 5)
    assert m.get_global() == ("counts", 4)
    assert m.get_global_name_value() == [("counts", 4)]
    m.reset()
    assert math.isnan(m.get_global()[1])
    with pytest.raises(UnsupportedError, match="must define it"):
        metric.EvalMetric("x").update([], [])


def test_correlations_of_classes_are_nan_after_nan_outputs():
    outputs = np.array([[np.nan, 1], [0, 1], [0, 1.0]])
    for one in (metric.MCC(), metric.MCC(average="micro"), metric.PCC()):
        one.update([np.array([0, 1, 1])], [outputs])
        assert np.isnan(one.get()[1])
        one.reset()
        one.update([np.array([0, 1, 1])], [np.array([[1, 0], [0, 1], [0, 1.0]])])
        assert one.get()[1] == 1
    one = metric.PCC()
    one.update([np.array([0, 1, 1])], [np.array([np.nan, 1, 0])])
    assert np.isnan(one.get()[1])


def test_outputs_that_are_no_class_numbers_or_labels_that_are_masked():
    with pytest.raises(DataError, match="-1 is no class number"):
        metric.PCC().update([np.array([0, 1, 1])], [np.array([-1, 1, 0])])
    masked = np.ma.masked_array([0, 1, 1], mask=[False, False, True])
    with pytest.raises(DataError, match="masked"):
        metric.Accuracy().update([masked], [np.eye(3)[:, :2]])
    with pytest.raises(InvalidArgumentError, match="ignore_label must be a whole number"):
        metric.Perplexity(float("nan"))
