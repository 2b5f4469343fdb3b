"""``RNNCell``: the plain (Elman) recurrent cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symbucket.rnn.base import Activation
from symbucket.rnn.gated import GatedCell
from symbucket.rnn.params import RNNParams
from symbucket.symbol import Symbol


class RNNCell(GatedCell):
    """``h' = act(W x + b + R h + c)``.

    Args:
        num_hidden: size H of the state.
        activation: "tanh", "relu", "sigmoid", "softrelu", "softsign", or a function that takes a
            Symbol and ``name=``.
        prefix: stands before the names of parameters and nodes.
        params: RNNParams to share weights with another cell.
    """

    def __init__(
        self,
        num_hidden: int,
        activation: Activation = "tanh",
        prefix: str = "rnn_",
        params: RNNParams | None = None,
    ) -> None:
        super().__init__(num_hidden, prefix, params)
        self._activation = self._checked_activation(activation)

    @property
    def _gate_names(self) -> Sequence[str]:
        return ("",)

    @property
    def _alike_steps(self) -> bool:
        return super()._alike_steps and not callable(self._activation)

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        i2h, h2h = self._products(inputs, states[0], name)
        output = self._activate(i2h + h2h, self._activation, name=f"{name}out")
        return output, [output]
