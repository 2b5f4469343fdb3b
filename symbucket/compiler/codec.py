"""Serialize dataclasses: a JSON header, followed by raw blobs.

This is our own because it is short and a core dependency (msgspec, say) would be needed for it:
only classes that the reader names can come out, large models are never copied into text, and
whatever does not decode is a cache miss.
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


def pack(value: Any) -> bytes:
    """Return ``value`` as bytes: dataclasses, enums, containers, dtypes, bytes, plain values."""
    blobs: list[bytes] = []

    def plain(part: Any) -> Any:
        if part is None or isinstance(part, (bool, int, float, str)):
            return part
        if isinstance(part, bytes):
            blobs.append(part)
            return {"bytes": len(part)}
        if isinstance(part, (tuple, list)):
            return {type(part).__name__: [plain(item) for item in part]}
        if isinstance(part, Mapping):
            return {"dict": [[plain(k), plain(v)] for k, v in part.items()]}
        if isinstance(part, np.dtype):
            return {"dtype": part.str}
        if isinstance(part, Enum):
            return {"enum": type(part).__name__, "member": part.name}
        if dataclasses.is_dataclass(part):
            fields = [plain(getattr(part, f.name)) for f in dataclasses.fields(part)]
            return {"class": type(part).__name__, "fields": fields}
        raise TypeError(f"{part!r} of type {type(part).__name__} cannot be stored")

    text = json.dumps(plain(value), separators=(",", ":")).encode()
    return b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *blobs])


def unpack(content: bytes, classes: Sequence[type]) -> Any:
    """Return what ``pack`` was given; None if ``content`` is not that, or has other classes."""
    by_name: dict[str, Any] = {c.__name__: c for c in classes}
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    position = end

    def restored(part: Any) -> Any:
        nonlocal position
        if not isinstance(part, dict):
            return part
        if "class" in part:
            return by_name[part["class"]](*map(restored, part["fields"]))
        if "enum" in part:
            return by_name[part["enum"]][part["member"]]
        ((kind, inner),) = part.items()
        if kind == "bytes":
            blob = content[position : position + inner]
            position += inner
            if len(blob) != inner:
                raise ValueError("the end is missing")
            return blob
        if kind == "dict":
            return {restored(k): restored(v) for k, v in inner}
        if kind == "dtype":
            return np.dtype(inner)
        return {"tuple": tuple, "list": list}[kind](map(restored, inner))

    try:
        return restored(json.loads(content[_LENGTH_BYTES:end]))
    except _FAULTS:
        return None
