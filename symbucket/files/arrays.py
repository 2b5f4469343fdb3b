"""Named arrays in one file: safetensors with a checksum over everything, or MXNet's format."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from symbucket.errors import CheckpointError, UnsupportedError
from symbucket.files.mxnet_arrays import MAGIC, check_name, unpack_mxnet, widen_bfloat16

Array = np.ndarray[Any, Any]

_ABOUT = "symbucket"  # the one entry of a file's metadata, since safetensors sorts none
_DIGEST = "sha256"
_VERSION = "2"
_KINDS = ("symbucket-params", "symbucket-nd", "symbucket-states", "symbucket-checkpoint")
_FAULTS = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_DTYPES = {
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "BF16": np.dtype("<u2"),
    "BOOL": np.dtype("?"),
}
_UNSIGNED = "1"  # the version that had no checksum, with metadata of several entries


class ArrayFile(NamedTuple):
    """Contents of a file: arrays by name, and its metadata (none in MXNet's format)."""

    arrays: dict[str, Array]
    metadata: dict[str, str]


def pack_arrays(arrays: Mapping[str, Any], kind: str, metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file of ``arrays``, with ``metadata`` and a SHA-256 over both.

    ``kind`` is the file's format, such as "symbucket-params". The arrays keep their dtypes.
    """
    plain = {name: _contiguous(name, values) for name, values in arrays.items()}
    about = {**metadata, "format": kind, "version": _VERSION}
    about[_DIGEST] = _digest(plain, about)
    return bytes(save(plain, {_ABOUT: json.dumps(about)}))


def _contiguous(name: str, values: Any) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise UnsupportedError(
            f"array {name!r} is {array.dtype}; files hold numbers: floats, integers and booleans "
            "of up to 64 bits"
        )
    check_name(name)
    # Not ascontiguousarray, which would give an array of rank 0 an axis.
    return np.require(array, array.dtype.newbyteorder("="), requirements="C")


def unpack_arrays(data: bytes, where: str, what: str = "parameter file") -> ArrayFile:
    """Return what a safetensors file holds, its checksum verified.

    Files of other programs, and of versions that wrote none, have no checksum. bfloat16 becomes
    float32, which holds each of its values.

    Raises CheckpointError, which names ``where`` and ``what`` it should be, if it is damaged or of
    an unknown version, and UnsupportedError for a dtype that numpy lacks.
    """
    try:
        entries = dict(deserialize(data))  # type: ignore[no-untyped-call]
        # Sorted, since safetensors has no order.
        arrays = {name: _array_of(entries[name], name, where) for name in sorted(entries)}
    except (SafetensorError, *_FAULTS) as error:
        raise CheckpointError(f"{where} is damaged or no {what}: {error!r}") from error
    about, signed = _about(data[8 : 8 + int.from_bytes(data[:8], "little")], where, what)
    version = about.get("version") if signed or about.get("format") in _KINDS else None
    if version not in ((_VERSION,) if signed else (_UNSIGNED, None)):
        raise CheckpointError(
            f"{where} has version {version!r} of {about.get('format')!r}; this symbucket reads "
            f"{_UNSIGNED} and {_VERSION}. Read it with the symbucket that wrote it"
        )
    if signed and about.pop(_DIGEST, None) != _digest(arrays, about):
        raise CheckpointError(
            f"{where} is damaged: its checksum is not that of its content. Use another copy, or an "
            "older checkpoint"
        )
    return ArrayFile(arrays, about)


def _array_of(entry: Mapping[str, Any], name: str, where: str) -> Array:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise UnsupportedError(
            f"{where}: array {name!r} has the dtype {entry['dtype']}; only {', '.join(_DTYPES)} "
            "are read. Convert it with the program that wrote it"
        )
    values: Array = np.frombuffer(entry["data"], dtype)
    if entry["dtype"] == "BF16":
        values = widen_bfloat16(values)
    return values.reshape(entry["shape"])


def read_metadata(path: str | os.PathLike[str], what: str) -> dict[str, str]:
    """Return what a file of ``pack_arrays`` says of itself, without reading or verifying arrays."""
    where = repr(os.fspath(path))
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            size = int.from_bytes(file.read(8), "little")
            header = file.read(min(size, os.fstat(file.fileno()).st_size))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the {what} {where}: {error}") from error
    return _about(header, where, what)[0]


def _about(header: bytes, where: str, what: str) -> tuple[dict[str, str], bool]:
    """Return the metadata in a file's header, and whether there is a checksum among them."""
    try:
        metadata: dict[str, str] = json.loads(header).get("__metadata__") or {}
        signed = _ABOUT in metadata or any(map(_is_ours, metadata.values()))
        about = dict(json.loads(metadata[_ABOUT]) if signed else metadata)
    except _FAULTS as error:
        raise CheckpointError(
            f"{where} is damaged or no {what}: it has no readable header"
        ) from error
    return about, signed


def _is_ours(text: str) -> bool:
    # The entry of a damaged file may have lost its name.
    return f'"{_DIGEST}"' in text and '"format": "symbucket-' in text


def read_arrays(path: str | os.PathLike[str], what: str = "parameter file") -> ArrayFile:
    """Return the arrays of a file, in either format; MXNet's lists are named "0", "1", ...

    Raises CheckpointError if there is no such file, or it is damaged; the message names the file.
    """
    return arrays_in(read_bytes(path, what), repr(os.fspath(path)), what)


def arrays_in(data: bytes, where: str, what: str = "parameter file") -> ArrayFile:
    """Return the arrays of the content of a file, as ``read_arrays``; ``where`` names it."""
    if not data.startswith(MAGIC):
        return unpack_arrays(data, where, what)
    arrays = unpack_mxnet(data, where)
    if isinstance(arrays, dict):
        return ArrayFile(arrays, {})
    return ArrayFile({str(i): array for i, array in enumerate(arrays)}, {"kind": "list"})


def read_bytes(path: str | os.PathLike[str], what: str) -> bytes:
    """Return the content of a plain file; raise CheckpointError if it cannot be read."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CheckpointError(f"{os.fspath(path)!r} is no file; expected a {what}")
            return file.read()
    except FileNotFoundError:
        raise CheckpointError(f"there is no {what} {os.fspath(path)!r}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the {what} {os.fspath(path)!r}: {error}") from error


def _without_waiting(path: str, flags: int) -> int:
    # Opening a fifo would wait for its writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _digest(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    about = json.dumps(sorted(metadata.items())) + digest_of_arrays(arrays)
    return hashlib.sha256(about.encode()).hexdigest()


def digest_of_arrays(arrays: Mapping[str, Array]) -> str:
    """Return a SHA-256 over names, dtypes, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.require(array, requirements="C").reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
