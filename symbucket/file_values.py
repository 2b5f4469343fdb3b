"""Values of parameters that were read from ONNX files, for as long as a symbol refers to them.

A symbol is a description, and its file is a small one, so a variable's attributes hold only a hash
of its value. The variable's node holds the value itself; it is freed with the last symbol that has
the node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from weakref import WeakValueDictionary

from symbucket.types import Array

INITIALIZER = "onnxvalue"
"""Name of the initializer that fills a parameter with such a value."""

_VALUES: WeakValueDictionary[str, Array] = WeakValueDictionary()


def digest_of(value: Array) -> str:
    """Return the hash of a value: of its contents, shape and dtype."""
    content = f"{value.dtype.str}{value.shape}".encode() + value.tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def register_value(value: Array) -> tuple[str, Array]:
    """Return the hash of a value, and the array that holds it: one for equal values."""
    digest = digest_of(value)
    return digest, _VALUES.setdefault(digest, value)


def initializer_text(digest: str) -> str:
    """Return the attribute ``__init__`` of a variable that starts at the value with this hash."""
    return json.dumps([INITIALIZER, {"digest": digest}])


def digest_in(attrs: Mapping[str, str]) -> str | None:
    """Return the hash of the value that a variable starts at; None if it is from no ONNX file."""
    text = attrs.get("__init__", "")
    if INITIALIZER not in text:
        return None
    name, arguments = json.loads(text)
    return str(arguments["digest"]) if name == INITIALIZER else None


def find_value(digest: str) -> Array | None:
    """Return the value with this hash, or None if no symbol refers to one."""
    return _VALUES.get(digest)
