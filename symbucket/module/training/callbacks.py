"""Arguments that take one callback, several, or None."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symbucket.callback import BatchEndParam

Callbacks = Callable[..., Any] | Sequence[Callable[..., Any]] | None


def callback_list(callbacks: Callbacks) -> Sequence[Callable[..., Any]]:
    """Return the callbacks of such an argument."""
    if callbacks is None:
        return []
    return callbacks if isinstance(callbacks, Sequence) else [callbacks]


def call_all(callbacks: Callbacks, param: BatchEndParam) -> None:
    """Call each with what a batch callback gets."""
    for callback in callback_list(callbacks):
        callback(param)
