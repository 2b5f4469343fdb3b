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
    SymbucketError,
    UnsupportedError,
)

PROBS = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]])
LABELS = np.array([2, 1, 0, 1])


class Arraylike:
    """Something that is no numpy array but can become one."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


def value(m, *batches):
    for labels, preds in batches:
        m.update(labels, preds)
    names, values = m.get()
    assert isinstance(names, str)
    return values


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


# --- names, lists, configs -------------------------------------------------------------------


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


# --- bad input -------------------------------------------------------------------------------

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
