"""MCC, PCC and PearsonCorrelation against MXNet's numbers, and metrics written for MXNet."""

import math

import numpy as np
import pytest

import symbucket as sb
from symbucket import metric
from symbucket.errors import DataError, InvalidArgumentError, ShapeError, UnsupportedError

# After each update of MXNet 1.9.1, with reset_local after the second one; then get_global.
RECORDED = [
    ("mcc", {}, [0.0, 0.125, 0.333333, 0.390273, 0.257637]),
    ("mcc", {"average": "micro"}, [0.0, 0.119523, 0.333333, 0.353553, 0.268566]),
    ("pcc", {}, [0.0, 0.119523, 0.333333, 0.353553, 0.268566]),
    ("pcc", {"classes": 5}, [-0.062622, -0.128901, -0.027821, -0.084679]),
    ("pearsonr", {}, [-0.124166, -0.113069, 0.104805, -0.040444]),
]


def _batches():
    rng = np.random.RandomState(0)
    two = [(rng.randint(0, 2, 6), rng.rand(6, 2)) for _ in range(4)]
    five = [(rng.randint(0, 5, 7), rng.rand(7, 5)) for _ in range(3)]
    values = [(rng.randn(5, 2), rng.randn(5, 2)) for _ in range(3)]
    return two, five, values


@pytest.mark.parametrize(("name", "params", "numbers"), RECORDED)
def test_numbers_of_mxnet(name, params, numbers):
    two, five, values = _batches()
    params = dict(params)
    batches = values if name == "pearsonr" else five if params.pop("classes", 2) == 5 else two
    made = metric.create(name, **params)
    for i, (label, pred) in enumerate(batches):
        made.update([sb.nd.array(label)], [sb.nd.array(pred)])
        assert made.get()[1] == pytest.approx(numbers[i], abs=2e-6)
        if i == 1:
            made.reset_local()
            assert math.isnan(made.get()[1])
    assert made.get_global()[1] == pytest.approx(numbers[-1], abs=2e-6)
    made.reset()
    assert math.isnan(made.get_global()[1])


def test_micro_correlation_is_that_of_all_elements():
    values = _batches()[2]
    made = metric.PearsonCorrelation(average="micro")
    for i, (label, pred) in enumerate(values):
        made.update([label], [pred])
        if i == 0:
            made.reset_local()
    labels, preds = (np.concatenate([v[k].ravel() for v in values]) for k in (0, 1))
    assert made.get_global()[1] == pytest.approx(np.corrcoef(labels, preds)[0, 1])
    rest = [np.concatenate([v[k].ravel() for v in values[1:]]) for k in (0, 1)]
    assert made.get()[1] == pytest.approx(np.corrcoef(*rest)[0, 1])


def test_predicted_classes_will_do_for_pcc():
    first, second = metric.PCC(), metric.PCC()
    for label, pred in _batches()[1]:
        first.update([label], [pred])
        second.update([label], [pred.argmax(1)])
    assert first.get() == second.get()
    assert math.isnan(metric.create("pcc").get()[1])


def test_refusals():
    with pytest.raises(InvalidArgumentError, match="average"):
        metric.MCC(average="mean")
    with pytest.raises(DataError, match="PCC takes any number of classes"):
        metric.MCC().update([np.zeros(2)], [np.zeros((2, 3))])
    with pytest.raises(UnsupportedError, match="cannot be added up"):
        metric.MCC(average="micro").update_sums(1, 1)
    with pytest.raises(ShapeError, match=r"\(2,\) does not match shape of predictions \(3,\)"):
        metric.check_label_shapes(np.zeros(2), np.zeros(3), shape=True)
    assert metric.check_label_shapes([1], [2], wrap=True) == ([1], [2])


class Counted(metric.EvalMetric):
    """As written for MXNet 1.5 and later: it keeps both sums itself."""

    def __init__(self):
        super().__init__("counted", has_global_stats=True)

    def update(self, labels, preds):
        total = float(labels[0].asnumpy().sum())
        self.sum_metric += total
        self.global_sum_metric += total
        self.num_inst += 1
        self.global_num_inst += 1

    def reset(self):
        self.sum_metric = self.global_sum_metric = 0.0
        self.num_inst = self.global_num_inst = 0


def test_metrics_that_keep_global_sums_themselves():
    made = Counted()
    made.update([sb.nd.array([1, 2])], [])
    made.reset_local()
    made.update([sb.nd.array([5, 0])], [])
    assert made.get()[1] == 5
    assert made.get_global()[1] == 4
    made.reset()
    made.update([sb.nd.array([7, 0])], [])
    assert made.get_global()[1] == 7


def test_losses_by_other_names():
    for name in ("torch", "caffe"):
        made = metric.create(name)
        made.update(None, [np.array([1.0, 3.0])])
        assert made.get() == (name, 2.0)
