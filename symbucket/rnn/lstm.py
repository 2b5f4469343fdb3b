"""``LSTMCell``: long short-term memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from symbucket import symbol as sym
from symbucket.checks import check_number
from symbucket.rnn.gated import GatedCell
from symbucket.rnn.params import RNNParams
from symbucket.symbol import Symbol


class LSTMCell(GatedCell):
    """Hochreiter and Schmidhuber's cell (1997) with forget gates (Gers et al., 2000).

    With (i, f, c, o) = W x + b + R h + d:
    ``c' = sigmoid(f) c + sigmoid(i) tanh(c)`` and ``h' = sigmoid(o) tanh(c')``.
    States are h and c, both (batch, num_hidden).

    Args:
        num_hidden: size H of the states.
        prefix: stands before the names of parameters and nodes.
        params: RNNParams to share weights with another cell.
        forget_bias: initial value of the forget gate's part of ``i2h_bias``. It is only an initial
            value (in the variable's ``__init__`` attribute), nothing is added in the network.
    """

    def __init__(
        self,
        num_hidden: int,
        prefix: str = "lstm_",
        params: RNNParams | None = None,
        forget_bias: float = 1.0,
    ) -> None:
        bias = float(check_number(forget_bias, "forget_bias"))
        start = json.dumps(["lstmbias", {"forget_bias": bias}])
        super().__init__(num_hidden, prefix, params, init=start)

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """The output h and the memory c, both (batch, hidden)."""
        return [{"shape": (0, self._num_hidden), "__layout__": "NC"} for _ in range(2)]

    @property
    def _gate_names(self) -> Sequence[str]:
        return ("_i", "_f", "_c", "_o")

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        i2h, h2h = self._products(inputs, states[0], name)
        i, f, c, o = sym.SliceChannel(i2h + h2h, num_outputs=4, name=f"{name}slice")
        in_gate = sym.Activation(i, act_type="sigmoid", name=f"{name}i")
        forget_gate = sym.Activation(f, act_type="sigmoid", name=f"{name}f")
        candidate = sym.Activation(c, act_type="tanh", name=f"{name}c")
        out_gate = sym.Activation(o, act_type="sigmoid", name=f"{name}o")
        remembered, added = forget_gate * states[1], in_gate * candidate
        memory = sym.elemwise_add(remembered, added, name=f"{name}state")
        squashed = sym.Activation(memory, act_type="tanh")
        output = sym.elemwise_mul(out_gate, squashed, name=f"{name}out")
        return output, [output, memory]
