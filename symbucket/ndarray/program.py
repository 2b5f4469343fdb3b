"""One compiled model for each operator, its attributes, and the shapes and dtypes of its inputs.

The first call of a signature compiles a model of one operator and starts a session; all later ones
find it here. The models used least recently are dropped.

A small call costs little more than the run: the session's inputs and outputs are bound once, and
values are copied in and out. Copying costs less than binding up to ``_COPIED`` bytes; larger arrays
are bound at each call and not copied.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.compiler import Program, compile_inference
from symbucket.compiler.ports import Port, Role
from symbucket.context import Context
from symbucket.errors import SymbucketError, UnsupportedError
from symbucket.ops.record import Operator
from symbucket.runtime import NDArray, Session
from symbucket.runtime.noise import draw
from symbucket.runtime.providers import provider_of
from symbucket.runtime.target import target_of
from symbucket.symbol.node import Node
from symbucket.symbol.symbol import Symbol
from symbucket.types import Shape

_COPIED = 1 << 15  # bytes of all inputs and outputs
_THREADED = 1 << 18  # bytes from which a session may use more than one thread
_PROGRAMS = 512

Signature = tuple[tuple[Shape, np.dtype[Any]], ...]
"""Shape and dtype of each input."""


class OperatorProgram:
    """A session that computes one operator; threads take turns."""

    def __init__(self, op: Operator, inputs: Signature, context: Context) -> None:
        self._names = [*op.arguments(), *op.auxiliary()]
        self._context = context
        self._lock = threading.Lock()
        program = _compile(op, self._names, inputs, context)
        self._ports = program.outputs
        self._draws = program.noise
        self._noise = self._new(program.inputs_of(Role.NOISE))
        size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in inputs)
        size += sum(math.prod(port.shape) * port.dtype.itemsize for port in program.outputs)
        self._session = _start(op, program, inputs, context, 0 if size >= _THREADED else 1)
        self._session.bind_inputs(self._noise)
        self._copies = size <= _COPIED and provider_of(context).host_memory
        self._inputs: dict[str, NDArray] = {}
        self._results: dict[str, NDArray] = {}
        if self._copies:
            self._inputs = self._new(program.inputs_of(Role.ARGUMENT))
            self._inputs.update(self._new(program.inputs_of(Role.STATE)))
            self._results = self._new(program.outputs)
            self._session.bind_inputs(self._inputs)
            self._session.bind_outputs(self._results)

    def _new(self, ports: Iterable[Port]) -> dict[str, NDArray]:
        return {port.name: NDArray.empty(port.shape, port.dtype, self._context) for port in ports}

    def run(self, inputs: Sequence[NDArray]) -> list[NDArray]:
        """Return the outputs as new arrays."""
        with self._lock:
            key = ("nd", seeding.next_visit("nd")) if self._draws else ()
            for noise in self._draws:
                draw(noise, self._noise[noise.name], key)
            return self._run_copied(inputs) if self._copies else self._run_bound(inputs)

    def _run_copied(self, inputs: Sequence[NDArray]) -> list[NDArray]:
        for name, array in zip(self._names, inputs):
            if name in self._inputs:
                np.copyto(self._inputs[name].view(), array.view())
        self._session.run()
        return [
            NDArray.over(result.view().copy(), self._context) for result in self._results.values()
        ]

    def _run_bound(self, inputs: Sequence[NDArray]) -> list[NDArray]:
        results = self._new(self._ports)
        self._session.bind_inputs({n: a.bindable() for n, a in zip(self._names, inputs)})
        self._session.bind_outputs(results)
        try:
            self._session.run()
        finally:
            self._session.release()
            self._session.bind_inputs(self._noise)
        return list(results.values())


@lru_cache(maxsize=_PROGRAMS)
def operator_program(op: Operator, inputs: Signature, context: Context) -> OperatorProgram:
    """Return the program of a signature, compiled at the first call.

    Raises ShapeError if the shapes do not fit, UnsupportedError if the runtime has no kernel for
    the dtypes.
    """
    return OperatorProgram(op, inputs, context)


def symbol_of(op: Operator) -> Symbol:
    """Return the operator applied to variables with the names of its inputs."""
    names = (*op.arguments(), *op.auxiliary())
    node = Node(op, op.op_name, tuple((Node(None, name), 0) for name in names))
    return Symbol([(node, i) for i in range(node.num_outputs)])


def _compile(op: Operator, names: Sequence[str], inputs: Signature, context: Context) -> Program:
    with _refusals_named(op, inputs):
        return compile_inference(
            symbol_of(op),
            {name: shape for name, (shape, _) in zip(names, inputs)},
            {name: dtype for name, (_, dtype) in zip(names, inputs)},
            name=f"nd.{op.op_name}",
            target=target_of(context),
        )


def _start(
    op: Operator, program: Program, inputs: Signature, context: Context, threads: int
) -> Session:
    arena = program.plan.arena if program.plan is not None else 0
    with _refusals_named(op, inputs, UnsupportedError):
        return Session(program.model, context, f"nd.{op.op_name}", need=arena, threads=threads)


@contextmanager
def _refusals_named(
    op: Operator, inputs: Signature, refusal: type[SymbucketError] | None = None
) -> Iterator[None]:
    """Turn what ONNX and the runtime raise into UnsupportedError; they have no common base.

    ``refusal`` is what a session makes of it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, SymbucketError) and (refusal is None or type(error) is not refusal):
            raise
        arrays = ", ".join(f"{dtype}{list(shape)}" for shape, dtype in inputs)
        raise UnsupportedError(
            f"nd.{op.op_name} of {arrays}: the runtime refuses it ({error}). Where it has no "
            'kernel for a dtype, x.astype("float32") makes an array for which it has one'
        ) from error
