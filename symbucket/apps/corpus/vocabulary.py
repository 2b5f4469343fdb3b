"""The tokens of a text and their ids."""

from __future__ import annotations

import json
import operator
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from symbucket.apps.corpus.text_files import check_tokens
from symbucket.apps.corpus.tokens import word_set
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.files import write_atomic

_RESERVED = ("<pad>", "<unk>", "<eos>")
_FORMAT = "symbucket-vocabulary-1"
_NO_BLANK_BEFORE = word_set(". , ; : ? ! ) % ... 's n't 'll 're 've 'd 'm ''")
_NO_BLANK_AFTER = word_set("( $ ``")


class Vocabulary:
    """The tokens of a text and their ids.

    Id 0 is ``<pad>``: it fills a batch up and serves as its invalid label, no sentence holds it.
    1 is ``<unk>``, any token left out; 2 is ``<eos>``, the end of a sentence; then come the
    tokens by falling frequency, equally frequent ones in alphabetical order.

    Args:
        sentences: lists of tokens. Reserved names among the tokens get their reserved id, but
            a ``<pad>`` in a text counts as ``<unk>``.
        min_count: tokens seen less often become ``<unk>``.
        max_size: upper bound of ``len(vocabulary)``, reserved ids included.

    Attributes:
        tokens: the token of each id.
        counts: how often each id occurs in ``sentences``, encoded.

    Raises:
        InvalidArgumentError: ``min_count`` below 1, or a ``max_size`` without room for a token.
        DataError: a sentence is a plain string, or no token is frequent enough.
    """

    pad_id = 0
    unk_id = 1
    eos_id = 2

    tokens: tuple[str, ...]
    counts: tuple[int, ...]

    def __init__(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
    ) -> None:
        if min_count < 1:
            raise InvalidArgumentError(f"min_count is {min_count!r}; expected at least 1")
        if max_size is not None and max_size <= len(_RESERVED):
            raise InvalidArgumentError(
                f"max_size is {max_size!r}; expected at least {len(_RESERVED) + 1}, for "
                f"{len(_RESERVED)} ids are reserved ({', '.join(_RESERVED)})"
            )
        seen: Counter[str] = Counter()
        ends = 0
        for index, sentence in enumerate(sentences):
            seen.update(check_tokens(sentence, index))
            ends += 1
        ends += seen.pop("<eos>", 0)
        total = seen.total()  # "<pad>" and "<unk>" in the text included: they encode as unknown
        del seen["<pad>"], seen["<unk>"]
        frequent = sorted((-n, token) for token, n in seen.items() if n >= min_count)
        if max_size is not None:
            frequent = frequent[: max_size - len(_RESERVED)]
        if not frequent:
            raise DataError(
                f"no token for a vocabulary: {ends} sentences, {len(seen)} different tokens, none "
                f"of them seen min_count={min_count} times. Give more text or a lower min_count"
            )
        unknown = total + sum(n for n, _ in frequent)
        self._set(
            (*_RESERVED, *(token for _, token in frequent)),
            (0, unknown, ends, *(-n for n, _ in frequent)),
        )

    def _set(self, tokens: tuple[str, ...], counts: tuple[int, ...]) -> None:
        self.tokens = tokens
        self.counts = counts
        self._ids = {token: i for i, token in enumerate(tokens)}
        self._ids["<pad>"] = self.unk_id

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids and token != "<pad>"

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids, {sum(self.counts)} tokens counted)"

    def encode(self, sentences: Iterable[Sequence[str]]) -> list[list[int]]:
        """Return the ids of each sentence, ``<eos>`` appended.

        Raises:
            DataError: a sentence is a plain string.
        """
        get, unk = self._ids.get, self.unk_id
        return [
            [*(get(token, unk) for token in check_tokens(sentence, index)), self.eos_id]
            for index, sentence in enumerate(sentences)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Return ids as readable text: no blank before punctuation, padding left out.

        ``<eos>`` begins a new line; at the end of the text it adds nothing.

        Raises:
            DataError: an id is not an integer from 0 to ``len(vocabulary) - 1``.
        """
        text = ""
        glued = True  # the next token follows without a blank
        for position, number in enumerate(ids):
            try:
                index = operator.index(number)
            except TypeError:
                index = -1
            if not 0 <= index < len(self.tokens):
                raise DataError(
                    f"id {number!r} at position {position} is not in this vocabulary; "
                    f"expected an integer from 0 to {len(self.tokens) - 1}"
                )
            if index == self.pad_id:
                continue
            if index == self.eos_id:
                text, glued = text + "\n", True
                continue
            token = self.tokens[index]
            text += token if glued or token in _NO_BLANK_BEFORE else " " + token
            glued = token in _NO_BLANK_AFTER
        return text.rstrip("\n")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as a JSON file; a file of that name is replaced in one step.

        Raises:
            DataError: the file cannot be written.
        """
        content = {"format": _FORMAT, "tokens": self.tokens, "counts": self.counts}
        try:
            write_atomic(path, json.dumps(content, ensure_ascii=False).encode())
        except OSError as error:
            raise DataError(f"cannot write the vocabulary to {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Read a vocabulary that ``save`` wrote.

        Raises:
            DataError: the file is missing, is not JSON, or is not a sound vocabulary.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot read a vocabulary from {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not a vocabulary, not even JSON: {error}") from error
        form = content.get("format") if isinstance(content, dict) else None
        if form != _FORMAT:
            raise DataError(f"{path} is not a vocabulary: format {form!r}, expected {_FORMAT!r}")
        tokens, counts = content.get("tokens"), content.get("counts")
        sound = (
            isinstance(tokens, list)
            and isinstance(counts, list)
            and len(tokens) == len(counts)
            and all(isinstance(token, str) for token in tokens)
            and all(type(count) is int and count >= 0 for count in counts)
            and len(set(tokens)) == len(tokens)
            and tuple(tokens[: len(_RESERVED)]) == _RESERVED
        )
        if not sound:
            raise DataError(
                f"{path} is damaged: expected different tokens that begin with "
                f"{', '.join(_RESERVED)}, and one count, at least 0, for each"
            )
        vocabulary = cls.__new__(cls)
        vocabulary._set(tuple(tokens), tuple(counts))
        return vocabulary
