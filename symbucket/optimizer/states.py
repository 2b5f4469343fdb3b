"""Optimizer states as bytes and files: safetensors with a JSON record, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from symbucket.errors import CheckpointError

_KEY = "symbucket_optimizer"
_FORMAT = 1


def pack(tensors: Mapping[str, np.ndarray[Any, Any]], record: Mapping[str, Any]) -> bytes:
    """Return a safetensors file as bytes, with ``record`` as JSON in its metadata."""
    text = json.dumps({"format": _FORMAT, **record})
    return bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, {_KEY: text}))


def unpack(data: bytes, where: str) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Return tensors and record of ``pack``; raise CheckpointError, which names ``where``."""
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        record = json.loads(header["__metadata__"][_KEY])
        version = record.pop("format")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{where} does not hold optimizer states of symbucket, or is damaged "
            f"({type(error).__name__}: {error}). Expected what Updater.save or get_states wrote."
        ) from error
    if version != _FORMAT:
        raise CheckpointError(
            f"{where} has optimizer format {version!r}; this version reads {_FORMAT}. "
            "Load it with the symbucket that wrote it."
        )
    return tensors, record
