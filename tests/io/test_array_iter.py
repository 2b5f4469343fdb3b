"""NDArrayIter against MXNet's description of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symbucket as sb
from symbucket.errors import DataError, InvalidArgumentError, NameConflictError, StateError
from symbucket.io import DataDesc, NDArrayIter

DATA = np.arange(20).reshape(10, 2)
LABEL = np.arange(10)


def first_columns(it):
    return [batch.data[0][:, 0].asnumpy().astype(int).tolist() for batch in it]


def test_pad_wraps_from_the_start():
    it = NDArrayIter(DATA, LABEL, 4)
    batches = list(it)
    assert [batch.pad for batch in batches] == [0, 0, 2]
    assert batches[2].label[0].asnumpy().tolist() == [8, 9, 0, 1]
    np.testing.assert_array_equal(batches[2].data[0], DATA[[8, 9, 0, 1]])
    assert batches[2].index.tolist() == [8, 9, 0, 1]
    assert list(it) == []
    it.reset()
    assert first_columns(it) == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18, 0, 2]]


def test_pad_wraps_more_than_once_in_a_wide_batch():
    batch = NDArrayIter(np.arange(3), None, 8).next()
    assert batch.data[0].asnumpy().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert batch.pad == 5


def test_no_pad_where_rows_fit():
    assert [batch.pad for batch in NDArrayIter(DATA, None, 5)] == [0, 0]


def test_discard_drops_the_rest():
    it = NDArrayIter(DATA, LABEL, 4, last_batch_handle="discard")
    assert first_columns(it) == [[0, 2, 4, 6], [8, 10, 12, 14]]


def test_roll_over_opens_the_next_epoch_with_the_rest():
    it = NDArrayIter(np.arange(10), None, 4, last_batch_handle="roll_over")
    epochs = []
    for _ in range(3):
        epochs.append([batch.data[0].asnumpy().astype(int).tolist() for batch in it])
        it.reset()
    assert epochs == [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[8, 9, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]],
        [[0, 1, 2, 3], [4, 5, 6, 7]],
    ]


def test_roll_over_forgets_after_a_broken_epoch_or_hard_reset():
    it = NDArrayIter(np.arange(5), None, 2, last_batch_handle="roll_over")
    list(it)
    it.reset()
    it.reset()  # not begun: still holds row 4
    assert it.next().data[0].asnumpy().tolist() == [4, 0]
    it.reset()
    assert it.next().data[0].asnumpy().tolist() == [0, 1]
    list(it)
    it.hard_reset()
    assert it.next().data[0].asnumpy().tolist() == [0, 1]


def test_roll_over_gathers_until_a_wide_batch_is_full():
    it = NDArrayIter(np.arange(3), None, 4, last_batch_handle="roll_over")
    assert list(it) == []
    it.reset()
    assert it.next().data[0].asnumpy().tolist() == [0, 1, 2, 0]


def test_descriptions_and_names():
    it = NDArrayIter({"b": DATA, "a": DATA[:, 0]}, [LABEL, LABEL], 3, label_name="y")
    assert it.provide_data == [DataDesc("a", (3,)), DataDesc("b", (3, 2))]
    assert [desc.name for desc in it.provide_label] == ["_0_y", "_1_y"]
    batch = it.next()
    assert [array.shape for array in batch.data] == [(3,), (3, 2)]
    assert all(array.dtype == np.float32 for array in batch.data + batch.label)
    it = NDArrayIter([DATA], (LABEL,), 3)
    assert it.provide_data == [("data", (3, 2))]
    assert it.provide_label == [("softmax_label", (3,))]
    assert NDArrayIter(DATA).provide_label == []
    many = NDArrayIter([np.full(1, i) for i in range(11)])
    assert [array[0] for array in many.next().data] == list(range(11))


def test_shuffle_repeats_by_seed_and_keeps_data_with_label():
    def epochs(seed):
        it = NDArrayIter(np.arange(50), np.arange(50) * 2, 7, shuffle=True, seed=seed)
        result = []
        for _ in range(2):
            for batch in it:
                np.testing.assert_array_equal(batch.data[0] * 2, batch.label[0])
                result.append(batch.data[0].asnumpy().tolist())
            it.reset()
        return result

    one = epochs(5)
    assert one == epochs(5)
    assert one != epochs(6)
    assert one[:8] != one[8:]


def test_global_generator_is_untouched():
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    list(NDArrayIter(DATA, None, 3, shuffle=True))
    assert np.random.random() == expected


@settings(deadline=None, print_blob=True)
@given(
    rows=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    handle=st.sampled_from(["pad", "discard", "roll_over"]),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_every_row_once(rows, batch_size, handle, shuffle, seed):
    if handle == "discard":
        rows = max(rows, batch_size)
    it = NDArrayIter(np.arange(rows), None, batch_size, shuffle, handle, seed=seed)
    seen = []
    epochs = 3
    for _ in range(epochs):
        epoch = []
        for batch in it:
            assert batch.data[0].shape == (batch_size,)
            np.testing.assert_array_equal(batch.data[0], batch.index)
            epoch += batch.index[: batch_size - batch.pad].tolist()
        if handle == "pad":
            assert sorted(epoch) == list(range(rows))
        elif handle == "discard":
            assert len(epoch) == len(set(epoch)) == rows // batch_size * batch_size
        seen += epoch
        it.reset()
    if handle == "roll_over":
        assert len(seen) == epochs * rows // batch_size * batch_size
        counts = np.bincount(seen, minlength=rows)
        assert counts.max() <= epochs
        assert counts.sum() == len(seen)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"data": DATA, "label": LABEL[:9]}, DataError, "'softmax_label' has 9 rows but 'data'"),
        ({"data": []}, DataError, "holds no array"),
        ({"data": np.zeros((0, 2))}, DataError, "'data' has no rows"),
        ({"data": 3}, DataError, "single number"),
        ({"data": None}, DataError, "dtype object; expected numbers"),
        ({"data": np.array(["a"])}, DataError, "expected numbers"),
        ({"data": [[[1], [1, 2]]]}, DataError, "cannot be made an array"),
        ({"data": {3: DATA}}, DataError, "key 3; expected a string"),
        ({"data": np.array([2**24 + 1])}, DataError, "float32 is exact only up to 16777216"),
        (
            {"data": DATA, "batch_size": 11, "last_batch_handle": "discard"},
            DataError,
            "10 rows do not fill one batch of 11",
        ),
        ({"data": DATA, "label": LABEL, "label_name": "data"}, NameConflictError, "named 'data'"),
        ({"data": DATA, "batch_size": 0}, InvalidArgumentError, "batch_size is 0"),
        ({"data": DATA, "batch_size": 2.0}, InvalidArgumentError, "batch_size is 2.0"),
        (
            {"data": DATA, "last_batch_handle": "wrap"},
            InvalidArgumentError,
            "'wrap'; expected",
        ),
        ({"data": DATA, "seed": -1}, InvalidArgumentError, "seed is -1"),
    ],
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        NDArrayIter(**arguments)


def test_no_current_batch():
    it = NDArrayIter(DATA)
    with pytest.raises(StateError, match="no current batch"):
        it.getdata()


def test_batches_and_the_iterator_hold_ndarrays():
    x, y = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6)
    it = NDArrayIter(x, y, 4)
    ((name, data),) = it.data
    assert (name, data.shape) == ("data", (6, 2))
    assert it.label[0][1].asnumpy().tolist() == y.tolist()
    first, second = it
    for array in (*first.data, *first.label, *second.data):
        assert isinstance(array, sb.NDArray)
    first.data[0][:] = -1  # a batch belongs to who takes it
    it.reset()
    np.testing.assert_array_equal(it.next().data[0].asnumpy(), x[:4])
    np.testing.assert_array_equal(x[:2], [[0, 1], [2, 3]])
    transposed = NDArrayIter(np.asfortranarray(x), y, 3)
    np.testing.assert_array_equal(transposed.next().data[0].asnumpy(), x[:3])


@pytest.mark.parametrize("kind", ["BucketSentenceIter", "StepSentenceIter", "KeyedIter"])
def test_batches_of_buckets_hold_ndarrays(kind):
    sentences = [[1, 2, 3]] * 4
    if kind == "KeyedIter":
        it = sb.io.KeyedIter([3] * 4, sentences, batch_size=2)
    else:
        it = getattr(sb.io, kind)(sentences, 2, [3], invalid_label=0)
    batch = next(iter(it))
    assert all(isinstance(a, sb.NDArray) for a in [*batch.data, *(batch.label or [])])
