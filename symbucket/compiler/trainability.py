"""Check that a network can be trained, before its first step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from symbucket.compiler.autodiff.differentiate import differentiate, needs_head
from symbucket.compiler.lower import lower
from symbucket.ir import dtype_of, shape_of
from symbucket.symbol.brief import brief
from symbucket.symbol.symbol import Symbol


def holds_foreign(symbol: Symbol) -> bool:
    """Return whether some node holds an imported graph."""
    return symbol.derived(_holds_foreign)


def _holds_foreign(symbol: Symbol) -> bool:
    return any(node.op is not None and node.op.foreign for node in brief(symbol).nodes)


def check_gradients(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any],
    wanted: Iterable[str],
    name: str,
) -> None:
    """Raise UnsupportedError that names every node whose gradient is missing or refused."""
    lowered = lower(symbol, shapes, dtypes, training=True, name=name)
    variables = [lowered.variables[n] for n in wanted]
    g = lowered.emitter
    heads = {
        value: g.input(f"head{i}", shape_of(value), dtype_of(value))
        for i, (value, flag) in enumerate(
            zip(lowered.outputs, needs_head(lowered.outputs, variables))
        )
        if flag
    }
    differentiate(g, lowered.outputs, heads, variables)
