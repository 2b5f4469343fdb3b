"""``CellGroup``: what cells made of several cells have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from symbucket import symbol as sym
from symbucket.errors import InvalidArgumentError
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.packing import Arrays
from symbucket.rnn.params import RNNParams
from symbucket.symbol import Symbol


class CellGroup(BaseRNNCell):
    """Base of SequentialRNNCell and BidirectionalCell.

    With ``params`` given, child cells use the variables in it in place of their own ones of the
    same names.
    """

    def __init__(self, params: RNNParams | None = None) -> None:
        super().__init__(prefix="", params=params)
        self._override_cell_params = params is not None
        self._cells: list[BaseRNNCell] = []

    def _adopt(self, cell: BaseRNNCell) -> None:
        if not isinstance(cell, BaseRNNCell):
            raise InvalidArgumentError(f"{self!r} is made of cells, not of {cell!r}")
        cell._require_unmodified(f"put into {type(self).__name__}")
        if self._override_cell_params:
            cell._use_params(self._params)
        self._params.merge(cell.params, repr(self))
        self._cells.append(cell)

    def _use_params(self, shared: RNNParams) -> None:
        for cell in self._cells:
            cell._use_params(shared)
        super()._use_params(shared)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._cells))})"

    def reset(self) -> None:
        """Reset all cells."""
        super().reset()
        for cell in self._cells:
            cell.reset()

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """The states of all cells, cell by cell."""
        return [info for cell in self._cells for info in cell.state_info]

    def begin_state(self, func: Callable[..., Symbol] = sym.zeros, **kwargs: Any) -> list[Symbol]:
        """Initial states of all cells, cell by cell."""
        self._require_unmodified("asked for begin_state")
        return [s for cell in self._cells for s in cell.begin_state(func=func, **kwargs)]

    def unpack_weights(self, args: Arrays) -> dict[str, Any]:
        """``unpack_weights`` of each cell in turn."""
        out = dict(args)
        for cell in self._cells:
            out = cell.unpack_weights(out)
        return out

    def pack_weights(self, args: Arrays) -> dict[str, Any]:
        """``pack_weights`` of each cell in turn."""
        out = dict(args)
        for cell in self._cells:
            out = cell.pack_weights(out)
        return out

    def _share_states(self, states: list[Symbol]) -> list[list[Symbol]]:
        """The flat list of states, cut into one list a cell."""
        parts, start = [], 0
        for cell in self._cells:
            end = start + len(cell.state_info)
            parts.append(states[start:end])
            start = end
        return parts
