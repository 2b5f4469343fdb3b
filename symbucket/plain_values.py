"""Python values as JSON values and back: tuples, arrays and bytes too, without pickle."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from symbucket.errors import UnsupportedError

_KIND = "python"


def to_plain(value: Any) -> Any:
    """Return ``value`` as JSON values, from which ``from_plain`` makes an equal one.

    Raises UnsupportedError for other things than numbers, strings, None, bytes, numpy arrays and
    scalars, and lists, tuples and dicts of them.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if isinstance(value, tuple):
        return {_KIND: "tuple", "items": [to_plain(item) for item in value]}
    if isinstance(value, dict):
        return {_KIND: "dict", "items": [[to_plain(k), to_plain(v)] for k, v in value.items()]}
    if isinstance(value, bytes):
        return {_KIND: "bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        text = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_KIND: kind, "dtype": value.dtype.str, "shape": list(value.shape), "base64": text}
    raise UnsupportedError(
        f"a {type(value).__name__} cannot be kept in a file; numbers, strings, arrays, and lists, "
        "tuples and dicts of them can"
    )


def from_plain(value: Any) -> Any:
    """Return what ``to_plain`` was given."""
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value[_KIND]
    if kind == "tuple":
        return tuple(from_plain(item) for item in value["items"])
    if kind == "dict":
        return {from_plain(k): from_plain(v) for k, v in value["items"]}
    content = base64.b64decode(value["base64"])
    if kind == "bytes":
        return content
    array = np.frombuffer(content, value["dtype"]).reshape(value["shape"]).copy()
    return array if kind == "array" else array[()]
