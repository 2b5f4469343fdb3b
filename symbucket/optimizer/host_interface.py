"""Updates one parameter at a time, as ``mx.optimizer.Optimizer`` has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symbucket.errors import ScheduledRateError
from symbucket.optimizer.hyperparameters import Hyperparameters, Index
from symbucket.runtime.ndarray import NDArray

if TYPE_CHECKING:
    from symbucket.optimizer.base import Optimizer


class HostInterface(Hyperparameters):
    """``create_state`` and ``update``, and what they ask for.

    The library's optimizers run them by their graph. A subclass that overrides ``update`` computes
    in Python, over NDArrays: modules then call it for each parameter.
    """

    lr: float
    wd: float
    multi_precision: bool
    num_update: int
    lr_scheduler: Callable[[int], float] | None

    @property
    def learning_rate(self) -> float:
        """The current learning rate, without multipliers."""
        if self.lr_scheduler is not None:
            return self._number(
                f"lr_scheduler({self.num_update})", self.lr_scheduler(self.num_update), 0
            )
        return self.lr

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate; raise ScheduledRateError if a scheduler decides it."""
        if self.lr_scheduler is not None:
            raise ScheduledRateError(
                f"{self._name()}: set_learning_rate({lr!r}) would have no effect, because "
                f"lr_scheduler={type(self.lr_scheduler).__name__} decides the learning rate. "
                "Change the scheduler's base_lr, or make the optimizer without a scheduler."
            )
        self.lr = self._number("learning_rate", lr, 0)

    @property
    def updates_on_host(self) -> bool:
        """Whether ``update`` is overridden."""
        return type(self).update is not HostInterface.update

    def create_state(self, index: Index, weight: NDArray) -> Any:
        """Return the state of a new parameter: None, an NDArray, or a tuple of them."""
        values = self._states()
        dtype = np.float64 if weight.dtype == np.float64 else np.float32
        states = [NDArray.empty(weight.shape, dtype, weight.context) for _ in values]
        for state, value in zip(states, values.values()):
            state[...] = value
        return None if not states else states[0] if len(states) == 1 else tuple(states)

    def _states(self) -> dict[str, float]:
        """Return the initial value of each state by name."""
        return {}

    def create_state_multi_precision(self, index: Index, weight: NDArray) -> Any:
        """Return ``create_state``; with float16 and ``multi_precision`` (float32 copy, state)."""
        if self._needs_copy(weight):
            copy = NDArray.of(weight.view().astype(np.float32), weight.context)
            return copy, self.create_state(index, copy)
        return self.create_state(index, weight)

    def update(self, index: Index, weight: NDArray, grad: NDArray, state: Any) -> None:
        """Take one step for a parameter: change ``weight`` and ``state`` in place.

        Args:
            index: of the parameter; it counts as updated once more.
            weight: its value. grad: its gradient, which is rescaled and clipped here.
            state: from ``create_state``.
        """
        from symbucket.optimizer.updater import Updater  # it is built over optimizers

        updater = vars(self).setdefault("_updater", None) or Updater(self)  # type: ignore[arg-type]
        vars(self)["_updater"] = updater
        states = [] if state is None else [state] if isinstance(state, NDArray) else list(state)
        updater.use_states(index, dict(zip(self._states(), states)))
        updater(index, grad, weight)

    def update_multi_precision(
        self, index: Index, weight: NDArray, grad: NDArray, state: Any
    ) -> None:
        """Take one step, on the float32 copy if there is one; the weight is rounded from it."""
        if not self._needs_copy(weight):
            self.update(index, weight, grad, state)
            return
        copy, inner = state
        single = NDArray.of(np.asarray(grad).astype(np.float32), weight.context)
        self.update(index, copy, single, inner)
        weight[...] = copy.view().astype(weight.dtype)

    def _needs_copy(self, weight: NDArray) -> bool:
        return self.multi_precision and weight.dtype == np.float16

    def _get_lr(self, index: Index) -> float:
        """Return the learning rate of a parameter, with its multiplier."""
        return self.learning_rate * self._mult("lr", index)

    def _get_lrs(self, indices: Sequence[Index]) -> list[float]:
        """Return the learning rates of several parameters."""
        return [self._get_lr(index) for index in indices]

    def _get_wd(self, index: Index) -> float:
        """Return the weight decay of a parameter, with its multiplier."""
        return self.wd * self._mult("wd", index)

    def _get_wds(self, indices: Sequence[Index]) -> list[float]:
        """Return the weight decays of several parameters."""
        return [self._get_wd(index) for index in indices]


def limited_gradient(optimizer: Optimizer, grad: NDArray) -> np.ndarray[Any, Any]:
    """Return a gradient as numpy array, rescaled and clipped."""
    values = grad.asnumpy() * optimizer.rescale_grad
    bound = optimizer.clip_gradient
    if bound is not None and bound >= 0:
        values = np.clip(values, -bound, bound)
    result: np.ndarray[Any, Any] = values
    return result
