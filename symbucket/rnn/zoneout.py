"""``ZoneoutCell``: states that randomly keep their values."""

from __future__ import annotations

from typing import Any

from symbucket import symbol as sym
from symbucket.checks import check_fraction
from symbucket.errors import UnsupportedError
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.bidirectional import BidirectionalCell
from symbucket.rnn.fused import FusedRNNCell
from symbucket.rnn.group import CellGroup
from symbucket.rnn.modifier import ModifierCell
from symbucket.symbol import Symbol


class ZoneoutCell(ModifierCell):
    """Zoneout (Krueger et al., 2016): while training, elements keep the value of the step before.

    Args:
        base_cell: the cell to modify; one that can be stepped.
        zoneout_outputs: share of output elements that stay (zeros stand before the first step).
        zoneout_states: share of state elements that stay.
    """

    def __init__(
        self, base_cell: BaseRNNCell, zoneout_outputs: float = 0.0, zoneout_states: float = 0.0
    ) -> None:
        _require_steps(base_cell)
        self.zoneout_outputs = check_fraction(zoneout_outputs, "ZoneoutCell: zoneout_outputs")
        self.zoneout_states = check_fraction(zoneout_states, "ZoneoutCell: zoneout_states")
        self.prev_output: Symbol | None = None
        super().__init__(base_cell)

    def reset(self) -> None:
        """Forget the step before."""
        super().reset()
        self.prev_output = None

    def _go_on(self, steps: int, output: Symbol) -> None:
        super()._go_on(steps, output)
        self.prev_output = output

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        output, after = self._base_step(inputs, states)
        if self.zoneout_outputs > 0:
            before = self.prev_output
            if before is None:
                before = sym.zeros(shape=())  # in the shape and dtype of the output
            output = _mix(self.zoneout_outputs, output, before)
        if self.zoneout_states > 0:
            after = [_mix(self.zoneout_states, new, old) for new, old in zip(after, states)]
        self.prev_output = output
        return output, after


def _mix(share: float, new: Symbol, old: Symbol) -> Symbol:
    # Dropout of ones is the random choice; when not training it is all ones, so all is new.
    return sym.where(sym.Dropout(sym.ones_like(new), p=share), new, old)


def _require_steps(cell: BaseRNNCell) -> None:
    if isinstance(cell, FusedRNNCell):
        raise UnsupportedError(
            f"ZoneoutCell needs single time steps, which {cell!r} does not have; use "
            "ZoneoutCell on the cells of its unfuse()."
        )
    if isinstance(cell, BidirectionalCell):
        raise UnsupportedError(
            f"ZoneoutCell needs single time steps, which {cell!r} does not have; use "
            "ZoneoutCell on each of its two cells."
        )
    if isinstance(cell, CellGroup):
        for child in cell._cells:
            _require_steps(child)
    if isinstance(cell, ModifierCell):
        _require_steps(cell.base_cell)
