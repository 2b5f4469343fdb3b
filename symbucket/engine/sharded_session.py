"""One program over the shards of a batch: a run for each, all at the same time, each on its cores.

A step of a recurrent network is thousands of small nodes. A runtime that splits each of them over
its threads makes every thread wait for every node; shards wait for each other once a step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import numpy as np

from symbucket.compiler import Port, Program, Role
from symbucket.compiler.shards.labels import digit_of
from symbucket.compiler.shards.sharding import Piece, Sharding
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session
from symbucket.runtime.threads import MOST_THREADS
from symbucket.types import Array

_LEAST_BYTES = 1 << 19
"""Sums from which on adding them up is worth waking other threads."""

_Sums = list[tuple[Array, ...]]
"""Parts of sums: for each the total, to which the rest is added."""


def partial_ports(program: Program) -> tuple[Port, ...]:
    """Return ports for what the shards after the first one add to its sums: gradients, mostly."""
    sharding = program.sharding
    if sharding is None:
        return ()
    sums = (port for port in program.outputs if sharding.pieces[port.name].kind == "sum")
    return tuple(
        Port(Role.PARTIAL.tensor_name(of), port.shape, port.dtype, Role.PARTIAL, of)
        for port in sums
        for of in _owners_of_partial_sums(port.name, sharding)
    )


def _owners_of_partial_sums(name: str, sharding: Sharding) -> list[str]:
    """Return what the ports for an output's partial sums belong to: it and the shard's number."""
    return [f"{name}/{i}" for i in range(1, sharding.parts)]


@dataclass(frozen=True)
class _Cut:
    """Shards of an array that lie scattered in it, so that each has a copy, in one piece."""

    whole: Array  # (outer, shard, the rest)
    shards: Sequence[Array]  # each (outer, the rest)

    def scatter(self) -> None:
        """Copy the whole to the shards."""
        for i, shard in enumerate(self.shards):
            shard[...] = self.whole[:, i]

    def gather(self) -> None:
        """Copy the shards to the whole."""
        for i, shard in enumerate(self.shards):
            self.whole[:, i] = shard


class ShardedSession:
    """Runs a session over every shard of the arrays that are bound; to its owner a ``Session``.

    Arrays are those of the whole batch, with one more for every port of ``partial_ports``.

    Args:
        session: of the program; the other shards run its model with bindings of their own.
        program: what it runs.
    """

    def __init__(self, session: Session, program: Program) -> None:
        assert program.sharding is not None
        self.model = session.model
        self._sharding = program.sharding
        self._sessions = [session]
        self._sessions += [session.twin() for _ in range(1, self._sharding.parts)]
        self._inputs = program.inputs
        self._outputs = program.outputs
        self._cut_inputs: dict[str, _Cut] = {}
        self._cut_outputs: dict[str, _Cut] = {}
        self._sums: dict[str, list[Array]] = {}  # of each shard; the first one is the whole's
        self._cut_sums: list[_Sums] = []

    def bind_inputs(self, arrays: Mapping[str, NDArray]) -> None:
        """Bind arrays of the whole batch by the names of ports."""
        for port in self._inputs:
            if port.name in arrays:
                whole = arrays[port.name]
                piece = self._sharding.pieces[port.name]
                shards = (
                    [whole] * len(self._sessions)
                    if piece.kind == "same"
                    else self._shards(port, piece, whole, self._cut_inputs)
                )
                for session, shard in zip(self._sessions, shards):
                    session.bind_inputs({port.name: shard})

    def bind_outputs(self, arrays: Mapping[str, NDArray]) -> None:
        """Bind arrays of the whole batch, and those for partial sums, by the names of ports."""
        for port in self._outputs:
            if port.name in arrays:
                for session, shard in zip(self._sessions, self._outputs_of_shards(port, arrays)):
                    session.bind_outputs({port.name: shard})

    def _outputs_of_shards(self, port: Port, arrays: Mapping[str, NDArray]) -> Sequence[NDArray]:
        whole = arrays[port.name]
        piece = self._sharding.pieces[port.name]
        if piece.kind == "rows":
            return self._shards(port, piece, whole, self._cut_outputs)
        if piece.kind == "same":
            spare = [NDArray.empty(port.shape, port.dtype) for _ in self._sessions[1:]]
            return [whole, *spare]
        owners = _owners_of_partial_sums(port.name, self._sharding)
        shards = [whole, *(arrays[Role.PARTIAL.tensor_name(of)] for of in owners)]
        self._sums[port.name] = [shard.view() for shard in shards]
        self._cut_sums = []
        return shards

    def _shards(
        self, port: Port, piece: Piece, whole: NDArray, cuts: dict[str, _Cut]
    ) -> Sequence[NDArray]:
        """Return what each shard reads or writes of an array with a row for each of the batch."""
        parts = len(self._sessions)
        pieces = whole.view().reshape(piece.outer, parts, -1)
        shape = digit_of(port.shape, piece.outer, parts).shard(port.shape, parts)
        if piece.outer == 1:
            return [NDArray.over(pieces[0, i].reshape(shape)) for i in range(parts)]
        shards = [NDArray.empty(shape, port.dtype) for _ in range(parts)]
        copies = [shard.view().reshape(piece.outer, -1) for shard in shards]
        cuts[port.name] = _Cut(pieces, copies)
        return shards

    def release(self) -> None:
        """Forget all bound arrays; every port must be bound again before ``run``."""
        self._cut_inputs.clear()
        self._cut_outputs.clear()
        self._sums.clear()
        self._cut_sums = []
        for session in self._sessions:
            session.release()

    def run(self) -> None:
        """Run all shards, and put their results together."""
        for cut in self._cut_inputs.values():
            cut.scatter()
        self._sessions[0].make_room()
        _at_once([session.run for session in self._sessions])
        for cut in self._cut_outputs.values():
            cut.gather()
        _at_once([partial(_add_up, share) for share in self._shares])

    @property
    def _shares(self) -> Sequence[_Sums]:
        """The sums, cut into as many equal shares as there are shards; few of them are one."""
        if not self._cut_sums:
            size = sum(total.nbytes for total, *_ in self._sums.values())
            count = len(self._sessions) if size >= _LEAST_BYTES else 1
            self._cut_sums = [[] for _ in range(count)]
            for arrays in self._sums.values():
                pieces = zip(*(np.array_split(array.reshape(-1), count) for array in arrays))
                for share, piece in zip(self._cut_sums, pieces):
                    share.append(piece)
        return self._cut_sums


def _add_up(sums: _Sums) -> None:
    for total, *rest in sums:
        for part in rest:
            np.add(total, part, out=total)


def _at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Call all at the same time, the first one on this thread, and wait until all have ended."""
    first, *others = calls
    runs: list[Future[None]] = []
    try:
        for call in others:
            runs.append(_workers.submit(call))
        first()
    finally:
        _wait_for(runs)
    for run in runs:
        run.result()


def _wait_for(runs: Sequence[Future[None]]) -> None:
    """Wait until all have ended, whatever comes between: they write into arrays of the caller."""
    interrupt = None
    while True:
        try:
            wait(runs)
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _new_workers() -> None:
    """Make the threads of the shards after the first one; they start when there is work."""
    global _workers  # noqa: PLW0603
    _workers = ThreadPoolExecutor(MOST_THREADS, "symbucket shard")


_workers: ThreadPoolExecutor
_new_workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_workers)  # threads do not survive a fork
