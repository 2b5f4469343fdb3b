"""``SequentialRNNCell``: cells stacked on each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.group import CellGroup
from symbucket.rnn.params import RNNParams
from symbucket.rnn.sequence import Inputs, Outputs
from symbucket.symbol import Symbol


class SequentialRNNCell(CellGroup):
    """The output of each cell is the input of the next.

    Args:
        params: RNNParams whose variables the cells use in place of own ones of the same names.
    """

    def __init__(self, params: RNNParams | None = None) -> None:
        super().__init__(params)

    def add(self, cell: BaseRNNCell) -> None:
        """Put ``cell`` on top.

        Raises NameConflictError where it has a parameter of a name that is taken already.
        """
        self._adopt(cell)

    def __len__(self) -> int:
        return len(self._cells)

    def __bool__(self) -> bool:
        return True  # an empty stack is a cell all the same

    def __getitem__(self, index: int) -> BaseRNNCell:
        return self._cells[index]

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        self._require_cells()
        after: list[Any] = []
        for cell, own in zip(self._cells, self._share_states(states)):
            inputs, new = cell(inputs, own)
            after.extend(new)
        return inputs, after

    def unroll(
        self,
        length: int,
        inputs: Inputs,
        begin_state: Sequence[Any] | None = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Symbol | None = None,
    ) -> tuple[Outputs, list[Any]]:
        """As ``BaseRNNCell.unroll``, one cell after the other over the whole sequence."""
        self._require_cells()
        self._start(length, inputs, layout, valid_length)
        states = self._begin(begin_state)
        last = len(self._cells) - 1
        after: list[Any] = []
        for i, (cell, own) in enumerate(zip(self._cells, self._share_states(states))):
            merge = merge_outputs if i == last else None
            # A cell of the user's may have an unroll of MXNet's arguments alone.
            options = {} if valid_length is None else {"valid_length": valid_length}
            inputs, new = cell.unroll(length, inputs, own, layout, merge, **options)
            after.extend(new)
        return inputs if isinstance(inputs, Symbol) else list(inputs), after

    def _require_cells(self) -> None:
        if not self._cells:
            raise InvalidArgumentError("SequentialRNNCell has no cells yet; use add(cell) first.")
