"""Files of records, as ``mx.recordio``: ``MXRecordIO``, with an index ``MXIndexedRecordIO``.

A record is a magic number, its length, its bytes, and zeros up to a multiple of four. Bytes that
hold the magic number at such a place are written as several parts. A picture or another sample in a
record begins with a header: label, id, and where ``flag`` is not 0, so many labels more.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np

from symbucket.checks import check_choice
from symbucket.errors import DataError, InvalidArgumentError, StateError
from symbucket.pictures import decode, encode
from symbucket.types import Array

__all__ = [
    "IRHeader",
    "MXIndexedRecordIO",
    "MXRecordIO",
    "pack",
    "pack_img",
    "unpack",
    "unpack_img",
]

PathLike = str | os.PathLike[str]

_MAGIC = struct.pack("<I", 0xCED7230A)
_LENGTH_BITS = 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_HEADER = struct.Struct("<IfQQ")


class HEADER(NamedTuple):
    """What stands before a sample: ``flag`` counts labels that follow; 0: ``label`` is the one."""

    flag: int
    label: Any
    id: int
    id2: int


IRHeader = HEADER


class MXRecordIO:
    """Records one after the other, read or written.

    Args:
        uri: path of the file.
        flag: "r" to read, "w" to write a new file.

    Raises DataError if the file cannot be opened, or is no file of records when it is read.
    """

    _file: IO[bytes] | None = None

    def __init__(self, uri: PathLike, flag: str) -> None:
        self.uri = uri
        self.flag = check_choice(flag, "MXRecordIO: flag", ("r", "w"))
        self.open()

    def __del__(self) -> None:
        self.close()

    @property
    def writable(self) -> bool:
        """Whether records are written."""
        return self.flag == "w"

    def open(self) -> None:
        """Open the file at its beginning."""
        try:
            self._file = open(self.uri, f"{self.flag}b")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise DataError(f"cannot open records {os.fspath(self.uri)!r}: {error}") from error

    def close(self) -> None:
        """Close the file; a second time has no effect."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def reset(self) -> None:
        """Go back to the first record; a file that is written becomes empty."""
        self.close()
        self.open()

    def __enter__(self) -> MXRecordIO:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def tell(self) -> int:
        """Return the place in the file where the next record begins."""
        return self._opened(None).tell()

    def write(self, buf: bytes) -> None:
        """Append a record."""
        file = self._opened("w")
        parts = _parts(bytes(buf))
        for number, part in enumerate(parts):
            kind = _MIDDLE
            if len(parts) == 1:
                kind = _WHOLE
            elif number == 0:
                kind = _FIRST
            elif number == len(parts) - 1:
                kind = _LAST
            if len(part) >= 1 << _LENGTH_BITS:
                raise DataError(f"a record of {len(part)} bytes is too long; at most 512 MiB")
            file.write(_MAGIC + struct.pack("<I", kind << _LENGTH_BITS | len(part)))
            file.write(part + bytes(-len(part) % 4))

    def read(self) -> bytes | None:
        """Return the next record; None after the last one.

        Raises DataError if the file is damaged or cut off.
        """
        file = self._opened("r")
        parts: list[bytes] = []
        while True:
            place = file.tell()
            head = file.read(8)
            if not head and not parts:
                return None
            if len(head) < 8 or head[:4] != _MAGIC:
                raise self._damaged(place)
            (word,) = struct.unpack("<I", head[4:])
            kind, length = word >> _LENGTH_BITS, word & (1 << _LENGTH_BITS) - 1
            padded = length + -length % 4
            part = file.read(padded)
            if len(part) < padded or (kind in (_WHOLE, _FIRST)) != (not parts) or kind > _LAST:
                raise self._damaged(place)
            parts.append(part[:length])
            if kind in (_WHOLE, _LAST):
                return _MAGIC.join(parts)

    def read_at(self, place: int) -> bytes:
        """Return the record that begins at a place in the file (:meth:`tell`)."""
        self._opened("r").seek(place)
        record = self.read()
        if record is None:
            raise self._damaged(place)
        return record

    def _damaged(self, place: int) -> DataError:
        return DataError(
            f"{os.fspath(self.uri)!r}: there is no whole record at byte {place}; the file is "
            "damaged, cut off, or none of records"
        )

    def _opened(self, flag: str | None) -> IO[bytes]:
        if self._file is None:
            raise StateError(f"records {os.fspath(self.uri)!r} are closed; call open or reset")
        if flag not in (None, self.flag):
            raise StateError(
                f"records {os.fspath(self.uri)!r} were opened with flag={self.flag!r}; open them "
                f"with {flag!r}"
            )
        return self._file


