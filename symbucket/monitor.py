"""A look at the numbers while a network trains, as ``mx.mon``.

Messages go to the root logger, as in MXNet: scripts configure that one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from symbucket.checks import check_integer
from symbucket.engine.bound_arrays import BoundArrays
from symbucket.engine.inner_values import Watcher
from symbucket.errors import InvalidArgumentError
from symbucket.runtime import NDArray

__all__ = ["Monitor"]


def __dir__() -> list[str]:
    return __all__


Named = Iterable[tuple[str, NDArray]]


class Monitored(Protocol):
    """What a monitor can look at, besides an Executor: all modules."""

    def monitored(self, selects: Callable[[str], bool]) -> Named: ...
    def watch(self, watcher: Watcher) -> None: ...


class Monitor:
    """Statistics of arrays of a batch, as ``mx.mon.Monitor``.

    It sees the outputs of all operators (``fc_output``), the network's arguments (data, labels and
    parameters), their gradients under the name ``<argument>_grad``, and the auxiliary states.
    Compiled networks keep no activation that has no later use: if ``pattern`` matches outputs of
    inner operators, a second program computes them after a forward that is looked at, which then
    takes twice as long.

    ``fit(monitor=...)`` installs it, and calls ``tic`` before each batch and ``toc_print`` after
    the update; it keeps outputs and whole gradients for that (see ``keep_outputs``). A loop of your
    own calls ``module.install_monitor(monitor)`` or ``monitor.install(executor)`` first.

    Args:
        interval: batches from one look to the next; the first batch is looked at.
        stat_func: makes a number, an array, or a list of these of an NDArray. Default: the norm
            divided by the square root of the size, that is the root of the mean square.
        pattern: regular expression that the beginning of a name must match.
        sort: give the statistics by name, not outputs, arguments, gradients, auxiliary states.
        monitor_all: see inputs of operators too, under names such as ``fc_data``.

    Attributes:
        step: batches that ``tic`` has counted.
        activated: whether this batch is looked at.

    Raises:
        InvalidArgumentError: ``interval`` is no whole number of 1 or more, ``pattern`` no regular
            expression, ``stat_func`` cannot be called.
    """

    def __init__(
        self,
        interval: int,
        stat_func: Callable[[NDArray], Any] | None = None,
        pattern: str = ".*",
        sort: bool = False,
        monitor_all: bool = False,
    ) -> None:
        if stat_func is not None and not callable(stat_func):
            raise InvalidArgumentError(
                f"Monitor: stat_func is {stat_func!r}; expected a function of an NDArray"
            )
        try:
            self._pattern = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise InvalidArgumentError(
                f"Monitor: pattern is {pattern!r}, which is no regular expression ({error})"
            ) from None
        self.interval = check_integer(interval, "Monitor: interval (in batches)", 1)
        self.stat_func = _root_mean_square if stat_func is None else stat_func
        self.sort = bool(sort)
        self.monitor_all = bool(monitor_all)
        self.step = 0
        self.activated = False
        self._sources: list[BoundArrays | Monitored] = []
        self._queue: list[tuple[int, str, str]] = []

    def install(self, exe: BoundArrays | Monitored) -> None:
        """Look at this executor (or module) from now on, besides those installed before."""
        if not isinstance(exe, BoundArrays) and not hasattr(exe, "monitored"):
            raise InvalidArgumentError(
                f"Monitor.install: {exe!r} is neither an Executor nor a module"
            )
        if any(exe is source for source in self._sources):
            return
        if isinstance(exe, BoundArrays):
            exe.watchers.append(self)
        else:
            exe.watch(self)
        self._sources.append(exe)

    def tic(self) -> None:
        """A batch begins: look at it if it is its turn."""
        self._queue = []
        self.activated = self.step % self.interval == 0
        self.step += 1

    def toc(self) -> list[tuple[int, str, str]]:
        """The batch is over: (number of the batch from 1, name, statistic as text) of each array.

        Empty where this batch is not looked at. Outputs are those of the forwards since ``tic``,
        gradients those of the last backward, parameters those after the update, if there was one.
        Every number ends with a tab, as in MXNet.
        """
        if not self.activated:
            return []
        self.activated = False
        self._queue += [
            (self.step, name, self._text(name, array))
            for source in self._sources
            for name, array in self._arrays(source)
            if self.wants(name)
        ]
        statistics, self._queue = self._queue, []
        return sorted(statistics, key=lambda entry: entry[1]) if self.sort else statistics

    def toc_print(self) -> None:
        """Log what :meth:`toc` gives, one line for each array."""
        for step, name, text in self.toc():
            logging.info("Batch: %7d %-30s %s", step, name, text)

    def wants(self, name: str) -> bool:
        """Return whether the pattern matches."""
        return self._pattern.match(name) is not None

    def see(self, name: str, array: NDArray) -> None:
        """Note the statistic of an operator's output; executors call it."""
        self._queue.append((self.step, name, self._text(name, array)))

    def _arrays(self, source: BoundArrays | Monitored) -> Named:
        return (
            arrays_of(source) if isinstance(source, BoundArrays) else source.monitored(self.wants)
        )

    def _text(self, name: str, array: NDArray) -> str:
        statistic = self.stat_func(array)
        parts = []
        for value in statistic if isinstance(statistic, (list, tuple)) else [statistic]:
            numbers = np.asarray(value)
            if numbers.dtype.kind not in "biufc":
                raise InvalidArgumentError(
                    f"Monitor: stat_func gave {value!r} for {name!r}; expected a number, an array "
                    "or a list of these"
                )
            parts.append(f"{numbers.reshape(-1)[0] if numbers.size == 1 else numbers}\t")
        return "".join(parts)


def arrays_of(executor: BoundArrays) -> Named:
    """Return arguments, gradients and auxiliary states by name."""
    return [
        *executor.arg_dict.items(),
        *((f"{name}_grad", array) for name, array in executor.grads.items()),
        *executor.aux_dict.items(),
    ]


def _root_mean_square(array: NDArray) -> np.float32:
    numbers = array.asnumpy().astype(np.float64)
    return np.float32(np.linalg.norm(numbers) / np.sqrt(numbers.size) if numbers.size else 0)
