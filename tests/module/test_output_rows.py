"""Which rows of an output belong to which context, and which only fill up a batch."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb

FOUR = np.arange(4 * 4 * 2, dtype=np.float32).reshape(4, 4, 2)


class Calls(sb.metric.EvalMetric):
    """Keeps what it is updated with."""

    def __init__(self):
        self.seen = []
        super().__init__("calls")

    def update(self, labels, preds):
        self.seen.append((labels[0].asnumpy().tolist(), preds[0].asnumpy().tolist()))


def module_of(symbol, contexts=1, labels=()):
    return sb.mod.Module(
        symbol, label_names=list(labels) or None, context=[sb.cpu(i) for i in range(contexts)]
    )


def test_a_metric_is_updated_for_each_context_with_its_own_rows():
    """As in MXNet: the rows of an output that is time first do not lie as those of the labels."""
    data, label = sb.sym.Variable("data"), sb.sym.Variable("label")
    step_by_step = sb.sym.Reshape(sb.sym.transpose(data), shape=(-1,))
    network = sb.sym.LinearRegressionOutput(step_by_step, sb.sym.Reshape(label, shape=(-1,)))
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    module = module_of(network, 2, ["label"])
    module.bind([("data", (4, 3))], [("label", (4, 3))], for_training=False)
    module.init_params()
    batch = sb.io.DataBatch([values], [values])
    module.forward(batch, is_train=False)
    metric = Calls()
    module.update_metric(metric, batch.label)
    assert metric.seen == [
        (part.tolist(), part.T.reshape(-1).tolist()) for part in (values[:2], values[2:])
    ]


@pytest.mark.parametrize(("pad", "rows"), [(1, [[0, 1], [2]]), (2, [[0, 1]]), (3, [[0]])])
def test_contexts_with_rows_that_fill_the_batch_up(pad, rows):
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    label = sb.sym.transpose(sb.sym.Variable("label"))
    network = sb.sym.LinearRegressionOutput(sb.sym.transpose(sb.sym.Variable("data")), label)
    module = module_of(network, 2, ["label"])
    module.bind([("data", (4, 3))], [("label", (4, 3))], for_training=False)
    module.init_params()
    module.forward(sb.io.DataBatch([values], [values], pad=pad), is_train=False)
    metric = Calls()
    module.update_metric(metric, [values])
    assert metric.seen == [(values[part].tolist(), values[part].T.tolist()) for part in rows]


def test_padding_is_cut_from_the_batch_axis_also_if_time_is_as_long():
    data = sb.sym.Variable("data")
    outputs = [
        data,
        sb.sym.transpose(data, axes=(1, 0, 2)),
        sb.sym.Reshape(sb.sym.transpose(data, axes=(1, 0, 2)), shape=(-4, 2, 2, -2)),
        sb.sym.sum(data, axis=0),
    ]
    module = module_of(sb.sym.Group(outputs))
    module.bind([("data", (4, 4, 2))], for_training=False)
    module.init_params()
    data = sb.io.NDArrayIter(FOUR[:3], batch_size=4)
    batch_first, time_first, _, total = module.predict(data)
    assert batch_first.asnumpy().tolist() == FOUR[:3].tolist()
    assert time_first.asnumpy().tolist() == FOUR[:3].transpose(1, 0, 2).tolist()
    assert total.shape == (4, 2)


def test_backward_follows_a_forward_of_inference():
    """Gradients of what inference computes, as MXNet has them: without Dropout."""
    dropped = sb.sym.Dropout(sb.sym.Variable("data"), p=0.5)
    network = sb.sym.FullyConnected(dropped, num_hidden=2, no_bias=True, name="fc")
    for contexts in (1, 2):
        module = module_of(network, contexts)
        module.bind([("data", (4, 3))])
        module.init_params(sb.init.One())
        module.forward(sb.io.DataBatch([np.ones((4, 3))]), is_train=False)
        module.backward([np.ones((4, 2))])
        assert module.gradients()["fc_weight"].asnumpy().tolist() == [[4.0] * 3] * 2
    module.bind([("data", (4, 3))], for_training=False, force_rebind=True)
    module.forward(sb.io.DataBatch([np.ones((4, 3))]))
    with pytest.raises(sb.SymbucketError, match=r"backward needs bind\(for_training=True\)"):
        module.backward([np.ones((4, 2))])


def test_labels_of_a_batch_are_passed_over_by_a_module_bound_without():
    module = module_of(sb.sym.Variable("data") * 2)
    module.bind([("data", (4, 2))], for_training=False)
    module.init_params()
    module.forward(sb.io.DataBatch([np.ones((4, 2))], [np.ones(4)]), is_train=False)
    assert module.get_outputs()[0].asnumpy().tolist() == [[2.0, 2.0]] * 4
