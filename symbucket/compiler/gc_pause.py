"""Pause Python's cyclic garbage collector while a symbol is made or compiled."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_was_enabled = False


@contextmanager
def paused_collector() -> Iterator[None]:
    """Run the block without cyclic collections, in any thread.

    A graph is tens of thousands of live objects that refer to each other: the collector walks over
    them again and again and frees nothing, which takes a third of a compilation.
    """
    global _inside, _was_enabled  # noqa: PLW0603 - the collector is one for the process
    with _lock:
        if _inside == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _was_enabled:
                gc.enable()
