"""``DistributedKVStore``: arrays by key that are summed over the workers of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbucket.kvstore.local import KVStore
from symbucket.kvstore.workers import WorkerGroup, check_compression, check_interval
from symbucket.runtime import NDArray


class DistributedKVStore(KVStore):
    """A store whose pushes are sums over all workers, as MXNet's "dist_sync".

    Every worker calls its methods in the same order. There are no servers: each worker has all
    arrays, and they are the same bits everywhere. Module's ``fit(kvstore=store)`` uses the workers
    without pushing arrays one by one.
    """

    def __init__(self, kind: str, group: WorkerGroup, check_every: int = 100) -> None:
        super().__init__(kind)
        self.group = group
        self.check_every = check_interval(check_every)

    @property
    def rank(self) -> int:
        """The number of this worker, from 0."""
        return self.group.rank

    @property
    def num_workers(self) -> int:
        """How many workers there are."""
        return self.group.size

    def barrier(self) -> None:
        """Wait until all workers are here."""
        self.group.barrier()

    def set_gradient_compression(self, compression_params: Mapping[str, Any]) -> None:
        """Send gradients as float16: ``{"type": "fp16"}``; ``{"type": "none"}`` as float32."""
        self.group.compression = check_compression(compression_params)

    def _first_value(self, array: NDArray) -> NDArray:
        value = array.asnumpy()
        self.group.broadcast([value])
        return NDArray.of(value, array.context)

    def _total(self, array: NDArray) -> NDArray:
        total = array.asnumpy()
        self.group.sum([total])
        return NDArray.of(total, array.context)
