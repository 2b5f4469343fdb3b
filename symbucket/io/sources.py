"""Sources of a stream's samples: files, tables, lists, functions; read from any cursor on."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from symbucket.errors import DataError

Cursor = dict[str, int]
"""Where a reader is, as JSON values."""

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Source(ABC):
    """Samples that can be read once an epoch, from the beginning or from a cursor on."""

    @abstractmethod
    def read(self, order: np.random.Generator | None, cursor: Cursor | None) -> Reader:
        """Return a reader; ``order`` shuffles what can be reached in any order (files, rows)."""


class Reader(Iterator[tuple[Any, "int | None"]]):
    """An iterator over samples that knows where it is.

    It yields each sample with its position in the data set, or None if only the order tells.

    Attributes:
        cursor: where reading goes on.
    """

    def __init__(
        self, samples: Iterator[tuple[Any, Cursor]], start: Cursor, index: str | None = None
    ) -> None:
        self._samples, self.cursor, self._index = samples, start, index

    def __next__(self) -> tuple[Any, int | None]:
        sample, cursor = next(self._samples)
        index = cursor.pop(self._index) if self._index else None
        self.cursor = cursor
        return sample, index


def as_source(source: Any) -> Source:
    """Return the source that a user means.

    A Source; a path or a list of paths, by their endings (``.csv``, ``.tsv``, ``.jsonl``, else
    lines of text; also ``.gz``, ``.bz2``, ``.xz``); an Arrow table or dataset; anything with
    ``len`` and positions (a list, an array, a HuggingFace dataset); a function that returns an
    iterable, called once an epoch; or an iterable.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, os.PathLike)):
        return FileSource([source])
    if isinstance(source, Sequence) and source and all(_is_path(item) for item in source):
        return FileSource(source)
    if hasattr(source, "to_batches"):
        return ArrowSource(source)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return IndexedSource(source)
    if callable(source):
        return IterableSource(source)
    if isinstance(source, Iterable):
        return IterableSource(_Again(source))
    raise DataError(
        f"the source of samples is {source!r}; expected files, a table, a list, a function that "
        "returns an iterable, or an iterable"
    )


def _is_path(item: Any) -> bool:
    return isinstance(item, os.PathLike) or (isinstance(item, str) and os.path.exists(item))


class _Again:
    """Calls ``iter`` on an iterable, and refuses to do so on a used-up iterator."""

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._iterable, self._used = iterable, False

    def __call__(self) -> Iterable[Any]:
        if self._used and iter(self._iterable) is self._iterable:
            raise DataError(
                f"{self._iterable!r} can be read only once; give a function that returns a new "
                "one for each epoch"
            )
        self._used = True
        return self._iterable


class IterableSource(Source):
    """Results of a function, in its order; going on means reading over what came before."""

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self._make = make

    def read(self, order: np.random.Generator | None, cursor: Cursor | None) -> Reader:
        """Return a reader, from a cursor on."""
        start = 0 if cursor is None else cursor["sample"]

        def samples() -> Iterator[tuple[Any, Cursor]]:
            for number, sample in enumerate(self._make(), 1):
                if number > start:
                    yield sample, {"sample": number}

        return Reader(samples(), {"sample": start})


class IndexedSource(Source):
    """Anything with ``len`` and positions: shuffled as a whole, read on at once."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def read(self, order: np.random.Generator | None, cursor: Cursor | None) -> Reader:
        """Return a reader, from a cursor on."""
        start = 0 if cursor is None else cursor["sample"]
        count = len(self._rows)
        if order is None:
            positions: Iterable[Any] = range(start, count)
        else:
            kind = np.uint32 if count < 1 << 32 else np.int64
            positions = order.permutation(np.arange(count, dtype=kind))[start:]

        def samples() -> Iterator[tuple[Any, Cursor]]:
            for number, position in enumerate(positions, start + 1):
                row = int(position)
                yield self._rows[row], {"sample": number, "row": row}

        return Reader(samples(), {"sample": start}, "row")


class ArrowSource(Source):
    """Rows of an Arrow table or dataset as dicts, a record batch at a time."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def read(self, order: np.random.Generator | None, cursor: Cursor | None) -> Reader:
        """Return a reader, from a cursor on."""
        start = 0 if cursor is None else cursor["sample"]

        def samples() -> Iterator[tuple[Any, Cursor]]:
            number = 0
            for batch in self._table.to_batches():
                if number + batch.num_rows <= start:
                    number += batch.num_rows
                    continue
                rows = batch.slice(max(0, start - number)).to_pylist()
                number = max(number, start)
                for row in rows:
                    number += 1
                    yield row, {"sample": number}

        return Reader(samples(), {"sample": start})


class FileSource(Source):
    """Lines or rows of files, one file after the other; the order of files can be shuffled.

    A cursor is a file and a position in it: bytes of a plain text file, which is read on at once,
    else rows, which are read over.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self._paths = [Path(path) for path in paths]
        for path in self._paths:
            if not path.is_file():
                raise DataError(f"cannot read samples from {str(path)!r}: there is no such file")

    def read(self, order: np.random.Generator | None, cursor: Cursor | None) -> Reader:
        """Return a reader, from a cursor on."""
        start = {"file": 0, "position": 0} if cursor is None else cursor
        files = range(len(self._paths)) if order is None else order.permutation(len(self._paths))

        def samples() -> Iterator[tuple[Any, Cursor]]:
            for number in range(start["file"], len(self._paths)):
                position = start["position"] if number == start["file"] else 0
                for sample, after in _rows(self._paths[files[number]], position):
                    yield sample, {"file": number, "position": after}

        return Reader(samples(), start)


_FAULTS = (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, RecursionError, csv.Error)


def _rows(path: Path, position: int) -> Iterator[tuple[Any, int]]:
    """Yield the samples of a file from a position on, each with the position after it."""
    packed = path.suffix.lower() in _OPENERS
    kind = path.with_suffix("").suffix.lower() if packed else path.suffix.lower()
    opener = _OPENERS[path.suffix.lower()] if packed else open
    try:
        with cast("BinaryIO", opener(path, "rb")) as file:
            if kind in (".csv", ".tsv"):
                text = io.TextIOWrapper(file, "utf-8-sig", newline="")
                table = csv.DictReader(text, delimiter="," if kind == ".csv" else "\t")
                yield from ((row, n) for n, row in enumerate(table, 1) if n > position)
                return
            lines = _numbered(file, position) if packed else _lines_from(file, position)
            for line, after in lines:
                text_line = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8").rstrip("\r\n")
                if text_line:
                    yield (json.loads(text_line) if kind == ".jsonl" else text_line), after
    except _FAULTS as error:
        raise DataError(f"cannot read samples from {str(path)!r}: {error}") from error


def _numbered(file: BinaryIO, position: int) -> Iterator[tuple[bytes, int]]:
    """Yield lines after the first ``position``, each with its number from 1."""
    return ((line, number) for number, line in enumerate(file, 1) if number > position)


def _lines_from(file: BinaryIO, position: int) -> Iterator[tuple[bytes, int]]:
    """Yield lines from an offset on, each with the offset after it."""
    file.seek(position)
    for line in file:
        position += len(line)
        yield line, position
