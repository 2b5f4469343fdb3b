"""BucketSentenceIter: buckets, padding, labels, epochs."""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from symbucket.errors import NameConflictError, StateError
from symbucket.io import BucketSentenceIter, DataDesc, format_bucket_table
from symbucket.io.buckets import order_samples, plan_epoch

SENTENCES = [[1], [2, 3], [4, 5, 6], [7, 8, 9, 10], [11, 12], [13, 14, 15]]


def epoch(it):
    """One epoch as plain data, then reset."""
    result = [
        (
            b.bucket_key,
            b.pad,
            b.index.tolist(),
            b.data[0].asnumpy().tolist(),
            b.label[0].asnumpy().tolist(),
        )
        for b in it
    ]
    it.reset()
    return result


def test_smallest_bucket_padding_and_shifted_labels():
    it = BucketSentenceIter(SENTENCES, 2, [2, 4], invalid_label=-1, shuffle=False, last_batch="pad")
    assert epoch(it) == [
        (2, 0, [0, 1], [[1, -1], [2, 3]], [[-1, -1], [3, -1]]),
        (2, 1, [4, -1], [[11, 12], [-1, -1]], [[12, -1], [-1, -1]]),
        (4, 0, [2, 3], [[4, 5, 6, -1], [7, 8, 9, 10]], [[5, 6, -1, -1], [8, 9, 10, -1]]),
        (4, 1, [5, -1], [[13, 14, 15, -1], [-1] * 4], [[14, 15, -1, -1], [-1] * 4]),
    ]


def test_lengths_are_a_second_array():
    it = BucketSentenceIter(SENTENCES, 2, [2, 4], shuffle=False, last_batch="pad", lengths=True)
    assert it.provide_data[1] == DataDesc("valid_length", (2,), np.float32, "N")
    batches = list(it)
    assert [np.asarray(b.data[1]).tolist() for b in batches] == [[1, 2], [2, 0], [3, 4], [3, 0]]
    assert all(b.provide_data[1].name == "valid_length" for b in batches)
    with pytest.raises(NameConflictError, match="an array is named 'valid_length'"):
        BucketSentenceIter(SENTENCES, 2, [4], data_name="valid_length", lengths=True)


def test_default_drops_the_incomplete_batch_of_each_bucket():
    it = BucketSentenceIter(SENTENCES, 2, [2, 4], seed=0)
    assert it.remainder == 2
    assert len(it) == len(epoch(it)) == 2
    padded = BucketSentenceIter(SENTENCES, 2, [2, 4], seed=0, last_batch="pad")
    assert (padded.remainder, len(padded)) == (0, 4)


def test_descriptions():
    it = BucketSentenceIter(SENTENCES, 2, [2, 4], dtype="int32", shuffle=False)
    assert it.default_bucket_key == 4
    assert it.provide_data == [DataDesc("data", (2, 4), "int32", "NT")]
    assert it.provide_label == [DataDesc("softmax_label", (2, 4), "int32", "NT")]
    batch = it.next()
    assert type(batch.bucket_key) is int
    assert batch.provide_data == [DataDesc("data", (2, 2), "int32", "NT")]
    assert batch.provide_label == [DataDesc("softmax_label", (2, 2), "int32", "NT")]
    assert batch.data[0].dtype == batch.label[0].dtype == np.int32


def test_layout_tn_is_the_transpose():
    options = {"buckets": [2, 4], "seed": 3, "data_name": "x", "label_name": "y"}
    rows = BucketSentenceIter(SENTENCES, 2, **options)
    columns = BucketSentenceIter(SENTENCES, 2, layout="TN", **options)
    assert columns.provide_data == [DataDesc("x", (4, 2), np.float32, "TN")]
    for nt, tn in zip(rows, columns, strict=True):
        np.testing.assert_array_equal(nt.data[0].T, tn.data[0])
        np.testing.assert_array_equal(nt.label[0].T, tn.label[0])
        assert tn.data[0].view().flags.c_contiguous
        assert tn.provide_label[0].shape == tn.label[0].shape == (tn.bucket_key, 2)


