"""Learning rates as functions of the number of updates, as ``mx.lr_scheduler``.

A schedule answers for any ``num_update`` by itself: asking twice, asking out of order or resuming
in the middle gives the same rate. (MXNet's own schedulers carry the rate along, so they must be
asked in rising order; asked so, the numbers are the same.)
"""

from __future__ import annotations

import logging
import math
import numbers
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError, UnsupportedError

__all__ = [
    "CosineScheduler",
    "FactorScheduler",
    "LRScheduler",
    "MultiFactorScheduler",
    "PolyScheduler",
]


def __dir__() -> list[str]:
    return __all__


def _updates(owner: object, name: str, value: Any, minimum: int) -> int:
    """Return ``value``, a number of updates of ``minimum`` or more."""
    return check_integer(value, f"{type(owner).__name__}: {name} (in updates)", minimum)


def _rate(owner: object, name: str, value: Any) -> float:
    if not isinstance(value, numbers.Real) or not math.isfinite(value) or value < 0:
        raise InvalidArgumentError(
            f"{type(owner).__name__}: {name} must be a finite number >= 0, found {value!r}."
        )
    return float(value)


class LRScheduler:
    """Base of all schedules: holds the base rate and the warm-up.

    Args:
        base_lr: the rate after the warm-up.
        warmup_steps: updates below this number belong to the warm-up.
        warmup_begin_lr: the rate at update 0 (``linear``) or in the whole warm-up (``constant``).
        warmup_mode: ``"linear"`` rises to ``base_lr`` by equal steps; ``"constant"`` stays.

    A subclass implements ``__call__(num_update) -> float``.
    An optimizer that has a learning rate of its own assigns it to ``base_lr``. As in MXNet the
    warm-up still climbs to the rate given here (``warmup_final_lr``).
    """

    def __init__(
        self,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0.0,
        warmup_mode: str = "linear",
    ) -> None:
        self.base_lr = _rate(self, "base_lr", base_lr)
        self.warmup_final_lr = self.base_lr
        self.warmup_steps = check_integer(
            warmup_steps, f"{type(self).__name__}: warmup_steps (in updates)", 0
        )
        self.warmup_begin_lr = _rate(self, "warmup_begin_lr", warmup_begin_lr)
        if self.warmup_begin_lr > self.base_lr:
            raise InvalidArgumentError(
                f"{type(self).__name__}: a warm-up cannot fall: warmup_begin_lr={warmup_begin_lr} "
                f"is above base_lr={base_lr}. Lower the first or raise the second."
            )
        if warmup_mode not in ("linear", "constant"):
            raise InvalidArgumentError(
                f"{type(self).__name__}: warmup_mode must be 'linear' or 'constant', "
                f"found {warmup_mode!r}."
            )
        self.warmup_mode = warmup_mode

    def get_warmup_lr(self, num_update: int) -> float:
        """Return the rate at ``num_update``, which must lie in the warm-up."""
        if not 0 <= num_update < self.warmup_steps:
            raise InvalidArgumentError(
                f"{type(self).__name__}: update {num_update} is not in the warm-up "
                f"[0, {self.warmup_steps})."
            )
        if self.warmup_mode == "constant":
            return self.warmup_begin_lr
        rise = self.warmup_final_lr - self.warmup_begin_lr
        return self.warmup_begin_lr + rise * num_update / self.warmup_steps

    def __call__(self, num_update: int) -> float:
        """Return the rate for ``num_update``, the largest number of updates of any weight."""
        raise UnsupportedError(
            f"{type(self).__name__} has no __call__(num_update); a schedule must define it."
        )


