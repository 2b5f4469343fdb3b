"""A place in the output of a notebook's cell that can be drawn anew."""

from __future__ import annotations

import importlib
import sys
from typing import Any


class NotebookOutput:
    """An output of the cell that runs now; each ``show`` replaces what was there."""

    def __init__(self, display: Any, html: Any) -> None:
        self._display, self._html = display, html
        self._handle: Any = None

    @classmethod
    def here(cls) -> NotebookOutput | None:
        """Return a new output, or None outside of a notebook (Jupyter's or another IPython)."""
        ipython = sys.modules.get("IPython")
        shell = None if ipython is None else ipython.get_ipython()
        if shell is None or not hasattr(shell, "kernel"):  # a terminal's IPython shows no HTML
            return None
        module: Any = importlib.import_module("IPython.display")
        return cls(module.display, module.HTML)

    def show(self, html: str) -> None:
        """Show HTML; what tools without HTML see is empty."""
        if self._handle is None:
            self._handle = self._display(self._html(html), display_id=True)
        else:
            self._handle.update(self._html(html))
