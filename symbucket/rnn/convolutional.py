"""Recurrent cells whose products are convolutions: states are images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from symbucket import symbol as sym
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.rnn.base import Activation, BaseRNNCell
from symbucket.rnn.params import RNNParams
from symbucket.symbol import Symbol

Pair = tuple[int, int]
LEAKY = functools.partial(sym.LeakyReLU, act_type="leaky", slope=0.2)


class BaseConvRNNCell(BaseRNNCell):
    """Base of the convolutional cells (Shi et al., 2015).

    The parameters are i2h_weight (G F, C, kh, kw), i2h_bias (G F,), h2h_weight (G F, F, kh, kw) and
    h2h_bias (G F,) with the G gates stacked in the order of ``_gate_names``.

    Args:
        input_shape: of the input of one step, (batch, channels, height, width); the batch size is
            not used.
        num_hidden: channels F of the states.
        h2h_kernel, h2h_dilate: of the convolution of the state; kernels are odd, and the padding
            keeps the size.
        i2h_kernel, i2h_stride, i2h_pad, i2h_dilate: of the convolution of the input.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer:
            of the parameters; None: that of the network.
        activation: in place of tanh: a name, or a function that takes a Symbol and ``name=``.
        prefix: stands before the names of parameters and nodes.
        params: RNNParams to share weights with another cell.
        conv_layout: "NCHW" is the only one.
    """

    _states = 1
    _weight_axes = 4

    def __init__(
        self,
        input_shape: Sequence[int],
        num_hidden: int,
        h2h_kernel: Pair = (3, 3),
        h2h_dilate: Pair = (1, 1),
        i2h_kernel: Pair = (3, 3),
        i2h_stride: Pair = (1, 1),
        i2h_pad: Pair = (1, 1),
        i2h_dilate: Pair = (1, 1),
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        activation: Activation = LEAKY,
        prefix: str = "",
        params: RNNParams | None = None,
        conv_layout: str = "NCHW",
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        self._num_hidden = self._checked_hidden(num_hidden)
        self._activation = self._checked_activation(activation)
        if conv_layout != "NCHW":
            raise InvalidArgumentError(
                f'{self!r}: conv_layout is {conv_layout!r}; "NCHW" is the only one'
            )
        if any(size % 2 == 0 for size in h2h_kernel):
            raise InvalidArgumentError(
                f"{self!r}: h2h_kernel is {h2h_kernel}; the sizes must be odd, so that the state "
                "keeps its size"
            )
        filters = num_hidden * self._num_gates
        self._of_input: dict[str, Any] = {
            "num_filter": filters,
            "kernel": i2h_kernel,
            "stride": i2h_stride,
            "pad": i2h_pad,
            "dilate": i2h_dilate,
        }
        pad = tuple(d * (k - 1) // 2 for d, k in zip(h2h_dilate, h2h_kernel))
        self._of_state: dict[str, Any] = {
            "num_filter": filters,
            "kernel": h2h_kernel,
            "pad": pad,
            "dilate": h2h_dilate,
        }
        self._state_shape = self._shape_of_state(tuple(input_shape))
        channels, rows, who = int(input_shape[1]), (filters,), repr(self)
        inits = (i2h_weight_initializer, h2h_weight_initializer)
        biases = (i2h_bias_initializer, h2h_bias_initializer)
        shapes = ((*rows, channels, *i2h_kernel), (*rows, num_hidden, *h2h_kernel))
        for kind, shape, init, bias in zip(("i2h", "h2h"), shapes, inits, biases):
            self._params.claim(f"{kind}_weight", shape, who, init=init)
            self._params.claim(f"{kind}_bias", rows, who, init=bias)

    def _shape_of_state(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(input_shape) != 4:
            raise ShapeError(
                f"{self!r}: input_shape is {input_shape}; expected (batch, channels, height, width)"
            )
        image = sym.Convolution(sym.Variable("data"), no_bias=True, **self._of_input)
        _, (shape,), _ = image.complete_shapes(data=(1, *input_shape[1:]))
        return (0, self._num_hidden, *shape[2:])

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """The states, (batch, F, height, width)."""
        return [{"shape": self._state_shape, "__layout__": "NCHW"} for _ in range(self._states)]

    @property
    def _alike_steps(self) -> bool:
        own_function = callable(self._activation) and self._activation is not LEAKY
        return self._is_ours and not own_function

    def _convolved(self, inputs: Symbol, state: Symbol, name: str) -> tuple[Symbol, Symbol]:
        """Return the convolutions of input and state, each (batch, G F, height, width)."""
        get = self._params.get
        i2h = sym.Convolution(
            inputs, get("i2h_weight"), get("i2h_bias"), name=f"{name}i2h", **self._of_input
        )
        h2h = sym.Convolution(
            state, get("h2h_weight"), get("h2h_bias"), name=f"{name}h2h", **self._of_state
        )
        return i2h, h2h


class ConvRNNCell(BaseConvRNNCell):
    """``h' = act(W * x + b + R * h + c)``; arguments as for ``BaseConvRNNCell``."""

    def __init__(
        self, input_shape: Sequence[int], num_hidden: int, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(input_shape, num_hidden, *args, **{"prefix": "ConvRNN_", **kwargs})

    @property
    def _gate_names(self) -> Sequence[str]:
        return ("",)

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        i2h, h2h = self._convolved(inputs, states[0], name)
        output = self._activate(i2h + h2h, self._activation, name=f"{name}out")
        return output, [output]


class ConvLSTMCell(BaseConvRNNCell):
    """LSTM whose products are convolutions; arguments as for ``BaseConvRNNCell``."""

    _states = 2

    def __init__(
        self, input_shape: Sequence[int], num_hidden: int, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(input_shape, num_hidden, *args, **{"prefix": "ConvLSTM_", **kwargs})

    @property
    def _gate_names(self) -> Sequence[str]:
        return ("_i", "_f", "_c", "_o")

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        i2h, h2h = self._convolved(inputs, states[0], name)
        i, f, c, o = sym.SliceChannel(i2h + h2h, num_outputs=4, axis=1, name=f"{name}slice")
        in_gate = sym.Activation(i, act_type="sigmoid", name=f"{name}i")
        forget_gate = sym.Activation(f, act_type="sigmoid", name=f"{name}f")
        candidate = self._activate(c, self._activation, name=f"{name}c")
        out_gate = sym.Activation(o, act_type="sigmoid", name=f"{name}o")
        remembered, added = forget_gate * states[1], in_gate * candidate
        memory = sym.elemwise_add(remembered, added, name=f"{name}state")
        squashed = self._activate(memory, self._activation)
        output = sym.elemwise_mul(out_gate, squashed, name=f"{name}out")
        return output, [output, memory]


class ConvGRUCell(BaseConvRNNCell):
    """GRU whose products are convolutions; arguments as for ``BaseConvRNNCell``."""

    def __init__(
        self, input_shape: Sequence[int], num_hidden: int, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(input_shape, num_hidden, *args, **{"prefix": "ConvGRU_", **kwargs})

    @property
    def _gate_names(self) -> Sequence[str]:
        return ("_r", "_z", "_o")

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        i2h, h2h = self._convolved(inputs, states[0], name)
        i2h_r, i2h_z, i2h_n = sym.SliceChannel(i2h, num_outputs=3, name=f"{name}_i2h_slice")
        h2h_r, h2h_z, h2h_n = sym.SliceChannel(h2h, num_outputs=3, name=f"{name}_h2h_slice")
        reset = sym.Activation(i2h_r + h2h_r, act_type="sigmoid", name=f"{name}_r_act")
        update = sym.Activation(i2h_z + h2h_z, act_type="sigmoid", name=f"{name}_z_act")
        new = self._activate(i2h_n + reset * h2h_n, self._activation, name=f"{name}_h_act")
        output = sym.elemwise_add((1.0 - update) * new, update * states[0], name=f"{name}out")
        return output, [output]
