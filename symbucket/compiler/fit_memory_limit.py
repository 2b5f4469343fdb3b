"""Time for memory: compile again, in more chunks, until the plan fits under the limit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from symbucket.compiler.options import CompilerOptions
from symbucket.errors import MemoryLimitError

Made = TypeVar("Made")

_MOST = 64  # chunks of an output layer


def within_limit(
    build: Callable[[CompilerOptions], Made],
    need_of: Callable[[Made], tuple[int, bool]],
    options: CompilerOptions,
    name: str,
) -> Made:
    """The first of several compilations that fits under ``options.memory_limit``.

    ``need_of`` gives the bytes that a compilation needs and whether it has chunks at all. Chunks
    are doubled from ``options.loss_chunks`` on. Where that is not enough, the same is tried with
    recurrent steps left unrolled: their activations can be given back step by step, and computed a
    second time. Raises MemoryLimitError with the name, the least need and the limit.
    """
    limit = options.memory_limit
    made = build(options)
    need, _ = need_of(made)
    if limit is None or need <= limit:
        return made
    first = need
    least = options.loss_chunks
    for variant, chunks in ((options, 2 * least), (options.without("roll-loops"), least)):
        while need > limit and chunks <= _MOST:
            gc.collect()  # graphs are full of cycles; what was tried must not pile up
            tried = build(replace(variant, loss_chunks=chunks))
            size, chunked = need_of(tried)
            if size < need:
                made, need = tried, size
            if chunks > 1 and not chunked:
                break
            chunks *= 2
    gc.collect()
    if need > limit:
        raise MemoryLimitError(
            f"{name} needs {need:,} bytes for inputs, outputs and activations ({first:,} before "
            "the compiler spent time for memory: recomputed activations, the loss in chunks); "
            f"memory_limit is {limit:,}. Raise the limit, or make the batch or the network of "
            "this key smaller."
        )
    return made
