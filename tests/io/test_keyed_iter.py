"""KeyedIter: samples with keys, batches of one key each."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symbucket as sb
from symbucket.errors import DataError, InvalidArgumentError, NameConflictError, StateError
from symbucket.io import KeyedIter, ResizeIter

KEYS = ["short", "long", "short", "long", "short"]
DATA = [[0], [10, 11], [1], [12, 13], [2]]
LABEL = [5, 6, 7, 8, 9]


def seen(it):
    """One epoch as plain data."""
    return [
        (
            b.bucket_key,
            b.pad,
            b.index.tolist(),
            b.data[0].asnumpy().tolist(),
            b.label[0].asnumpy().tolist(),
        )
        for b in it
    ]


def test_batches_of_one_key_in_the_order_given():
    it = KeyedIter(KEYS, DATA, LABEL, 2, shuffle=False)
    assert seen(it) == [
        ("short", 0, [0, 2], [[0], [1]], [5, 7]),
        ("long", 0, [1, 3], [[10, 11], [12, 13]], [6, 8]),
    ]
    assert (len(it), it.num_data, it.remainder, it.short_buckets) == (2, 5, 1, {})
    assert it.buckets == ["short", "long"]


@pytest.mark.parametrize(
    ("last_batch", "rest"),
    [
        ("pad", ("short", 1, [4, 0], [[2], [0]], [9, 5])),
        ("keep", ("short", 0, [4], [[2]], [9])),
    ],
)
def test_samples_that_fill_no_batch(last_batch, rest):
    it = KeyedIter(KEYS, DATA, LABEL, 2, shuffle=False, last_batch=last_batch)
    assert (len(it), it.remainder) == (3, 0)
    assert seen(it)[1] == rest
    it.reset()
    batch = [*it][1]
    assert batch.provide_data[0].shape == batch.data[0].shape
    assert batch.provide_label[0].shape == batch.label[0].shape


def test_a_batch_wider_than_its_key_repeats_it_as_often_as_it_takes():
    it = KeyedIter(["a", "b", "a"], [1, 2, 3], None, 5, shuffle=False, last_batch="pad")
    assert [(b.pad, b.index.tolist()) for b in it] == [(3, [0, 2, 0, 2, 0]), (4, [1] * 5)]


def test_descriptions_are_those_of_the_largest_samples():
    it = KeyedIter(KEYS, DATA, LABEL, 2, data_name="x", label_name="y")
    assert it.default_bucket_key == "long"
    assert it.provide_data == [("x", (2, 2))]
    assert it.provide_label == [("y", (2,))]
    assert it.provide_data[0].dtype == it.next().data[0].dtype == np.float32
    assert KeyedIter(KEYS, DATA, LABEL, 2, default_bucket_key="short").provide_data == [
        ("data", (2, 1))
    ]
    assert KeyedIter(KEYS, DATA).provide_label == []
    # Of keys that are equally large, the first.
    assert KeyedIter([7, 3, 9], [1, 2, 3]).default_bucket_key == 7


def test_several_arrays_and_names_that_depend_on_the_key():
    keys = [("read", 2), ("count", 1), ("read", 2)]
    data = [{"words": [1, 2], "lengths": 2}, {"number": 4}, {"words": [3, 0], "lengths": 1}]
    label = [{"kind": 0}, {"next": [5]}, {"kind": 1}]
    it = KeyedIter(keys, data, label, 2, shuffle=False, last_batch="keep")
    first, second = it
    assert [(d.name, d.shape) for d in first.provide_data] == [("words", (2, 2)), ("lengths", (2,))]
    assert [a.asnumpy().tolist() for a in first.data] == [[[1, 2], [3, 0]], [2, 1]]
    assert [(d.name, d.shape) for d in second.provide_data] == [("number", (1,))]
    assert [(d.name, d.shape) for d in second.provide_label] == [("next", (1, 1))]


def test_a_default_key_without_samples_is_described():
    it = KeyedIter(
        KEYS, DATA, LABEL, 2,
        default_bucket_key="all", provide_data=[("data", (2, 9))], provide_label=[("y", (2,))],
    )  # fmt: skip
    assert it.default_bucket_key == "all"
    assert (it.provide_data, it.provide_label) == ([("data", (2, 9))], [("y", (2,))])
    assert {batch.bucket_key for batch in it} == {"short", "long"}


def test_epochs_are_mixed_anew_and_repeat_by_seed():
    keys = [i % 3 for i in range(60)]

    def epochs(seed):
        it = KeyedIter(keys, range(60), None, 4, seed=seed)
        found = []
        for _ in range(2):
            found.append([(b.bucket_key, b.index.tolist()) for b in it])
            it.reset()
        assert it.epoch == 2
        return found

    one = epochs(5)
    assert one == epochs(5)
    assert one != epochs(6)
    assert one[0] != one[1]
    assert {frozenset(rows) for _, rows in one[0]} != {frozenset(rows) for _, rows in one[1]}
    assert len({key for key, _ in one[0][:5]}) > 1  # keys take turns


@settings(deadline=None, print_blob=True)
@given(
    keys=st.lists(st.sampled_from(["a", ("b", 1), 3]), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    last_batch=st.sampled_from(["discard", "pad", "keep"]),
    shuffle=st.booleans(),
)
def test_every_sample_comes_once_under_its_key(keys, batch_size, last_batch, shuffle):
    batch_size = min(batch_size, max(keys.count(key) for key in keys))
    it = KeyedIter(
        keys, range(len(keys)), None, batch_size, seed=0, shuffle=shuffle, last_batch=last_batch
    )
    for _ in range(2):
        batches = list(it)
        assert len(batches) == len(it)
        rows = [r for b in batches for r in b.index[: len(b.index) - b.pad].tolist()]
        assert len(set(rows)) == len(rows) == len(keys) - it.remainder
        for batch in batches:
            assert batch.data[0].asnumpy().tolist() == batch.index.tolist()
            assert {keys[i] for i in batch.index} == {batch.bucket_key}
            assert len(batch.index) == batch_size or last_batch == "keep"
        it.reset()


def test_the_other_half_of_the_protocol():
    it = KeyedIter(KEYS, DATA, LABEL, 2)
    with pytest.raises(StateError, match=r"KeyedIter: no current batch; call next\(\)"):
        it.getdata()
    assert it.iter_next()
    assert (len(it.getdata()[0]), it.getlabel()[0].shape, it.getpad()) == (2, (2,), 0)
    assert len(it.getindex()) == 2
    assert len(list(ResizeIter(it, 7))) == 7


def test_a_batch_belongs_to_who_takes_it():
    it = KeyedIter([1], [[1, 2]])
    it.next().data[0][...] = 0
    it.reset()
    assert it.next().data[0].asnumpy().tolist() == [[1, 2]]


def test_a_bucketing_module_learns_from_it():
    """Which of the places holds the one: rows of 3 places and rows of 5."""
    keys = [3, 5] * 40
    rng = np.random.default_rng(0)
    label = [int(rng.integers(key)) for key in keys]
    data = [np.eye(key)[place] for key, place in zip(keys, label)]

    def sym_gen(places):
        rows = sb.sym.Reshape(sb.sym.Variable("data"), shape=(0, 0, 1))
        scores = sb.sym.FullyConnected(rows, num_hidden=1, flatten=False, name="score")
        scores = sb.sym.Reshape(scores, shape=(0, -1))
        return sb.sym.SoftmaxOutput(scores, name="softmax"), ["data"], ["softmax_label"]

    train = KeyedIter(keys, data, label, 8)
    module = sb.mod.BucketingModule(sym_gen, train.default_bucket_key)
    module.fit(train, optimizer_params={"learning_rate": 1.0}, num_epoch=10)
    assert module.bucket_keys == [5, 3]
    assert dict(module.score(train, "acc"))["accuracy"] == 1
    parameters = module.get_params()[0]
    assert parameters["score_weight"].asnumpy()[0, 0] > 1


def test_short_keys_are_told(caplog):
    with caplog.at_level(logging.WARNING, "symbucket.io"):
        it = KeyedIter(KEYS, DATA, LABEL, 3)
    assert it.short_buckets == {"long": 2}
    assert caplog.messages == [
        "KeyedIter: buckets with fewer samples than batch_size = 3 yield no batch: bucket long "
        "holds 2 samples"
    ]


def test_keys_of_an_array_are_plain_numbers():
    it = KeyedIter(np.array([4, 8]), np.zeros((2, 3)))
    assert {type(batch.bucket_key) for batch in it} == {int}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"keys": []}, DataError, "keys is empty"),
        ({"keys": "short"}, DataError, "keys is a str; expected a list with one entry for each"),
        ({"keys": [1, 2]}, DataError, "data has 5 samples, but there are 2 keys"),
        ({"label": [1]}, DataError, "label has 1 samples, but there are 5 keys"),
        ({"keys": [1, 2, None, 1, 1]}, DataError, r"keys\[2\] is None, .* use NDArrayIter"),
        ({"keys": [1, [2], 1, 1, 1]}, DataError, r"keys\[1\] is \[2\], which is not hashable"),
        ({"data": {"x": DATA}}, DataError, "data is a dict; expected a list"),
        (
            {"data": [[0], [10, 11], [1], [12], [2]]},
            DataError,
            r"data\[3\], array 'data', has shape \(1,\), but data\[1\] of the same bucket key "
            r"'long' has \(2,\); pad them",
        ),
        (
            {"data": [{"x": 1}, 1, {"y": 1}, 1, {"x": 1}]},
            DataError,
            r"data\[2\] has the arrays 'y', but data\[0\] of the same bucket key 'short' has 'x'",
        ),
        ({"data": [{}] * 5}, DataError, "samples of bucket key 'short' hold no data array"),
        ({"data": [[[1], [2, 3]]] * 5}, DataError, r"data\[0\], array 'data' cannot be made an"),
        ({"data": list("abcde")}, DataError, "bucket key 'short' has dtype <U1; expected numbers"),
        ({"label": [2**24 + 1] * 5}, DataError, "'softmax_label' of bucket key 'short' holds"),
        ({"batch_size": 4}, DataError, "no bucket yields a batch of batch_size = 4: bucket short "
                                       "holds 3 samples, bucket long holds 2 samples. Use"),
        ({"label_name": "data"}, NameConflictError, "both have an array named 'data'"),
        ({"batch_size": 0}, InvalidArgumentError, "batch_size is 0"),
        ({"last_batch": "drop"}, InvalidArgumentError, "expected one of 'discard', 'pad', 'keep'"),
        ({"seed": -1}, InvalidArgumentError, "seed is -1"),
        (
            {"default_bucket_key": "all"},
            InvalidArgumentError,
            "no sample has the default_bucket_key 'all'; .* one of the keys 'short', 'long'",
        ),
        ({"default_bucket_key": ["all"]}, DataError, r"default_bucket_key is \['all'\], which is"),
        (
            {"provide_data": [("data", (2, 2))]},
            InvalidArgumentError,
            "'long' has some, which describe it; leave them out",
        ),
    ],
)  # fmt: skip
def test_errors(changed, error, message):
    given_ = {"keys": KEYS, "data": DATA, "label": LABEL, "batch_size": 2, **changed}
    with pytest.raises(error, match=message):
        KeyedIter(**given_)
