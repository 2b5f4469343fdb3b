"""``Checked``: whether the last step of a module has NaN or infinity, and where it comes from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from symbucket.engine.finite import FiniteCheck
from symbucket.engine.ownership import exclusive
from symbucket.module.averaging import Averaging
from symbucket.runtime import RowSparse


class Checked(Averaging):
    """A module that can be asked if its last step is finite."""

    def __init__(self, logger: Any = logging) -> None:
        super().__init__(logger)
        self._check = FiniteCheck()

    def row_gradients(self) -> Mapping[str, RowSparse]:
        """Return the gradients of the last backward that came by rows, not in ``gradients``."""
        return {}

    @exclusive
    def failures(self) -> list[str]:
        """Return what has NaN or infinity after the last backward, in words; [] if all is well.

        It looks at all gradients, auxiliary states, and outputs or sums of a metric. ``fit`` calls
        it before each update; a loop of your own may, ``update`` does not. Of several workers all
        have to call it, and each gets the failures of all.
        """
        self._require_own("failures")
        by_rows = self.row_gradients()
        named: list[tuple[str, Any]] = [
            (f"the gradient of {n!r}", by_rows[n].values if n in by_rows else a)
            for n, a in self.gradients().items()
        ]
        named += [(f"the auxiliary state {n!r}", a) for n, a in self.auxiliary().items()]
        named += [(f"the {name}", a) for name, a in self.results().items()]
        failures = self._check.failures(named)
        exchange = self.updater.exchange if self.optimizer_initialized else None
        return failures if exchange is None else exchange.failures(failures)

    @exclusive
    def lost_parameters(self) -> list[str]:
        """Return which parameters with a gradient have NaN, in words.

        Mostly a gradient or an output has NaN as well; but a max pool may pass over it. ``fit``
        calls it at the end of an epoch.
        """
        args = self.store.args
        named = ((f"the parameter {n!r}", args[n]) for n in self.gradients())
        return [text for text in self._check.failures(named) if text.endswith("has NaN")]

    def first_failure(self) -> str | None:
        """Return the first node of the last training step that gives NaN or infinity, in words.

        None if it was not looked for, or nothing was found.
        """
        return None
