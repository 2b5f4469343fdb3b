"""Arrays in the binary format of MXNet's ``.params`` files, read and written with numpy alone.

A file is, little endian throughout: the number 0x112 and a zero (uint64 each); the number of arrays
(uint64) and the arrays; the number of names (uint64), which is that of the arrays or zero, and the
names (a uint64 length and UTF-8 each). An array is: a magic number (uint32), the kind of storage
(int32, not in files of before 1.0), the shape, the context (two int32: kind and number of the
device), the number of the dtype (int32), and the elements in C order.

======== =============== ============================================================
format   magic           shape
======== =============== ============================================================
V3       0xF993FACA      int32 rank, int64 sizes; rank -1 is no array (``mx.npx``)
V2       0xF993FAC9      int32 rank, int64 sizes; rank 0 is no array (MXNet 1.x)
V1       0xF993FAC8      the same, without a kind of storage (MXNet 0.11 and later)
legacy   the rank itself uint32 sizes, without a kind of storage
======== =============== ============================================================
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.checks import listing
from symbucket.errors import CheckpointError, UnsupportedError

Array = np.ndarray[Any, Any]

MAGIC = struct.pack("<QQ", 0x112, 0)
"""The first 16 bytes of every such file."""

_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DTYPES = ("f4", "f8", "f2", "u1", "i4", "i1", "i8", "?", "i2", "u2", "u4", "u8")
_WRITTEN = 8  # dtypes that MXNet 1.9 reads from Python: up to bool
_BFLOAT16 = 12
_STORAGE = {1: "row_sparse", 2: "csr"}
_MAX_RANK = 32  # of MXNet


def pack_mxnet(arrays: Mapping[str, Array] | Sequence[Array]) -> bytes:
    """Return a file of named arrays, or of a list, as ``mx.nd.load`` of MXNet 1.x reads it.

    Raises UnsupportedError for a dtype that MXNet lacks, and for an array of rank 0 or without
    elements, which MXNet reads in its numpy mode only.
    """
    names = list(arrays) if isinstance(arrays, Mapping) else []
    values = arrays.values() if isinstance(arrays, Mapping) else arrays
    parts = [MAGIC, struct.pack("<Q", len(values))]
    for position, array in enumerate(values):
        parts += _packed(names[position] if names else str(position), np.asarray(array))
    parts.append(struct.pack("<Q", len(names)))
    for name in names:
        check_name(name)
        encoded = name.encode()
        parts += [struct.pack("<Q", len(encoded)), encoded]
    return b"".join(parts)


def _packed(name: str, array: Array) -> list[bytes]:
    codes = [np.dtype(code) for code in _DTYPES[:_WRITTEN]]
    if array.dtype.newbyteorder("<") not in codes:
        raise UnsupportedError(
            f"array {name!r} is {array.dtype}; MXNet's format has "
            f"{', '.join(str(dtype) for dtype in codes)}. Convert it with astype first"
        )
    if array.size == 0 or array.ndim == 0:
        raise UnsupportedError(
            f"array {name!r} has shape {array.shape}; MXNet reads arrays with one axis or more "
            "and no axis of size 0. Reshape or leave it out"
        )
    number = codes.index(array.dtype.newbyteorder("<"))
    head = struct.pack(f"<Iii{array.ndim}q", _V2, 0, array.ndim, *array.shape)
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return [head, struct.pack("<iii", 1, 0, number), data]


def unpack_mxnet(data: bytes, where: str) -> dict[str, Array] | list[Array]:
    """Return the arrays of a file: by name, or a list if it has no names.

    Arrays keep their dtypes; bfloat16 becomes float32, which holds each of its values. What is
    saved as "no array" becomes an empty float32 one. Nothing is allocated beyond the size of the
    file, whatever lengths it claims.

    Raises CheckpointError, which names ``where`` and the place in the file, if it is damaged, and
    UnsupportedError if an array is sparse.
    """
    reader = _Reader(data, where)
    reader.take(len(MAGIC), "the file's magic number")
    if not data.startswith(MAGIC):
        raise CheckpointError(f"{where} is no file of MXNet: it begins with {data[:16].hex()}")
    count = reader.count(4, "arrays")  # an array takes 4 bytes at least
    arrays = [_unpacked(reader, i) for i in range(count)]
    names = [_name(reader, i) for i in range(reader.count(8, "names"))]
    if reader.left:
        raise reader.damaged(f"{reader.left} bytes follow after the last name")
    if not names:
        return arrays
    if len(names) != count:
        raise reader.damaged(f"{count} arrays have {len(names)} names")
    if len(set(names)) != count:
        twice = sorted({name for name in names if names.count(name) > 1})
        raise reader.damaged(f"two arrays have the name {listing(map(repr, twice))}")
    return dict(zip(names, arrays))


class _Reader:
    """Rest of a file, taken piece by piece; each piece is checked to be there."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self.where, self._at = memoryview(data), where, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.where}, a file of MXNet, is damaged or cut off: at byte {self._at} of "
            f"{len(self._data)}, {reason}. Copy it again from where it was written"
        )

    def take(self, size: int, what: str) -> memoryview:
        if size > self.left:
            raise self.damaged(f"{what} would take {size} bytes, but {self.left} are left")
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def numbers(self, code: str, what: str, count: int = 1) -> tuple[int, ...]:
        layout = struct.Struct(f"<{count}{code}")
        return layout.unpack(self.take(layout.size, what))

    def count(self, least: int, what: str) -> int:
        """Take the number of things that follow, of ``least`` bytes each or more."""
        (number,) = self.numbers("Q", f"the number of {what}")
        if number * least > self.left:
            raise self.damaged(
                f"{number} {what} are announced, but only {self.left} bytes are left"
            )
        return number


