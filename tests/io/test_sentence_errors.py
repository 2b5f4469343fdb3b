"""Bad input to the text iterators, with the text of each error."""

from __future__ import annotations

import numpy as np
import pytest

from symbucket.errors import DataError, InvalidArgumentError, NameConflictError
from symbucket.io import BucketSentenceIter, StepSentenceIter

GOOD = [[1, 2], [3, 4, 5]]

BAD_SENTENCES = [
    ([], "sentences is empty"),
    ("abc", "sentences is a str; expected a list of sentences"),
    (5, "sentences is a int"),
    ([[1], [], [2], []], r"sentence 1 is empty \(2 of 4 are\); leave empty sentences out"),
    ([[1], 5], "sentence 1 is 5; expected a list of integers"),
    ([[[1], [1, 2]], 5], "sentence 1 is 5"),
    ([[1], np.array(5)], r"sentence 1 is array\(5\)"),
    ([[1], [2, 3.0]], r"sentence 1 has the token 3.0 \(float\); expected integers"),
    ([[1], ["a"]], "sentence 1 has the token 'a' .*encode_sentences first"),
    (["ab"], "sentence 0 has the token 'a'"),
    ([[True]], r"token True \(bool\)"),
    ([[None]], "token None"),
    ([np.array([1.0, 2.0])], r"token 1.0 \(float\)"),
    ([np.array([[1, 2]])], r"token \[1, 2\] \(list\)"),
    ([[1], [2**24 + 1]], "sentence 1 has the token 16777217, which dtype float32 cannot hold"),
    ([[2**70]], "does not fit 64 bits"),
    ([np.array([2**63], np.uint64)], "does not fit 64 bits"),
]


@pytest.mark.parametrize(("sentences", "text"), BAD_SENTENCES)
@pytest.mark.parametrize("kind", [BucketSentenceIter, StepSentenceIter])
def test_bad_sentences(kind, sentences, text):
    with pytest.raises(DataError, match=text):
        kind(sentences, 1, [5])


@pytest.mark.parametrize(
    ("buckets", "text"),
    [
        ([5, 3], "buckets is not sorted: 5 comes before 3; expected ascending"),
        ([3, 5, 5], "buckets holds 5 twice"),
        ([0, 5], "buckets holds 0, which is no positive integer"),
        ([-1], "buckets holds -1"),
        ([2.5], "buckets holds 2.5"),
        ([True], "buckets holds True"),
        (5.0, "buckets is 5.0"),
        ("5", "buckets is '5'; expected ascending sentence lengths, a number of buckets, 'auto'"),
    ],
)
def test_bad_buckets(buckets, text):
    with pytest.raises(DataError, match=text):
        BucketSentenceIter(GOOD, 1, buckets)


def test_no_bucket_yields_a_batch(caplog):
    with pytest.raises(
        DataError,
        match=r"no bucket yields a batch of batch_size = 4: bucket 2 holds 1 sentence, bucket 3 "
        r"holds 2 sentences. Use a batch_size of at most 2, .*last_batch='pad'",
    ):
        BucketSentenceIter([*GOOD, [6, 7, 8]], 4, [2, 3])
    assert not caplog.records


def test_all_sentences_too_long():
    with pytest.raises(
        DataError,
        match=r"all 2 sentences are longer than the largest bucket \(1\), the shortest has 2",
    ):
        BucketSentenceIter(GOOD, 1, [1], last_batch="pad")


def test_no_buckets_can_be_chosen():
    with pytest.raises(
        DataError,
        match=r"none of the 2 lengths \(2 to 3 tokens\) has batch_size = 9 sentences, the most "
        r"frequent \(3 tokens\) has 2. Give buckets=\[...\], or use a batch_size of at most 2",
    ):
        BucketSentenceIter([*GOOD, [6, 7, 8]], 9)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected an integer of 1 or more"),
        ({"batch_size": -2}, "batch_size is -2"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"batch_size": True}, "batch_size is True"),
        ({"invalid_label": 0.5}, "invalid_label is 0.5"),
        ({"invalid_label": -1, "dtype": "uint8"}, "invalid_label -1 does not fit dtype uint8"),
        ({"dtype": "float33"}, "dtype is 'float33'; expected an integer or float type"),
        ({"dtype": bool}, "expected an integer or float type"),
        ({"layout": "NTC"}, "layout is 'NTC'; expected one of 'NT', 'TN'"),
        ({"last_batch": "roll"}, "last_batch is 'roll'; expected one of 'discard', 'pad'"),
        ({"seed": -1}, "seed is -1; expected an integer of 0 or more"),
        ({"seed": "x"}, "seed is 'x'"),
    ],
)
def test_bad_options(arguments, text):
    with pytest.raises(InvalidArgumentError, match=text):
        BucketSentenceIter(**{"sentences": GOOD, "batch_size": 1, "buckets": [5], **arguments})


def test_tokens_fit_narrow_dtypes_exactly():
    sentences = [[2048, 255]]
    it = BucketSentenceIter(sentences, 1, [2], dtype="float16")
    assert it.next().data[0].asnumpy().tolist() == sentences
    with pytest.raises(DataError, match=r"token 2049, which dtype float16 .*-2048 to 2048"):
        BucketSentenceIter([[2049]], 1, [2], dtype="float16")
    with pytest.raises(DataError, match="token 256, which dtype uint8"):
        BucketSentenceIter([[256]], 1, [2], invalid_label=0, dtype="uint8")


def test_one_name_for_data_and_labels():
    with pytest.raises(NameConflictError, match="data_name and label_name are both 'x'"):
        BucketSentenceIter(GOOD, 1, [5], data_name="x", label_name="x")
