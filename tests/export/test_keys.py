"""Bucket keys as JSON and as file names."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbucket.errors import InvalidArgumentError
from symbucket.export.keys import decode_key, encode_key, file_name, sizes_of

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=60),
)
KEYS = st.recursive(LEAVES, lambda k: st.lists(k, max_size=4).map(tuple), max_leaves=8)


@given(KEYS)
def test_a_key_comes_back_from_json(key):
    text = json.dumps(encode_key(key), allow_nan=False)
    found = decode_key(json.loads(text))
    assert found == key
    assert hash(found) == hash(key)


@given(KEYS, KEYS)
def test_file_names_are_plain_and_differ(first, second):
    names = [file_name(k) for k in (first, second)]
    for name in names:
        assert re.fullmatch(r"key-[A-Za-z0-9-]{1,60}\.onnx", name)
    if json.dumps(encode_key(first)) != json.dumps(encode_key(second)):
        assert names[0].lower() != names[1].lower()
    else:
        assert names[0] == names[1]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (20, "key-20.onnx"),
        (np.int64(20), "key-20.onnx"),
        ((32, 64), "key-32x64.onnx"),
        ((20,), "key-20x.onnx"),
        ("32x64", "key-32x64-d76164418c6a.onnx"),
        ("next word", "key-next-word-ee154d5628b8.onnx"),
        (-3, "key-3-615bdd17c255.onnx"),
        (("en", 10), "key-en-10-94642c969fb0.onnx"),
        ("../../etc", None),
        ("", None),
        ("a" * 5000, None),
    ],
)
def test_file_names_never_change(key, name):
    found = file_name(key)
    assert name is None or found == name
    assert len(found) < 70
    assert "/" not in found


@pytest.mark.parametrize("key", [frozenset([1]), b"x", float("nan"), (1, float("inf")), object()])
def test_keys_that_no_file_can_hold(key):
    with pytest.raises(InvalidArgumentError, match="cannot be written to a manifest"):
        encode_key(key)


@pytest.mark.parametrize("value", [{}, {"a": 1}, [1, {}], float("inf")])
def test_values_that_are_no_keys(value):
    with pytest.raises(InvalidArgumentError, match="is not a bucket key"):
        decode_key(value)


def test_only_integers_are_sizes():
    assert sizes_of(7) == (7,)
    assert sizes_of((7, np.int32(8))) == (7, 8)
    for key in ("7", True, (1, True), (), 7.0, (1, "a"), None, ((1, 2),)):
        assert sizes_of(key) is None
