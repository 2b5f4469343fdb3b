"""ResizeIter: epochs of another length over the same data."""

from __future__ import annotations

import numpy as np
import pytest

from symbucket.errors import DataError, InvalidArgumentError, StateError
from symbucket.io import BucketSentenceIter, DataIter, NDArrayIter, ResizeIter


def five() -> NDArrayIter:
    return NDArrayIter(np.arange(5), label=np.arange(5) * 10, batch_size=1)


def epoch(data: DataIter) -> list[int]:
    return [int(batch.data[0][0]) for batch in data]


@pytest.mark.parametrize(
    ("size", "reset_internal", "expected"),
    [
        (3, True, [[0, 1, 2], [0, 1, 2]]),
        (3, False, [[0, 1, 2], [3, 4, 0]]),
        (5, True, [[0, 1, 2, 3, 4]] * 2),
        (7, True, [[0, 1, 2, 3, 4, 0, 1]] * 2),
        (12, False, [[0, 1, 2, 3, 4] * 2 + [0, 1], [2, 3, 4, 0, 1] * 2 + [2, 3]]),
    ],
)
def test_epochs(size, reset_internal, expected):
    data = ResizeIter(five(), size, reset_internal)
    assert len(data) == size
    found = []
    for _ in expected:
        found.append(epoch(data))
        assert epoch(data) == []  # an epoch that is over stays so until reset
        data.reset()
    assert found == expected


def test_takes_over_what_describes_the_data():
    inner = BucketSentenceIter([[1, 2], [3, 4, 5], [6, 7]], 1, [2, 3], seed=0)
    data = ResizeIter(inner, 2)
    assert (data.provide_data, data.provide_label) == (inner.provide_data, inner.provide_label)
    assert (data.batch_size, data.default_bucket_key) == (1, 3)
    batch = data.next()
    assert batch.bucket_key in (2, 3)
    assert batch.data is data.getdata()
    assert batch.label is data.getlabel()
    assert batch.index is data.getindex()
    assert data.getpad() == batch.pad == 0


def test_each_epoch_is_a_new_one_of_the_inner_iterator():
    inner = BucketSentenceIter([[i, i] for i in range(1, 40)], 1, [2], seed=3)
    data = ResizeIter(inner, 4)
    first = [int(batch.index[0]) for batch in data]
    data.reset()
    assert inner.epoch == 1
    assert [int(batch.index[0]) for batch in data] != first


def test_errors():
    with pytest.raises(DataError, match=r"data_iter is \[1\]; expected a DataIter"):
        ResizeIter([1], 3)
    with pytest.raises(InvalidArgumentError, match="size is 0; expected an integer of 1 or more"):
        ResizeIter(five(), 0)
    data = ResizeIter(five(), 2)
    with pytest.raises(StateError, match=r"call next\(\)"):
        data.getdata()


def test_an_iterator_without_batches():
    class Nothing(DataIter):
        provide_data, provide_label = [], []

        def reset(self):
            pass

        def iter_next(self):
            return False

    with pytest.raises(DataError, match="Nothing has no batch even after a reset"):
        ResizeIter(Nothing(), 2).next()
