"""Memory of a module in training, by what it is for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from symbucket.runtime.arena import planned_bytes


def memory_use(module: Any) -> dict[str, int]:
    """Return bytes by what they are for; a module of another kind has the process' peak only.

    "activations" are outputs, what backward reads of forward, and the arena, which all networks of
    the process share;
    "process peak" is all that the process ever had, Python and the runtime included.
    """
    use: dict[str, int] = {}
    if hasattr(module, "store"):
        store = module.store
        use["parameters"] = _bytes([*store.args.values(), *store.aux.values()])
        use["gradients"] = _bytes(store.grads.values())
        use["optimizer states"] = module.updater.nbytes
    if hasattr(module, "executor_stats"):
        stats = module.executor_stats()
        use["activations"] = stats.pool_nbytes + planned_bytes()
        use["networks and batches"] = stats.nbytes
    peak = _process_peak()
    if peak:
        use["process peak"] = peak
    return use


def _bytes(arrays: Iterable[Any]) -> int:
    return sum(array.nbytes for array in arrays)


def _process_peak() -> int:
    """Return the most memory that the process has had; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