@pytest.mark.parametrize("buckets", [None, []])
def test_buckets_chosen_from_the_data(buckets, caplog):
    sentences = [[1] * n for n in (2, 2, 2, 3, 5, 5, 7)]
    it = BucketSentenceIter(sentences, 2, buckets)
    assert it.buckets == [2, 5]
    assert it.default_bucket_key == 5
    assert it.discarded == 1
    assert "dropped 1 of 7 sentences longer than the largest bucket (5); the longest has 7" in (
        caplog.text
    )
    assert [row[:3] for row in it.bucket_table()] == [(2, 3, 1), (5, 3, 1)]


def test_left_out_data_is_said_once(caplog):
    caplog.set_level(logging.DEBUG, "symbucket.io")
    sentences = [[1]] * 4 + [[1] * 3] + [[1] * 9] * 2
    it = BucketSentenceIter(sentences, 2, [1, 2, 3, 5])
    for _ in range(3):
        epoch(it)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    dropped, removed, short = (record.getMessage() for record in caplog.records)
    assert dropped == (
        "BucketSentenceIter: dropped 2 of 7 sentences longer than the largest bucket (5); the "
        "longest has 9 tokens"
    )
    assert removed == "BucketSentenceIter: removed buckets without sentences: 2, 5"
    assert short == (
        "BucketSentenceIter: buckets with fewer sentences than batch_size = 2 yield no batch: "
        "bucket 3 holds 1 sentence"
    )
    assert it.buckets == [1, 3]
    assert it.default_bucket_key == 5
    assert (it.discarded, it.remainder, it.short_buckets) == (2, 1, {3: 1})


def test_nothing_is_said_where_nothing_is_left_out(caplog):
    caplog.set_level(logging.DEBUG, "symbucket.io")
    it = BucketSentenceIter(SENTENCES, 3, [2, 4])
    assert not caplog.records
    assert (it.discarded, it.remainder, it.short_buckets) == (0, 0, {})
    padded = BucketSentenceIter(SENTENCES, 5, [1, 4], last_batch="pad")
    assert not caplog.records
    assert padded.short_buckets == {}


def test_runs_repeat_by_seed():
    sentences = [[i] * (i % 5 + 1) for i in range(100)]

    def run(seed):
        it = BucketSentenceIter(sentences, 4, [2, 3, 5], seed=seed)
        return [epoch(it), epoch(it)]

    one = run(7)
    assert one == run(7)
    assert one != run(8)
    first, second = one
    assert first != second
    # Not only the batches' order changes: sentences meet others.
    assert {frozenset(b[2]) for b in first} != {frozenset(b[2]) for b in second}


def test_a_drawn_seed_can_be_read_and_used_again():
    it = BucketSentenceIter(SENTENCES, 1, [4])
    again = BucketSentenceIter(SENTENCES, 1, [4], seed=it.seed)
    assert epoch(it) == epoch(again)
    assert it.seed != BucketSentenceIter(SENTENCES, 1, [4]).seed


def test_global_generators_are_untouched():
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    epoch(BucketSentenceIter(SENTENCES, 1, [4]))
    assert np.random.random() == expected


def test_sentence_order_depends_on_neither_buckets_nor_batch_size():
    sentences = [[i] for i in range(40)] + [[i, i] for i in range(40)]

    def order(buckets, batch_size):
        it = BucketSentenceIter(sentences, batch_size, buckets, seed=1, last_batch="pad")
        per_bucket = {}
        for bucket, _ in sorted(it._plan):
            per_bucket[bucket] = it._order[bucket].tolist()
        return per_bucket

    fine, coarse = order([1, 2], 8), order([2], 3)
    for ids in fine.values():
        assert [i for i in coarse[0] if i in set(ids)] == ids


