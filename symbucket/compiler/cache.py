"""The compiled-model cache: programs on disk, found by the content of a request."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from symbucket.compiler.codec import pack, unpack
from symbucket.compiler.fingerprint import fingerprint
from symbucket.compiler.memory import Buffer, MemoryPlan
from symbucket.compiler.noise_inputs import NoiseInput
from symbucket.compiler.ports import Port, Role
from symbucket.compiler.program import Program, TrainingPrograms
from symbucket.compiler.request import CompileRequest
from symbucket.compiler.shards.sharding import Piece, Sharding
from symbucket.files import write_atomic

_LOG = logging.getLogger(__name__)
_MAGIC = b"symbucket compiled model 3\n"
_SUFFIX = ".symbucket"
_ABANDONED_SECONDS = 3600.0  # an unfinished file that is older has lost its writer

_CLASSES = (TrainingPrograms, Program, Port, Role, NoiseInput, MemoryPlan, Buffer, Sharding, Piece)


def cached(compiled: Callable[[], TrainingPrograms], request: CompileRequest) -> TrainingPrograms:
    """Return the programs of a request from ``options.cache_dir``, or else what ``compiled`` makes.

    Whatever is wrong with the folder or a file in it only costs the time to compile.
    """
    options = request.options
    if options.cache_dir is None:
        return compiled()
    key = fingerprint(request)
    if key is None:
        return compiled()
    cache = ModelCache(options.cache_dir, options.cache_bytes)
    content = cache.read(key)
    if content is not None:
        programs = unpack(content, _CLASSES)
        if isinstance(programs, TrainingPrograms):
            return programs
    programs = compiled()
    cache.write(key, pack(programs))
    return programs


class ModelCache:
    """A folder with one file for each key; the least recently used ones are removed.

    Safe for any number of processes without locks: a file appears under its name when it is
    complete, and its checksum is verified whenever it is read. The checksum tells damage, not
    forgery: who may write into the folder decides what is computed. So the folder is made for its
    user alone, and files of other users are not read.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int) -> None:
        self.folder = Path(folder)
        self.limit = limit

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / f"{key}{_SUFFIX}"

    def read(self, key: str) -> bytes | None:
        """Return the content under ``key``, or None; a damaged file is removed."""
        path = self.path(key)
        try:
            raw = _own_content(path)
        except (OSError, ValueError):  # a path with a zero byte is a ValueError
            return None
        if raw is None:
            _LOG.warning("%s is no plain file of this user; compiling again", path)
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
        """Store ``content`` under ``key`` and make room for it; a failure is only logged."""
        raw = _MAGIC + self._checksum(key, content) + content
        if len(raw) > self.limit:
            return
        try:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            write_atomic(self.path(key), raw)
            self._make_room(self.path(key).name)
        except (OSError, ValueError) as error:
            _LOG.warning("cannot keep a compiled model in %s: %s", self.folder, error)

    @staticmethod
    def _checksum(key: str, content: bytes) -> bytes:
        return hashlib.sha256(key.encode() + content).digest()

    def _make_room(self, newest: str) -> None:
        files: list[tuple[float, int, str]] = []
        now = time.time()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except OSError:
                    continue  # another process has removed it
                unfinished = entry.name.startswith(".") and entry.name.endswith(".tmp")
                if unfinished and now - status.st_mtime > _ABANDONED_SECONDS:
                    _remove(entry.path)
                elif entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                    last = float("inf") if entry.name == newest else status.st_mtime
                    files.append((last, status.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                break
            _remove(path)
            total -= size


def _own_content(path: Path) -> bytes | None:
    """Return what is in a plain file of this user (or root); None if it is anything else.

    What is in a file decides what is computed, and a pipe would be waited for.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        user = getattr(os, "geteuid", lambda: status.st_uid)()
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (user, 0):
            return None
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
