"""Arrays by key that are summed when they are pushed, and several workers, as ``mx.kvstore``.

A store of the kinds "local" and "device" lives in this process. Modules do not need one: on one
machine their parameters are shared already, so ``kvstore="local"`` of ``fit`` changes nothing. A
loop of your own may push gradients and pull weights.

A store of the kind "dist_sync" joins the processes that ``mpirun`` started, over MPI.
"""

from __future__ import annotations

from symbucket.checks import check_choice
from symbucket.errors import UnsupportedError
from symbucket.kvstore.distributed import DistributedKVStore
from symbucket.kvstore.local import KVStore
from symbucket.kvstore.workers import world

__all__ = ["DistributedKVStore", "KVStore", "create"]


def __dir__() -> list[str]:
    return __all__


_LOCAL = ("local", "device", "local_allreduce_cpu", "local_allreduce_device", "local_update_cpu")
_DISTRIBUTED = ("dist_sync", "dist_device_sync", "dist_sync_device", "dist")


def create(name: str = "local", timeout: float = 600.0, check_every: int = 100) -> KVStore:
    """Return a store: "local" or "device", which are the same here, or "dist_sync".

    Args:
        name: "dist_sync" (or "dist_device_sync", "dist") joins the processes that ``mpirun -n 4
            python train.py`` started; it needs the extra ``mpi``.
        timeout: seconds that a worker waits for the others before it raises WorkerError.
        check_every: updates between comparisons of the workers' parameters; 0: never.

    Raises:
        UnsupportedError: asynchronous kinds, or MPI is not there.
        InvalidArgumentError: another word.
    """
    if isinstance(name, str) and name in _DISTRIBUTED:
        return DistributedKVStore(name, world(timeout), check_every)
    return KVStore(_local_kind(name, "kvstore.create: name"))


def as_kvstore(store: KVStore | str | None, name: str) -> KVStore | None:
    """Return the store that ``kvstore=`` of a module means; None for one that does nothing.

    ``name`` is how errors call it. Raises as :func:`create`.
    """
    if store is None or isinstance(store, KVStore):
        return store
    if isinstance(store, str) and store in _DISTRIBUTED:
        return create(store)
    _local_kind(store, name)
    return None


def _local_kind(kind: str, name: str) -> str:
    if isinstance(kind, str) and (kind.startswith("dist") or kind in ("nccl", "horovod", "p3")):
        raise UnsupportedError(
            f"{name} is {kind!r}; several processes train in step, with 'dist_sync'. On one "
            "machine, give Module or BucketingModule several contexts, and use 'local'"
        )
    return check_choice(kind, name, (*_LOCAL, *_DISTRIBUTED))
