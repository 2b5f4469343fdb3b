"""The files of a bundle: opened, read or mapped, and compared with their checksums."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from symbucket.errors import BundleError
from symbucket.export.spec import BundleFile
from symbucket.runtime.ndarray import aligned_empty
from symbucket.types import Array

_CHUNK = 1 << 20


def resolved(folder: str | os.PathLike[str]) -> Path:
    """Return the real path of a bundle's folder; raise BundleError if it cannot be one."""
    try:
        return Path(os.path.realpath(folder))
    except (OSError, ValueError) as error:  # a NUL byte, a loop of links
        raise BundleError(f"{str(folder)!r} is no path of a bundle: {error}") from None


def identity_of(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one that has taken its place; None without one."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_plain(folder: Path, name: str, nbytes: int | None) -> int:
    """Open a file of the folder that is no link, directory or device, and has its right size."""
    path = folder / name
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise BundleError(f"{str(folder)!r} lacks the file {name!r}") from None
    if not stat.S_ISREG(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a plain file"
        raise BundleError(f"{str(path)!r} is {what}; a bundle's files lie in its folder")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    size = os.fstat(handle).st_size
    if nbytes is not None and size != nbytes:
        os.close(handle)
        raise BundleError(f"{str(path)!r} has {size} bytes, the manifest says {nbytes}")
    return handle


def read_all(handle: int) -> bytes:
    """Read a file."""
    with os.fdopen(os.dup(handle), "rb") as file:
        return file.read()


def read_aligned(handle: int) -> Array:
    """Read a file into memory of this process, on a boundary that suits every dtype."""
    content = aligned_empty((os.fstat(handle).st_size,), np.uint8)
    count = 0
    with os.fdopen(os.dup(handle), "rb", buffering=0) as file:
        while count < content.size and (more := file.readinto(content[count:].data)):
            count += more
    return content[:count]  # shorter if someone cut the file meanwhile, which its checksum tells


def map_file(handle: int) -> Any:
    """Map a file into memory: pages are shared between processes and read when touched."""
    if os.fstat(handle).st_size == 0:
        return b""
    return mmap.mmap(handle, 0, access=mmap.ACCESS_READ)


def require_sum(folder: Path, file: BundleFile, content: Any) -> None:
    """Raise BundleError unless the content of a file has the checksum of the manifest."""
    digest = hashlib.sha256()
    with memoryview(content) as view:
        for start in range(0, len(view), _CHUNK):
            digest.update(view[start : start + _CHUNK])
    if digest.hexdigest() != file.sha256:
        raise BundleError(
            f"{str(folder / file.file)!r} is damaged: its SHA-256 is {digest.hexdigest()}, the "
            f"manifest says {file.sha256}"
        )
