"""Optimizer states as bytes and files: arrays with a JSON record and a checksum, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from symbucket.errors import CheckpointError
from symbucket.files import pack_arrays, unpack_arrays

_RECORD = "record"


def pack(tensors: Mapping[str, np.ndarray[Any, Any]], record: Mapping[str, Any]) -> bytes:
    """Return a safetensors file as bytes, with ``record`` as JSON in its metadata."""
    return pack_arrays(tensors, "symbucket-states", {_RECORD: json.dumps(record)})


def unpack(data: bytes, where: str) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Return tensors and record of ``pack``; raise CheckpointError, which names ``where``."""
    tensors, metadata = unpack_arrays(data, where, "file of optimizer states")
    try:
        record = json.loads(metadata[_RECORD])
        if not isinstance(record, dict):
            raise TypeError(f"the record is {record!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{where} does not hold optimizer states of symbucket ({type(error).__name__}: "
            f"{error}). Expected what Updater.save or get_states wrote."
        ) from error
    return tensors, record
