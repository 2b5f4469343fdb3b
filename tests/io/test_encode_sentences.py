"""encode_sentences."""

from __future__ import annotations

import pytest

from symbucket.errors import DataError, InvalidArgumentError
from symbucket.io import encode_sentences


def test_new_vocabulary_numbers_words_as_they_come():
    encoded, vocab = encode_sentences([["a", "b", "a"], ["c", "\n"]])
    assert encoded == [[0, 1, 0], [2, -1]]
    assert vocab == {"\n": -1, "a": 0, "b": 1, "c": 2}


def test_invalid_label_is_left_out_of_the_numbers():
    encoded, vocab = encode_sentences([["a", "b", "c"]], invalid_label=1)
    assert encoded == [[0, 2, 3]]
    assert vocab["\n"] == 1


def test_tutorial_form():
    encoded, vocab = encode_sentences(
        [["x", "y"], ["y"]], invalid_label=0, invalid_key="<pad>", start_label=1
    )
    assert encoded == [[1, 2], [2]]
    assert vocab == {"<pad>": 0, "x": 1, "y": 2}
    again, same = encode_sentences([["y", "x"]], vocab=vocab, invalid_label=0, start_label=1)
    assert again == [[2, 1]]
    assert same is vocab


def test_a_string_is_letters():
    assert encode_sentences(["abca"])[0] == [[0, 1, 2, 0]]


def test_unknown_words_share_one_integer():
    vocab = {"<pad>": 0, "a": 1, "<unk>": 2}
    encoded, _ = encode_sentences([["a", "x"], ["y"]], vocab=vocab, unknown_token="<unk>")
    assert encoded == [[1, 2], [2]]
    assert vocab == {"<pad>": 0, "a": 1, "<unk>": 2}


def test_unknown_token_is_added_where_it_is_missing():
    vocab = {"<pad>": 3, "a": 1, "b": 2}
    encoded, same = encode_sentences([["x", "a", "y"]], vocab=vocab, unknown_token="<unk>")
    assert encoded == [[4, 1, 4]]
    assert same["<unk>"] == 4
    vocab = {"a": 1}
    encode_sentences([["x"]], vocab=vocab, invalid_label=2, unknown_token="<unk>")
    assert vocab == {"a": 1, "<unk>": 3}
    vocab = {}
    assert encode_sentences([["x"]], vocab, start_label=7, unknown_token="u")[0] == [[7]]
    untouched = {"a": 1}
    encode_sentences([["a"]], vocab=untouched, unknown_token="<unk>")
    assert untouched == {"a": 1}


def test_unknown_word_without_token():
    vocab = {"a": 0}
    with pytest.raises(
        DataError, match=r"sentence 1 has the word 'b', .*1 of vocab; pass unknown_"
    ):
        encode_sentences([["a"], ["b"]], vocab=vocab)
    assert vocab == {"a": 0}


def test_labels_are_integers():
    with pytest.raises(InvalidArgumentError, match="invalid_label is None"):
        encode_sentences([], invalid_label=None)
    with pytest.raises(InvalidArgumentError, match="start_label is 'x'"):
        encode_sentences([], start_label="x")
