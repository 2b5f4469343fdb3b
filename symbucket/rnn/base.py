"""``BaseRNNCell``: what all cells have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symbucket import symbol as sym
from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError, StateError, UnsupportedError
from symbucket.ops import find
from symbucket.ops.attributes import describe
from symbucket.rnn import lengths, packing, sequence
from symbucket.rnn.params import RNNParams
from symbucket.rnn.sequence import Inputs, Outputs
from symbucket.symbol import Symbol
from symbucket.symbol.repetition import repeat

Activation = str | Callable[..., Symbol]


class BaseRNNCell:
    """A cell: parameters, states, and one time step.

    A cell of your own overrides ``state_info`` and ``__call__`` (counting steps in ``_counter``,
    as MXNet's cells do) or only ``_step``, which gets checked inputs.

    Args:
        prefix: stands before the names of parameters and nodes.
        params: an RNNParams to share weights with other cells; None makes an own one.
    """

    def __init__(self, prefix: str = "", params: RNNParams | None = None) -> None:
        if not isinstance(prefix, str):
            raise InvalidArgumentError(
                f"{type(self).__name__}: prefix must be a string, not {prefix!r}"
            )
        if params is not None and not isinstance(params, RNNParams):
            raise InvalidArgumentError(
                f"{type(self).__name__}: params must be an RNNParams (as cell.params), not "
                f"{params!r}"
            )
        self._prefix = prefix
        self._own_params = params is None
        self._params = RNNParams(prefix) if params is None else params
        self._modified = False
        self._init_counter = -1
        self._counter = -1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._prefix!r})"

    def reset(self) -> None:
        """Count time steps and begin states from 0 again, as ``unroll`` does by itself."""
        self._init_counter = -1
        self._counter = -1

    # What a cell is ----------------------------------------------------------------------------

    @property
    def params(self) -> RNNParams:
        """The parameters, to share them with another cell (``OtherCell(params=cell.params)``)."""
        return self._params

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """For each state its ``shape`` (0 where the batch size stands) and ``__layout__``."""
        raise UnsupportedError(f"{self!r} does not say its state_info")

    @property
    def state_shape(self) -> list[tuple[int, ...]]:
        """The shapes of the states; 0 where the batch size stands."""
        return [info["shape"] for info in self.state_info]

    @property
    def _gate_names(self) -> Sequence[str]:
        return ()

    @property
    def _num_gates(self) -> int:
        return len(self._gate_names)

    # Making symbols ----------------------------------------------------------------------------

    def __call__(self, inputs: Symbol, states: Sequence[Any]) -> tuple[Symbol, list[Any]]:
        """Run one time step.

        Args:
            inputs: (batch, channels). states: as ``begin_state`` or the step before gave them.

        Returns:
            The output (batch, hidden) and the new states.
        """
        self._require_unmodified("called")
        if not isinstance(inputs, Symbol) or len(inputs) != 1:
            raise InvalidArgumentError(
                f"{self!r}: the input of one step must be one Symbol with one output, not "
                f"{inputs!r}. For a sequence use unroll."
            )
        flat = self._flat_states(states)
        self._counter += 1
        return self._step(inputs, flat, f"{self._prefix}t{self._counter}_")

    def _step(self, inputs: Symbol, states: list[Symbol], name: str) -> tuple[Symbol, list[Any]]:
        """The symbols of one step; ``name`` is the prefix of its nodes (``lstm_t0_``)."""
        raise UnsupportedError(f"{self!r} defines no step: override __call__ or _step")

    @property
    def _alike_steps(self) -> bool:
        """Whether ``_step`` makes the same nodes whenever it is called."""
        return False

    def _go_on(self, steps: int, output: Symbol) -> None:
        """Be as if it had been called for ``steps`` more, of which the last one gave ``output``."""
        self._counter += steps

    @property
    def _is_ours(self) -> bool:
        """Whether neither the cell nor its parameters are of a user's own class."""
        ours = type(self).__module__.startswith("symbucket.rnn.")
        return ours and type(self._params) is RNNParams

    def begin_state(self, func: Callable[..., Symbol] = sym.zeros, **kwargs: Any) -> list[Symbol]:
        """Initial states.

        Args:
            func: makes a state from name=, shape= and ``kwargs``: ``sym.zeros`` or
                ``sym.Variable``, which makes the states inputs of the network.
        """
        self._require_unmodified("asked for begin_state")
        for key in ("name", "shape"):
            if key in kwargs:
                raise InvalidArgumentError(
                    f"{self!r}: begin_state sets {key}= of each state itself; the batch size is "
                    "inferred."
                )
        states = []
        for info in self.state_info:
            self._init_counter += 1
            name = f"{self._prefix}begin_state_{self._init_counter}"
            states.append(func(name=name, **{**kwargs, **info}))
        return states

    def unroll(
        self,
        length: int,
        inputs: Inputs,
        begin_state: Sequence[Any] | None = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Symbol | None = None,
    ) -> tuple[Outputs, list[Any]]:
        """The cell repeated over ``length`` time steps.

        Args:
            length: number of time steps.
            inputs: one Symbol of the whole sequence in ``layout``, or a list of ``length``
                Symbols (batch, channels).
            begin_state: states before the first step; None: ``begin_state()``, which is zeros.
            layout: "NTC" (batch, time, channels) or "TNC".
            merge_outputs: True: one Symbol in ``layout``; False: a list of steps; None: whichever
                costs no further node.
            valid_length: (batch,), how many steps of each sequence are real; the others are
                padding. None: all.

        Returns:
            The outputs and the states after the last step. With ``valid_length`` the outputs are 0
            at padding, and the states are those after each sequence's last real step.
        """
        self._start(length, inputs, layout, valid_length)
        steps = sequence.split_steps(length, inputs, layout)
        begin = self._begin(begin_state)
        calls = 0

        def one_step(items: tuple[Symbol, ...], states: list[Any]) -> tuple[Symbol, list[Any]]:
            nonlocal calls
            calls += 1
            output, states = self(items[0], states)
            return output if valid_length is None else sym.Group([output, *flatten(states)]), states

        outputs, states = repeat(one_step, [steps], begin, self._alike_steps)
        if valid_length is None:
            self._go_on(length - calls, outputs[-1])
            return sequence.in_form(length, outputs, layout, merge_outputs), states
        own = len(outputs[0]) - len(flatten(states))
        history = [list(values[own:]) for values in outputs]
        outputs = [values[:own] for values in outputs]
        self._go_on(length - calls, outputs[-1])
        merged = lengths.masked(outputs, valid_length, layout)
        states = lengths.last_states(history, flatten(begin), valid_length)
        return sequence.in_form(length, merged, layout, merge_outputs), states

    # Weights -----------------------------------------------------------------------------------

    def unpack_weights(self, args: packing.Arrays) -> dict[str, Any]:
        """A copy of ``args`` with this cell's stacked weights as one array a gate.

        ``lstm_i2h_weight`` (4H, C) becomes ``lstm_i2h_i_weight`` (H, C), ``..._f_weight`` and so
        on. Other arrays stay as they are. Raises ParameterError where a weight is missing or has
        another shape.
        """
        if not self._gate_names:
            return dict(args)
        hidden = self._num_hidden
        return packing.unpack_gates(
            args, self._params.prefix, self._gate_names, hidden, repr(self), self._weight_axes
        )

    def pack_weights(self, args: packing.Arrays) -> dict[str, Any]:
        """The reverse of ``unpack_weights``."""
        if not self._gate_names:
            return dict(args)
        hidden = self._num_hidden
        return packing.pack_gates(
            args, self._params.prefix, self._gate_names, hidden, repr(self), self._weight_axes
        )

    # Helpers of subclasses ---------------------------------------------------------------------

    _num_hidden: int
    _weight_axes = 2

    def _start(self, length: int, inputs: Inputs, layout: str, valid_length: Symbol | None) -> None:
        """The checks of ``unroll``, then ``reset``."""
        self._require_unmodified("unrolled")
        if valid_length is not None:
            lengths.check_lengths(f"{self!r}: unroll", valid_length)
        sequence.time_axis(layout)
        sequence.check_inputs(repr(self), length, inputs)
        self.reset()

    def _begin(self, states: Sequence[Any] | None) -> list[Any]:
        return self.begin_state() if states is None else self._flat_states(states)

    def _flat_states(self, states: Sequence[Any]) -> list[Symbol]:
        """States as one flat list (BidirectionalCell gives one list a direction), checked."""
        flat = flatten(states)
        infos = self.state_info
        if len(flat) != len(infos) or not all(isinstance(s, Symbol) for s in flat):
            shapes = ", ".join(str(info["shape"]) for info in infos) or "none"
            raise InvalidArgumentError(
                f"{self!r} has {len(infos)} states of shapes {shapes} (0 is the batch size) and "
                f"got {states!r}. Take them from begin_state() or from the step before."
            )
        return flat

    def _use_params(self, shared: RNNParams) -> None:
        """Use the variables in ``shared`` in place of own ones of the same names."""
        if not self._own_params:
            raise InvalidArgumentError(
                f"{self!r} was given params= and so was the cell around it; give them to one of "
                "the two."
            )
        self._params.replace_from(shared)

    def _require_unmodified(self, what: str) -> None:
        if self._modified:
            raise StateError(
                f"{self!r} is inside a modifier (ResidualCell, ZoneoutCell, ...) and cannot be "
                f"{what} by itself; use the modifier."
            )

    def _checked_hidden(self, num_hidden: int) -> int:
        return check_integer(num_hidden, f"{self!r}: num_hidden", 1)

    def _activate(self, data: Symbol, activation: Activation, **kwargs: Any) -> Symbol:
        if callable(activation):
            return activation(data, **kwargs)
        act_type: Any = activation  # checked when the cell was made
        return sym.Activation(data, act_type=act_type, **kwargs)

    _get_activation = _activate  # MXNet's name of it, for cells of one's own

    def _checked_activation(self, activation: Activation) -> Activation:
        if not callable(activation):
            try:
                find("Activation").make({"act_type": activation})
            except InvalidArgumentError:
                kinds = describe(find("Activation").fields()["act_type"])
                raise InvalidArgumentError(
                    f"{self!r}: unknown activation={activation!r}; it must be {kinds}, or a "
                    "function of a Symbol such as sym.LeakyReLU"
                ) from None
        return activation


def flatten(states: Any) -> list[Any]:
    """Nested lists of states as one list."""
    if isinstance(states, (list, tuple)):
        return [s for item in states for s in flatten(item)]
    return [states]
