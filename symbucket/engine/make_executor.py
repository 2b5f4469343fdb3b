"""The executor that fits a network."""

from __future__ import annotations

from typing import Any

from symbucket.context import Context
from symbucket.engine.cut import runs_python
from symbucket.engine.executor import Executor
from symbucket.engine.segmented import SegmentedExecutor
from symbucket.symbol.symbol import Symbol

ExecutorOnContext = Executor | SegmentedExecutor
"""An executor on one context."""


def make_executor(symbol: Symbol, context: Context, *args: Any, **kwargs: Any) -> ExecutorOnContext:
    """Return an executor; one that is cut if the network has operators in Python.

    Arguments are those of ``Executor``.
    """
    kind: type[ExecutorOnContext] = SegmentedExecutor if runs_python(symbol) else Executor
    return kind(symbol, context, *args, **kwargs)
