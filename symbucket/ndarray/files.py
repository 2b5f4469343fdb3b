"""Files of arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import safetensors
from safetensors.numpy import save as to_bytes

from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.files import write_checkpoint
from symbucket.ndarray.create import holding
from symbucket.runtime import NDArray

_FORMAT = "symbucket-nd"


def save(
    fname: str, data: NDArray | list[NDArray] | tuple[NDArray, ...] | Mapping[str, NDArray]
) -> None:
    """Write one array, a list or a dict of arrays to a file, atomically, as safetensors.

    A single array is written as a list of one. Raises InvalidArgumentError, with nothing written,
    where ``data`` holds something else.
    """
    if isinstance(data, NDArray):
        data = [data]
    if isinstance(data, Mapping):
        kind, named = "dict", dict(data)
    elif isinstance(data, (list, tuple)):
        kind, named = "list", {str(i): value for i, value in enumerate(data)}
    else:
        raise InvalidArgumentError(
            f"nd.save: data is a {type(data).__name__}; expected an NDArray, a list or a dict"
        )
    for name, value in named.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise InvalidArgumentError(
                f"nd.save: the key {name!r} cannot name an array; use another string"
            )
        if not isinstance(value, NDArray):
            raise InvalidArgumentError(
                f"nd.save: the entry {name!r} is a {type(value).__name__}; expected an NDArray "
                "(nd.array makes one)"
            )
    plain = {name: np.ascontiguousarray(value.view()) for name, value in named.items()}
    write_checkpoint(fname, to_bytes(plain, {"format": _FORMAT, "version": "1", "kind": kind}))


def load(fname: str) -> list[NDArray] | dict[str, NDArray]:
    """Read what ``save`` wrote: a list or a dict, in host memory.

    Other safetensors files, such as a checkpoint's ``.params``, give a dict. Raises CheckpointError
    where there is no such file or it is damaged.
    """
    if not os.path.exists(fname):
        raise CheckpointError(f"nd.load: there is no file {fname!r}")
    try:
        with safetensors.safe_open(fname, "numpy") as file:
            about = file.metadata() or {}
            loaded = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"nd.load: {fname!r} is damaged or no such file: {error}") from error
    arrays = {name: holding(values, None) for name, values in loaded.items()}
    if about.get("format") != _FORMAT or about.get("kind") != "list":
        return arrays
    try:
        return [arrays[str(i)] for i in range(len(arrays))]
    except KeyError as error:
        raise CheckpointError(
            f"nd.load: {fname!r} holds a list of {len(arrays)} arrays, but entry {error} is missing"
        ) from None
