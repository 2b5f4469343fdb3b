"""PartIter: together the workers have the joint batches."""

from __future__ import annotations

import numpy as np
import pytest

from symbucket.errors import DataError, InvalidArgumentError
from symbucket.io import BucketSentenceIter, NDArrayIter, PartIter

SENTENCES = [[i + 1] * (i % 7 + 1) for i in range(50)]


def _joint(layout="NT"):
    return BucketSentenceIter(
        SENTENCES, 6, [4, 7], invalid_label=0, seed=2, last_batch="pad", layout=layout
    )


@pytest.mark.parametrize("layout", ["NT", "TN"])
@pytest.mark.parametrize("workers", [1, 2, 3, 6])
def test_parts_are_the_rows_of_the_joint_batch(workers, layout):
    joint = _joint(layout)
    parts = [PartIter(_joint(layout), workers, i) for i in range(workers)]
    axis = layout.index("N")
    assert parts[0].default_bucket_key == 7
    assert parts[0].batch_size == 6 // workers
    assert len(parts[0]) == len(joint)
    for _ in range(2):
        for batch in joint:
            own = [part.next() for part in parts]
            assert {b.bucket_key for b in own} == {batch.bucket_key}
            for name in ("data", "label"):
                whole = np.asarray(getattr(batch, name)[0])
                rows = [np.asarray(getattr(b, name)[0]) for b in own]
                np.testing.assert_array_equal(np.concatenate(rows, axis), whole)
            assert np.concatenate([b.index for b in own]).tolist() == batch.index.tolist()
            assert sum(b.pad for b in own) == batch.pad
            for b in own:
                assert (b.index[len(b.index) - b.pad :] == -1).all()
                assert b.provide_data[0].shape == b.data[0].shape
        for part in parts:
            with pytest.raises(StopIteration):
                part.next()
            part.reset()
        joint.reset()


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(DataError, match=r"cannot be divided among 4 workers"):
        PartIter(_joint(), 4, 0)
    with pytest.raises(InvalidArgumentError, match="part_index is 2; with num_parts=2"):
        PartIter(_joint(), 2, 2)
    with pytest.raises(DataError, match="expected a DataIter"):
        PartIter([1, 2], 2, 0)


def test_any_iterator_can_be_divided():
    data = np.arange(8, dtype=np.float32).reshape(8, 1)
    part = PartIter(NDArrayIter(data, data[:, 0], batch_size=4), 2, 1)
    batches = [np.asarray(batch.data[0]).reshape(-1).tolist() for batch in part]
    assert batches == [[2.0, 3.0], [6.0, 7.0]]
