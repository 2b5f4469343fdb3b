"""Deadlines: times of ``time.monotonic`` by which answers have to be there."""

from __future__ import annotations

import threading

from symbucket.checks import check_number

LONGEST = threading.TIMEOUT_MAX
"""The most seconds that a thread can wait at a time: months at least."""


def deadline_of(timeout: float | None, began: float) -> float | None:
    """Return when ``timeout`` seconds are over; None if it is None, for no deadline.

    Raises InvalidArgumentError if it is no finite number.
    """
    return None if timeout is None else began + min(check_number(timeout, "timeout"), LONGEST)