def test_random_bucket_comes_in_proportion_to_its_size():
    firsts = []
    for seed in range(400):
        it = BucketSentenceIter([[1]] * 30 + [[1, 1]] * 10, 2, [1, 2], seed=seed)
        firsts.append(it.next().bucket_key)
    # 15 of 20 batches are of bucket 1; 400 draws deviate by 2.2% (one sigma).
    assert abs(firsts.count(1) / 400 - 0.75) < 0.1


def test_plan_lists_every_batch_once():
    assert plan_epoch([5, 0, 2], [2] * 3, "discard", None) == [(0, 0), (0, 2), (2, 0)]
    assert plan_epoch([5, 1], [2, 2], "pad", None) == [(0, 0), (0, 2), (0, 4), (1, 0)]
    shuffled = plan_epoch([50, 30], [2, 2], "discard", np.random.default_rng(0))
    assert sorted(shuffled) == plan_epoch([50, 30], [2, 2], "discard", None) != shuffled


def test_order_leaves_out_what_no_bucket_holds():
    order = order_samples(np.array([1, 2, 0, 1, 2]), 2, None)
    assert [ids.tolist() for ids in order] == [[2], [0, 3]]


def test_batches_are_fresh_arrays():
    it = BucketSentenceIter(SENTENCES, 2, [4], shuffle=False)
    batch = it.next()
    batch.data[0][:] = 99
    batch.label[0][:] = 99
    it.reset()
    assert it.next().data[0].max() < 99
    assert not np.shares_memory(batch.data[0], batch.label[0])


def test_protocol_methods_see_the_current_batch():
    it = BucketSentenceIter(SENTENCES, 4, [4], shuffle=False, last_batch="pad")
    with pytest.raises(StateError, match="BucketSentenceIter: no current batch; call next"):
        it.getdata()
    assert it.iter_next()
    assert it.iter_next()
    assert it.getpad() == 2
    assert it.getindex().tolist() == [4, 5, -1, -1]
    assert it.getdata()[0][0].asnumpy().tolist() == [11, 12, -1, -1]
    assert it.getlabel()[0][0].asnumpy().tolist() == [12, -1, -1, -1]
    assert not it.iter_next()
    with pytest.raises(StopIteration):
        it.next()
    with pytest.raises(StateError):
        it.getlabel()


def test_sentences_may_be_arrays_tuples_generators_or_mixed():
    forms = [
        [np.array(s) for s in SENTENCES],
        [np.array(s, np.uint8) for s in SENTENCES],
        [np.array(s, np.uint64) for s in SENTENCES],
        [tuple(s) for s in SENTENCES],
        [np.array(s) if len(s) == 2 else s for s in SENTENCES],
        [[np.int32(t) for t in s] for s in SENTENCES],
    ]
    expected = epoch(BucketSentenceIter(SENTENCES, 2, [4], seed=1))
    for form in forms:
        assert epoch(BucketSentenceIter(form, 2, [4], seed=1)) == expected
    stream = (s for s in SENTENCES)
    assert epoch(BucketSentenceIter(stream, 2, np.array([4]), seed=1)) == expected


def test_invalid_label_may_occur_in_sentences():
    it = BucketSentenceIter([[3, 0], [0, 4]], 2, [3], invalid_label=0, shuffle=False)
    batch = it.next()
    assert batch.data[0].asnumpy().tolist() == [[3, 0, 0], [0, 4, 0]]
    assert batch.label[0].asnumpy().tolist() == [[0, 0, 0], [4, 0, 0]]


def test_bucket_table():
    it = BucketSentenceIter(SENTENCES * 500, 2, [2, 4], seed=0)
    rows = it.bucket_table()
    assert rows == [(2, 1500, 750, pytest.approx(1 / 6)), (4, 1500, 750, pytest.approx(1 / 6))]
    assert rows[0].padding_share == rows[0][3]
    assert format_bucket_table([(10, 1500, 46, 0.25), ("long", 20, 0, 0.5)]).splitlines() == [
        "bucket  sentences  batches  padding",
        "    10      1,500       46    25.0%",
        "  long         20        0    50.0%",
        " total      1,520       46",
    ]
    assert format_bucket_table([(10, 300, 3, 0.1), (30, 100, 1, 0.4)]).splitlines()[-1] == (
        " total        400        4    25.0%"
    )
    assert format_bucket_table([]).splitlines()[-1] == " total          0        0"


