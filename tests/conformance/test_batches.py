"""Batches as scripts make them: any object with arrays, described by tuples or not at all."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest

import symbucket as sb


def classifier():
    dense = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    return sb.sym.SoftmaxOutput(dense, name="softmax")


class SimpleBatch:
    """The batch of MXNet's old bucketing examples."""

    def __init__(self, key=3):
        self.data = [sb.nd.ones((4, key))]
        self.label = [sb.nd.zeros((4,))]
        self.provide_data = [("data", (4, key))]
        self.provide_label = [("softmax_label", (4,))]
        self.bucket_key = key
        self.pad = 0
        self.index = None


def test_a_namedtuple_of_data_alone_is_a_batch_for_prediction():
    module = sb.mod.Module(sb.sym.Variable("data") * 2, label_names=None)
    module.bind([("data", (1, 2))], for_training=False)
    module.init_params()
    Batch = namedtuple("Batch", ["data"])
    module.forward(Batch([sb.nd.ones((1, 2))]))
    assert module.get_outputs()[0].asnumpy().tolist() == [[2, 2]]


def test_a_class_of_ones_own_with_tuples():
    module = sb.mod.Module(classifier())
    batch = SimpleBatch()
    module.bind(batch.provide_data, batch.provide_label)
    module.init_params()
    module.forward(batch, is_train=True)
    module.backward()
    assert module.get_outputs()[0].shape == (4, 2)


def test_descriptions_assigned_to_a_batch_as_tuples():
    batch = sb.io.DataBatch([np.ones((4, 3))], [np.zeros(4)])
    batch.provide_data = [("data", (4, 3))]
    batch.provide_label = [("softmax_label", (4,))]
    module = sb.mod.Module(classifier())
    module.bind(batch.provide_data, batch.provide_label)
    module.init_params()
    module.forward(batch, is_train=False)
    assert module.get_outputs()[0].shape == (4, 2)


def test_an_iterator_of_ones_own_trains_buckets():
    class Batches:
        default_bucket_key = 6
        batch_size = 4
        provide_data = (("data", (4, 6)),)
        provide_label = (("softmax_label", (4,)),)

        def __iter__(self):
            return iter([SimpleBatch(6), SimpleBatch(3)])

        def reset(self):
            pass

    def sym_gen(key):
        rows = sb.sym.sum(sb.sym.Variable("data"), axis=1, keepdims=True)
        dense = sb.sym.FullyConnected(rows, num_hidden=2, name="fc")
        return sb.sym.SoftmaxOutput(dense, name="softmax"), ["data"], ["softmax_label"]

    class OwnMetric(sb.metric.EvalMetric):
        """As scripts write one: labels and predictions are NDArrays."""

        def __init__(self):
            super().__init__("own")

        def update(self, labels, preds):
            self.sum_metric += labels[0].asnumpy().sum() + preds[0].asnumpy().shape[1]
            self.num_inst += 1

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=6)
    metric = OwnMetric()
    module.fit(Batches(), eval_metric=metric, num_epoch=1)
    assert sorted(module.bucket_keys) == [3, 6]
    assert metric.get() == ("own", 2.0)
    assert module.score(Batches(), metric) == [("own", 2.0)]


def test_what_is_no_batch_is_refused():
    module = sb.mod.Module(classifier())
    module.bind([("data", (4, 3))], [("softmax_label", (4,))])
    module.init_params()
    with pytest.raises(sb.MXNetError, match="expected a batch, an object with a list of arrays"):
        module.forward(np.ones((4, 3)).tolist())


def test_checkpoints_and_unpacked_weights_are_ndarrays(tmp_path):
    module = sb.mod.Module(classifier())
    module.bind([("data", (4, 3))], [("softmax_label", (4,))])
    module.init_params()
    prefix = str(tmp_path / "net")
    module.save_checkpoint(prefix, 1)
    weight = sb.model.load_checkpoint(prefix, 1)[1]["fc_weight"]
    copy = weight.copyto(sb.nd.zeros((2, 3)))
    assert copy.asnumpy().tolist() == module.get_params()[0]["fc_weight"].asnumpy().tolist()
    cell = sb.rnn.LSTMCell(2, prefix="l_")
    args = {
        "l_i2h_weight": np.ones((8, 3)),
        "l_i2h_bias": np.ones(8),
        "l_h2h_weight": np.ones((8, 2)),
        "l_h2h_bias": np.ones(8),
    }
    unpacked = cell.unpack_weights(args)
    assert unpacked["l_i2h_i_weight"].as_in_context(sb.cpu()).asnumpy().shape == (2, 3)
    packed = cell.pack_weights(unpacked)
    assert packed["l_h2h_weight"].asnumpy().shape == (8, 2)


def test_a_batch_prints_its_shapes():
    batch = sb.io.DataBatch([sb.nd.ones((2, 3)), sb.nd.ones((7,))], [sb.nd.ones((4, 5))])
    assert str(batch) == "DataBatch: data shapes: [(2, 3), (7,)] label shapes: [(4, 5)]"
    assert str(sb.io.DataBatch([sb.nd.ones((2, 3))])).endswith("label shapes: None")


def test_an_iterator_over_files_returns_bare_arrays_of_its_dtype(tmp_path):
    (tmp_path / "data.csv").write_text("200000001,1\n2,3\n")
    rows = sb.io.CSVIter(tmp_path / "data.csv", (2,), batch_size=1, dtype="int32")
    assert rows.provide_data[0].dtype == np.int32
    first = next(rows)
    assert first.data[0].asnumpy().tolist() == [[200000001, 1]]
    assert rows.getdata().asnumpy().tolist() == [[200000001, 1]]
    assert rows.getlabel().shape == (1,)


def test_the_rate_of_a_scheduler_cannot_be_set():
    scheduler = sb.lr_scheduler.FactorScheduler(step=1)
    with pytest.raises(UserWarning, match="would have no effect"):
        sb.optimizer.SGD(lr_scheduler=scheduler).set_learning_rate(0.5)


def test_the_micro_average_of_a_coefficient_counts_samples():
    metric = sb.metric.MCC(average="micro")
    labels, scores = [[1, 0], [1]], [[[0.1, 0.9], [0.5, 0.5]], [[0.9, 0.1]]]
    for label, score in zip(labels, scores):
        metric.update([sb.nd.array(label)], [sb.nd.array(score)])
    assert metric.num_inst == 3
    assert metric.get()[1] == pytest.approx(0.5)
