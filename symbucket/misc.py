"""``FactorScheduler`` under the name that old scripts of MXNet import, ``mx.misc``."""

from __future__ import annotations

from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError
from symbucket.lr_scheduler import LRScheduler

__all__ = ["FactorScheduler", "LearningRateScheduler"]

LearningRateScheduler = LRScheduler


class FactorScheduler(LRScheduler):
    """The rate is ``base_lr * factor ** (num_update // step)``; the optimizer sets ``base_lr``.

    ``lr_scheduler.FactorScheduler`` drops one update later, and has a warm-up.

    Raises InvalidArgumentError if ``step`` is below 1 or ``factor`` not below 1.
    """

    def __init__(self, step: int, factor: float = 0.1) -> None:
        super().__init__()
        self.step = check_integer(step, "misc.FactorScheduler: step (in updates)", 1)
        if not 0 < factor < 1:
            raise InvalidArgumentError(
                f"misc.FactorScheduler: factor={factor} must lie between 0 and 1"
            )
        self.factor = factor

    def __call__(self, num_update: int) -> float:
        """Return the rate at an update."""
        return float(self.base_lr * self.factor ** (num_update // self.step))
