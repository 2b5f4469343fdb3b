"""Encoded sentences of all lengths in one flat array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from symbucket.checks import is_integer
from symbucket.errors import DataError, InvalidArgumentError


@dataclass(frozen=True)
class TokenStore:
    """Sentence ``i`` is ``tokens[starts[i] : starts[i] + lengths[i]]``.

    Flat storage holds no padding, whatever the buckets, and a batch is one gather.
    """

    tokens: NDArray[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def rows(self, ids: NDArray[np.int64], width: int, fill: int) -> NDArray[Any]:
        """Sentences ``ids`` as rows of shape (len(ids), width), padded with ``fill``.

        An id of -1 makes a row of ``fill`` alone. No sentence may be longer than ``width``.
        """
        column = np.arange(width)
        lengths = np.where(ids >= 0, self.lengths[ids], 0)
        held = column < lengths[:, None]
        result = np.full((len(ids), width), fill, dtype=self.tokens.dtype)
        result[held] = self.tokens[(self.starts[ids][:, None] + column)[held]]
        return result

    def cut(self, longest: int) -> TokenStore:
        """Return the sentences cut off after ``longest`` tokens."""
        return TokenStore(self.tokens, self.starts, np.minimum(self.lengths, longest))

    def split(self, longest: int) -> tuple[TokenStore, NDArray[np.int64]]:
        """Return sentences in parts of at most ``longest`` tokens, and the sentence of each part.

        A part begins with the last token of the part before it, so that each token but the first
        of a sentence is the successor of one, once.
        """
        if longest < 2:
            raise DataError("sentences cannot be split into parts of one token; use larger buckets")
        step = longest - 1
        parts = np.maximum(1, -(-(self.lengths - 1) // step))
        sentence = np.repeat(np.arange(len(parts)), parts)
        first = np.cumsum(parts) - parts
        offset = (np.arange(len(sentence)) - first[sentence]) * step
        lengths = np.minimum(self.lengths[sentence] - offset, longest)
        return TokenStore(self.tokens, self.starts[sentence] + offset, lengths), sentence


def store_sentences(sentences: Iterable[Any], dtype: DTypeLike, invalid_label: int) -> TokenStore:
    """Check sentences (sequences of integers) and store them as ``dtype``.

    Raises:
        DataError: no sentences, an empty one, one that is no sequence, a token that is no integer
            or that ``dtype`` cannot hold exactly.
        InvalidArgumentError: ``dtype`` is no integer or float type, or cannot hold
            ``invalid_label``.
    """
    low, high, checked = _exact_range(dtype)
    if not low <= invalid_label <= high:
        raise InvalidArgumentError(
            f"invalid_label {invalid_label} does not fit dtype {checked} (exact from {low} to "
            f"{high}); choose another label or dtype"
        )
    if isinstance(sentences, (str, bytes)) or not isinstance(sentences, Iterable):
        raise DataError(
            f"sentences is a {type(sentences).__name__}; expected a list of sentences, each a "
            "list of integers, as encode_sentences returns them"
        )
    listed = list(sentences)
    if not listed:
        raise DataError("sentences is empty; give at least one sentence")
    lengths = _lengths(listed)
    tokens = _flatten(listed, int(lengths.sum()))
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    if int(tokens.min()) < low or int(tokens.max()) > high:
        position = int(np.flatnonzero((tokens < low) | (tokens > high))[0])
        sentence = int(np.searchsorted(starts, position, side="right")) - 1
        raise DataError(
            f"sentence {sentence} has the token {tokens[position]}, which dtype {checked} cannot "
            f"hold exactly (it can from {low} to {high}); use a wider dtype, such as 'int64'"
        )
    return TokenStore(tokens.astype(checked), starts, lengths)


def _exact_range(dtype: DTypeLike) -> tuple[int, int, np.dtype[Any]]:
    """Lowest and highest integer up to which ``dtype`` holds every integer, and the dtype."""
    try:
        checked = np.dtype(dtype)
    except (TypeError, ValueError):
        checked = np.dtype(object)
    if checked.kind in "iu":
        info = np.iinfo(checked)
        return int(info.min), int(info.max), checked
    if checked.kind == "f":
        limit = 2 ** (int(np.finfo(checked.name).nmant) + 1)
        return -limit, limit, checked
    raise InvalidArgumentError(
        f"dtype is {dtype!r}; expected an integer or float type such as 'float32' or 'int32'"
    )


def _lengths(sentences: Sequence[Any]) -> NDArray[np.int64]:
    try:
        lengths = np.fromiter(map(len, sentences), np.int64, count=len(sentences))
    except TypeError:
        position = next(i for i, sentence in enumerate(sentences) if not _has_length(sentence))
        raise DataError(
            f"sentence {position} is {sentences[position]!r}; expected a list of integers"
        ) from None
    if not lengths.all():
        empty = np.flatnonzero(lengths == 0)
        raise DataError(
            f"sentence {empty[0]} is empty ({len(empty)} of {len(sentences)} are); "
            "leave empty sentences out"
        )
    return lengths


def _has_length(sentence: Any) -> bool:
    try:
        len(sentence)
    except TypeError:  # a number, a generator, an array without axes
        return False
    return True


def _flatten(sentences: list[Any], total: int) -> NDArray[np.int64]:
    if all(_is_index_array(sentence) for sentence in sentences):
        return np.concatenate(sentences, dtype=np.int64)
    for position, sentence in enumerate(sentences):
        if isinstance(sentence, (Set, Mapping)):
            raise DataError(
                f"sentence {position} is a {type(sentence).__name__}, whose items are in no order "
                "of a sentence; expected a list of integers"
            )
    plain = [s.tolist() if isinstance(s, np.ndarray) else s for s in sentences]
    # One look at all types costs less than a check of each token on its way into the array.
    kinds = set(map(type, chain.from_iterable(plain)))
    if not all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in kinds):
        raise _bad_token(plain)
    try:
        return np.fromiter(chain.from_iterable(plain), np.int64, count=total)
    except OverflowError as error:
        raise DataError(
            "a token does not fit 64 bits; tokens are positions in a vocabulary"
        ) from error


def _is_index_array(sentence: object) -> bool:
    # uint64 may hold what int64 cannot; it takes the slower way, which notices.
    return (
        isinstance(sentence, np.ndarray)
        and not isinstance(sentence, np.ma.MaskedArray)  # what is masked is no token
        and sentence.ndim == 1
        and sentence.dtype.kind in "iu"
        and sentence.dtype != np.uint64
    )


def _bad_token(sentences: list[Any]) -> DataError:
    position, token = next(
        (i, token)
        for i, sentence in enumerate(sentences)
        for token in sentence
        if not is_integer(token)
    )
    advice = (
        "encode the words with encode_sentences first"
        if isinstance(token, str)
        else "convert tokens to integers, each a position in the vocabulary"
    )
    return DataError(
        f"sentence {position} has the token {token!r} ({type(token).__name__}); "
        f"expected integers: {advice}"
    )
