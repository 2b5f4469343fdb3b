"""``FusedRNNCell``: several layers over the whole sequence in one operator, ``sym.RNN``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from symbucket import symbol as sym
from symbucket.checks import check_choice, check_fraction, check_integer, check_number
from symbucket.context import cpu
from symbucket.errors import ParameterError, UnsupportedError
from symbucket.rnn import packing, sequence
from symbucket.rnn.base import BaseRNNCell
from symbucket.rnn.bidirectional import BidirectionalCell
from symbucket.rnn.dropout import DropoutCell
from symbucket.rnn.gru import GRUCell
from symbucket.rnn.lstm import LSTMCell
from symbucket.rnn.params import RNNParams
from symbucket.rnn.sequence import Inputs, Outputs
from symbucket.rnn.sequential import SequentialRNNCell
from symbucket.rnn.vanilla import RNNCell
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol

Mode = Literal["rnn_relu", "rnn_tanh", "lstm", "gru"]

_GATES = {
    "rnn_relu": ("",),
    "rnn_tanh": ("",),
    "lstm": ("_i", "_f", "_c", "_o"),
    "gru": ("_r", "_z", "_o"),
}
Slot = tuple[str, tuple[int, ...]]


class FusedRNNCell(BaseRNNCell):
    """``num_layers`` recurrent layers in one node, with all weights in one vector.

    Args:
        num_hidden: size H of the states of every layer and direction.
        num_layers: number of layers.
        mode: "rnn_relu", "rnn_tanh", "lstm" or "gru".
        bidirectional: each layer runs in both directions, outputs (batch, 2H) side by side.
        dropout: share of elements dropped between the layers while training.
        get_next_state: whether ``unroll`` gives the states after the last step.
        forget_bias: initial value of the forget gate's biases (lstm).
        prefix: stands before all names; None: ``{mode}_``.
        params: RNNParams to share weights with another cell.
    """

    def __init__(
        self,
        num_hidden: int,
        num_layers: int = 1,
        mode: Mode = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        get_next_state: bool = False,
        forget_bias: float = 1.0,
        prefix: str | None = None,
        params: RNNParams | None = None,
    ) -> None:
        check_choice(mode, "FusedRNNCell: mode", list(_GATES))
        super().__init__(prefix=f"{mode}_" if prefix is None else prefix, params=params)
        self._num_hidden = self._checked_hidden(num_hidden)
        self._num_layers = check_integer(num_layers, f"{self!r}: num_layers", 1)
        self._mode = mode
        self._bidirectional = bool(bidirectional)
        self._dropout = check_fraction(dropout, f"{self!r}: dropout")
        self._get_next_state = bool(get_next_state)
        self._forget_bias = float(check_number(forget_bias, "forget_bias"))
        self._directions = ("l", "r") if bidirectional else ("l",)
        settings = {
            "init": None,
            "num_hidden": num_hidden,
            "num_layers": num_layers,
            "mode": mode,
            "bidirectional": self._bidirectional,
            "forget_bias": self._forget_bias,
        }
        self._params.get("parameters", init=json.dumps(["fusedrnn", settings]))

    @property
    def _parameter(self) -> Symbol:
        return self._params.get("parameters")

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """h (and c of an lstm), each (layers x directions, batch, hidden)."""
        shape = (self._num_layers * len(self._directions), 0, self._num_hidden)
        count = 2 if self._mode == "lstm" else 1
        return [{"shape": shape, "__layout__": "LNC"} for _ in range(count)]

    @property
    def _gate_names(self) -> Sequence[str]:
        return _GATES[self._mode]

    def __call__(self, inputs: Symbol, states: Sequence[Any]) -> tuple[Symbol, list[Any]]:
        """Not possible: raises UnsupportedError."""
        raise UnsupportedError(
            f"{self!r} runs the whole sequence at once and cannot be stepped; use unroll, or "
            "unfuse() for a stack of cells that can."
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
        """As ``BaseRNNCell.unroll``; layout "TNC" saves two transpositions.

        The states are empty unless ``get_next_state``.
        """
        self._start(length, inputs, layout, valid_length)
        batch_first = sequence.time_axis(layout) == 1
        data = sequence.merge_steps(inputs, layout)
        if batch_first:
            data = sym.SwapAxis(data, dim1=0, dim2=1)
        states = self._begin(begin_state)
        inputs_by_name = dict(zip(("state", "state_cell"), states))
        if valid_length is not None:
            inputs_by_name["sequence_length"] = valid_length
        rnn = sym.RNN(
            data=data,
            parameters=self._parameter,
            **inputs_by_name,
            use_sequence_length=valid_length is not None,
            state_size=self._num_hidden,
            num_layers=self._num_layers,
            mode=self._mode,
            bidirectional=self._bidirectional,
            p=self._dropout,
            state_outputs=self._get_next_state,
            name=f"{self._prefix}rnn",
        )
        outputs, *after = list(rnn)
        if batch_first:
            outputs = sym.SwapAxis(outputs, dim1=0, dim2=1)
        return sequence.in_form(length, outputs, layout, merge_outputs), after

    def unfuse(self) -> SequentialRNNCell:
        """A stack of cells that computes the same, step by step.

        Its parameters are those that ``unfuse().pack_weights(fused.unpack_weights(args))`` gives.
        """
        stack = SequentialRNNCell()
        for i in range(self._num_layers):
            cells = [self._layer(f"{self._prefix}{d}{i}_") for d in self._directions]
            if self._bidirectional:
                joined = f"{self._prefix}bi_l{i}_"
                stack.add(BidirectionalCell(cells[0], cells[1], output_prefix=joined))
            else:
                stack.add(cells[0])
            if self._dropout > 0 and i != self._num_layers - 1:
                stack.add(DropoutCell(self._dropout, prefix=f"{self._prefix}_dropout{i}_"))
        return stack

    def _layer(self, prefix: str) -> BaseRNNCell:
        hidden = self._num_hidden
        makers: dict[str, Callable[[], BaseRNNCell]] = {
            "rnn_relu": lambda: RNNCell(hidden, activation="relu", prefix=prefix),
            "rnn_tanh": lambda: RNNCell(hidden, activation="tanh", prefix=prefix),
            "lstm": lambda: LSTMCell(hidden, prefix=prefix, forget_bias=self._forget_bias),
            "gru": lambda: GRUCell(hidden, prefix=prefix),
        }
        return makers[self._mode]()

    # Weights -----------------------------------------------------------------------------------

    def unpack_weights(self, args: packing.Arrays) -> dict[str, Any]:
        """A copy of ``args`` with the vector ``{prefix}parameters`` as one array a gate.

        The names are those of ``unfuse()``'s cells, unpacked: ``lstm_l0_i2h_i_weight``.
        """
        out = dict(args)
        name = self._params.prefix + "parameters"
        vector = packing.take(out, name, repr(self))
        start = 0
        for slot, shape in self._slots(self._input_size(name, vector)):
            size = int(np.prod(shape))
            out[slot] = NDArray.of(vector[start : start + size].reshape(shape), cpu())
            start += size
        return out

    def pack_weights(self, args: packing.Arrays) -> dict[str, Any]:
        """The reverse of ``unpack_weights``."""
        out = dict(args)
        first, (hidden, _) = self._slots(1)[0]
        weight = packing.take(dict(args), first, repr(self))
        packing.require_shape(first, weight, (hidden, None), repr(self))
        parts = []
        for slot, shape in self._slots(weight.shape[1]):
            part = packing.take(out, slot, repr(self))
            packing.require_shape(slot, part, shape, repr(self))
            parts.append(part.reshape(-1))
        out[self._params.prefix + "parameters"] = NDArray.of(np.concatenate(parts), cpu())
        return out

    def _input_size(self, name: str, vector: np.ndarray[Any, Any]) -> int:
        """Channels of the input, from the length of the vector."""
        fixed = sum(int(np.prod(shape)) for _, shape in self._slots(0))
        each = len(self._directions) * self._num_gates * self._num_hidden
        size, rest = divmod(vector.size - fixed, each)
        if vector.ndim != 1 or rest or size <= 0:
            raise ParameterError(
                f"{self!r}: {name!r} has shape {vector.shape}; expected a vector of {fixed} + "
                f"{each} x (number of input channels) elements"
            )
        return size

    def _slots(self, num_input: int) -> list[Slot]:
        """Names and shapes in the order of the vector: all weights, then all biases.

        Layer by layer, direction by direction, input-to-hidden before hidden-to-hidden, gate by
        gate: cuDNN's order.
        """
        hidden, prefix = self._num_hidden, self._params.prefix
        weights: list[Slot] = []
        biases: list[Slot] = []
        for layer in range(self._num_layers):
            wide = num_input if layer == 0 else len(self._directions) * hidden
            for direction in self._directions:
                for group, columns in (("i2h", wide), ("h2h", hidden)):
                    for gate in self._gate_names:
                        stem = f"{prefix}{direction}{layer}_{group}{gate}"
                        weights.append((f"{stem}_weight", (hidden, columns)))
                        biases.append((f"{stem}_bias", (hidden,)))
        return weights + biases
