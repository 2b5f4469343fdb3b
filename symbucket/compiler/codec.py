"""Serialize dataclasses: a JSON header, followed by raw blobs.

This is our own because it is short and a core dependency (msgspec, say) would be needed for it:
only classes that the reader names can come out, large models are never copied into text, and
whatever does not decode is a cache miss.

Equal things in a row, such as the ports of a model, are stored as columns, one for each field.
Most of a column are numbers and strings, which JSON reads without any work of ours.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np

_FAULTS = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError),
    *(OverflowError, SyntaxError),  # of dtypes
)
_LENGTH_BYTES = 8  # of the number that says how long the header is
_PLAIN = (bool, int, float, str, type(None))
_SEQUENCES: dict[str, Any] = {"tuple": tuple, "list": list}


def pack(value: Any) -> bytes:
    """Return ``value`` as bytes: dataclasses, enums, containers, dtypes, bytes, plain values."""
    writer = _Writer()
    text = json.dumps(writer.part(value), separators=(",", ":")).encode()
    return b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *writer.blobs])


def unpack(content: bytes, classes: Sequence[type]) -> Any:
    """Return what ``pack`` was given; None if ``content`` is not that, or has other classes."""
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        return _Reader(content, end, classes).part(json.loads(content[_LENGTH_BYTES:end]))
    except _FAULTS:
        return None


class _Writer:
    """What is not plain becomes a list that begins with its kind."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []

    def part(self, value: Any) -> Any:
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, bytes):
            self.blobs.append(value)
            return ["bytes", len(value)]
        if isinstance(value, (tuple, list)):
            return [type(value).__name__, self.column(value)]
        if isinstance(value, Mapping):
            return ["dict", self.column(list(value)), self.column(list(value.values()))]
        if isinstance(value, np.dtype):
            return ["dtype", value.str]
        if isinstance(value, Enum):
            return ["enum", type(value).__name__, value.name]
        if dataclasses.is_dataclass(value):
            fields = [getattr(value, f.name) for f in dataclasses.fields(value)]
            return ["class", type(value).__name__, self.column(fields)]
        raise TypeError(f"{value!r} of type {type(value).__name__} cannot be stored")

    def column(self, items: Sequence[Any]) -> list[Any]:
        kinds = set(map(type, items))
        if all(isinstance(item, _PLAIN) for item in items):
            return ["plain", items]
        if len(kinds) == 1 and len(items) > 1:
            kind: Any = next(iter(kinds))
            name = kind.__name__
            if issubclass(kind, Enum):
                return ["members", name, [item.name for item in items]]
            if dataclasses.is_dataclass(kind) and dataclasses.fields(kind):
                names = [f.name for f in dataclasses.fields(kind)]
                columns = [self.column([getattr(item, n) for item in items]) for n in names]
                return ["rows", name, columns]
            if kind in (tuple, list):
                if all(isinstance(part, _PLAIN) for item in items for part in item):
                    return ["sequences", name, items]
                if kind is tuple and len({len(item) for item in items}) == 1:
                    return ["table", [self.column(column) for column in zip(*items)]]
        return ["parts", [self.part(item) for item in items]]


class _Reader:
    def __init__(self, content: bytes, position: int, classes: Sequence[type]) -> None:
        self._content, self._position = content, position
        self._classes: dict[str, Any] = {c.__name__: c for c in classes}

    def part(self, stored: Any) -> Any:
        if not isinstance(stored, list):
            return stored
        kind, first, *rest = stored
        if kind == "bytes":
            blob = self._content[self._position : self._position + first]
            self._position += first
            if len(blob) != first:
                raise ValueError("the end is missing")
            return blob
        if kind == "dict":
            return dict(zip(self.column(first), self.column(rest[0]), strict=True))
        if kind == "dtype":
            return np.dtype(first)
        if kind == "enum":
            return self._classes[first][rest[0]]
        if kind == "class":
            return self._classes[first](*self.column(rest[0]))
        return _SEQUENCES[kind](self.column(first))

    def column(self, stored: Any) -> list[Any]:
        kind, first, *rest = stored
        if kind == "plain":
            return list(first)
        if kind == "parts":
            return list(map(self.part, first))
        if kind == "members":
            return list(map(self._classes[first].__getitem__, rest[0]))
        if kind == "sequences":
            return list(map(_SEQUENCES[first], rest[0]))
        columns = map(self.column, first if kind == "table" else rest[0])
        if kind == "table":
            return list(zip(*columns, strict=True))
        if kind == "rows":
            return [self._classes[first](*row) for row in zip(*columns, strict=True)]
        raise ValueError(f"{kind!r} is no kind of column")
