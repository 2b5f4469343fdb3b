"""Compiled models on disk: found again by content, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from symbucket.compiler.codec import pack, unpack
from symbucket.compiler.fingerprint import fingerprint
from symbucket.compiler.options import CompilerOptions
from symbucket.files import write_atomic

_LOG = logging.getLogger(__name__)
_MAGIC = b"symbucket compiled model 1\n"
_SUFFIX = ".symbucket"
_LEFT_BEHIND = 3600.0  # seconds after which an unfinished file has lost its writer

Made = TypeVar("Made")


def remembered(
    make: Callable[[], Made], classes: Sequence[type], options: CompilerOptions, *asked: Any
) -> Made:
    """What ``make()`` gives, from ``options.cache_dir`` where it is there already.

    ``asked`` is all that the result depends on besides the options; the first of ``classes`` is
    that of the result, the others are those of its parts. Whatever is wrong with the folder or a
    file in it only costs the time to compile.
    """
    if options.cache_dir is None:
        return make()
    key = fingerprint(options, *asked)
    if key is None:
        return make()
    cache = ModelCache(options.cache_dir, options.cache_bytes)
    content = cache.read(key)
    if content is not None:
        found = unpack(content, classes)
        if isinstance(found, classes[0]):
            return found  # type: ignore[return-value] # the first class is that of the result
    made = make()
    cache.write(key, pack(made))
    return made


class ModelCache:
    """A folder with one file for each key, the least recently used of which are removed.

    Safe for any number of processes without locks: a file appears under its name when it is
    complete, and its checksum is verified whenever it is read.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int) -> None:
        self.folder = Path(folder)
        self.limit = limit

    def path(self, key: str) -> Path:
        """Where the content of a key is."""
        return self.folder / f"{key}{_SUFFIX}"

    def read(self, key: str) -> bytes | None:
        """The content under ``key``, None where there is none; a damaged file is removed."""
        path = self.path(key)
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + hashlib.sha256().digest_size
        content = raw[start:]
        if raw[:start] != _MAGIC + self._checksum(key, content):
            _LOG.warning("%s is damaged; compiling again", path)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
        return content

    def write(self, key: str, content: bytes) -> None:
        """Put ``content`` under ``key`` and make room for it; failing is not an error."""
        raw = _MAGIC + self._checksum(key, content) + content
        if len(raw) > self.limit:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path(key), raw)
            self._make_room(self.path(key).name)
        except OSError as error:
            _LOG.warning("cannot keep a compiled model in %s: %s", self.folder, error)

    @staticmethod
    def _checksum(key: str, content: bytes) -> bytes:
        return hashlib.sha256(key.encode() + content).digest()

    def _make_room(self, newest: str) -> None:
        found: list[tuple[float, int, str]] = []
        now = time.time()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except OSError:
                    continue  # another process has removed it
                unfinished = entry.name.startswith(".") and f"{_SUFFIX}." in entry.name
                if unfinished and now - status.st_mtime > _LEFT_BEHIND:
                    _remove(entry.path)
                elif entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                    last = float("inf") if entry.name == newest else status.st_mtime
                    found.append((last, status.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            _remove(path)
            total -= size


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
