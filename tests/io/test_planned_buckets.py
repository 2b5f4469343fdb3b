"""Iterators whose buckets are chosen or planned; what becomes of rests and of long sentences."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.io import BucketSentenceIter, KeyedIter, StepSentenceIter, plan_buckets


def _corpus(count, seed=0, longest=40):
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.geometric(0.1, count) + 1, longest)
    return [rng.integers(1, 9, n).tolist() for n in lengths]


CORPUS = _corpus(600)
LENGTHS = [len(sentence) for sentence in CORPUS]


def test_a_number_of_buckets_takes_those_of_least_padding():
    it = BucketSentenceIter(CORPUS, 16, 4)
    assert tuple(it.buckets) == plan_buckets(LENGTHS, 4, batch=16).boundaries
    auto = BucketSentenceIter(CORPUS, 16, "auto")
    assert tuple(auto.buckets) == plan_buckets(LENGTHS, batch=16).boundaries
    with pytest.raises(InvalidArgumentError, match="count is 0"):
        BucketSentenceIter(CORPUS, 16, 0)


def test_every_length_as_a_bucket_is_warned_of(caplog):
    caplog.set_level(logging.WARNING, "symbucket.io")
    sentences = [[1] * n for n in range(1, 100)]
    assert len(BucketSentenceIter(sentences, 1).buckets) == 99
    assert "99 networks to compile. buckets=6 chooses" in caplog.text


def test_batches_have_the_sizes_of_the_plan():
    plan = plan_buckets(LENGTHS, 4, batch="tokens:200")
    it = BucketSentenceIter(CORPUS, buckets=plan, last_batch="pad", seed=1)
    assert it.batch_sizes == dict(zip(plan.boundaries, plan.batch_sizes))
    assert len(it) == plan.steps
    seen = []
    for batch in it:
        shape = (plan.batch_size(batch.bucket_key), batch.bucket_key)
        assert batch.data[0].shape == batch.provide_data[0].shape == shape
        assert batch.data[0].shape[0] * batch.bucket_key <= 200
        seen += batch.index[: len(batch.index) - batch.pad].tolist()
    assert sorted(seen) == list(range(600))
    assert [row[2] for row in it.bucket_table()] == list(plan.batches)
    with pytest.raises(InvalidArgumentError, match=r"batch_size is 16, but the plan has batches"):
        BucketSentenceIter(CORPUS, 16, plan)
    with pytest.raises(InvalidArgumentError, match="batch_size is None"):
        BucketSentenceIter(CORPUS, None, [40])


def test_states_of_step_iterators_have_the_size_of_the_batch():
    plan = plan_buckets(LENGTHS, 3, batch="tokens:200")
    it = StepSentenceIter(CORPUS, buckets=plan, init_states=[("state", (5, 7))], last_batch="pad")
    for batch in it:
        size = plan.batch_size(batch.bucket_key)
        assert {desc.shape[0] for desc in batch.provide_data} == {size}
        assert batch.data[-1].shape == (size, 7)


def test_keyed_iterators_take_a_size_for_each_key():
    keys = ["a"] * 7 + ["b"] * 4
    data = [np.full(3, i) for i in range(11)]
    it = KeyedIter(keys, data, batch_size={"a": 3, "b": 2}, last_batch="pad")
    assert sorted((b.bucket_key, b.data[0].shape) for b in it) == [
        *[("a", (3, 3))] * 3,
        *[("b", (2, 3))] * 2,
    ]
    with pytest.raises(InvalidArgumentError, match="no entry for the bucket key 'b'"):
        KeyedIter(keys, data, batch_size={"a": 3})
    with pytest.raises(InvalidArgumentError, match=r"batch_size\['b'\] is 0"):
        KeyedIter(keys, data, batch_size={"a": 3, "b": 0})


def _epochs(it, count):
    """The sentences of each epoch, as they come."""
    epochs = []
    for _ in range(count):
        ids = [batch.index[: len(batch.index) - batch.pad] for batch in it]
        epochs.append(np.concatenate(ids).tolist())
        it.reset()
    return epochs


@pytest.mark.parametrize("count", [23, 24, 40, 61])
@pytest.mark.parametrize("shuffle", [True, False])
def test_padded_rests_come_exactly_once_an_epoch(count, shuffle):
    it = BucketSentenceIter(_corpus(count), 4, 3, shuffle=shuffle, seed=5, last_batch="pad")
    for ids in _epochs(it, 3):
        assert sorted(ids) == list(range(count))


@pytest.mark.parametrize("kind", ["sentences", "keyed"])
def test_rests_that_roll_over_come_first_in_the_next_epoch(kind):
    count, epochs = 23, 40
    if kind == "sentences":
        it = BucketSentenceIter(_corpus(count), 4, 3, seed=5, last_batch="roll_over")
    else:
        keys = [i % 3 for i in range(count)]
        it = KeyedIter(keys, np.zeros((count, 1)), batch_size=4, seed=5, last_batch="roll_over")
    seen = Counter()
    for number in range(1, epochs + 1):
        batches = len(it)
        ids = _epochs(it, 1)[0]
        assert len(ids) == 4 * batches
        seen.update(ids)
        assert set(seen.values()) <= {number - 1, number}
    # All that was not seen in the last epoch begins the one after it.
    assert sum(seen.values()) >= count * epochs - 3 * 3


def test_rests_are_said(caplog):
    with caplog.at_level(logging.INFO, "symbucket.io"):
        BucketSentenceIter([[1, 2]] * 11, 4, [2])
    assert "each epoch leaves out 3 of 11 sentences, which fill no batch" in caplog.text
    assert caplog.records[-1].levelname == "WARNING"
    caplog.clear()
    with caplog.at_level(logging.INFO, "symbucket.io"):
        BucketSentenceIter([[1, 2]] * 1001, 4, [2])
    assert caplog.records[-1].levelname == "INFO"


def test_long_sentences_are_cut_split_or_refused(caplog):
    caplog.set_level(logging.WARNING, "symbucket.io")
    sentences = [[1, 2], list(range(10, 21)), [3, 4, 5, 6, 7]]

    def rows(**options):
        it = BucketSentenceIter(sentences, 1, [2, 5], shuffle=False, **options)
        return [
            (b.index.tolist(), b.data[0][0].asnumpy().tolist(), b.label[0][0].asnumpy().tolist())
            for b in it
        ], it.discarded

    assert rows()[1] == 1
    cut, discarded = rows(too_long="cut")
    assert discarded == 0
    assert ([1], [10, 11, 12, 13, 14], [11, 12, 13, 14, -1]) in cut
    assert "cut 1 of 3 sentences longer than the largest bucket (5)" in caplog.text
    split, _ = rows(too_long="split")
    assert [row for row in split if row[0] == [1]] == [
        ([1], [10, 11, 12, 13, 14], [11, 12, 13, 14, -1]),
        ([1], [14, 15, 16, 17, 18], [15, 16, 17, 18, -1]),
        ([1], [18, 19, 20, -1, -1], [19, 20, -1, -1, -1]),
    ]
    with pytest.raises(DataError, match=r"1 of 3 sentences are longer .* first is sentence 1"):
        rows(too_long="error")
    with pytest.raises(InvalidArgumentError, match="too_long is 'trim'"):
        rows(too_long="trim")


@pytest.mark.parametrize("seed", range(5))
def test_split_sentences_keep_every_pair_of_neighbours_once(seed):
    rng = np.random.default_rng(seed)
    sentences = [(100 * i + np.arange(rng.integers(1, 60))).tolist() for i in range(1, 30)]
    it = BucketSentenceIter(
        sentences, 4, [2, 7, 12], too_long="split", last_batch="pad", invalid_label=0
    )
    pairs = Counter()
    for batch in it:
        for data, label in zip(batch.data[0].asnumpy(), batch.label[0].asnumpy()):
            pairs.update((a, b) for a, b in zip(data.tolist(), label.tolist()) if b)
    expected = Counter(pair for s in sentences for pair in pairwise(s))
    assert pairs == expected


def _one_step(batch_sizes, optimizer_params=()):
    """The bias after an epoch of a network whose gradient is 1 a sample."""
    keys = [k for k, n in batch_sizes.items() for _ in range(n)]
    data = [np.ones(k) for k in keys]

    def sym_gen(key):
        x = sb.sym.Variable("data")
        bias = sb.sym.Variable("bias", shape=(1,))
        loss = sb.sym.broadcast_add(sb.sym.sum(x, axis=1, keepdims=True) * 0, bias.reshape((1, 1)))
        return sb.sym.MakeLoss(loss), ("data",), ()

    it = KeyedIter(keys, data, batch_size=batch_sizes, shuffle=False)
    module = sb.mod.BucketingModule(sym_gen, it.default_bucket_key)
    module.fit(
        it,
        num_epoch=1,
        eval_metric=sb.metric.Loss(),
        initializer=sb.init.Zero(),
        optimizer_params={"learning_rate": 1.0, **dict(optimizer_params)},
    )
    return float(module.get_params()[0]["bias"].asnumpy()[0])


def test_each_gradient_is_divided_by_its_own_batch():
    assert _one_step({2: 8, 3: 4}) == pytest.approx(-2.0)
    assert _one_step({2: 4, 3: 4}) == pytest.approx(-2.0)
    assert _one_step({2: 8, 3: 4}, {"rescale_grad": 0.5}) == pytest.approx(-6.0)
