"""``GRUCell``: gated recurrent unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symbucket import symbol as sym
from symbucket.rnn.gated import GatedCell
from symbucket.rnn.params import RNNParams
from symbucket.symbol import Symbol


class GRUCell(GatedCell):
    """Cho et al.'s cell (2014) in cuDNN's form: the reset gate acts after the product.

    ``r, z = sigmoid(W x + b + R h + d)`` in their rows, ``n = tanh(W x + b + r (R h + d))`` in the
    last rows, and ``h' = (1 - z) n + z h``.

    Args:
        num_hidden: size H of the state.
        prefix: stands before the names of parameters and nodes.
        params: RNNParams to share weights with another cell.
    """

    def __init__(
        self, num_hidden: int, prefix: str = "gru_", params: RNNParams | None = None
    ) -> None:
        super().__init__(num_hidden, prefix, params)

    @property
    def _gate_names(self) -> Sequence[str]:
        return ("_r", "_z", "_o")

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        # MXNet's node names in this cell have a second underscore: gru_t0__i2h.
        i2h, h2h = self._products(inputs, states[0], f"{name}_")
        i2h_r, i2h_z, i2h_n = sym.SliceChannel(i2h, num_outputs=3, name=f"{name}_i2h_slice")
        h2h_r, h2h_z, h2h_n = sym.SliceChannel(h2h, num_outputs=3, name=f"{name}_h2h_slice")
        reset = sym.Activation(i2h_r + h2h_r, act_type="sigmoid", name=f"{name}_r_act")
        update = sym.Activation(i2h_z + h2h_z, act_type="sigmoid", name=f"{name}_z_act")
        new = sym.Activation(i2h_n + reset * h2h_n, act_type="tanh", name=f"{name}_h_act")
        output = sym.elemwise_add((1.0 - update) * new, update * states[0], name=f"{name}out")
        return output, [output]
