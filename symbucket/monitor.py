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
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.runtime import NDArray

__all__ = ["Monitor"]

Named = Iterable[tuple[str, NDArray]]


class Monitored(Protocol):
    """What a monitor can look at, besides an Executor: all modules."""

    def monitored(self, selects: Callable[[str], bool]) -> Named: ...


class Monitor:
    """Statistics of arrays after a batch, as ``mx.mon.Monitor``.

    It sees the outputs of the network, its arguments (data, labels and parameters), their gradients
    under the name ``<argument>_grad``, and the auxiliary states. It does not see what lies between
    input and output: compiled networks keep no activation that has no later use. To look at one,
    make it an output: ``sym.Group([loss, sym.BlockGrad(inner)])``.

    ``fit(monitor=...)`` installs it, and calls ``tic`` before each batch and ``toc_print`` after
    the update; it keeps outputs and whole gradients for that (see ``keep_outputs``). A loop of your
    own calls ``module.install_monitor(monitor)`` or ``monitor.install(executor)`` first.

    Args:
        interval: batches from one look to the next; the first batch is looked at.
        stat_func: makes a number, an array, or a list of these of an NDArray. Default: the norm
            divided by the square root of the size, that is the root of the mean square.
        pattern: regular expression that the beginning of a name must match.
        sort: give the statistics by name, not outputs, arguments, gradients, auxiliary states.
        monitor_all: for inputs of inner operators too, which cannot be had: must be False.

    Attributes:
        step: batches that ``tic`` has counted.
        activated: whether this batch is looked at.

    Raises:
        InvalidArgumentError: ``interval`` is no whole number of 1 or more, ``pattern`` no regular
            expression, ``stat_func`` cannot be called.
        UnsupportedError: ``monitor_all=True``.
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
        if monitor_all:
            raise UnsupportedError(
                "Monitor: monitor_all=True asks for the inputs of inner operators, which compiled "
                "networks do not keep; make what you want to see an output: "
                "sym.Group([loss, sym.BlockGrad(inner)])"
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
        self.step = 0
        self.activated = False
        self._sources: list[BoundArrays | Monitored] = []

    def install(self, exe: BoundArrays | Monitored) -> None:
        """Look at this executor (or module) from now on, besides those installed before."""
        if not isinstance(exe, BoundArrays) and not hasattr(exe, "monitored"):
            raise InvalidArgumentError(
                f"Monitor.install: {exe!r} is neither an Executor nor a module"
            )
        if not any(exe is source for source in self._sources):
            self._sources.append(exe)

    def tic(self) -> None:
        """A batch begins: look at it if it is its turn."""
        self.activated = self.step % self.interval == 0
        self.step += 1

    def toc(self) -> list[tuple[int, str, str]]:
        """The batch is over: (number of the batch from 1, name, statistic as text) of each array.

        Empty where this batch is not looked at. Gradients are those of the last backward,
        parameters those after the update, if there was one.
        """
        if not self.activated:
            return []
        self.activated = False
        statistics = [
            (self.step, name, self._text(name, array))
            for source in self._sources
            for name, array in self._arrays(source)
            if self._wants(name)
        ]
        return sorted(statistics, key=lambda entry: entry[1]) if self.sort else statistics

    def toc_print(self) -> None:
        """Log what :meth:`toc` gives, one line for each array."""
        for step, name, text in self.toc():
            logging.info("Batch: %7d %-30s %s", step, name, text)

    def _wants(self, name: str) -> bool:
        return self._pattern.match(name) is not None

    def _arrays(self, source: BoundArrays | Monitored) -> Named:
        if isinstance(source, BoundArrays):
            return arrays_of(source, self._wants)
        return source.monitored(self._wants)

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
            parts.append(str(numbers.item() if numbers.size == 1 else numbers))
        return "\t".join(parts)


def arrays_of(executor: BoundArrays, selects: Callable[[str], bool]) -> Named:
    """Return outputs (if one is selected), arguments, gradients and auxiliary states by name."""
    names = executor.symbol.list_outputs()
    outputs = zip(names, executor.outputs) if any(map(selects, names)) else ()
    return [
        *outputs,
        *executor.arg_dict.items(),
        *((f"{name}_grad", array) for name, array in executor.grad_dict.items()),
        *executor.aux_dict.items(),
    ]


def _root_mean_square(array: NDArray) -> float:
    numbers = array.asnumpy().astype(np.float64)
    return float(np.linalg.norm(numbers) / np.sqrt(numbers.size)) if numbers.size else 0.0