class MXIndexedRecordIO(MXRecordIO):
    """Records that an index finds by key: a text file of lines ``key<TAB>byte``.

    Args:
        idx_path: path of the index, which is written by ``close``.
        uri, flag: as of :class:`MXRecordIO`.
        key_type: makes a key of its text.
    """

    def __init__(
        self, idx_path: PathLike, uri: PathLike, flag: str, key_type: Callable[[str], Any] = int
    ) -> None:
        self.idx_path = idx_path
        self.key_type = key_type
        self.idx: dict[Any, int] = {}
        self.keys: list[Any] = []
        super().__init__(uri, flag)

    def open(self) -> None:
        """Open the file at its beginning, and read the index."""
        super().open()
        self.idx, self.keys = {}, []
        if self.writable:
            return
        try:
            with open(self.idx_path, encoding="utf-8") as lines:
                pairs = [line.strip().split("\t") for line in lines]
                for key, place in pairs:
                    self._add(self.key_type(key), int(place))
        except (OSError, ValueError) as error:
            self.close()
            raise DataError(
                f"{os.fspath(self.idx_path)!r} is no index of records (lines key<TAB>byte): {error}"
            ) from error

    def close(self) -> None:
        """Close the file; write the index if records were written."""
        if self._file is not None and self.writable:
            text = "".join(f"{key}\t{self.idx[key]}\n" for key in self.keys)
            with open(self.idx_path, "w", encoding="utf-8") as file:
                file.write(text)
        super().close()

    def seek(self, idx: Any) -> None:
        """Let the next ``read`` return the record of a key."""
        if idx not in self.idx:
            raise InvalidArgumentError(
                f"{os.fspath(self.uri)!r} has no record of key {idx!r}; it has {len(self.keys)}"
            )
        self._opened("r").seek(self.idx[idx])

    def read_idx(self, idx: Any) -> bytes | None:
        """Return the record of a key."""
        self.seek(idx)
        return self.read()

    def write_idx(self, idx: Any, buf: bytes) -> None:
        """Append a record under a key."""
        key = self.key_type(idx)
        if key in self.idx:
            raise InvalidArgumentError(f"there is a record of key {key!r} already")
        place = self.tell()
        self.write(buf)
        self._add(key, place)

    def _add(self, key: Any, place: int) -> None:
        self.idx[key] = place
        self.keys.append(key)


def _parts(content: bytes) -> list[bytes]:
    """Return the bytes, cut where the magic number stands at a multiple of four."""
    parts, start, place = [], 0, 0
    while (place := content.find(_MAGIC, place)) >= 0:
        if place % 4 == 0:
            parts.append(content[start:place])
            start = place = place + 4
        else:
            place += 1
    return [*parts, content[start:]]


def pack(header: HEADER, s: bytes) -> bytes:
    """Return a header and a sample as one record; a label of several numbers follows the header."""
    _, label, number, number2 = header
    if isinstance(label, (int, float, np.number)):
        return _HEADER.pack(0, float(label), number, number2) + s
    labels = np.asarray(label, np.float32)
    return _HEADER.pack(labels.size, 0.0, number, number2) + labels.tobytes() + s


def unpack(s: bytes) -> tuple[HEADER, bytes]:
    """Return the header and the sample of a record.

    Raises DataError if the record is too short for them.
    """
    if len(s) < _HEADER.size:
        raise DataError(f"a record of {len(s)} bytes has no header; that has {_HEADER.size}")
    header = HEADER(*_HEADER.unpack_from(s))
    rest = s[_HEADER.size :]
    if header.flag == 0:
        return header, rest
    if len(rest) < 4 * header.flag:
        raise DataError(f"a record of {len(s)} bytes is too short for {header.flag} labels")
    labels = np.frombuffer(rest, np.float32, header.flag)
    return header._replace(label=labels), rest[4 * header.flag :]


def pack_img(header: HEADER, img: Array, quality: int = 95, img_fmt: str = ".jpg") -> bytes:
    """Return a header and a picture as one record.

    Args:
        header: of the record.
        img: uint8 (height, width[, 3]), blue first, as OpenCV has it.
        quality: of JPEG, 1 to 100; of PNG how much it is compressed, 0 to 9.
        img_fmt: ".jpg" or ".png".
    """
    values = np.asarray(img)
    return pack(
        header, encode(values[:, :, ::-1] if values.ndim == 3 else values, quality, img_fmt)
    )


def unpack_img(s: bytes, iscolor: int = -1) -> tuple[HEADER, Array]:
    """Return the header and the picture of a record: uint8, blue first; grey if iscolor is 0."""
    header, content = unpack(s)
    values = decode(content, iscolor != 0, rgb=False, what="the picture of a record")
    return header, values if iscolor != 0 else values[:, :, 0]
