"""RNN: several recurrent layers over a whole sequence, all weights in one vector.

The expansion is plain ONNX: one product for the inputs of all steps of a layer, then a loop over
the steps, or the steps one by one if the target has no loops. (ONNX's own LSTM has no gradient in
any current runtime, and the one that the training runtime once had is an order of magnitude slower
than the unrolled steps.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.noise import Dropout
from symbucket.ops.record import Emitter, IndexBounds, Operator, operator
from symbucket.ops.recurrence import loop_over, may_loop
from symbucket.ops.rnn_steps import Clip, Weights, gru_step, joined, lstm_step, pieces
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

FAMILY = "Recurrent layers"

_GATES = {"rnn_relu": 1, "rnn_tanh": 1, "lstm": 4, "gru": 3}


@operator("RNN")
class RNN(Operator):
    """``num_layers`` recurrent layers of ``state_size`` H over data (steps, n, channels).

    ``state`` (and ``state_cell`` of an lstm) are (layers * directions, n, H), the output is (steps,
    n, H * directions). ``state_outputs`` returns the states after the last step as well.
    ``p`` is the share of elements dropped between layers in training. With ``use_sequence_length``
    the input ``sequence_length`` (n,) says where sequences end: outputs are 0 from there on, states
    are those after the last step, and the second direction begins there.

    ``parameters`` holds all weights, layer by layer, direction by direction, input-to-hidden (gates
    * H, inputs) then hidden-to-hidden (gates * H, H); then all biases in that order, gates * H
    each. Gates are i, f, c, o (lstm) and r, z, n (gru): cuDNN's order.

    An lstm with ``projection_size`` P multiplies what each step returns by a matrix (P, H), which
    follows the hidden-to-hidden weight (gates * H, P): outputs and ``state`` have P in place of H.
    (Sak et al., 2014.) ``lstm_state_clip_min`` and ``lstm_state_clip_max`` bound its cell state
    after each step; with ``lstm_state_clip_nan`` NaN becomes the lower bound.
    """

    formula = (
        'h[t] = tanh(W x[t] + b + R h[t - 1] + c) for mode "rnn_tanh"; lstm and gru as in their '
        "cells; layer by layer"
    )
    example = (
        "RNN(ones((3, 2, 4)), ones((55,)), zeros((1, 2, 5)), state_size=5, num_layers=1, "
        'mode="rnn_tanh").shape -> (3, 2, 5)'
    )
    shapes = (
        "(steps, n, c), (k,), (layers, n, state_size), (layers, n, state_size), (n,)"
        " -> (steps, n, directions * state_size), (layers, n, state_size), (layers, n, state_size)"
    )
    implicit = ("parameters", "state", "state_cell")
    no_gradient = ("sequence_length",)

    random = True  # where ``p`` drops elements
    state_size: int
    num_layers: int
    mode: Literal["rnn_relu", "rnn_tanh", "lstm", "gru"]
    bidirectional: bool = False
    p: float = 0.0
    state_outputs: bool = False
    projection_size: int | None = None
    lstm_state_clip_min: float | None = None
    lstm_state_clip_max: float | None = None
    lstm_state_clip_nan: bool = False
    use_sequence_length: bool = False

    def __post_init__(self) -> None:
        self.check(self.state_size > 0, f"state_size={self.state_size} must be positive")
        self.check(self.num_layers > 0, f"num_layers={self.num_layers} must be positive")
        self.check(0.0 <= self.p < 1.0, f"p={self.p} must be from 0 up to below 1")
        for name in ("projection_size", "lstm_state_clip_min", "lstm_state_clip_max"):
            value = getattr(self, name)
            self.check(
                value is None or self.mode == "lstm",
                f"{name}={value} is for mode='lstm' only, not for mode={self.mode!r}",
            )
        size = self.projection_size
        self.check(size is None or size > 0, f"projection_size={size} must be positive")
        low, high = self.lstm_state_clip_min, self.lstm_state_clip_max
        both = low is not None and high is not None and low <= high
        self.check(
            both or low is high is None,
            f"lstm_state_clip_min={low} and lstm_state_clip_max={high}: set both, in order",
        )

    @property
    def _clip(self) -> Clip | None:
        low, high = self.lstm_state_clip_min, self.lstm_state_clip_max
        return None if low is None or high is None else Clip(low, high, self.lstm_state_clip_nan)

    @property
    def _width(self) -> int:
        """Size of what a step of one direction returns."""
        return self.projection_size or self.state_size

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _rows(self) -> int:
        return _GATES[self.mode] * self.state_size

    def arguments(self) -> tuple[str, ...]:
        cell = ("state_cell",) if self.mode == "lstm" else ()
        lengths = ("sequence_length",) if self.use_sequence_length else ()
        return ("data", "parameters", "state", *cell, *lengths)

    def outputs(self) -> tuple[str, ...]:
        if not self.state_outputs:
            return ("output",)
        cell = ("statecell_output",) if self.mode == "lstm" else ()
        return ("output", "state_output", *cell)

    # Shapes --------------------------------------------------------------------------------------

    def _sizes(self, channels: int) -> list[tuple[int, int]]:
        """(inputs, hidden) of the two weights of every layer and direction, in packed order."""
        hidden, sizes = self._width, []
        for layer in range(self.num_layers):
            wide = channels if layer == 0 else self._directions * hidden
            sizes += [(wide, hidden)] * self._directions
        return sizes

    @property
    def _projection(self) -> int:
        """Elements of one projection."""
        return (self.projection_size or 0) * self.state_size

    def parameter_count(self, channels: int) -> int:
        """Length of ``parameters`` for data of so many channels."""
        sizes = self._sizes(channels)
        return sum(self._rows * (wide + hidden + 2) + self._projection for wide, hidden in sizes)

    def draws(self, training: bool) -> int:
        return self.num_layers - 1 if self.p and training else 0

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        floats = len(ins) - self.use_sequence_length
        same, results = super().infer_type(ins[:floats], outs)
        return [*same, *ins[floats:]], results

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        if not self.use_sequence_length:
            return {}
        return {"sequence_length": IndexBounds("sequence lengths", ins[0][0] + 1)}

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        lengths: list[PartialShape] = []
        if self.use_sequence_length:
            lengths, ins = ins[-1:], ins[:-1]
        data, vector, states = ins[0], ins[1], ins[2:]
        out, finals = outs[0], outs[1:]
        if data is not None and len(data) != 3:
            raise ShapeError(f"data must be (steps, n, channels), it has shape {data}")
        widths = (self._width, self.state_size)[: len(states)]
        cells, frame = self.num_layers * self._directions, None
        for group in (states, finals):
            for width, shape in zip(widths, group):
                state = unify((cells, 0, width), shape)
                assert state is not None
                frame = unify(frame, (0, state[1]))
        for row in lengths:
            frame = unify(frame, None if row is None else (0, *row))
        for shape in (data, out):
            frame = unify(frame, None if shape is None else shape[:2])
        assert frame is not None
        state_shapes: list[PartialShape] = [(cells, frame[1], width) for width in widths]
        out = unify(out, (*frame, self._directions * self._width))
        data = unify(data, (*frame, 0))
        assert data is not None
        vector, channels = self._vector(vector, data[2])
        data = unify(data, (0, 0, channels))
        inputs = [data, vector, *state_shapes, *[frame[1:] for _ in lengths]]
        return inputs, [out, *state_shapes[: len(finals)]]

    def _vector(self, vector: PartialShape, channels: int) -> tuple[PartialShape, int]:
        """The shape of ``parameters`` and the channels, each from the other."""
        if channels:
            return unify(vector, (self.parameter_count(channels),)), channels
        vector = unify(vector, (0,))
        assert vector is not None
        if not vector[0]:
            return vector, 0
        fixed, each = self.parameter_count(0), self._directions * self._rows
        channels, rest = divmod(vector[0] - fixed, each)
        if rest or channels <= 0:
            raise ShapeError(
                f"parameters has {vector[0]} elements; expected {fixed} + {each} * channels of data"
            )
        return vector, channels

    # Expansion -----------------------------------------------------------------------------------

    def emit(
        self,
        g: Emitter,
        data: ir.Value,
        parameters: ir.Value,
        state: ir.Value,
        state_cell: ir.Value | None = None,
        sequence_length: ir.Value | None = None,
    ) -> ir.Value | Sequence[ir.Value]:
        if self.use_sequence_length and sequence_length is None:  # no lstm
            state_cell, sequence_length = None, state_cell
        states = [state] if state_cell is None else [state, state_cell]
        steps, batch, channels = shape_of(data)
        is_running = None
        if sequence_length is not None:
            time = g.const(np.arange(steps, dtype=np.int64).reshape(steps, 1, 1))
            ends = g.reshape(g.cast(sequence_length, ir.DataType.INT64), (1, batch, 1))
            is_running = g.op("Less", time, ends)
        weights = self._unpack(g, parameters, channels)
        cells = len(weights)
        starts = [self._starts(g, state, cells) for state in states]
        finals: list[list[ir.Value]] = [[] for _ in states]
        rows = g.reshape(data, (steps * batch, channels))
        for layer in range(self.num_layers):
            if layer and self.p and g.training:
                rows = Dropout(p=self.p).emit(g, rows)
            sides = []
            for direction in range(self._directions):
                i = layer * self._directions + direction
                first = [layers[i] for layers in starts]
                outputs, last = self._run(
                    g, rows, weights[i], first, is_running, steps=steps, backwards=direction == 1
                )
                sides.append(outputs)
                for final, value in zip(finals, last):
                    final.append(g.reshape(value, (1, *shape_of(value))))
            rows = joined(g, sides, axis=1)
        out = g.reshape(rows, (steps, batch, self._directions * self._width))
        if not self.state_outputs:
            return out
        return [out, *(joined(g, final, axis=0) for final in finals)]

    def _unpack(self, g: Emitter, vector: ir.Value, channels: int) -> list[Weights]:
        sizes = self._sizes(channels)
        rows, more = self._rows, [self._projection] if self._projection else []
        lengths = [n for pair in sizes for n in (*(rows * columns for columns in pair), *more)]
        parts = iter(pieces(g, vector, [*lengths, *[rows] * 2 * len(sizes)], axis=0))
        matrices = []
        for wide, hidden in sizes:
            w, r = (g.reshape(next(parts), (rows, columns)) for columns in (wide, hidden))
            p = g.reshape(next(parts), (hidden, self.state_size)) if more else None
            matrices.append((w, r, p))
        return [Weights(*three, bw=next(parts), br=next(parts)) for three in matrices]

    def _starts(self, g: Emitter, state: ir.Value, cells: int) -> list[ir.Value]:
        shape = shape_of(state)[1:]
        return [g.reshape(s, shape) for s in pieces(g, state, [1] * cells, axis=0)]

    def _run(
        self,
        g: Emitter,
        rows: ir.Value,
        weights: Weights,
        states: list[ir.Value],
        is_running: ir.Value | None,
        *,
        steps: int,
        backwards: bool,
    ) -> tuple[ir.Value, list[ir.Value]]:
        """Return the outputs (steps * n, H) in their order in time, and the last states.

        ``is_running`` (steps, n, 1) tells which steps are before the end of their sequence. At the
        others states stay as they are, so that backwards begins at each sequence's last step.
        """
        # If nothing stands between both products, their biases are added once.
        apart = self.mode == "gru"
        bias = weights.bw if apart else g.op("Add", weights.bw, weights.br)
        z = g.op("Gemm", rows, weights.w, bias, transB=1)
        if may_loop(g, steps):
            return self._loop(g, z, weights, states, is_running, steps, backwards)
        shares = pieces(g, z, [shape_of(rows)[0] // steps] * steps, axis=0)
        outputs = []
        for t in reversed(range(steps)) if backwards else range(steps):
            runs = is_running
            if runs is not None:
                runs = g.op("Gather", runs, g.const(np.int64(t)), axis=0)
            states, output = self._masked_step(g, shares[t], weights, states, runs)
            outputs.append(output)
        return joined(g, outputs[::-1] if backwards else outputs, axis=0), states

    def _loop(
        self,
        g: Emitter,
        z: ir.Value,
        weights: Weights,
        states: list[ir.Value],
        is_running: ir.Value | None,
        steps: int,
        backwards: bool,
    ) -> tuple[ir.Value, list[ir.Value]]:
        """Do the same by a loop over one step."""
        rows, columns = shape_of(z)
        sequences = [g.reshape(z, (steps, rows // steps, columns))]
        if is_running is not None:
            sequences.append(is_running)

        def step(
            slices: list[ir.Value], states: list[ir.Value]
        ) -> tuple[list[ir.Value], list[ir.Value]]:
            runs = slices[1] if len(slices) > 1 else None
            after, output = self._masked_step(g, slices[0], weights, states, runs)
            return after, [output]

        finals, (stack,) = loop_over(g, sequences, states, step, backwards)
        return g.reshape(stack, (rows, self._width)), finals

    def _masked_step(
        self,
        g: Emitter,
        share: ir.Value,
        weights: Weights,
        states: list[ir.Value],
        is_running: ir.Value | None,
    ) -> tuple[list[ir.Value], ir.Value]:
        """Return the states after a step, and its output."""
        following = self._step(g, share, weights, states)
        if is_running is None:
            return following, following[0]
        output = g.op("Where", is_running, following[0], g.const(0.0, like=following[0]))
        return [g.op("Where", is_running, *pair) for pair in zip(following, states)], output

    def _step(
        self, g: Emitter, share: ir.Value, weights: Weights, states: list[ir.Value]
    ) -> list[ir.Value]:
        """Return the states after a step."""
        if self.mode == "lstm":
            h, c = states
            return lstm_step(g, share, weights, h, c, self._clip)
        if self.mode == "gru":
            return [gru_step(g, share, weights, states[0])]
        kind = "Relu" if self.mode == "rnn_relu" else "Tanh"
        return [g.op(kind, g.op("Gemm", states[0], weights.r, share, transB=1))]
