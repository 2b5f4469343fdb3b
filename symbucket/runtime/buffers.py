"""Outputs and step buffers of executors that take turns: as much memory as the largest one needs.

A network's outputs and its stash are read before another network runs. So the executors of one
module share memory: a ``Pool`` has one slab for each group of buffers, as large as the largest
executor's share, and every executor has its arrays, in their shapes, within that slab. If a larger
executor comes, the slab is replaced: every executor drops its arrays at once, so that the old slab
is freed before the new one is written, and lays them over the new slab when it runs next.

If memory cannot be had, or the user interrupts, everything is as it was before: a slab is replaced
after the new one is there, and an executor's arrays change all at once.

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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

import numpy as np

from symbucket.context import Context
from symbucket.runtime.ndarray import NDArray, aligned_empty
from symbucket.runtime.providers import provider_of

OUTPUTS, STASH, BACKWARD = "outputs", "stash", "backward"

_ALIGN = 64  # bytes; as aligned_empty

Slab = np.ndarray[Any, Any]
"""The memory of a group, as bytes."""

_NO_SLAB: Slab = np.empty(0, np.uint8)  # of arrays that were dropped

BufferSpec = tuple[str, Sequence[int], Any]
"""Name, shape and dtype of a buffer."""


class User(Protocol):
    """An executor as the pool sees it."""

    def release_buffers(self, group: str) -> None:
        """Drop the arrays of a group, whose slab was replaced; must not fail."""


class Pool:
    """The slabs that executors share. The pool keeps no executor alive."""

    def __init__(self) -> None:
        self._slabs: dict[str, Slab] = {}
        self._users: WeakSet[User] = WeakSet()
        self._writers: dict[str, object] = {}

    @property
    def nbytes(self) -> int:
        """The bytes of all slabs."""
        return sum(slab.nbytes for slab in self._slabs.values())

    def join(self, user: User) -> None:
        """Tell ``user`` from now on when a slab is replaced."""
        self._users.add(user)

    def fit(self, group: str, size: int) -> Slab:
        """Return the slab of a group; if it has less than ``size`` bytes, it is replaced.

        Then its contents are lost, and all users have been told.
        """
        slab = self._slabs.get(group)
        if slab is not None and slab.nbytes >= size:
            return slab
        return self._replace(group, size)

    def renew(self, group: str) -> None:
        """Replace the slab of a group, so that who still reads the old one sees no later run."""
        slab = self._slabs.get(group)
        if slab is not None:
            self._replace(group, slab.nbytes)

    def _replace(self, group: str, size: int) -> Slab:
        slab = aligned_empty((size,), np.uint8)  # if this fails, nothing has changed
        self._writers.pop(group, None)
        replaced = group in self._slabs
        self._slabs[group] = slab
        for user in list(self._users) if replaced else ():
            user.release_buffers(group)
        return slab

    def current(self, group: str, slab: Slab) -> bool:
        """Return whether this is the slab of a group now."""
        return self._slabs.get(group) is slab

    def claim(self, group: str, token: object) -> None:
        """Record that the contents of a group are those of ``token``'s run."""
        self._writers[group] = token

    def holds(self, group: str, token: object) -> bool:
        """Return whether a group still has what ``token``'s run wrote."""
        return self._writers.get(group) is token


class _Place(NamedTuple):
    """Place of a buffer in the slab of its group, and its type."""

    group: str
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def over(self, slab: Slab) -> NDArray:
        """Return the buffer as an array within a slab."""
        memory = slab[self.start : self.start + self.nbytes]
        return NDArray.over(memory.view(self.dtype).reshape(self.shape))


@dataclass(frozen=True)
class _Layout:
    """The buffers of one executor at one time. It is replaced as a whole, never changed."""

    arrays: Mapping[str, NDArray] = field(default_factory=dict)
    places: Mapping[str, _Place] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)  # bytes of each group
    slabs: Mapping[str, Slab] = field(default_factory=dict)  # in which the arrays lie, by group


class Buffers:
    """The buffers of one executor by name: in a pool, or else each in its own memory."""

    def __init__(self, context: Context, pool: Pool | None) -> None:
        self._context = context
        self._pool = pool if provider_of(context).host_memory else None
        self._layout = _Layout()
        self._token = object()

    @property
    def arrays(self) -> Mapping[str, NDArray]:
        """All buffers by name, for binding: another mapping whenever an array is another one."""
        return self._layout.arrays

    @property
    def nbytes(self) -> int:
        """The bytes that this executor does not share."""
        return 0 if self._pool is not None else sum(a.nbytes for a in self.arrays.values())

    def __contains__(self, name: str) -> bool:
        return name in self._layout.arrays

    def __getitem__(self, name: str) -> NDArray:
        return self._layout.arrays[name]

    def get(self, name: str) -> NDArray | None:
        """Return the buffer, or None if there is none."""
        return self._layout.arrays.get(name)

    def ensure(self, group: str, specs: Iterable[BufferSpec]) -> None:
        """Have buffers of these names; the group's other buffers may become other arrays."""
        layout = self._layout
        existing = layout.places if self._pool is not None else layout.arrays
        fresh = [(n, tuple(s), np.dtype(d)) for n, s, d in specs if n not in existing]
        if not fresh:
            return
        if self._pool is None:
            arrays = {n: NDArray.empty(s, d, self._context) for n, s, d in fresh}
            self._layout = _Layout({**layout.arrays, **arrays})
            return
        places, end = dict(layout.places), layout.sizes.get(group, 0)
        for name, shape, dtype in fresh:
            places[name] = place = _Place(group, end, shape, dtype)
            end += -(-place.nbytes // _ALIGN) * _ALIGN
        self._lay_out(self._pool, places, {**layout.sizes, group: end})

    def adopt(self, name: str, array: NDArray) -> None:
        """Use an existing array as a buffer; only without a pool."""
        self._layout = _Layout({**self._layout.arrays, name: array})

    def refresh(self) -> None:
        """Have all arrays in the slabs that the pool has now."""
        layout, pool = self._layout, self._pool
        if pool is None or all(pool.current(g, slab) for g, slab in layout.slabs.items()):
            return
        self._lay_out(pool, layout.places, layout.sizes)

    def _lay_out(self, pool: Pool, places: Mapping[str, _Place], sizes: Mapping[str, int]) -> None:
        slabs = {group: pool.fit(group, size) for group, size in sizes.items()}
        arrays = {name: place.over(slabs[place.group]) for name, place in places.items()}
        self._layout = _Layout(arrays, places, sizes, slabs)

    def release(self, group: str) -> bool:
        """Drop the arrays of a group, if there are any; ``refresh`` makes new ones."""
        layout = self._layout
        if group not in layout.slabs:
            return False
        places = layout.places
        arrays = {n: a for n, a in layout.arrays.items() if places[n].group != group}
        slabs = {**layout.slabs, group: _NO_SLAB}
        self._layout = _Layout(arrays, places, layout.sizes, slabs)
        return True

    def claim(self, *groups: str) -> None:
        """Announce a run that will write these groups."""
        if self._pool is not None:
            for group in groups:
                self._pool.claim(group, self._token)

    def holds(self, group: str) -> bool:
        """Return whether a group still has what this executor's last run wrote."""
        return self._pool is None or self._pool.holds(group, self._token)
