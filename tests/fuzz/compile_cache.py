"""Entries of the cache of compiled models that are damaged, or no entries: compiled anew, equal."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache

import numpy as np

import symbucket as sb
from symbucket.compiler import CompilerOptions
from symbucket.compiler.cache import _CLASSES, _MAGIC
from symbucket.compiler.codec import unpack
from symbucket.compiler.compile import compile_inference
from symbucket.compiler.program import Program
from tests.fuzz.damage import damaged
from tests.fuzz.folders import folder_of
from tests.fuzz.reading import Case, main

_START = len(_MAGIC) + hashlib.sha256().digest_size


def _compiled() -> Program:
    with sb.NameManager():
        net = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    options = CompilerOptions(cache_dir=folder_of("compile_cache"))
    return compile_inference(net, {"data": (3, 2)}, options=options)


@cache
def _original() -> tuple[Program, str, bytes]:
    program = _compiled()
    (path,) = folder_of("compile_cache").glob("*.symbucket")
    return program, str(path), path.read_bytes()


def case(seed: int) -> Case:
    """Return the compiling of a network whose entry is damaged, a pipe, a folder, or a link."""
    rng = np.random.default_rng(seed)
    _, _, content = _original()
    changed = damaged(content, rng)
    return (lambda: _decode(changed)) if seed % 2 else (lambda: _compile(changed, seed // 2 % 8))


def _decode(content: bytes) -> None:
    """What is in a file whose checksum is right is decoded, or is no program."""
    unpack(content[_START:], _CLASSES)


def _compile(content: bytes, kind: int) -> None:
    program, path, _ = _original()
    try:
        if kind == 0:
            os.remove(path)
            os.mkfifo(path)
        elif kind == 1:
            os.remove(path)
            os.mkdir(path)
        elif kind == 2:
            os.remove(path)
            os.symlink("/dev/zero", path)
        else:
            with open(path, "wb") as file:
                file.write(content)
        assert _compiled() == program
    finally:
        if os.path.isdir(path):
            os.rmdir(path)
        if not os.path.isfile(path):
            _compiled()


if __name__ == "__main__":
    sys.exit(main(case, __doc__))
