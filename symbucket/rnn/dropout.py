"""``DropoutCell``: dropout between the layers of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symbucket import symbol as sym
from symbucket.checks import check_fraction
from symbucket.rnn import lengths, sequence
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.params import RNNParams
from symbucket.rnn.sequence import Inputs, Outputs
from symbucket.symbol import Symbol


class DropoutCell(BaseRNNCell):
    """Dropout on its input; it has no states and no parameters.

    Args:
        dropout: share of elements set to zero while training, 0 up to below 1. 0 adds no node.
        prefix: of no effect on names, kept for MXNet's sake.
        params: likewise.
    """

    def __init__(
        self, dropout: float, prefix: str = "dropout_", params: RNNParams | None = None
    ) -> None:
        super().__init__(prefix, params)
        self.dropout = check_fraction(dropout, f"{self!r}: dropout")

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """No states."""
        return []

    @property
    def _alike_steps(self) -> bool:
        return self._is_ours

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        if self.dropout > 0:
            inputs = sym.Dropout(data=inputs, p=self.dropout)
        return inputs, states

    def unroll(
        self,
        length: int,
        inputs: Inputs,
        begin_state: Sequence[Any] | None = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Symbol | None = None,
    ) -> tuple[Outputs, list[Any]]:
        """As ``BaseRNNCell.unroll``; a merged sequence gets one Dropout for all steps."""
        self._start(length, inputs, layout, valid_length)
        if valid_length is not None:
            inputs = lengths.masked(inputs, valid_length, layout)
        inputs = sequence.in_form(length, inputs, layout, merge_outputs)
        if isinstance(inputs, Symbol):
            return self(inputs, self._begin(begin_state))
        return super().unroll(length, inputs, begin_state, layout, merge_outputs)
