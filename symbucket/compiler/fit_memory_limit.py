"""Trade time for memory: compile again, in more chunks, until the plan meets the memory limit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace

from symbucket.compiler.program import TrainingPrograms
from symbucket.compiler.request import CompileRequest
from symbucket.errors import MemoryLimitError

MAX_LOSS_CHUNKS = 64

Build = Callable[[CompileRequest], TrainingPrograms]


def fit_memory_limit(build: Build, request: CompileRequest) -> TrainingPrograms:
    """Return the first of several compilations that meets ``options.memory_limit``.

    Chunks are doubled from ``options.loss_chunks`` on. If that is not enough, the same is tried
    with recurrent steps left unrolled: their activations can be freed step by step, and computed a
    second time. Raises MemoryLimitError with the name, the least need and the limit.
    """
    options = request.options
    limit = options.memory_limit
    programs = build(request)
    need = bytes_needed(programs)
    if limit is None or need <= limit:
        return programs
    first_need = need
    fewest = options.loss_chunks
    for variant, chunks in ((options, 2 * fewest), (options.without("roll-loops"), fewest)):
        while need > limit and chunks <= MAX_LOSS_CHUNKS:
            gc.collect()  # graphs are full of cycles; earlier attempts must not pile up
            attempt = build(request.with_options(replace(variant, loss_chunks=chunks)))
            size = bytes_needed(attempt)
            if size < need:
                programs, need = attempt, size
            if chunks > 1 and not _has_chunks(attempt):
                break
            chunks *= 2
    gc.collect()
    if need > limit:
        raise MemoryLimitError(
            f"{request.name} needs {need:,} bytes for inputs, outputs and activations "
            f"({first_need:,} before the compiler spent time for memory: recomputed activations, "
            f"the loss in chunks); memory_limit is {limit:,}. Raise the limit, or make the batch "
            "or the network of this key smaller."
        )
    return programs


def bytes_needed(programs: TrainingPrograms) -> int:
    """Return the bytes that the programs take together, one running at a time."""
    arrays: dict[str, int] = {}
    arena = 0
    for program in programs.models:
        if program.plan is not None:
            arrays.update({**program.plan.inputs, **program.plan.outputs})
            arena = max(arena, program.plan.arena)
    return sum(arrays.values()) + arena


def _has_chunks(programs: TrainingPrograms) -> bool:
    return any(program.passes.get("chunk-output-layer") for program in programs.models)
