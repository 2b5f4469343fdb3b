"""MXNet's names for errors and plain types, as ``mx.base``."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbucket.errors import SymbolValueError, SymbucketError

__all__ = [
    "MXNetError",
    "NotImplementedForSymbol",
    "integer_types",
    "mx_real_t",
    "numeric_types",
    "py_str",
    "string_types",
]

MXNetError = SymbucketError
"""Every error that symbucket raises on purpose, under the name that MXNet scripts catch."""

NotImplementedForSymbol = SymbolValueError
"""What a symbol raises where Python asks for its value, in ``if`` say."""

string_types = (str,)
numeric_types = (float, int, np.generic)
integer_types = (int, np.int32, np.int64)

mx_real_t = np.float32
"""The dtype of arrays that are given none."""


def py_str(text: str | bytes) -> str:
    """Return text, decoded where it is bytes: names in callbacks are bytes in MXNet."""
    return text.decode("utf-8") if isinstance(text, bytes) else text


def _as_list(value: Any) -> list[Any]:
    """Return a list or a tuple as a list, anything else as a list of it; MXNet's own tests do."""
    return list(value) if isinstance(value, (list, tuple)) else [value]