@st.composite
def corpora(draw):
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=60))
    buckets = sorted(draw(st.sets(st.integers(1, 14), min_size=1, max_size=5)))
    seed = draw(st.integers(0, 2**32))
    generator = np.random.default_rng(seed)
    sentences = [generator.integers(0, 100, n).tolist() for n in lengths]
    return sentences, buckets, seed


@settings(deadline=None, print_blob=True, max_examples=150)
@given(
    corpus=corpora(),
    batch_size=st.integers(1, 9),
    layout=st.sampled_from(["NT", "TN"]),
    shuffle=st.booleans(),
)
def test_every_short_sentence_once_an_epoch(corpus, batch_size, layout, shuffle):
    sentences, buckets, seed = corpus
    note(f"seed={seed}")
    fitting = [i for i, s in enumerate(sentences) if len(s) <= buckets[-1]]
    if not fitting:
        sentences.append([1])
        fitting = [len(sentences) - 1]
    it = BucketSentenceIter(
        sentences, batch_size, buckets, layout=layout, seed=seed, shuffle=shuffle, last_batch="pad"
    )
    assert it.discarded == len(sentences) - len(fitting)
    for _ in range(2):
        seen = []
        keys = []
        for batch in it:
            key = batch.bucket_key
            keys.append(key)
            arrays = [a.asnumpy() for a in (*batch.data, *batch.label)]
            data, label = (a.T if layout == "TN" else a for a in arrays)
            assert data.shape == label.shape == (batch_size, key)
            assert batch.provide_data[0].shape == batch.data[0].shape
            assert (batch.index[batch_size - batch.pad :] == -1).all()
            assert 0 <= batch.pad < batch_size
            np.testing.assert_array_equal(label[:, :-1], data[:, 1:])
            assert (label[:, -1] == -1).all()
            for row, i in zip(data, batch.index):
                sentence = [] if i < 0 else sentences[i]
                assert row.tolist() == sentence + [-1] * (key - len(sentence))
                assert i < 0 or min(b for b in buckets if b >= len(sentence)) == key
            seen += batch.index[: batch_size - batch.pad].tolist()
        assert sorted(seen) == fitting
        assert len(keys) == len(it) == sum(row.batches for row in it.bucket_table())
        it.reset()


@settings(deadline=None, print_blob=True)
@given(corpus=corpora(), batch_size=st.integers(1, 4))
def test_discard_counts_what_it_leaves_out(corpus, batch_size):
    sentences, buckets, seed = corpus
    note(f"seed={seed}")
    sentences = sentences + [[1]] * batch_size
    it = BucketSentenceIter(sentences, batch_size, buckets, seed=seed)
    seen = [i for batch in it for i in batch.index.tolist()]
    assert len(seen) == len(set(seen))
    assert min(seen) >= 0
    assert len(seen) + it.remainder + it.discarded == len(sentences)
    rows = it.bucket_table()
    assert {row.key: row.sentences for row in rows if not row.batches} == it.short_buckets
    assert sum(row.sentences for row in rows) == len(sentences) - it.discarded


@pytest.mark.slow
def test_a_million_sentences_take_seconds():
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 50, 1_000_000)
    words = generator.integers(1, 10_000, lengths.sum()).tolist()
    ends = np.cumsum(lengths).tolist()
    sentences = [words[a:b] for a, b in zip([0, *ends], ends)]
    begin = time.process_time()
    it = BucketSentenceIter(sentences, 32, [10, 20, 30, 40, 60], seed=0)
    it.reset()
    # About 1.2 s of a processor; the rest is room for slower ones.
    assert time.process_time() - begin < 10
    assert sum(row.sentences for row in it.bucket_table()) == 1_000_000
