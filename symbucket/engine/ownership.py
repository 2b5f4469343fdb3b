"""One owner at a time: a module that two threads use at once raises an error, and computes nothing.

A call of a module holds the lock of its parameters, so all modules that share parameters take part;
a call from a second thread is an error at once, not a wait. Between calls, the results of the last
forward belong to the thread that ran it: see ``Runs``.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from symbucket.errors import StateError

ADVICE = (
    "A module has one owner at a time: give each thread a module of its own, or serve a "
    "symbucket.Bundle, which threads may share."
)


class Owned(Protocol):
    """Attributes that ``exclusive`` needs of a class."""

    _lock: threading.RLock
    _name: str


P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=Any)


def exclusive(
    method: Callable[Concatenate[M, P], R],
) -> Callable[Concatenate[M, P], R]:
    """Let one thread at a time call a method; calls within calls are fine."""

    @functools.wraps(method)
    def guarded(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        lock = self._lock
        if not lock.acquire(False):
            raise _busy(self, method.__name__)
        try:
            return method(self, *args, **kwargs)
        finally:
            lock.release()

    return guarded


@contextmanager
def exclusive_of(owner: Owned, call: str) -> Iterator[None]:
    """Hold an owner in a block, as ``exclusive`` does for a method; ``call`` is for messages."""
    lock = owner._lock
    if not lock.acquire(False):
        raise _busy(owner, call)
    try:
        yield
    finally:
        lock.release()


def _busy(owner: Owned, call: str) -> StateError:
    return StateError(
        f"{owner._name}: {call} was called in thread {threading.current_thread().name!r} while "
        f"another thread uses the module, or one that shares its parameters. {ADVICE}"
    )


class _Run:
    """A forward; ``passed_on``: another thread has asked for its results."""

    __slots__ = ("passed_on",)

    def __init__(self) -> None:
        self.passed_on = False


class Runs:
    """Whose results the last forward of a module left.

    A thread whose forward was followed by another thread's asks for results that are gone. Threads
    that take turns may pass results on: a thread may ask for what another one ran if it has no
    forward of its own that was overtaken.
    """

    def __init__(self) -> None:
        self._last: _Run | None = None
        self._local = threading.local()

    @property
    def elsewhere(self) -> bool:
        """Whether the last forward was another thread's."""
        return self._last is not None and self._last is not getattr(self._local, "run", None)

    def begin(self) -> None:
        """Count a forward of this thread."""
        self._last = self._local.run = _Run()

    def check(self, name: str, call: str) -> None:
        """Raise StateError if another thread's forward has overtaken this thread's."""
        own, last = getattr(self._local, "run", None), self._last
        if own is last or last is None:
            return
        if own is not None and not own.passed_on:
            raise StateError(
                f"{name}: {call}: another thread has run the module since this thread's forward, "
                f"whose results are gone. {ADVICE}"
            )
        last.passed_on = True
