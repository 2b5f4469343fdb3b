"""Outputs and step buffers of executors that take turns: as much memory as the largest one needs.

A network's outputs, and what its forward part keeps for its backward part, are read before another
network runs. So the executors of one module lay them over each other: a ``Pool`` has one piece of
memory for each group of buffers, as large as the largest executor's share, and every executor sees
arrays of its own shapes in it. Where a larger executor comes, the piece is replaced and all
executors are bound to the new one; the old one is never kept beside it.

What stays valid follows from the groups:

* ``OUTPUTS``: outputs and sums of metrics. Until the next forward of any executor of the pool.
* ``STASH``: what a forward in training mode leaves for ``backward`` and the update (activations,
  gradients by rows, gradients to be added up). Until the next forward in training mode.
* ``BACKWARD``: head gradients and the like. During a call of ``backward``.

A pool works on the CPU. On a GPU, where the runtime gives no arrays within an array, every executor
has buffers of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from weakref import WeakSet

import numpy as np

from symbucket.context import Context
from symbucket.runtime.ndarray import NDArray, aligned_empty

OUTPUTS, STASH, BACKWARD = "outputs", "stash", "backward"

_ALIGN = 64  # bytes; as aligned_empty

Wanted = tuple[str, Sequence[int], Any]
"""Name, shape and dtype of a buffer."""


class User(Protocol):
    """An executor, as the pool sees it."""

    def buffers_moved(self, group: str) -> None:
        """A group has new memory; what was bound to its arrays must be bound anew."""


class Pool:
    """The memory that executors share. It keeps none of them alive."""

    def __init__(self) -> None:
        self._slabs: dict[str, np.ndarray[Any, Any]] = {}
        self._users: WeakSet[User] = WeakSet()
        self._last: dict[str, object] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all groups."""
        return sum(slab.nbytes for slab in self._slabs.values())

    def join(self, user: User) -> None:
        """Let ``user`` know when memory is replaced."""
        self._users.add(user)

    def slab(self, group: str) -> np.ndarray[Any, Any]:
        """The memory of a group, as bytes."""
        return self._slabs[group]

    def fit(self, group: str, size: int, asking: User) -> bool:
        """Have at least ``size`` bytes for a group; says whether its memory was replaced.

        Then what was in it is gone, and all other users have been told.
        """
        old = self._slabs.get(group)
        if old is not None and old.nbytes >= size:
            return False
        self._slabs[group] = aligned_empty((size,), np.uint8)
        if old is None:
            return False
        self._last.pop(group, None)
        for user in list(self._users):
            if user is not asking:
                user.buffers_moved(group)
        return True

    def claim(self, group: str, token: object) -> None:
        """From now on the contents of a group are those of ``token``'s run."""
        self._last[group] = token

    def holds(self, group: str, token: object) -> bool:
        """Whether a group still has what ``token``'s run wrote."""
        return self._last.get(group) is token


class Buffers:
    """The buffers of one executor by name, in a pool or, without one, each by itself."""

    def __init__(self, context: Context, pool: Pool | None) -> None:
        self._context = context
        self._pool = pool if context.device_type == "cpu" else None
        self._arrays: dict[str, NDArray] = {}
        self._places: dict[str, tuple[str, int]] = {}  # name -> group, offset
        self._ends: dict[str, int] = {}  # bytes of each group
        self._token = object()

    @property
    def arrays(self) -> dict[str, NDArray]:
        """All of them, to bind; not to be changed."""
        return self._arrays

    @property
    def nbytes(self) -> int:
        """Bytes that this executor has for itself."""
        return 0 if self._pool is not None else sum(a.nbytes for a in self._arrays.values())

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> NDArray:
        return self._arrays[name]

    def get(self, name: str) -> NDArray | None:
        """The array, or None where there is none."""
        return self._arrays.get(name)

    def ensure(self, group: str, wanted: Iterable[Wanted], user: User) -> bool:
        """Have buffers of these names; says whether the group's other buffers were moved."""
        fresh = [(n, tuple(s), np.dtype(d)) for n, s, d in wanted if n not in self._arrays]
        if not fresh:
            return False
        if self._pool is None:
            self._arrays.update({n: NDArray.empty(s, d, self._context) for n, s, d in fresh})
            return False
        end = self._ends.get(group, 0)
        for name, shape, dtype in fresh:
            self._places[name] = group, end
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            end += -(-size // _ALIGN) * _ALIGN
        self._ends[group] = end
        moved = self._pool.fit(group, end, user)
        for name, shape, dtype in fresh:
            self._arrays[name] = self._view(name, shape, dtype)
        if moved:
            self.remake(group)
        return moved

    def remake(self, group: str) -> None:
        """Make the arrays of a group anew, over its new memory."""
        for name, (of, _) in self._places.items():
            if of == group:
                old = self._arrays[name]
                self._arrays[name] = self._view(name, old.shape, old.dtype)

    def _view(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
        assert self._pool is not None
        group, start = self._places[name]
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        memory = self._pool.slab(group)[start : start + size]
        return NDArray.over(memory.view(dtype).reshape(shape))

    def claim(self, *groups: str) -> None:
        """A run is about to write these groups."""
        if self._pool is not None:
            for group in groups:
                self._pool.claim(group, self._token)

    def holds(self, group: str) -> bool:
        """Whether a group still has what this executor's last run wrote."""
        return self._pool is None or self._pool.holds(group, self._token)
