"""Several processes that train one model together, over MPI."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.checks import check_choice, check_integer, check_number
from symbucket.errors import UnsupportedError, WorkerError
from symbucket.runtime import set_threads
from symbucket.types import Array

LARGE = 1 << 20
"""Bytes from which an array is a message of its own; smaller ones are packed together."""

_TEXT = 480  # bytes of what a worker says of itself
_SPINS = 2000  # polls without a pause, about a millisecond


class WorkerGroup:
    """The workers of a job, each a process, numbered by rank.

    Every method has to be called by all of them, in the same order. Results are the same bits on
    all workers.

    Args:
        comm: an ``mpi4py.MPI.Comm``.
        timeout: seconds to wait for the others before WorkerError.
        compression: ``"fp16"`` halves the messages of :meth:`sum`: values are rounded to float16
            on their way, and summed in float32. None sends float32.
    """

    def __init__(self, comm: Any, timeout: float = 600.0, compression: str | None = None) -> None:
        self._comm = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self._timeout = check_number(timeout, "timeout", 0)
        self.compression = compression
        self.messages = 0
        self.bytes = 0
        """Messages that were summed so far, and the bytes of this worker's side of them."""
        self._packed: dict[np.dtype[Any], Array] = {}

    # Collective operations ---------------------------------------------------------------------

    def sum(self, arrays: Sequence[Array]) -> None:
        """Replace arrays by their sums over all workers, in place; few large messages.

        Sums are taken in the dtype of the arrays, those of float16 in float32.
        """
        if self.size == 1:
            return
        groups: dict[np.dtype[Any], list[Array]] = {}
        for array in arrays:
            dtype = np.dtype(np.float32) if array.dtype == np.float16 else array.dtype
            if array.nbytes >= LARGE and array.dtype == dtype:
                self._sum_flat(array.reshape(-1))
            else:
                groups.setdefault(dtype, []).append(array)
        for dtype, small in groups.items():
            packed = self._pack(small, dtype)
            self._sum_flat(packed)
            start = 0
            for array in small:
                array[...] = packed[start : start + array.size].reshape(array.shape)
                start += array.size

    def mean(self, arrays: Sequence[Array]) -> None:
        """Replace arrays of floats by their means over all workers, in place."""
        if self.size == 1 or not arrays:
            return
        compression, self.compression = self.compression, None
        try:
            self.sum(arrays)
        finally:
            self.compression = compression
        for array in arrays:
            array *= 1 / self.size

    def concatenate(self, rows: Array, values: Array) -> tuple[Array, Array]:
        """Return the rows of all workers in the order of ranks, and their values.

        Args:
            rows: (n, 1) int64; n may differ between workers.
            values: (n, width), of one dtype.
        """
        if self.size == 1:
            return rows, values
        counts = np.empty(self.size, np.int64)
        self._wait(self._comm.Iallgather(np.array([len(rows)], np.int64), counts))
        total, width = int(counts.sum()), values.shape[1]
        all_rows = np.empty((total, 1), np.int64)
        all_values = np.empty((total, width), values.dtype)
        self._gather(np.ascontiguousarray(rows), all_rows, counts)
        self._gather(np.ascontiguousarray(values), all_values, counts * width)
        return all_rows, all_values

    def broadcast(self, arrays: Sequence[Array]) -> None:
        """Replace arrays by those of worker 0, in place."""
        for array in arrays if self.size > 1 else ():
            self._wait(self._comm.Ibcast(array, root=0))

    def barrier(self) -> None:
        """Wait until all workers are here."""
        self._wait(self._comm.Ibarrier())

    def texts(self, text: str) -> list[str]:
        """Return what every worker says, in the order of ranks; long texts are cut."""
        mine = np.zeros(_TEXT, np.uint8)
        encoded = text.encode("utf-8")[:_TEXT]
        mine[: len(encoded)] = np.frombuffer(encoded, np.uint8)
        everyone = np.empty((self.size, _TEXT), np.uint8)
        self._wait(self._comm.Iallgather(mine, everyone))
        return [row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in everyone]

    def failures(self, failures: Sequence[str]) -> list[str]:
        """Return the failures of all workers, each with its rank; one small message if none has."""
        if self.size == 1:
            return list(failures)
        count = np.array([len(failures)], np.int64)
        total = np.empty(1, np.int64)
        self._wait(self._comm.Iallreduce(count, total))
        if not total[0]:
            return []
        return [f"{t} (worker {r})" for r, t in enumerate(self.texts("; ".join(failures))) if t]

    def require_equal(self, what: Mapping[str, str], when: str) -> None:
        """Raise WorkerError on all workers if they differ in one of these short texts."""
        if self.size == 1:
            return
        for name, text in what.items():
            said = self.texts(text)
            if len({*said}) > 1:
                others = [f"worker {r} has {t}" for r, t in enumerate(said) if t != said[0]]
                raise WorkerError(
                    f"{when}: workers differ in {name}: worker 0 has {said[0]}, "
                    f"{', '.join(others)}. All workers have to run the same program on the same "
                    "versions, with one seed, each on its part of the same data"
                )

    # Messages ----------------------------------------------------------------------------------

    def _pack(self, arrays: Sequence[Array], dtype: np.dtype[Any]) -> Array:
        size = sum(array.size for array in arrays)
        buffer = self._packed.get(dtype)
        if buffer is None or buffer.size < size:
            buffer = self._packed[dtype] = np.empty(size, dtype)
        return np.concatenate([a.reshape(-1) for a in arrays], out=buffer[:size])

    def _sum_flat(self, flat: Array) -> None:
        self.messages += 1
        if self.compression == "fp16" and flat.dtype.kind == "f":
            self._sum_rounded(flat)
            return
        self.bytes += flat.nbytes
        self._wait(self._comm.Iallreduce(_in_place(), flat))

    def _sum_rounded(self, flat: Array) -> None:
        """Sum values rounded to float16: each worker sums one share of them, and sends it round."""
        share = -(-flat.size // self.size)
        sent = np.zeros((self.size, share), np.float16)
        with np.errstate(over="ignore"):  # what becomes infinite is found before the update
            sent.reshape(-1)[: flat.size] = flat
        parts = np.empty_like(sent)
        self._wait(self._comm.Ialltoall(sent.view(np.uint16), parts.view(np.uint16)))
        with np.errstate(over="ignore"):
            total = parts.astype(np.float32).sum(axis=0).astype(np.float16)
        self._wait(self._comm.Iallgather(total.view(np.uint16), sent.view(np.uint16)))
        self.bytes += 2 * sent.nbytes
        flat[...] = sent.reshape(-1)[: flat.size]

    def _gather(self, part: Array, whole: Array, counts: Array) -> None:
        self.messages += 1
        self.bytes += part.nbytes
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self._wait(self._comm.Iallgatherv(part, [whole, (counts.tolist(), starts.tolist())]))

    def _wait(self, request: Any) -> None:
        """Wait for a message; the others may never send theirs."""
        deadline = time.monotonic() + self._timeout
        spins = 0
        while not request.Test():
            spins += 1
            if spins > _SPINS:
                time.sleep(0.0002)
            if spins % 64 == 0 and time.monotonic() > deadline:
                _abort_at_exit(self._comm)
                raise WorkerError(
                    f"worker {self.rank} of {self.size} has waited {self._timeout:g} s for the "
                    "others: one has died, has ended its loop, or computes for longer than that "
                    "(timeout=). Checkpoints written so far are whole; start all workers again "
                    "from the last one"
                )


def world(timeout: float = 600.0) -> WorkerGroup:
    """Return the group of all processes that ``mpirun`` started; one alone without ``mpirun``.

    If a worker ends with an error, all are stopped rather than left waiting. Cores are divided
    among the workers of a machine: sessions made from now on use their share. Dropout masks and
    other noise differ between workers.

    Raises:
        UnsupportedError: mpi4py is missing, or finds no MPI library.
    """
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        raise UnsupportedError(
            f"training with several processes needs MPI, which cannot be loaded ({error}). Install "
            "the extra mpi (mpi4py), and an MPI library: that of your system or cluster, or one of "
            "the packages mpich and openmpi"
        ) from error
    comm = mpi.COMM_WORLD
    if comm.Get_size() > 1:
        _stop_all_on_error(comm)
        neighbours = comm.Split_type(mpi.COMM_TYPE_SHARED)
        set_threads(max(1, (os.cpu_count() or 1) // neighbours.Get_size()))
        neighbours.Free()
        seeding.set_worker(comm.Get_rank())
    return WorkerGroup(comm, timeout)


def check_compression(params: Mapping[str, Any]) -> str | None:
    """Return the kind of compression that MXNet's dict of parameters asks for."""
    options = dict(params)
    kind = options.pop("type", None)
    if kind in ("1bit", "2bit") or options:
        raise UnsupportedError(
            f"gradient compression {dict(params)!r}: only {{'type': 'fp16'}} is supported. '2bit' "
            "and top-k keep what they leave out as a residual of each worker, by which a resumed "
            "run would differ from one that was not stopped"
        )
    if kind is not None:
        check_choice(kind, "compression type", ("fp16", "none"))
    return kind if kind == "fp16" else None


def check_interval(value: int) -> int:
    """Return the number of updates between comparisons of parameters; 0: never."""
    return check_integer(value, "check_every", 0)


def _in_place() -> Any:
    return importlib.import_module("mpi4py.MPI").IN_PLACE


_Hook = Callable[[type[BaseException], BaseException, "TracebackType | None"], Any]
_installed: list[_Hook] = []


def _stop_all_on_error(comm: Any) -> None:
    """Stop all workers when this one ends with an error: they would wait for it."""
    if _installed:
        return
    previous: _Hook = sys.excepthook
    _installed.append(previous)

    def stop(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        previous(kind, error, trace)
        sys.stderr.write(
            f"symbucket: worker {comm.Get_rank()} of {comm.Get_size()} failed with "
            f"{kind.__name__}; all workers are stopped\n"
        )
        sys.stderr.flush()
        time.sleep(0.5)  # workers with the same error say so first
        comm.Abort(1)

    sys.excepthook = stop


def _abort_at_exit(comm: Any) -> None:
    """End the process without MPI's farewell, for which it would wait for dead workers."""
    atexit.register(comm.Abort, 1)
