"""Write and read ``manifest.json``; reading trusts nothing.

The fields are those of ``spec.Manifest``, with ``"format"`` and ``"version"`` before them;
docs/bundles.md shows an example. Every field must be there and no other may be; a later version of
the format has another number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from reprlib import Repr
from typing import Any

import msgspec
import numpy as np

from symbucket.errors import BundleError, InvalidArgumentError
from symbucket.export.keys import decode_key
from symbucket.export.spec import DTYPES, MANIFEST_FILE, PATTERN_MEANINGS, Manifest

FORMAT = "symbucket-bundle"
VERSION = 2
MAX_BYTES = 64 << 20
"""Of a manifest; a thousand networks need less than a megabyte."""

_MAX_DIGITS = 20
_MAX_TEXT = 400  # characters of an error text
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def to_json(manifest: Manifest) -> str:
    """Return the text of ``manifest.json``."""
    fields = msgspec.to_builtins(manifest, enc_hook=_plain)
    return _pretty({"format": FORMAT, "version": VERSION, **fields}, "") + "\n"


def _plain(value: Any) -> Any:
    """Return a dtype as its name, and an integer of numpy (in a bucket key) as a plain one."""
    return value.name if isinstance(value, np.dtype) else value.item()


def _pretty(value: Any, indent: str) -> str:
    """Return JSON with the innermost objects and arrays on a line each."""
    parts = list(value.values()) if isinstance(value, dict) else value
    holds_objects = isinstance(parts, (list, tuple)) and any(
        isinstance(p, dict)
        or (isinstance(p, (list, tuple)) and any(isinstance(q, dict) for q in p))
        for p in parts
    )
    if not holds_objects:
        return json.dumps(value, ensure_ascii=True, allow_nan=False)
    deeper = indent + "  "
    lines = [_pretty(p, deeper) for p in parts]
    if isinstance(value, dict):
        lines = [f"{json.dumps(name)}: {line}" for name, line in zip(value, lines)]
    brackets = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(deeper + line for line in lines)
    return f"{brackets[0]}\n{body}\n{indent}{brackets[1]}"


def parse(text: bytes | str, where: str = MANIFEST_FILE) -> Manifest:
    """Return the manifest in ``text``.

    Raises BundleError that says what is wrong with it, and at which place. ``where`` names the
    file.
    """
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique_names,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
        )
        return _convert(document, where)
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BundleError(f"{where} is damaged or no manifest: {reason}") from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"an object has {repeated[:80]!r} twice")
    return fields


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _bounded_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _convert(document: Any, where: str) -> Manifest:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BundleError(
            f'{where} is not the manifest of a bundle: it has no "format": "{FORMAT}"'
        )
    version = document.get("version")
    if version != VERSION or isinstance(version, bool):
        raise BundleError(
            f"{where}: version {_SHORT.repr(version)} of the format is unknown; this symbucket "
            f"reads version {VERSION}. Export the bundle again, or install a symbucket that knows "
            "it."
        )
    fields = {name: v for name, v in document.items() if name not in ("format", "version")}
    try:
        return msgspec.convert(fields, Manifest, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise BundleError(f"{where}: {_explanation(str(error), fields)}") from None


def _decode(type_: Any, value: Any) -> Any:
    """Return a bucket key or a dtype from its JSON form."""
    if type_ is Hashable:
        try:
            return decode_key(value)
        except InvalidArgumentError:
            raise ValueError("Expected a bucket key") from None
    if not isinstance(value, str) or value not in DTYPES:
        raise ValueError(f"Expected one of {', '.join(DTYPES)}")
    return np.dtype(value)


def _explanation(text: str, fields: Any) -> str:
    """Return a text of msgspec's with the value that it is about.

    ``Expected `int` >= 1 - at `$.networks[0].batch``` becomes ``networks[0].batch is 0; expected
    `int` >= 1``.
    """
    reason, _, path = text.rpartition(" - at `$")
    if not reason:
        reason, path = path, ""
    value = fields
    try:
        for name, index in _STEP.findall(path):
            value = value[name] if name else value[int(index)]
    except (LookupError, TypeError):  # a name in the manifest that looks like a path
        reason, path = text, ""
    place = path.rstrip("`").lstrip(".")
    for pattern, meaning in PATTERN_MEANINGS.items():
        reason = reason.replace(f"`str` matching regex {pattern!r}", meaning)
    if reason.startswith("Expected "):
        reason = f"{place or 'it'} is {_SHORT.repr(value)}; expected {reason[9:]}"
    elif place:
        reason = f"{place}: {reason}"
    return "".join(c if c.isprintable() else "?" for c in reason)[:_MAX_TEXT]
