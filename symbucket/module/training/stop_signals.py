"""Signals that end training: the batch is finished first."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn

_DEFAULTS: tuple[Any, ...] = (signal.SIG_DFL, signal.default_int_handler)


class StopSignals:
    """Between ``with`` and its end, SIGTERM and Ctrl-C are noted, to be obeyed after the batch.

    The second one is obeyed at once. In other threads than the main one, and if the program
    handles a signal itself, nothing changes.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        """The number of the signal that came; None if none did."""
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if handler in _DEFAULTS:
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            self.obey(number)
        self.requested = number

    @property
    def name(self) -> str:
        """What came, in words."""
        assert self.requested is not None
        return "Ctrl-C" if self.requested == signal.SIGINT else signal.Signals(self.requested).name

    def obey(self, number: int | None = None) -> NoReturn:
        """Raise what the signal raises: KeyboardInterrupt, or SystemExit with 128 + its number."""
        number = self.requested if number is None else number
        assert number is not None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
