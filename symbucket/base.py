"""MXNet's names for errors and plain types, as ``mx.base``."""

from __future__ import annotations

import numpy as np

from symbucket.errors import SymbucketError

__all__ = ["MXNetError", "integer_types", "numeric_types", "string_types"]

MXNetError = SymbucketError
"""Every error that symbucket raises on purpose, under the name that MXNet scripts catch."""

string_types = (str,)
numeric_types = (float, int, np.generic)
integer_types = (int, np.int32, np.int64)
