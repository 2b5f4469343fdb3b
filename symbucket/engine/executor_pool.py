"""The executors of all networks that share parameters, one for each set of shapes."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from symbucket.engine.bound_network import AnyExecutor, BoundNetwork
from symbucket.engine.eviction import EvictionPolicy, ExecutorStats
from symbucket.engine.inner_values import Watcher
from symbucket.engine.network_interface import BatchShapes, Signature
from symbucket.engine.ownership import Runs
from symbucket.runtime.arena import trim
from symbucket.runtime.buffers import Pool
from symbucket.stopwatch import timed


@dataclass
class _Entry:
    executor: AnyExecutor
    number: int  # in the order of builds
    own_bytes: int  # of arrays that no other executor uses
    built_ahead: bool  # before its first run, which is no hit then


class ExecutorPool:
    """Builds executors, finds them again, and drops the least recently used ones.

    All executors share the memory of their outputs and step buffers. The running executor is never
    dropped, nor the one of ``pinned_key`` for the shapes that its network is bound with.

    Args:
        policy: how many executors to keep.
        pinned_key: the ``key`` of a ``BoundNetwork``.
    """

    def __init__(self, policy: EvictionPolicy, pinned_key: Hashable = None) -> None:
        self.buffers = Pool()
        self.runs = Runs()
        self.watchers: list[Watcher] = []
        """Who sees the values of all executors' forward runs."""
        self._policy = policy
        self._pinned_key = pinned_key
        # Least recently used first.
        self._entries: OrderedDict[tuple[BoundNetwork, Signature], _Entry] = OrderedDict()
        self._evicted_builds: dict[BoundNetwork, Counter[str]] = {}
        self._hits = self._misses = self._evictions = 0

    def find(self, network: BoundNetwork, shapes: BatchShapes) -> AnyExecutor | None:
        """Return a network's executor for these shapes, or None if there is none now."""
        entry = self._entries.get((network, shapes.signature))
        return None if entry is None else entry.executor

    def use(self, network: BoundNetwork, shapes: BatchShapes, ahead: bool = False) -> AnyExecutor:
        """Return a network's executor for these shapes; build it if there is none.

        ``ahead``: it is for a run that comes later.
        """
        key = network, shapes.signature
        entry = self._entries.get(key)
        if entry is None:
            with timed("compile"):
                executor = network.build(shapes, self.buffers)
            executor.watchers = self.watchers
            entry = _Entry(executor, self._misses, network.own_bytes(executor), ahead)
            self._entries[key] = entry
            self._misses += 1
        elif entry.built_ahead:
            entry.built_ahead = False
        else:
            self._hits += 1
        self._entries.move_to_end(key)
        return entry.executor

    def evict(self, running: AnyExecutor) -> None:
        """Drop executors until the policy's limits hold; call it after a run."""
        if self._policy.unlimited:
            return
        evictions = 0
        for key, entry in list(self._entries.items()):
            if not self._policy.exceeded(len(self._entries), self._nbytes):
                break
            if entry.executor is running or self._pinned(*key):
                continue
            del self._entries[key]
            builds = self._evicted_builds.setdefault(key[0], Counter())
            builds.update(entry.executor.builds)
            evictions += 1
        if evictions:
            self._evictions += evictions
            trim()

    def _pinned(self, network: BoundNetwork, signature: Signature) -> bool:
        return network.key == self._pinned_key and signature == network.shapes.signature

    def executors(self, network: BoundNetwork) -> list[AnyExecutor]:
        """Return the executors of a network that are alive, in the order of their builds."""
        entries = [e for (owner, _), e in self._entries.items() if owner is network]
        return [e.executor for e in sorted(entries, key=lambda e: e.number)]

    def builds(self, network: BoundNetwork) -> Counter[str]:
        """Return how often a network's models were compiled, by kind; evicted ones count too."""
        evicted = self._evicted_builds.get(network, Counter())
        return sum((e.builds for e in self.executors(network)), Counter(evicted))

    def stats(self) -> ExecutorStats:
        """Return the counts as they are now."""
        keys = [
            signature if network.key is None else network.key
            for network, signature in self._entries
        ]
        return ExecutorStats(
            tuple(dict.fromkeys(keys)),
            self._nbytes(),
            self.buffers.nbytes,
            self._hits,
            self._misses,
            self._evictions,
        )

    def _nbytes(self) -> int:
        return sum(e.own_bytes + e.executor.nbytes for e in self._entries.values())
