"""``ModifierCell``: cells that change the behaviour of another cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from symbucket import symbol as sym
from symbucket.errors import InvalidArgumentError
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.packing import Arrays
from symbucket.rnn.params import RNNParams
from symbucket.symbol import Symbol


class ModifierCell(BaseRNNCell):
    """Base of ResidualCell and ZoneoutCell; parameters and states are the base cell's.

    From then on the base cell cannot be called by itself; another modifier may have it too.

    Args:
        base_cell: the cell to modify.
    """

    def __init__(self, base_cell: BaseRNNCell) -> None:
        if not isinstance(base_cell, BaseRNNCell):
            raise InvalidArgumentError(f"{type(self).__name__} modifies a cell, not {base_cell!r}")
        self.base_cell = base_cell
        super().__init__(prefix="", params=base_cell.params)
        base_cell._modified = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_cell!r})"

    def _use_params(self, shared: RNNParams) -> None:
        self.base_cell._use_params(shared)

    @contextmanager
    def _unlocked(self) -> Iterator[BaseRNNCell]:
        """The base cell, usable inside the block."""
        self.base_cell._modified = False
        try:
            yield self.base_cell
        finally:
            self.base_cell._modified = True

    def reset(self) -> None:
        """Reset the base cell too."""
        super().reset()
        self.base_cell.reset()

    @property
    def params(self) -> RNNParams:
        """The base cell's parameters."""
        return self.base_cell.params

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """The base cell's states."""
        return self.base_cell.state_info

    def begin_state(self, func: Callable[..., Symbol] = sym.zeros, **kwargs: Any) -> list[Symbol]:
        """The base cell's initial states (``init_sym`` is MXNet's other name of ``func`` here)."""
        self._require_unmodified("asked for begin_state")
        func = kwargs.pop("init_sym", func)
        with self._unlocked() as cell:
            return cell.begin_state(func=func, **kwargs)

    def unpack_weights(self, args: Arrays) -> dict[str, Any]:
        """As the base cell does."""
        return self.base_cell.unpack_weights(args)

    def pack_weights(self, args: Arrays) -> dict[str, Any]:
        """As the base cell does."""
        return self.base_cell.pack_weights(args)

    @property
    def _alike_steps(self) -> bool:
        return self._is_ours and self.base_cell._alike_steps

    def _go_on(self, steps: int, output: Symbol) -> None:
        super()._go_on(steps, output)
        self.base_cell._go_on(steps, output)

    def _base_step(self, inputs: Symbol, states: Sequence[Any]) -> tuple[Symbol, list[Any]]:
        with self._unlocked() as cell:
            return cell(inputs, states)
