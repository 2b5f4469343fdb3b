"""``GatedCell``: cells with one input-to-hidden and one hidden-to-hidden product."""

from __future__ import annotations

from typing import Any

from symbucket import symbol as sym
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.params import RNNParams
from symbucket.symbol import Symbol


class GatedCell(BaseRNNCell):
    """Base of RNNCell, LSTMCell and GRUCell.

    The parameters are i2h_weight (G H, C), i2h_bias (G H,), h2h_weight (G H, H) and
    h2h_bias (G H,) with the G gates stacked in the order of ``_gate_names``.
    """

    def __init__(
        self, num_hidden: int, prefix: str, params: RNNParams | None, **i2h_bias: Any
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        self._num_hidden = self._checked_hidden(num_hidden)
        rows, who = num_hidden * self._num_gates, repr(self)
        self._params.claim("i2h_weight", (rows, 0), who)
        self._params.claim("i2h_bias", (rows,), who, **i2h_bias)
        self._params.claim("h2h_weight", (rows, num_hidden), who)
        self._params.claim("h2h_bias", (rows,), who)

    # Looked up at each use, because a container may replace them by shared ones.

    @property
    def _iW(self) -> Symbol:  # noqa: N802 - the name that MXNet's own cells use
        return self._params.get("i2h_weight")

    @property
    def _iB(self) -> Symbol:  # noqa: N802
        return self._params.get("i2h_bias")

    @property
    def _hW(self) -> Symbol:  # noqa: N802
        return self._params.get("h2h_weight")

    @property
    def _hB(self) -> Symbol:  # noqa: N802
        return self._params.get("h2h_bias")

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """One state (batch, hidden)."""
        return [{"shape": (0, self._num_hidden), "__layout__": "NC"}]

    @property
    def _alike_steps(self) -> bool:
        return self._is_ours

    def _products(self, inputs: Symbol, state: Symbol, name: str) -> tuple[Symbol, Symbol]:
        """``inputs i2h^T + bias`` and ``state h2h^T + bias``, both (batch, G H)."""
        rows = self._num_hidden * self._num_gates
        i2h = sym.FullyConnected(
            data=inputs, weight=self._iW, bias=self._iB, num_hidden=rows, name=f"{name}i2h"
        )
        h2h = sym.FullyConnected(
            data=state, weight=self._hW, bias=self._hB, num_hidden=rows, name=f"{name}h2h"
        )
        return i2h, h2h
