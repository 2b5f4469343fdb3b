"""Progress of long work: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType


class Steps:
    """One line on standard error with the current step, cleared at the end.

    Called as ``progress(what, done, total)``; a context manager, so that an error clears the line.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._width = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show a step."""
        self._write(f"[{done}/{total}] {what}" if total > 1 else what)

    def _write(self, text: str) -> None:
        if self._shown:
            print(f"\r{text.ljust(self._width)}", end="", file=sys.stderr, flush=True)
            self._width = len(text)

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write("")
        if self._shown:
            print("\r", end="", file=sys.stderr, flush=True)
