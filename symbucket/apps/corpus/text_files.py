"""Sentences of a text file, and the part of them that is held out for validation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from symbucket.errors import DataError, InvalidArgumentError


def read_sentences(path: str | os.PathLike[str]) -> list[list[str]]:
    """Return the sentences of a UTF-8 text file: one a line, tokens parted by blanks.

    Lines without tokens are skipped; nothing else is changed, so the marks of a prepared text
    (``<unk>`` and ``N`` of the Penn Treebank files) stay as they are.

    Raises:
        DataError: the file cannot be read, is not UTF-8 (with line and byte offset), or holds
            no tokens.
    """
    sentences: list[list[str]] = []
    offset = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    tokens = line.decode("utf-8-sig" if number == 1 else "utf-8").split()
                except UnicodeDecodeError as error:
                    at = error.start + len(line) - len(error.object)  # a byte order mark
                    raise DataError(
                        f"{os.fspath(path)}, line {number}: byte 0x{line[at]:02x} at "
                        f"offset {offset + at} is not UTF-8 ({error.reason}). "
                        "Convert the file to UTF-8"
                    ) from error
                if tokens:
                    sentences.append(tokens)
                offset += len(line)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"cannot read sentences from {os.fspath(path)}: {reason}. "
            "Expected a text file with one sentence a line"
        ) from error
    if not sentences:
        raise DataError(
            f"{os.fspath(path)} holds no tokens ({offset} bytes, blanks at most). "
            "Expected one sentence a line, tokens parted by blanks"
        )
    return sentences


def split(
    sentences: Sequence[Sequence[str]], validation: float = 0.05, seed: int = 0
) -> tuple[list[list[str]], list[list[str]]]:
    """Part sentences into a training set and a validation set, both in the given order.

    Each different sentence is ranked by a hash of ``seed`` and its tokens; the lowest go to
    validation. So equal sentences land on the same side, the order of the input does not
    matter, and a corpus that grows a little keeps almost all of its split.

    Args:
        sentences: lists of tokens.
        validation: share of the different sentences to hold out, 0 <= validation < 1. Any
            share above 0 holds out at least one sentence and leaves at least one.
        seed: another seed gives another split.

    Raises:
        InvalidArgumentError: ``validation`` is out of range.
        DataError: fewer than two different sentences to split.
    """
    if not 0 <= validation < 1:
        raise InvalidArgumentError(
            f"validation is {validation!r}; expected a share of the sentences, 0 <= validation < 1"
        )
    unique = {tuple(check_tokens(sentence, i)) for i, sentence in enumerate(sentences)}
    if validation > 0 and len(unique) < 2:
        raise DataError(
            f"cannot hold out a validation set: {len(sentences)} sentences, {len(unique)} of them "
            "different, expected at least 2. Give more text or validation=0"
        )

    def rank(sentence: tuple[str, ...]) -> bytes:
        text = "\n".join((str(seed), *sentence))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    target = round(len(unique) * validation)
    count = min(max(target, 1), len(unique) - 1) if validation > 0 else 0
    held_out = set(sorted(unique, key=rank)[:count])
    parts: tuple[list[list[str]], list[list[str]]] = ([], [])
    for sentence in sentences:
        parts[tuple(sentence) in held_out].append(list(sentence))
    return parts


def check_tokens(sentence: Sequence[str], index: int) -> Sequence[str]:
    """Refuse a plain string, which would pass as a list of letters."""
    if isinstance(sentence, str):
        raise DataError(
            f"sentence {index} is the string {sentence[:40]!r}; expected a list of tokens. "
            "Use text.split(), or read_sentences for a file"
        )
    return sentence
