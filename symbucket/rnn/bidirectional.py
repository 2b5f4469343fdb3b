"""``BidirectionalCell``: one cell forwards, one backwards over the sequence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from symbucket import symbol as sym
from symbucket.errors import UnsupportedError
from symbucket.rnn import lengths, sequence
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.group import CellGroup
from symbucket.rnn.params import RNNParams
from symbucket.rnn.sequence import Inputs, Outputs
from symbucket.symbol import Symbol


class BidirectionalCell(CellGroup):
    """Outputs of both directions side by side (Schuster and Paliwal, 1997).

    It needs the whole sequence, so it can be unrolled but not stepped.

    Args:
        l_cell: goes from the first step to the last. r_cell: from the last to the first.
        params: RNNParams whose variables the cells use in place of own ones of the same names.
        output_prefix: stands before the names of the joined outputs.
    """

    def __init__(
        self,
        l_cell: BaseRNNCell,
        r_cell: BaseRNNCell,
        params: RNNParams | None = None,
        output_prefix: str = "bi_",
    ) -> None:
        super().__init__(params)
        self._output_prefix = output_prefix
        self._adopt(l_cell)
        self._adopt(r_cell)

    def __call__(self, inputs: Symbol, states: Sequence[Any]) -> tuple[Symbol, list[Any]]:
        """Not possible: raises UnsupportedError."""
        raise UnsupportedError(
            f"{self!r} needs the whole sequence and cannot be stepped; use unroll."
        )

    def unroll(
        self,
        length: int,
        inputs: Inputs,
        begin_state: Sequence[Any] | None = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Symbol | None = None,
    ) -> tuple[Outputs, list[Any]]:
        """As ``BaseRNNCell.unroll``. The states come as [forward states, backward states].

        With ``valid_length`` each sequence is read backwards from its own last real step.
        """
        self._start(length, inputs, layout, valid_length)
        axis = sequence.time_axis(layout)
        states = self._share_states(self._begin(begin_state))
        if valid_length is not None:
            return self._unroll_valid(length, inputs, states, layout, merge_outputs, valid_length)
        left, right = self._cells
        steps = sequence.split_steps(length, inputs, layout)
        l_out, l_states = left.unroll(length, steps, states[0], layout, merge_outputs)
        # As it comes: a list is turned round here, which costs no node.
        r_out, r_states = right.unroll(length, steps[::-1], states[1], layout, None)
        if merge_outputs is None:
            merge_outputs = isinstance(l_out, Symbol) and isinstance(r_out, Symbol)
        if merge_outputs:
            if isinstance(r_out, Symbol):
                r_merged = sym.reverse(r_out, axis=axis)
            else:
                r_merged = sequence.merge_steps(r_out[::-1], layout)
            l_merged = sequence.merge_steps(l_out, layout)
            joined = sym.Concat(l_merged, r_merged, dim=2, name=f"{self._output_prefix}out")
            return joined, [l_states, r_states]
        numbers = itertools.count()

        def join(left: Symbol, right: Symbol) -> Symbol:
            name = f"{self._output_prefix}t{next(numbers)}"
            return sym.Concat(left, right, dim=1, name=name)

        l_steps = sequence.split_steps(length, l_out, layout)
        r_steps = sequence.split_steps(length, r_out, layout)
        return sequence.each(join, l_steps, r_steps[::-1]), [l_states, r_states]

    def _unroll_valid(
        self,
        length: int,
        inputs: Inputs,
        states: Sequence[list[Symbol]],
        layout: str,
        merge_outputs: bool | None,
        valid_length: Symbol,
    ) -> tuple[Outputs, list[Any]]:
        """The same where sequences end earlier; each is turned round by its own length."""
        left, right = self._cells
        merged = sequence.merge_steps(inputs, layout)
        turned = lengths.reversed_steps(merged, valid_length, layout)
        options: dict[str, Any] = {"merge_outputs": True, "valid_length": valid_length}
        l_out, l_states = left.unroll(length, merged, states[0], layout, **options)
        r_out, r_states = right.unroll(length, turned, states[1], layout, **options)
        r_out = lengths.reversed_steps(r_out, valid_length, layout)
        joined = sym.Concat(
            sequence.merge_steps(l_out, layout), r_out, dim=2, name=f"{self._output_prefix}out"
        )
        return sequence.in_form(length, joined, layout, merge_outputs), [l_states, r_states]
