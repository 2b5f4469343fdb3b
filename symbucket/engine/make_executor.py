"""The executor that fits a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbucket.context import Context
from symbucket.engine.cut import runs_python
from symbucket.engine.executor import Executor
from symbucket.engine.programs import NO_BATCH
from symbucket.engine.segmented import SegmentedExecutor
from symbucket.symbol.symbol import Symbol

ExecutorOnContext = Executor | SegmentedExecutor
"""An executor on one context."""


def make_executor(
    symbol: Symbol,
    context: Context,
    *args: Any,
    batch_axes: Mapping[str, int] = NO_BATCH,
    **kwargs: Any,
) -> ExecutorOnContext:
    """Return an executor; one that is cut if the network has operators in Python.

    Arguments are those of ``Executor``. What is cut runs batches as a whole.
    """
    if runs_python(symbol):
        return SegmentedExecutor(symbol, context, *args, **kwargs)
    return Executor(symbol, context, *args, batch_axes=batch_axes, **kwargs)
