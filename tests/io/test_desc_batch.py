"""Descriptions, batches, and the iterator protocol."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    NameConflictError,
    UnsupportedError,
)
from symbucket.io import DataBatch, DataDesc, DataIter, normalize_descs
from symbucket.ndarray import array


def test_desc_is_the_pair_of_name_and_shape():
    desc = DataDesc("data", [np.int64(32), 10])
    name, shape = desc
    assert (name, shape) == ("data", (32, 10)) == desc
    assert type(shape[0]) is int
    assert (desc.name, desc.shape, desc.layout) == ("data", (32, 10), "NCHW")
    assert desc.dtype == np.float32
    assert desc.dtype == "float32"
    assert {("data", (32, 10)): 1}[desc] == 1
    assert repr(desc) == "DataDesc('data', (32, 10), float32, 'NCHW')"


def test_descs_compare_as_the_pairs_that_they_are():
    base = DataDesc("data", (2, 3), "int32", "NT")
    pair = ("data", (2, 3))
    for same in (base, pair, DataDesc(*pair, "int64", "NT"), DataDesc(*pair, "int32", "TN")):
        assert base == same
        assert same == base
        assert hash(base) == hash(same)
    for other in (DataDesc("date", (2, 3), "int32", "NT"), DataDesc("data", (3, 2), "int32", "NT")):
        assert base != other
        assert (base == other) is False
    assert base != ("data", (3, 2))


def test_desc_with_another_shape_keeps_the_rest():
    desc = DataDesc("data", (2, 3), "int32", "TN").with_shape((5, 4))
    assert (desc.name, desc.shape, desc.dtype, desc.layout) == ("data", (5, 4), "int32", "TN")
    assert desc.batch_axis == 1
    assert DataDesc("x", (2,), layout=None).batch_axis == 0
    assert DataDesc("x", (2,), layout="T").batch_axis == -1


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))]
)
def test_desc_survives_copies(clone):
    desc = DataDesc("data", (2, 3), "int32", "TN")
    assert clone(desc) == desc
    assert clone(desc).dtype == np.int32
    assert clone(desc).layout == "TN"


def test_desc_is_immutable():
    desc = DataDesc("data", (2, 3))
    with pytest.raises(AttributeError, match="immutable"):
        desc.dtype = np.int32


@pytest.mark.parametrize(
    ("layout", "axis"), [("NCHW", 0), ("NT", 0), ("TN", 1), ("TNC", 1), (None, 0), ("TC", -1)]
)
def test_batch_axis(layout, axis):
    assert DataDesc.get_batch_axis(layout) == axis
    assert DataDesc("data", (2, 3), layout=layout).batch_axis == axis


def test_a_description_of_another_shape_keeps_the_rest():
    desc = DataDesc("data", (2, 3), np.int64, "TN")
    assert desc.with_shape((4, 5)) == DataDesc("data", (4, 5), np.int64, "TN")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("", (2,)), "name is ''"),
        ((3, (2,)), "name is 3"),
        (("x", 5), "shape is 5; expected a tuple of non-negative integers"),
        (("x", array([10, 10])), "expected a tuple of non-negative integers"),
        (("x", "ab"), "shape is 'ab'"),
        (("x", (2, -1)), r"shape is \(2, -1\)"),
        (("x", (2, 1.5)), r"shape is \(2, 1.5\)"),
        (("x", (True, 2)), r"shape is \(True, 2\)"),
        (("x", (2,), "float33"), "dtype 'float33' is not one that numpy knows"),
        (("x", (2,), "int8", 3), "layout is 3"),
    ],
)
def test_bad_desc(arguments, text):
    with pytest.raises(DataError, match=text):
        DataDesc(*arguments)


@pytest.mark.parametrize("shape", [5, None, "ab", (2, 1.5), array([10, 10])])
def test_a_shape_of_another_type_is_a_type_error(shape):
    with pytest.raises(TypeError, match="expected a tuple of non-negative integers"):
        DataDesc("x", shape)


def test_normalize_takes_every_form():
    ready = DataDesc("a", (1,), "int8", "N")
    got = normalize_descs(
        [ready, ("b", (2, 3)), ["c", [4]], ("d", (5,), "int32"), ("e", (6, 7), "int64", "TN")]
    )
    assert got[0] is ready
    assert got[1:] == [
        DataDesc("b", (2, 3)),
        DataDesc("c", (4,)),
        DataDesc("d", (5,), "int32"),
        DataDesc("e", (6, 7), "int64", "TN"),
    ]
    assert normalize_descs([]) == []


@pytest.mark.parametrize(
    ("descs", "text"),
    [
        ("data", "provide_label is 'data'; expected a list"),
        (5, "provide_label is 5; expected a list"),
        (DataDesc("data", (2,)), "expected a list of DataDesc"),
        (("data", (32, 10)), r"provide_label\[0\] is 'data'; expected a list"),
        ([("data",)], r"provide_label\[0\] is \('data',\)"),
        ([("data", (2,)), None], r"provide_label\[1\] is None"),
    ],
)
def test_normalize_refuses_other_forms(descs, text):
    with pytest.raises(DataError, match=text):
        normalize_descs(descs, "provide_label")


def test_normalize_refuses_equal_names():
    with pytest.raises(NameConflictError, match="provide_data has two arrays named 'x'"):
        normalize_descs([("x", (1,)), ("y", (1,)), ("x", (2,))])


def test_batch_normalizes_descriptions():
    batch = DataBatch(
        [np.zeros((4, 5), np.float32)],
        (np.zeros(4),),
        pad=np.int64(1),
        bucket_key=("enc", 5),
        provide_data=[("data", (4, 5))],
        provide_label=(("label", (4,), "float64"),),
    )
    assert batch.provide_data == [DataDesc("data", (4, 5))]
    assert batch.provide_label == [DataDesc("label", (4,), "float64")]
    assert isinstance(batch.label, list)
    assert type(batch.pad) is int
    assert repr(batch) == (
        "DataBatch(data=[(4, 5) float32], label=[(4,) float64], bucket_key=('enc', 5), pad=1)"
    )


def test_batch_with_data_alone():
    batch = DataBatch([np.zeros(2, np.int8), np.zeros(2, np.int8), [1, 2]])
    assert (batch.label, batch.pad, batch.index, batch.bucket_key) == (None, None, None, None)
    assert (batch.provide_data, batch.provide_label) == (None, None)
    assert repr(batch) == "DataBatch(data=[2 x (2,) int8, list])"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"data": np.zeros(3)}, "data is a ndarray; expected a list of arrays .*data=\\[array\\]"),
        ({"data": [], "label": np.zeros(3)}, "label is a ndarray"),
        ({"data": [], "pad": -1}, "pad is -1"),
        ({"data": [], "pad": 1.0}, "pad is 1.0"),
        ({"data": [], "bucket_key": [5]}, r"bucket_key \[5\] is not hashable"),
        ({"data": [], "provide_data": ("data", (2,))}, r"provide_data\[0\] is 'data'"),
        ({"data": [], "provide_label": 3}, "provide_label is 3"),
    ],
)
def test_bad_batch(arguments, text):
    with pytest.raises(DataError, match=text):
        DataBatch(**arguments)


class Countdown(DataIter):
    """The least that a user's iterator defines."""

    def __init__(self):
        super().__init__(2)
        self.provide_data = [DataDesc("data", (2,))]
        self.provide_label = []
        self.left = 3

    def reset(self):
        self.left = 3

    def iter_next(self):
        self.left -= 1
        return self.left >= 0

    def getdata(self):
        return [np.full(2, self.left)]


def test_protocol_with_iter_next_and_getdata():
    it = Countdown()
    assert [batch.data[0][0] for batch in it] == [2, 1, 0]
    assert list(it) == []  # no rewind without reset
    it.reset()
    batch = it.next()
    assert (batch.label, batch.pad, batch.index) == (None, 0, None)
    assert it.default_bucket_key is None


def test_protocol_says_what_is_missing():
    bare = DataIter(3)
    assert bare.batch_size == 3
    with pytest.raises(UnsupportedError, match=r"DataIter does not define next\(\), or iter_next"):
        bare.next()
    with pytest.raises(UnsupportedError, match=r"DataIter does not define reset\(\)"):
        bare.reset()
    with pytest.raises(UnsupportedError, match=r"getdata\(\)"):
        bare.getdata()

    class Generated(DataIter):
        """Begins anew whenever it is asked for batches."""

        def __iter__(self):
            yield from range(3)

    data = Generated(1)
    assert [list(data), data.reset(), list(data)] == [[0, 1, 2], None, [0, 1, 2]]
    with pytest.raises(InvalidArgumentError, match="batch_size is -1"):
        DataIter(-1)
