"""Scopes that name nodes, as in ``mx.name``: ``NameManager`` and ``Prefix``.

The open scopes live in a context variable: a thread or an asyncio task sees its own, and a scope
that one of them opens is not seen by the others. Outside of every scope, each thread has one
default ``NameManager``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import ContextVar

from symbucket.class_property import ClassProperty

__all__ = ["NameManager", "Prefix"]


class NameManager:
    """Creates automatic names by hint: ``fullyconnected0``, ``fullyconnected1``, ...

    As a context manager it names the nodes made inside the block, with counters of its own.
    """

    def __init__(self) -> None:
        self._counter: dict[str, int] = {}

    def get(self, name: str | None, hint: str) -> str:
        """Return ``name`` if there is one, else the next automatic name for ``hint``."""
        if name:
            return name
        count = self._counter.get(hint, 0)
        self._counter[hint] = count + 1
        return f"{hint}{count}"

    def counts(self) -> dict[str, int]:
        """Return how many automatic names there are by hint."""
        return dict(self._counter)

    def advance(self, counts: Mapping[str, int]) -> None:
        """Go on as if so many more names had been asked for, by hint."""
        for hint, count in counts.items():
            self._counter[hint] = self._counter.get(hint, 0) + count

    def __enter__(self) -> NameManager:
        _open_managers.set((*_open_managers.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        _open_managers.set(_open_managers.get()[:-1])

    @ClassProperty
    def current() -> NameManager:
        """The innermost open manager, or the thread's default one."""
        managers = _open_managers.get()
        return managers[-1] if managers else _default.manager


class Prefix(NameManager):
    """Puts ``prefix`` before every name of a node made inside the block, automatic or not."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        """Return the prefixed name."""
        return self._prefix + super().get(name, hint)


class _Default(threading.local):
    """The manager of a thread in which no scope is open."""

    def __init__(self) -> None:
        self.manager = NameManager()


_open_managers: ContextVar[tuple[NameManager, ...]] = ContextVar("name managers", default=())
_default = _Default()
