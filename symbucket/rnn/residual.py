"""``ResidualCell``: the input added to the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symbucket import symbol as sym
from symbucket.rnn import lengths, sequence
from symbucket.rnn.modifier import ModifierCell
from symbucket.rnn.sequence import Inputs, Outputs
from symbucket.symbol import Symbol


class ResidualCell(ModifierCell):
    """``output = base_cell(input) + input``; both must have the same size (Wu et al., 2016)."""

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        output, after = self._base_step(inputs, states)
        return _plus(output, inputs), after

    def unroll(
        self,
        length: int,
        inputs: Inputs,
        begin_state: Sequence[Any] | None = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Symbol | None = None,
    ) -> tuple[Outputs, list[Any]]:
        """As ``BaseRNNCell.unroll``; merged outputs get one addition for all steps."""
        self._start(length, inputs, layout, valid_length)
        options = {}
        if valid_length is not None:
            options["valid_length"] = valid_length
            inputs = lengths.masked(inputs, valid_length, layout)
        with self._unlocked() as cell:
            outputs, after = cell.unroll(
                length, inputs, begin_state, layout, merge_outputs, **options
            )
        if isinstance(outputs, Symbol):
            return _plus(outputs, sequence.merge_steps(inputs, layout)), after
        steps = sequence.split_steps(length, inputs, layout)
        return sequence.each(_plus, outputs, steps), after


def _plus(output: Symbol, inputs: Symbol) -> Symbol:
    return sym.elemwise_add(output, inputs, name=f"{output.name}_plus_residual")
