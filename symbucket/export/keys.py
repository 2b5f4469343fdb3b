"""Bucket keys as JSON and as file names."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Hashable
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError

_SLUG = 40  # characters of a key that its file name shows
_DEPTH = 20


def encode_key(key: Hashable) -> Any:
    """Return a key as ``json`` writes it: tuples become arrays, numpy's integers plain ones.

    Keys are None, booleans, integers, finite floats, strings, and tuples of these, nested freely.
    Raises InvalidArgumentError for any other, since a file could not restore it.
    """
    return _encode(key, key, 0)


def _encode(part: Any, key: Hashable, depth: int) -> Any:
    if isinstance(part, np.generic):
        part = part.item()
    if isinstance(part, tuple) and depth < _DEPTH:
        return [_encode(p, key, depth + 1) for p in part]
    finite = isinstance(part, float) and math.isfinite(part)
    if part is None or isinstance(part, (bool, int)) or finite:
        return part
    if isinstance(part, str):
        return str(part)
    raise InvalidArgumentError(
        f"the bucket key {key!r} cannot be written to a manifest: {part!r} is a "
        f"{type(part).__name__}. Keys of exported networks are integers, strings, booleans, finite "
        "floats, None and tuples of these."
    )


def decode_key(value: Any) -> Hashable:
    """Return the key that ``encode_key`` wrote; raise InvalidArgumentError if it cannot have."""
    return _decode(value, 0)


def _decode(value: Any, depth: int) -> Hashable:
    if isinstance(value, list) and depth < _DEPTH:
        return tuple(_decode(v, depth + 1) for v in value)
    infinite = isinstance(value, float) and not math.isfinite(value)
    if value is None or (isinstance(value, (bool, int, float, str)) and not infinite):
        return value
    raise InvalidArgumentError(f"{value!r} is not a bucket key")


def file_name(key: Hashable) -> str:
    """Return the name of a key's ``.onnx`` file: readable, stable, different for each key.

    Sizes are written out (``key-20.onnx``, ``key-32x64.onnx``); of every other key the name shows
    what a file name can hold, and a digest (``key-next-word-3f1b....onnx``).
    """
    sizes = sizes_of(key)
    if sizes is not None and min(sizes) >= 0:
        written = "x".join(map(str, sizes))
        if isinstance(key, tuple) and len(key) == 1:
            written += "x"
        if len(written) <= _SLUG:
            return f"key-{written}.onnx"
    text = json.dumps(encode_key(key), ensure_ascii=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()[:12]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:_SLUG].strip("-")
    return f"key-{slug or 'other'}-{digest}.onnx"


def sizes_of(key: Hashable) -> tuple[int, ...] | None:
    """Return the sizes in a key that is an integer or a tuple of integers, None for other keys."""
    parts = key if isinstance(key, tuple) else (key,)
    if not parts or any(isinstance(p, bool) for p in parts):
        return None
    if not all(isinstance(p, (int, np.integer)) for p in parts):
        return None
    return tuple(int(p) for p in parts)