class _SteppedScheduler(LRScheduler):
    """Base of the two schedules that multiply by ``factor``; logs when they do."""

    def __init__(
        self,
        factor: float,
        base_lr: float,
        warmup_steps: int,
        warmup_begin_lr: float,
        warmup_mode: str,
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        self.factor = _rate(self, "factor", factor)
        if self.factor > 1:
            raise InvalidArgumentError(
                f"{type(self).__name__}: factor must be at most 1 so that the rate falls, "
                f"found {factor}."
            )
        self._logged = 0

    def _drops(self, num_update: int) -> int:
        """Return how often the rate has been multiplied by ``factor`` before ``num_update``."""
        raise NotImplementedError

    def _after(self, drops: int) -> float:
        return self.base_lr * self.factor**drops

    def __call__(self, num_update: int) -> float:
        """Return the rate for update ``num_update``."""
        if num_update < self.warmup_steps:
            return self.get_warmup_lr(num_update)
        drops = self._drops(num_update)
        rate = self._after(drops)
        if drops > self._logged:
            logging.info("Update[%d]: Change learning rate to %0.5e", num_update, rate)
        self._logged = drops
        return rate


class FactorScheduler(_SteppedScheduler):
    """The rate is multiplied by ``factor`` after every ``step`` updates.

    Updates 1 to ``step`` run at ``base_lr``, the next ``step`` at ``base_lr * factor``, and so on;
    never below ``stop_factor_lr``.
    """

    def __init__(
        self,
        step: int,
        factor: float = 1.0,
        stop_factor_lr: float = 1e-8,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0.0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(factor, base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        self.step = _updates(self, "step", step, 1)
        self.stop_factor_lr = _rate(self, "stop_factor_lr", stop_factor_lr)

    def _drops(self, num_update: int) -> int:
        return max(0, (num_update - 1) // self.step)

    def _after(self, drops: int) -> float:
        # Before the first drop the base rate stands as given, even below the floor.
        return max(super()._after(drops), self.stop_factor_lr) if drops else self.base_lr


class MultiFactorScheduler(_SteppedScheduler):
    """The rate is multiplied by ``factor`` after each update number in ``step`` (ascending)."""

    def __init__(
        self,
        step: Sequence[int],
        factor: float = 1.0,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0.0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(factor, base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        if not isinstance(step, (list, tuple)) or not step:
            raise InvalidArgumentError(
                f"MultiFactorScheduler: step must be a list of update numbers, found {step!r}."
            )
        self.step = [_updates(self, f"step[{i}]", s, 1) for i, s in enumerate(step)]
        for i in range(1, len(self.step)):
            if self.step[i] <= self.step[i - 1]:
                raise InvalidArgumentError(
                    f"MultiFactorScheduler: step must rise, but step[{i}]={self.step[i]} follows "
                    f"step[{i - 1}]={self.step[i - 1]}. Sort the list and drop repeats."
                )

    def _drops(self, num_update: int) -> int:
        return bisect_left(self.step, num_update)


class _DecayScheduler(LRScheduler):
    """Base of the schedules that decrease from ``base_lr`` to ``final_lr`` by ``max_update``."""

    def __init__(
        self,
        max_update: int,
        base_lr: float = 0.01,
        final_lr: float = 0.0,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0.0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        self.max_update = check_integer(
            max_update, f"{type(self).__name__}: max_update (in updates)", 1
        )
        if self.max_update <= self.warmup_steps:
            raise InvalidArgumentError(
                f"{type(self).__name__}: max_update={max_update} leaves no update after "
                f"warmup_steps={warmup_steps}; it counts the warm-up too, so raise it."
            )
        self.final_lr = _rate(self, "final_lr", final_lr)
        self.base_lr_orig = self.base_lr
        self.max_steps = self.max_update - self.warmup_steps
        self._told = False

    def _share(self, progress: float) -> float:
        """Return the share of ``base_lr - final_lr`` that is left at ``progress`` in [0, 1]."""
        raise NotImplementedError

    def __call__(self, num_update: int) -> float:
        """Return the rate for update ``num_update``; from ``max_update`` on it is ``final_lr``."""
        if self.base_lr != self.base_lr_orig and not self._told:
            self._told = True
            logging.warning(
                "%s keeps the base_lr=%g it was made with; the learning rate %g that was assigned "
                "to it (by the optimizer?) is not used, as in MXNet. Make them equal.",
                type(self).__name__,
                self.base_lr_orig,
                self.base_lr,
            )
        if num_update < self.warmup_steps:
            return self.get_warmup_lr(num_update)
        progress = min(1.0, (num_update - self.warmup_steps) / self.max_steps)
        return self.final_lr + (self.base_lr_orig - self.final_lr) * self._share(progress)


class PolyScheduler(_DecayScheduler):
    """From ``base_lr`` to ``final_lr`` as ``(1 - progress) ** pwr`` until ``max_update``.

    ``progress`` counts from the end of the warm-up. After ``max_update`` the rate stays.
    """

    def __init__(
        self,
        max_update: int,
        base_lr: float = 0.01,
        pwr: float = 2,
        final_lr: float = 0.0,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0.0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(max_update, base_lr, final_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        self.power = _rate(self, "pwr", pwr)

    def _share(self, progress: float) -> float:
        return float((1 - progress) ** self.power)


class CosineScheduler(_DecayScheduler):
    """From ``base_lr`` to ``final_lr`` along half a cosine until ``max_update``.

    Source: Loshchilov and Hutter, SGDR, 2017, equation 5, without restarts.
    """

    def _share(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2
