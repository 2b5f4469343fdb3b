"""Display of a run of ``fit``: a bar on a terminal, lines without configured ``logging``."""

from __future__ import annotations

import contextlib
import html
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

from symbucket.callback.notebook import NotebookOutput
from symbucket.callback.pace import pace, time_left
from symbucket.callback.progress import BatchEndParam
from symbucket.callback.run_record import RunRecord
from symbucket.checks import check_choice
from symbucket.metric import EvalMetric, Perplexity

_SECONDS_BETWEEN_DRAWS = 0.2
_SECONDS_BETWEEN_LINES = 30.0
_BAR_WIDTH = 24


class Display:
    """Shows how ``fit`` goes, while it is entered.

    Args:
        logger: the module's.
        progress: "auto": a bar in notebooks and if standard error is a terminal, and lines now and
            then elsewhere if nobody has configured logging; "bar", "lines", or "none".
        total: batches of an epoch; None if nobody knows.
        record: of the run, which is kept up to date by others.

    As long as logging is not configured, log lines of training go to standard error. Otherwise
    they go where the program says, and only there.
    """

    def __init__(self, logger: Any, progress: str, total: int | None, record: RunRecord) -> None:
        check_choice(progress, "fit: progress", ("auto", "bar", "lines", "none"))
        self._logger = logging.root if logger is logging else logger
        self._bare = progress != "none" and _is_unconfigured(self._logger)
        self._output = NotebookOutput.here() if progress in ("auto", "bar") else None
        if progress == "auto":
            bar = self._output is not None or (sys.stderr is not None and sys.stderr.isatty())
            progress = "bar" if bar else "lines" if self._bare else "none"
        self._kind, self._total, self._record = progress, total, record
        self._drawn = 0  # letters of the bar on the screen
        self._next = 0.0
        self._epoch, self._since, self._compiled = -1, 0.0, 0.0
        self._last: BatchEndParam | None = None  # in a notebook, not shown yet

    @contextlib.contextmanager
    def shown(self) -> Iterator[Display]:
        """Show it in a block."""
        self._since = time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.callback(self.clear)
            if self._bare:
                stack.enter_context(_lines_to_stderr(self._logger))
            if self._kind == "bar":
                for handler in _handlers(self._logger):
                    handler.addFilter(self._make_room)
                    stack.callback(handler.removeFilter, self._make_room)
            yield self

    def batch_done(self, param: BatchEndParam) -> None:
        """Show a batch, if it is time to."""
        now = time.monotonic()
        if param.epoch != self._epoch:
            record = self._record
            self._epoch, self._since = param.epoch, now - record.in_epoch.seconds
            self._compiled = record.seconds.get("compile", 0.0)
            self._next = now + (_SECONDS_BETWEEN_LINES if self._kind == "lines" else 0)
        if self._kind == "none":
            return
        self._last = param
        if now < self._next:
            return
        if self._kind == "lines":
            self._next = now + _SECONDS_BETWEEN_LINES
            print(self._text(param, now), file=sys.stderr, flush=True)
        else:
            self._next = now + _SECONDS_BETWEEN_DRAWS
            self._draw(param, now)

    def _text(self, param: BatchEndParam, now: float, bar: str = "") -> str:
        done, total, record = param.nbatch + 1, self._total, self._record
        compiled = record.seconds.get("compile", 0.0) - self._compiled
        seconds = max(0.0, now - self._since - compiled)
        parts = [f"Epoch {param.epoch + 1}/{record.epochs_planned}", bar]
        parts.append(f"{done}/{total}" if total else f"batch {done}")
        if param.eval_metric is not None:
            parts += [f"{name}={value:.4g}" for name, value in values(param.eval_metric)]
        parts += [*pace(record, seconds), time_left(record, seconds, done, total)]
        return "  ".join(filter(None, parts))

    def _draw(self, param: BatchEndParam, now: float) -> None:
        done, total, self._last = param.nbatch + 1, self._total, None
        if self._output is not None:
            share = f' value="{done}" max="{total}"' if total else ""
            text = html.escape(self._text(param, now))
            self._output.show(f"<div><progress{share}></progress> <code>{text}</code></div>")
            return
        filled = min(_BAR_WIDTH, _BAR_WIDTH * done // total) if total else 0
        bar = f"[{'=' * filled}{' ' * (_BAR_WIDTH - filled)}]" if total else ""
        width = shutil.get_terminal_size().columns - 1
        text = self._text(param, now, bar)
        if len(text) > width:
            text = self._text(param, now)  # numbers say more
        text = text[:width]
        sys.stderr.write(f"\r{text.ljust(min(self._drawn, width))}")
        sys.stderr.flush()
        self._drawn = len(text)

    def clear(self) -> None:
        """Take the bar off the screen; in a notebook it stays, as it is at the end."""
        if self._output is not None and self._last is not None:
            self._draw(self._last, time.monotonic())
        if self._drawn:
            sys.stderr.write(f"\r{' ' * self._drawn}\r")
            sys.stderr.flush()
            self._drawn = 0

    def _make_room(self, record: logging.LogRecord) -> bool:
        self.clear()  # for the line that comes now
        return True


class _StderrHandler(logging.Handler):
    """Prints messages to what standard error is now."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def _lines_to_stderr(logger: logging.Logger) -> Iterator[None]:
    """Let messages of INFO and above appear, as in a program that had configured logging."""
    handler, level, others = _StderrHandler(), logger.level, logging.root.handlers[:]
    logger.addHandler(handler)
    for other in others:
        logging.root.removeHandler(other)  # a line must not come twice
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        for other in others:
            logging.root.addHandler(other)


def _handlers(logger: Any) -> list[logging.Handler]:
    handlers = [] if not isinstance(logger, logging.Logger) else list(logger.handlers)
    return [*handlers, *(h for h in logging.root.handlers if h not in handlers)]


def _is_unconfigured(logger: Any) -> bool:
    """Return whether nobody has said where messages of a logger go.

    ``logging.warning`` adds a handler by itself if there is none; that says nothing.
    """
    if not isinstance(logger, logging.Logger) or logger.isEnabledFor(logging.INFO):
        return False
    return all(map(_is_of_first_warning, _handlers(logger)))


def _is_of_first_warning(handler: logging.Handler) -> bool:
    return (
        type(handler) is logging.StreamHandler
        and handler.formatter is not None
        and handler.formatter._fmt == logging.BASIC_FORMAT
    )


def batches_of(data: Any) -> int | None:
    """Return how many batches an epoch has, if an iterator says so."""
    if hasattr(data, "__len__"):
        return len(data)
    rows, size = getattr(data, "num_data", None), getattr(data, "batch_size", 0)
    return None if rows is None or not size else max(1, -(-int(rows) // int(size)))


def values(metric: EvalMetric) -> list[tuple[str, float]]:
    """Return the metric's values by name; before a perplexity comes its logarithm, the loss."""
    named = []
    for leaf in metric.leaves():
        if isinstance(leaf, Perplexity) and leaf.num_inst:
            named.append(("loss", leaf.sum_metric / leaf.num_inst))
        named += leaf.get_name_value()
    return named
