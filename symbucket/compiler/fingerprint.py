"""The key under which a compilation is remembered: a hash of all that its result depends on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from symbucket import random
from symbucket.compiler.metrics import FORMULAS
from symbucket.compiler.options import CompilerOptions
from symbucket.ir import IR_VERSION, OPSET, known_ops
from symbucket.ops.record import Operator
from symbucket.symbol.symbol import Symbol

_HERE = Path(__file__).parents[1]
_SOURCES = ("compiler", "ir", "metric", "ops", "symbol")
_OWN = "symbucket."


def fingerprint(options: CompilerOptions, *asked: Any) -> str | None:
    """A key of 64 characters, or None where operators or rules from outside take part.

    Content counts, not identity: two symbols made by the same calls give one key. In it are the
    seed (random nodes carry seeds) and the source code of the compiler.
    """
    symbols = [part for part in asked if isinstance(part, Symbol)]
    if not all(_is_ours(symbol) for symbol in symbols) or not _has_own_rules_only():
        return None
    compiler = (
        code_hash(),
        onnx.__version__,
        ir.__version__,
        OPSET,
        IR_VERSION,
        random.current_seed(),
    )
    text = repr((compiler, _plain(options), [_plain(part) for part in asked]))
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def code_hash() -> str:
    """A hash of the source code that takes part in compiling."""
    digest = hashlib.sha256()
    files = [path for part in _SOURCES for path in (_HERE / part).rglob("*.py")]
    for path in sorted([*files, _HERE / "random.py"]):
        digest.update(f"{path.relative_to(_HERE).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_ours(symbol: Symbol) -> bool:
    return all(type(n.op).__module__.startswith(_OWN) for n in symbol.nodes() if n.op is not None)


def _has_own_rules_only() -> bool:
    rules = [rule for op in known_ops() for rule in (op.shape, op.gradient, op.expand)]
    functions = [*rules, *FORMULAS.values()]
    return all(rule.__module__.startswith(_OWN) for rule in functions if rule is not None)


def _plain(part: Any) -> Any:
    """Something whose ``repr`` says all there is to say, whatever order it was put together in."""
    if isinstance(part, Symbol):
        return _symbol(part)
    if isinstance(part, Mapping):
        return sorted((str(k), _plain(v)) for k, v in part.items())
    if isinstance(part, CompilerOptions):
        fields = (f.name for f in dataclasses.fields(part) if not f.name.startswith("cache_"))
        return [(name, _plain(getattr(part, name))) for name in fields]
    if isinstance(part, np.dtype) or (isinstance(part, type) and issubclass(part, np.generic)):
        return np.dtype(part).str
    if isinstance(part, (set, frozenset)):
        return sorted(map(str, part))
    if isinstance(part, Collection) and not isinstance(part, (str, bytes)):
        return [_plain(item) for item in part]
    return part


def _symbol(symbol: Symbol) -> list[Any]:
    nodes = symbol.nodes()
    index = {node: i for i, node in enumerate(nodes)}

    def place(entries: Collection[tuple[Any, int]]) -> list[tuple[int, int]]:
        return [(index[node], output) for node, output in entries]

    found: list[Any] = [place(symbol.heads)]
    for node in nodes:
        op = None if node.op is None else (node.op.op_name, _attributes(node.op))
        found.append((op, node.name, sorted(node.attrs.items()), place(node.inputs)))
    return found


def _attributes(op: Operator) -> list[Any]:
    return [getattr(op, f.name) for f in dataclasses.fields(op)]  # type: ignore[arg-type]
