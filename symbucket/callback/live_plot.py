"""``LivePlot``: curves that grow in a notebook while ``fit`` runs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from symbucket.callback.notebook import NotebookOutput
from symbucket.charts import Series, line_chart
from symbucket.checks import check_integer, check_number
from symbucket.errors import InvalidArgumentError

_MOST_POINTS = 1000
"""Of a curve that has more, every second one goes."""

_KINDS = {"train": "training", "val": "validation"}


class LivePlot:
    """A tracker that draws the metrics in the output of a notebook's cell, a chart for each.

    It needs nothing installed. Outside of a notebook it says so once and draws nothing; there,
    ``fit(report="run.html")`` writes a page with such charts.

    Args:
        every_batches: points in between, after every so many batches; None: at epochs only.
        seconds: the least time between two drawings.

    Example: ``module.fit(train, valid, num_epoch=5, trackers=sb.callback.LivePlot())``.
    """

    def __init__(self, every_batches: int | None = 10, seconds: float = 0.5) -> None:
        if every_batches is not None:
            check_integer(every_batches, "LivePlot: every_batches", 1)
        self.every_batches = self._every = every_batches
        self._seconds = check_number(seconds, "LivePlot: seconds", 0)
        self._output: NotebookOutput | None = None
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._drawn = -math.inf

    def __call__(self, *args: Any) -> NoReturn:
        """Refuse to be a callback of batches, which never sees an epoch's validation."""
        raise InvalidArgumentError(
            "LivePlot is a tracker: it sees training and validation as "
            "fit(trackers=sb.callback.LivePlot()), not as a callback"
        )

    def begin(self, step: int, config: Mapping[str, Any]) -> None:
        """Open an output in the cell."""
        self._points, self._drawn = {}, -math.inf
        self._output = NotebookOutput.here()
        self.every_batches = None if self._output is None else self._every
        if self._output is None:
            logging.getLogger("symbucket.callback").warning(
                "LivePlot draws in notebooks, and this is none; fit(report='run.html') writes a "
                "page with curves"
            )

    def log(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve, and draw if it is time to."""
        for name, value in values.items():
            points = self._points.setdefault(name, [])
            points.append((float(step), value))
            if len(points) > _MOST_POINTS:
                del points[1:-1:2]
        if time.monotonic() - self._drawn >= self._seconds:
            self._draw()

    def end(self) -> None:
        """Draw the last points."""
        self._draw()

    def _draw(self) -> None:
        if self._output is not None and self._points:
            self._drawn = time.monotonic()
            self._output.show(self.html())

    def html(self) -> str:
        """Return the charts as they are now."""
        metrics = dict.fromkeys(
            name.partition("-")[2] for name in self._points if name.startswith(tuple(_KINDS))
        )
        charts = []
        for metric in metrics:
            series = [
                Series(text, self._points.get(f"{kind}-{metric}", []), colour, dots=colour == 1)
                for colour, (kind, text) in enumerate(_KINDS.items())
            ]
            charts.append(line_chart(metric, series, "updates", may_be_log=True, readable=False))
        cells = "".join(f'<div style="flex:1 1 420px;max-width:560px">{c}</div>' for c in charts)
        return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{cells}</div>'