def _unpacked(reader: _Reader, position: int) -> Array:
    what = f"array {position}"
    (magic,) = reader.numbers("I", what)
    if magic in (_V2, _V3):
        (storage,) = reader.numbers("i", what)
        if storage in _STORAGE:
            raise UnsupportedError(
                f"{reader.where}: {what} is stored as {_STORAGE[storage]}; only dense arrays are "
                'read. In MXNet: mx.nd.save(name, {k: v.tostype("default") for k, v in ...})'
            )
        if storage not in (0, -1):
            raise reader.damaged(f"{what} has the kind of storage {storage}")
    if magic in (_V1, _V2, _V3):
        (rank,) = reader.numbers("i", f"the rank of {what}")
        size_code = "q"
    else:
        rank, size_code = magic, "I"
    none = -1 if magic == _V3 else 0
    if rank == none:
        return np.zeros(0, np.float32)
    if not 0 <= rank <= _MAX_RANK:
        raise reader.damaged(f"{what} has the rank {rank}; expected 0 to {_MAX_RANK}")
    shape = reader.numbers(size_code, f"the shape of {what}", rank)
    if any(size < 0 for size in shape):
        if magic == _V3:  # a size that MXNet did not know: no array either
            return np.zeros(0, np.float32)
        raise reader.damaged(f"{what} has the shape {shape}")
    reader.numbers("i", f"the context of {what}", 2)
    (number,) = reader.numbers("i", f"the dtype of {what}")
    if number != _BFLOAT16 and not 0 <= number < len(_DTYPES):
        raise reader.damaged(f"{what} has the dtype number {number}, which MXNet does not have")
    dtype = np.dtype("<u2" if number == _BFLOAT16 else f"<{_DTYPES[number]}".replace("<?", "?"))
    elements = reader.take(math.prod(shape) * dtype.itemsize, f"{what} of shape {shape}")
    if math.prod(size for size in shape if size) * dtype.itemsize > sys.maxsize:
        raise reader.damaged(f"{what} has the shape {shape}, which no array has")
    values = np.frombuffer(elements, dtype).copy()
    if number == _BFLOAT16:
        values = widen_bfloat16(values)
    return values.reshape(shape)


def widen_bfloat16(halves: Array) -> Array:
    """Return the float32 numbers whose upper halves these uint16 are."""
    return (halves.astype("<u4") << 16).view("<f4")


def check_name(name: str) -> None:
    """Raise UnsupportedError for the name of an array that UTF-8, and so no file, can hold."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UnsupportedError(
            f"an array cannot be named {name!r} in a file: {error.reason}. Use another name"
        ) from None


def _name(reader: _Reader, position: int) -> str:
    length = reader.count(1, f"letters of name {position}")
    try:
        return str(reader.take(length, f"name {position}"), "utf-8")
    except UnicodeDecodeError as error:
        raise reader.damaged(f"name {position} is no UTF-8 ({error.reason})") from None
