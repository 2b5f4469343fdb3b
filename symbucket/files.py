"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets

from symbucket.errors import CheckpointError


def write_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Write beside ``path`` first, then put it in place: readers see the old file or the new one.

    The new file has the permissions that ``open`` would give it. Raises OSError; the old file is
    untouched then and nothing is left beside it.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(6)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_checkpoint(path: str | os.PathLike[str], content: bytes) -> None:
    """``write_atomic`` for what a user asked to keep: CheckpointError where it fails."""
    try:
        write_atomic(path, content)
    except OSError as error:
        raise CheckpointError(f"cannot write {str(path)!r}: {error}") from error
