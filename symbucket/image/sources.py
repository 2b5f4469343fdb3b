"""Where an iterator's pictures come from: a file of records, or a list of files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from symbucket.errors import DataError
from symbucket.recordio import MXIndexedRecordIO, MXRecordIO, unpack
from symbucket.types import Array

PathLike = str | os.PathLike[str]


class PictureSource(Protocol):
    """Pictures by number, from 0."""

    def __len__(self) -> int: ...

    def read(self, number: int) -> tuple[Array, bytes]:
        """Return the labels (float32) and the file of a picture."""
        ...


class RecordSource:
    """The records of a file, in its order or that of its index.

    Args:
        path: of the file. index: path of its index; None: the file is read once to find records.
        labels: by id, in place of those in the records; ids that it lacks are left out.
    """

    def __init__(
        self, path: PathLike, index: PathLike | None, labels: Mapping[int, Array] | None
    ) -> None:
        if index is not None:
            indexed = MXIndexedRecordIO(index, path, "r")
            self._records: MXRecordIO = indexed
            self._places = [indexed.idx[key] for key in indexed.keys]
        else:
            self._records = MXRecordIO(path, "r")
            self._places = []
            while (place := self._records.tell()) >= 0 and self._records.read() is not None:
                self._places.append(place)
        self._labels = labels
        if labels is not None:
            self._places = [p for p in self._places if unpack(self._record(p))[0].id in labels]

    def __len__(self) -> int:
        return len(self._places)

    def _record(self, place: int) -> bytes:
        return self._records.read_at(place)

    def read(self, number: int) -> tuple[Array, bytes]:
        """Return the labels and the file of a picture."""
        header, content = unpack(self._record(self._places[number]))
        label = header.label if self._labels is None else self._labels[header.id]
        return np.atleast_1d(np.asarray(label, np.float32)), content


class FileSource:
    """Files with their labels: pairs of labels and a path below ``root``."""

    def __init__(self, root: PathLike | None, entries: Sequence[tuple[Array, str]]) -> None:
        self._root = Path(root or ".")
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, number: int) -> tuple[Array, bytes]:
        """Return the labels and the file of a picture."""
        labels, path = self._entries[number]
        try:
            return labels, (self._root / path).read_bytes()
        except OSError as error:
            raise DataError(f"cannot read the picture {path!r}: {error}") from error


def read_list(path: PathLike) -> list[tuple[int, Array, str]]:
    """Return (id, labels, path) for each line ``id<TAB>label...<TAB>path`` of a list.

    Raises DataError if the file cannot be read, or a line is none of these.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the list {os.fspath(path)!r}: {error}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        fields = line.strip().split("\t")
        try:
            if len(fields) < 3:
                raise ValueError("fewer than three fields")
            labels = np.array(fields[1:-1], np.float32)
            entries.append((int(fields[0]), labels, fields[-1]))
        except ValueError as error:
            raise DataError(
                f"{os.fspath(path)!r}, line {number}: {line!r} is not id<TAB>labels<TAB>path: "
                f"{error}"
            ) from error
    return entries


def entries_of(imglist: Sequence[Sequence[Any]]) -> list[tuple[int, Array, str]]:
    """Return the same of a list of ``[label(s), ..., path]``."""
    entries = []
    for number, item in enumerate(imglist):
        labels = np.concatenate([np.atleast_1d(np.asarray(v, np.float32)) for v in item[:-1]])
        entries.append((number, labels, str(item[-1])))
    return entries
