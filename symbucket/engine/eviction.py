"""How many executors a module keeps: the least recently used ones make room for others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from weakref import ref

from symbucket.engine import Executor
from symbucket.errors import InvalidArgumentError
from symbucket.runtime.arena import trim
from symbucket.runtime.buffers import Pool


@dataclass(frozen=True)
class ExecutorStats:
    """What a module's executors cost and how often they were there when they were needed.

    ``keys``: what the executors that are alive are for, least recently used first: bucket keys, or
    shapes of the data for a ``Module``. ``nbytes``: an estimate of their sessions and arrays.
    ``pool_nbytes``: outputs and step buffers, which they share. ``misses`` are builds: first ones,
    and those of executors that had been dropped (``evictions``).
    """

    keys: tuple[Hashable, ...]
    nbytes: int
    pool_nbytes: int
    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True)
class _Entry:
    executor: ref[Executor]
    key: Hashable
    own: int  # bytes of arrays that no other executor has
    pinned: bool
    drop: Callable[[], None]


class ExecutorCache:
    """The executors of a module and of the modules of all its bucket keys, by last use.

    It keeps no executor alive; ``drop`` of an entry makes its module forget it. Beyond
    ``max_executors`` or ``max_bytes`` the least recently used one goes, except those that are
    pinned and the one that is running.
    """

    def __init__(self, max_executors: int | None = None, max_bytes: int | None = None) -> None:
        for name, limit in (("max_executors", max_executors), ("max_executors_bytes", max_bytes)):
            if limit is None:
                continue
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
                raise InvalidArgumentError(
                    f"{name}={limit!r}: must be an integer of 1 or more, or None for no limit"
                )
        self.pool = Pool()
        self._max_executors, self._max_bytes = max_executors, max_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._ahead: set[int] = (
            set()
        )  # those whose first run is no hit, since they were made for it
        self._hits = self._misses = self._evictions = 0

    def used(self, executor: Executor) -> None:
        """An executor was needed and was there."""
        if id(executor) in self._ahead:
            self._ahead.discard(id(executor))
        else:
            self._hits += 1
        self._entries.move_to_end(id(executor))

    def add(
        self,
        executor: Executor,
        key: Hashable,
        own: int,
        pinned: bool,
        drop: Callable[[], None],
        ahead: bool,
    ) -> None:
        """An executor had to be made: for a run, or ``ahead`` of its first one."""
        self._misses += 1
        self._ahead.discard(id(executor))
        if ahead:
            self._ahead.add(id(executor))
        self._entries[id(executor)] = _Entry(ref(executor), key, own, pinned, drop)
        self._entries.move_to_end(id(executor))

    def shrink(self, running: Executor) -> None:
        """Drop executors until the limits hold; to be called after a run."""
        if self._max_executors is None and self._max_bytes is None:
            return
        self._forget_dead()
        dropped = 0
        for number, entry in list(self._entries.items()):
            if not self._too_many():
                break
            if entry.pinned or entry.executor() is running:
                continue
            del self._entries[number]
            self._ahead.discard(number)
            entry.drop()
            dropped += 1
        if dropped:
            self._evictions += dropped
            trim()

    def stats(self) -> ExecutorStats:
        """The counts as they are now."""
        self._forget_dead()
        keys = dict.fromkeys(entry.key for entry in self._entries.values())
        return ExecutorStats(
            tuple(keys),
            self._nbytes(),
            self.pool.nbytes,
            self._hits,
            self._misses,
            self._evictions,
        )

    def _too_many(self) -> bool:
        if self._max_executors is not None and len(self._entries) > self._max_executors:
            return True
        return self._max_bytes is not None and self._nbytes() > self._max_bytes

    def _nbytes(self) -> int:
        found = ((entry.executor(), entry.own) for entry in self._entries.values())
        return sum(own + executor.nbytes for executor, own in found if executor is not None)

    def _forget_dead(self) -> None:
        for number in [n for n, entry in self._entries.items() if entry.executor() is None]:
            del self._entries[number]
