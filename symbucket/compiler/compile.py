"""The compiler's entry points: a request in, programs out, from the cache if they are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from symbucket.compiler.cache import cached
from symbucket.compiler.fit_memory_limit import fit_memory_limit
from symbucket.compiler.gc_pause import paused_collector
from symbucket.compiler.options import CompilerOptions
from symbucket.compiler.pipeline import AfterEach, run_pipeline
from symbucket.compiler.ports import Role
from symbucket.compiler.program import Program, TrainingPrograms
from symbucket.compiler.request import CompileRequest
from symbucket.compiler.shards.to_one_shard import ShardMismatchError
from symbucket.compiler.target import CPU, Target
from symbucket.metric import GraphMetric
from symbucket.symbol.symbol import Symbol

DEFAULTS = CompilerOptions()


def compile_inference(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any] | None = None,
    name: str = "inference",
    fetch: Iterable[str] | None = None,
    metrics: Sequence[GraphMetric] = (),
    options: CompilerOptions = DEFAULTS,
    target: Target = CPU,
) -> Program:
    """Compile the model that computes the outputs of ``symbol`` with is_train false.

    Args:
        symbol: the network.
        shapes: the shapes of its variables, or enough of them to infer the others.
        dtypes: their element types; float32 unless something says otherwise.
        name: the graph's name.
        fetch: the outputs to return; None for all of them.
        metrics: sums to compute in the graph and return too.
        options: the user's options.
        target: what the model must run on.

    Raises:
        ShapeError: shapes are missing or do not fit.
        MemoryLimitError: ``options.memory_limit`` is too small.
    """
    request = CompileRequest(
        symbol,
        shapes,
        dtypes or {},
        name=name,
        fetch=None if fetch is None else tuple(fetch),
        metrics=metrics,
        options=options,
        target=target,
    )
    program = compile_request(request).step
    assert program is not None
    return program


def compile_training(
    symbol: Symbol,
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, Any] | None = None,
    wanted: Iterable[str] = (),
    name: str = "training",
    fetch: Iterable[str] | None = None,
    metrics: Sequence[GraphMetric] = (),
    options: CompilerOptions = DEFAULTS,
    row_sparse: Collection[str] = (),
    target: Target = CPU,
    as_inference: bool = False,
    batch_axes: Mapping[str, int] | None = None,
) -> TrainingPrograms:
    """Compile the models of a training step.

    Args:
        symbol: the network.
        shapes: the shapes of its variables, or enough of them to infer the others.
        dtypes: their element types; float32 unless something says otherwise.
        wanted: the arguments to differentiate by.
        name: the graph's name.
        fetch: the outputs to return; None for all of them. What only others need is left out.
        metrics: sums to compute in the graph and return too.
        options: the user's options.
        row_sparse: gradients that may come as rows and values.
        target: what the models must run on.
        as_inference: differentiate what inference computes.
        batch_axes: for arguments whose rows are those of the batch, along which axis they lie. If
            ``target.shards`` says so, the step may be compiled for a part of the rows.

    Raises:
        ShapeError: shapes are missing or do not fit.
        UnsupportedError: some nodes have no gradient; all of them are named.
        NameConflictError: a variable has the name of a result, such as ``P.grad``.
        MemoryLimitError: no way is found to stay under ``options.memory_limit``.
    """
    request = CompileRequest(
        symbol,
        shapes,
        dtypes or {},
        True,
        name,
        tuple(wanted),
        None if fetch is None else tuple(fetch),
        metrics,
        frozenset(row_sparse),
        options,
        target,
        as_inference,
        tuple((batch_axes or {}).items()),
    )
    return compile_request(request)


def compile_request(
    request: CompileRequest, after_each: AfterEach | None = None
) -> TrainingPrograms:
    """Compile what is asked; the program of an inference request is the ``step``.

    ``after_each`` is called as in ``run_pipeline``; with it, no model comes from the cache.
    """

    def build(request: CompileRequest) -> TrainingPrograms:
        try:
            c = run_pipeline(request, after_each)
        except ShardMismatchError as error:  # a rule is wrong; the graph is half rewritten
            plain = replace(request, target=replace(request.target, shards=1))
            c = run_pipeline(plain, after_each)
            c.programs = [replace(program, unsharded=str(error)) for program in c.programs]
        if len(c.programs) == 1:
            return TrainingPrograms(c.programs[0], None, None, c.heads)
        forward, backward = c.programs
        # Outputs that nothing flows back from, such as positions, have heads that nobody reads.
        read = {port.of for port in backward.inputs_of(Role.HEAD)}
        heads = tuple(name for name in c.heads if name in read)
        return TrainingPrograms(None, forward, backward, heads)

    def compiled() -> TrainingPrograms:
        with paused_collector():
            return fit_memory_limit(build, request)

    return compiled() if after_each is not None else cached(compiled, request)
