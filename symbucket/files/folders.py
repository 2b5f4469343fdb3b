"""Replacing whole folders: readers find the old one or the new one, and there is always one."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from symbucket.files.atomic import sync_folder

if sys.platform != "win32":
    import fcntl

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target``, which takes its place at the end of the block.

    If the block fails, ``target`` stays as it is. On Linux old and new are exchanged in one step;
    elsewhere there is a moment without either. What killed writers left is removed. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{hashlib.blake2b(os.fsencode(target.name), digest_size=6).hexdigest()}"
    _remove_leftovers(target.parent, stem)
    folder, lock = _new_folder(target, stem)
    try:
        yield folder
        sync_folder(folder)
        if not target.exists():
            folder.rename(target)
        elif not _exchange(folder, target):
            old = folder.with_suffix(".old")
            target.rename(old)
            try:
                folder.rename(target)
            except BaseException:
                old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the old one, or what the block has written
        if lock is not None:
            os.close(lock)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders; return whether the system can."""
    rename = _load_renameat2()
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):  # an old kernel, or file system
        return False
    raise OSError(number, os.strerror(number), str(other))


def _load_renameat2() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None  # a C library other than glibc, or an old one
    function.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]
    function.restype = ctypes.c_int
    return function


def _new_folder(target: Path, stem: str) -> tuple[Path, int | None]:
    """Return a new folder and the handle of its lock; None where there are no locks."""
    while True:
        folder = target.with_name(f"{stem}.{secrets.token_hex(6)}.new")
        folder.mkdir()
        if sys.platform == "win32":
            return folder, None
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(folder)
            if folder.exists():
                return folder, lock
            os.close(lock)
        # Another writer took it for a leftover before it was locked.


def _lock(folder: Path) -> int:
    """Return the handle of a lock on a folder, by which others know that its writer lives."""
    handle = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _remove_leftovers(parent: Path, stem: str) -> None:
    """Remove folders whose writers do not live any more."""
    if sys.platform == "win32":
        return
    for leftover in [*parent.glob(f"{stem}.*.new"), *parent.glob(f"{stem}.*.old")]:
        with contextlib.suppress(OSError):
            handle = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(handle)
