"""The key of a compilation in the cache: a hash of all that its result depends on."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from symbucket import seeding
from symbucket.compiler.metrics import FORMULAS
from symbucket.compiler.request import CompileRequest
from symbucket.ir import IR_VERSION, OPSET, known_ops
from symbucket.symbol.brief import brief
from symbucket.symbol.symbol import Symbol

_HERE = Path(__file__).parents[1]
_SOURCES = ("compiler", "ir", "metric", "ops", "symbol")
_OWN_MODULES = "symbucket."


def fingerprint(request: CompileRequest) -> str | None:
    """Return a key of 64 characters, or None if operators or rules from outside take part.

    In it are the request's content, the seed (if the model draws random numbers itself), versions
    and the source code of the compiler.
    """
    if not _is_ours(request.symbol) or not _has_own_rules_only():
        return None
    compiler = (
        code_hash(),
        onnx.__version__,
        ir.__version__,
        OPSET,
        IR_VERSION,
        None if request.target.binds_noise else seeding.current_seed(),
    )
    return hashlib.sha256(repr((compiler, request.content)).encode()).hexdigest()


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Return a hash of the source code that takes part in compiling."""
    digest = hashlib.sha256()
    for path in [*(_HERE / part for part in _SOURCES), _HERE / "seeding.py"]:
        _add_sources(digest, path.name, str(path))
    return digest.hexdigest()


def _add_sources(digest: Any, name: str, path: str) -> None:
    """Add a Python file, or all of a folder, with their names."""
    if name.endswith(".py"):
        digest.update(f"{path.removeprefix(str(_HERE))}\n".encode())
        with open(path, "rb", buffering=0) as file:
            digest.update(file.read())
    elif name != "__pycache__" and os.path.isdir(path):
        for child in sorted(os.listdir(path)):
            _add_sources(digest, child, os.path.join(path, child))


def _is_ours(symbol: Symbol) -> bool:
    return all(
        type(n.op).__module__.startswith(_OWN_MODULES)
        for n in brief(symbol).nodes
        if n.op is not None
    )


def _has_own_rules_only() -> bool:
    rules = [rule for op in known_ops() for rule in (op.shape, op.gradient, op.expand)]
    functions = [rule for rule in (*rules, *FORMULAS.values()) if rule is not None]
    return all(function.__module__.startswith(_OWN_MODULES) for function in functions)
