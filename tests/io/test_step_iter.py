"""StepSentenceIter: one array per time step, and initial states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbucket.errors import DataError, NameConflictError
from symbucket.io import BucketSentenceIter, DataDesc, StepSentenceIter

SENTENCES = [[1, 2], [3, 4, 5], [6], [7, 8, 9]]
STATES = [("l0_init_c", (2, 5)), DataDesc("l0_init_h", (2, 5), "float64")]


def test_names_shapes_and_states():
    it = StepSentenceIter(SENTENCES, 2, [2, 3], STATES, shuffle=False)
    assert it.default_bucket_key == 3
    assert it.provide_data == [
        *[(f"data/{t}", (2,)) for t in range(3)],
        DataDesc("l0_init_c", (2, 5)),
        DataDesc("l0_init_h", (2, 5), "float64"),
    ]
    assert it.provide_label == [(f"label/{t}", (2,)) for t in range(3)]
    batch = it.next()
    assert batch.bucket_key == 2
    assert [desc.name for desc in batch.provide_data] == [
        "data/0", "data/1", "l0_init_c", "l0_init_h",
    ]  # fmt: skip
    assert [a.asnumpy().tolist() for a in batch.data[:2]] == [[1, 6], [2, 0]]
    assert [a.asnumpy().tolist() for a in batch.label] == [[2, 0], [0, 0]]
    assert all(a.view().flags.c_contiguous for a in batch.data + batch.label)
    for array, desc in zip(batch.data, batch.provide_data, strict=True):
        assert (array.shape, array.dtype) == (desc.shape, desc.dtype)
    assert not batch.data[2].asnumpy().any()
    assert not batch.data[3].asnumpy().any()


def test_states_are_fresh_zeros_in_every_batch():
    it = StepSentenceIter(SENTENCES, 1, [3], STATES[:1])
    it.next().data[-1][:] = 7
    assert not it.next().data[-1].asnumpy().any()


def test_own_names_and_dtype():
    it = StepSentenceIter(
        SENTENCES, 1, [3], data_name="x", label_name="y", dtype="int64", invalid_label=-1, seed=0
    )
    batch = it.next()
    assert [desc.name for desc in batch.provide_data] == ["x/0", "x/1", "x/2"]
    assert batch.data[0].dtype == np.int64
    assert batch.label[-1].asnumpy().tolist() == [-1]


@settings(deadline=None, print_blob=True)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=30),
    batch_size=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_same_batches_as_bucket_sentence_iter(lengths, batch_size, seed):
    sentences = [list(range(1, n + 1)) for n in lengths]
    options = {"invalid_label": 0, "seed": seed, "last_batch": "pad"}
    steps = StepSentenceIter(sentences, batch_size, [3, 8], **options)
    whole = BucketSentenceIter(sentences, batch_size, [3, 8], **options)
    for _ in range(2):
        for step, batch in zip(steps, whole, strict=True):
            assert (step.bucket_key, step.pad) == (batch.bucket_key, batch.pad)
            np.testing.assert_array_equal(step.index, batch.index)
            np.testing.assert_array_equal(np.stack(step.data, axis=1), batch.data[0])
            np.testing.assert_array_equal(np.stack(step.label, axis=1), batch.label[0])
        steps.reset()
        whole.reset()


@pytest.mark.parametrize(
    ("states", "error", "text"),
    [
        ([("c", ())], DataError, r"'c' has shape \(\); expected positive sizes"),
        ([("c", (0, 5))], DataError, r"'c' has shape \(0, 5\)"),
        (("c", (2, 5)), DataError, r"init_states\[0\] is 'c'; expected a list"),
        ([("c", (2,)), ("c", (2,))], NameConflictError, "init_states has two arrays named 'c'"),
        ([("data/0", (2,))], NameConflictError, "two arrays named 'data/0'"),
        ([("label/1", (2,))], NameConflictError, "two arrays named 'label/1'"),
    ],
)
def test_bad_states(states, error, text):
    with pytest.raises(error, match=text):
        StepSentenceIter(SENTENCES, 1, [3], states)


def test_one_name_for_data_and_labels():
    with pytest.raises(NameConflictError, match="two arrays named 'x/0'"):
        StepSentenceIter(SENTENCES, 1, [3], data_name="x", label_name="x")
