"""Exchange of workers at each update: gradients, auxiliary states, and whether they agree."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from symbucket.kvstore.workers import WorkerGroup
from symbucket.optimizer import Optimizer, Updater
from symbucket.optimizer.updater import Dense, Rows
from symbucket.runtime import NDArray, RowSparse
from symbucket.runtime.providers import provider_of
from symbucket.types import Array


class Exchange:
    """Sums the gradients of all workers before an optimizer uses them.

    Gradients are summed in the buffers that networks write and the optimizer reads; those of
    tables that came as rows travel as rows. Auxiliary states (moving averages) become the mean over
    the workers. So parameters, optimizer states and auxiliary states are the same bits on all
    workers; every ``check_every`` updates that is verified, and that all were in the same buckets.

    Args:
        group: the workers.
        params, aux: all parameters and auxiliary states by name, in the buffers that stay.
        check_every: updates between comparisons; 0: never.
    """

    def __init__(
        self,
        group: WorkerGroup,
        params: Mapping[str, NDArray],
        aux: Mapping[str, NDArray],
        check_every: int,
    ) -> None:
        self.group, self._params, self._aux = group, params, aux
        self._check_every = check_every
        self._updates = 0
        self._history = 0  # checksum of the batches' descriptions so far
        self.num_workers = group.size

    def begin(self, description: Mapping[str, str], updater: Updater) -> None:
        """Start from the parameters, states and numbers of worker 0.

        Raises WorkerError if workers differ in the network or their versions.
        """
        optimizer = {"the optimizer": _described(updater.optimizer)}
        self.group.require_equal({**description, **optimizer}, "init_optimizer")
        with _host_views([*self._params.values(), *self._aux.values()]) as arrays:
            self.group.broadcast(arrays)

    def __call__(self, dense: Sequence[Dense], by_rows: Sequence[Rows], batch: str) -> list[Rows]:
        """Sum the gradients of an update in place; return those by rows of all workers.

        ``batch`` describes the batch: workers have to be in the same bucket.
        """
        self._history = zlib.crc32(batch.encode(), self._history)
        with _host_views([gradient for _, gradient, _ in dense]) as arrays:
            self.group.sum(arrays)
        with _host_views(list(self._aux.values())) as arrays:
            self.group.mean([a for a in arrays if a.dtype.kind == "f"])
        if self._check_every and self._updates % self._check_every == 0:
            self._verify()
        self._updates += 1
        joined: list[Rows] = []
        for index, gradient, weight in by_rows:
            rows, values = self.group.concatenate(
                gradient.rows.asnumpy(), gradient.values.asnumpy()
            )
            context = weight.context
            sparse = RowSparse(NDArray.of(rows, context), NDArray.of(values, context))
            joined.append((index, sparse, weight))
        return joined

    def failures(self, failures: Sequence[str]) -> list[str]:
        """Return the failures of all workers, so that all leave out a batch or none does."""
        return self.group.failures(failures)

    def _verify(self) -> None:
        digest = 0
        with _host_views([*self._params.values(), *self._aux.values()]) as arrays:
            for array in arrays:
                digest = zlib.crc32(np.ascontiguousarray(array).data, digest)
        self.group.require_equal(
            {
                "the batches so far (bucket keys and shapes)": f"{self._history:08x}",
                "the parameters": f"{digest:08x}",
            },
            f"before update {self._updates + 1}",
        )


@contextmanager
def _host_views(arrays: Sequence[NDArray]) -> Iterator[list[Array]]:
    """Yield arrays of any device as numpy arrays; what is written there is theirs at the end."""
    on_host = [provider_of(array.context).host_memory for array in arrays]
    views = [a.view() if here else a.asnumpy() for a, here in zip(arrays, on_host)]
    try:
        yield views
    finally:
        for array, view, here in zip(arrays, views, on_host):
            if not here:
                array[...] = view


def _described(optimizer: Optimizer) -> str:
    """Return the optimizer's class and numbers as a short text."""
    plain = {
        name: value
        for name, value in sorted(vars(optimizer).items())
        if isinstance(value, (int, float, str, bool, type(None)))
    }
    return f"{type(optimizer).__name__}({', '.join(f'{k}={v!r}' for k, v in plain.items())})"
