"""Dataclasses as bytes and back: JSON for the structure, large bytes as they are behind it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_LENGTH = 8  # bytes of the number that says how long the JSON part is


def pack(value: Any) -> bytes:
    """``value`` as bytes: dataclasses, tuples, lists, mappings, dtypes, bytes, plain values."""
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
        if dataclasses.is_dataclass(part):
            fields = [plain(getattr(part, f.name)) for f in dataclasses.fields(part)]
            return {"class": type(part).__name__, "fields": fields}
        raise TypeError(f"{part!r} of type {type(part).__name__} cannot be stored")

    text = json.dumps(plain(value), separators=(",", ":")).encode()
    return b"".join([len(text).to_bytes(_LENGTH, "little"), text, *blobs])


def unpack(content: bytes, classes: Sequence[type]) -> Any:
    """What ``pack`` was given; None where ``content`` is not that, or has other classes."""
    known = {c.__name__: c for c in classes}
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    position = end

    def restored(part: Any) -> Any:
        nonlocal position
        if not isinstance(part, dict):
            return part
        if "class" in part:
            return known[part["class"]](*map(restored, part["fields"]))
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
        return restored(json.loads(content[_LENGTH:end]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
