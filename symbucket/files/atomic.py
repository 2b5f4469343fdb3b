"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from symbucket.errors import CheckpointError

if sys.platform != "win32":
    import fcntl


def write_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Write beside ``path`` first, then put it in place: readers see the old file or the new one.

    File and folder are synced, so that what this function has written is there after a crash of
    the machine. The new file has the permissions that ``open`` would give it; a link is followed.
    What writers that were killed left beside ``path`` is removed. Raises OSError; the old file is
    untouched then and nothing is left beside it.
    """
    target = Path(os.path.realpath(path))
    _remove_leftovers(target)
    with _temporary(target) as (handle, temporary):
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    sync_folder(target.parent)


def write_checkpoint(path: str | os.PathLike[str], content: bytes) -> None:
    """``write_atomic`` for what a user asked to keep: CheckpointError where it fails."""
    try:
        write_atomic(path, content)
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        raise CheckpointError(f"cannot write {str(path)!r}: {error}") from error


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make the folder that a file will be in; raise CheckpointError if it cannot be made."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot make the folder {folder!r}: {error}") from error


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Wait until the entries of a folder are on the disk; systems that cannot do it skip it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _stem(target: Path) -> str:
    # A hash, since the longest name that the file system takes has no room for more letters.
    return f".{hashlib.blake2b(os.fsencode(target.name), digest_size=6).hexdigest()}"


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[int, Path]]:
    """Yield the handle and the path of a new file beside ``target``, gone afterwards.

    Its writer holds a lock on it, by which ``_remove_leftovers`` knows that it is alive.
    """
    while True:
        temporary = target.with_name(f"{_stem(target)}.{secrets.token_hex(6)}.tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if _locked(handle, wait=True) and os.fstat(handle).st_nlink:
            break
        os.close(handle)  # another writer took it for a leftover before it was locked
    try:
        yield handle, temporary
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        os.close(handle)


def _remove_leftovers(target: Path) -> None:
    """Remove temporary files of ``target`` whose writers do not live any more."""
    if sys.platform == "win32":
        return
    for leftover in target.parent.glob(f"{_stem(target)}.*.tmp"):
        with contextlib.suppress(OSError):
            handle = os.open(leftover, os.O_WRONLY)
            try:
                if _locked(handle, wait=False):
                    os.unlink(leftover)
            finally:
                os.close(handle)


def _locked(handle: int, *, wait: bool) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another holds it, or the file system knows no locks
        return wait
    return True
