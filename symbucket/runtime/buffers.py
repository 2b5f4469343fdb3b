"""Outputs and step buffers of executors that take turns: as much memory as the largest one needs.

A network's outputs and its stash are read before another network runs. So the executors of one
module share memory: a ``Pool`` has one slab for each group of buffers, as large as the largest
executor's share, and every executor has its arrays, in their shapes, within that slab. If a larger
executor comes, the slab is replaced and all executors are bound to the new one; the two never exist
at the same time.

How long the contents are valid depends on the group:

* ``OUTPUTS``: outputs and sums of graph metrics, until the next forward of any executor of the
  pool.
* ``STASH``: what a forward in training mode leaves for ``backward`` and the update (activations,
  row-sparse gradients, gradients to accumulate), until the next forward in training mode.
* ``BACKWARD``: head gradients and the like, during a call of ``backward``.

A pool works in host memory. On other devices the runtime has no arrays within arrays, and every
executor has its own buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from weakref import WeakSet

import numpy as np

from symbucket.context import Context
from symbucket.runtime.ndarray import NDArray, aligned_empty
from symbucket.runtime.providers import provider_of

OUTPUTS, STASH, BACKWARD = "outputs", "stash", "backward"

_ALIGN = 64  # bytes; as aligned_empty

BufferSpec = tuple[str, Sequence[int], Any]
"""Name, shape and dtype of a buffer."""


class User(Protocol):
    """An executor as the pool sees it."""

    def buffers_moved(self, group: str) -> None:
        """Bind the arrays of a group again: its slab was replaced."""


class Pool:
    """The slabs that executors share. The pool keeps no executor alive."""

    def __init__(self) -> None:
        self._slabs: dict[str, np.ndarray[Any, Any]] = {}
        self._users: WeakSet[User] = WeakSet()
        self._writers: dict[str, object] = {}

    @property
    def nbytes(self) -> int:
        """The bytes of all slabs."""
        return sum(slab.nbytes for slab in self._slabs.values())

    def join(self, user: User) -> None:
        """Tell ``user`` from now on when a slab is replaced."""
        self._users.add(user)

    def slab(self, group: str) -> np.ndarray[Any, Any]:
        """Return the memory of a group, as bytes."""
        return self._slabs[group]

    def fit(self, group: str, size: int, asking: User) -> bool:
        """Have at least ``size`` bytes for a group; return whether an older slab was replaced.

        In that case its contents are gone, and all other users have been told.
        """
        old = self._slabs.get(group)
        if old is not None and old.nbytes >= size:
            return False
        self._slabs[group] = aligned_empty((size,), np.uint8)
        if old is None:
            return False
        self._writers.pop(group, None)
        for user in list(self._users):
            if user is not asking:
                user.buffers_moved(group)
        return True

    def claim(self, group: str, token: object) -> None:
        """Record that the contents of a group are those of ``token``'s run."""
        self._writers[group] = token

    def holds(self, group: str, token: object) -> bool:
        """Return whether a group still has what ``token``'s run wrote."""
        return self._writers.get(group) is token


class Buffers:
    """The buffers of one executor by name: in a pool, or else each in its own memory."""

    def __init__(self, context: Context, pool: Pool | None) -> None:
        self._context = context
        self._pool = pool if provider_of(context).host_memory else None
        self._arrays: dict[str, NDArray] = {}
        self._offsets: dict[str, tuple[str, int]] = {}  # name -> group, offset in its slab
        self._sizes: dict[str, int] = {}  # bytes of each group
        self._token = object()

    @property
    def arrays(self) -> dict[str, NDArray]:
        """All buffers by name, for binding; must not be changed."""
        return self._arrays

    @property
    def nbytes(self) -> int:
        """The bytes that this executor does not share."""
        return 0 if self._pool is not None else sum(a.nbytes for a in self._arrays.values())

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> NDArray:
        return self._arrays[name]

    def get(self, name: str) -> NDArray | None:
        """Return the buffer, or None if there is none."""
        return self._arrays.get(name)

    def ensure(self, group: str, specs: Iterable[BufferSpec], user: User) -> bool:
        """Have buffers of these names; return whether the group's other buffers moved."""
        fresh = [(n, tuple(s), np.dtype(d)) for n, s, d in specs if n not in self._arrays]
        if not fresh:
            return False
        if self._pool is None:
            self._arrays.update({n: NDArray.empty(s, d, self._context) for n, s, d in fresh})
            return False
        end = self._sizes.get(group, 0)
        for name, shape, dtype in fresh:
            self._offsets[name] = group, end
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            end += -(-size // _ALIGN) * _ALIGN
        self._sizes[group] = end
        moved = self._pool.fit(group, end, user)
        for name, shape, dtype in fresh:
            self._arrays[name] = self._view(name, shape, dtype)
        if moved:
            self.remake(group)
        return moved

    def remake(self, group: str) -> None:
        """Create the arrays of a group again, over its new slab."""
        for name, (owner, _) in self._offsets.items():
            if owner == group:
                old = self._arrays[name]
                self._arrays[name] = self._view(name, old.shape, old.dtype)

    def _view(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
        assert self._pool is not None
        group, start = self._offsets[name]
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        memory = self._pool.slab(group)[start : start + size]
        return NDArray.over(memory.view(dtype).reshape(shape))

    def claim(self, *groups: str) -> None:
        """Announce a run that will write these groups."""
        if self._pool is not None:
            for group in groups:
                self._pool.claim(group, self._token)

    def holds(self, group: str) -> bool:
        """Return whether a group still has what this executor's last run wrote."""
        return self._pool is None or self._pool.holds(group, self._token)
