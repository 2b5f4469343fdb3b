"""The recurrent operators of ONNX (LSTM, GRU, RNN), as loops over the steps of the bucket.

Formulas are those of the operators' definitions in the ONNX standard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr, const_of, shape_of
from symbucket.ir.expr import where
from symbucket.ops.foreign.activations import activations_of
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.foreign.recurrent_steps import Weights, gru_step, lstm_step, rnn_step
from symbucket.ops.record import Emitter
from symbucket.ops.recurrence import Step as OneStep
from symbucket.ops.recurrence import loop_over, may_loop


def _part(g: Emitter, x: ir.Value, start: int, end: int, axis: int) -> ir.Value:
    return g.op("Slice", x, g.ints(start), g.ints(end), g.ints(axis))


def _slice(g: Emitter, x: ir.Value, direction: int) -> ir.Value:
    """The part of one direction, without the axis of directions."""
    shape = shape_of(x)
    part = x if shape[0] == 1 else _part(g, x, direction, direction + 1, 0)
    return g.reshape(part, shape[1:])


Step = Callable[[Weights, Expr, Expr, "Expr | None"], "tuple[Expr, Expr | None]"]
"""One step: what the input adds to the gates, h and c become h and c; c is None without cells."""


def _run(g: Emitter, call: Call, gates: int, default: Sequence[str], step: Step) -> Results:
    x, w, r = call.input(0), call.input(1), call.input(2)
    batch_first = bool(call.attr("layout", 0))
    cell = call.op_type == "LSTM"
    if batch_first:
        x = g.transpose(x, [1, 0, 2])
    length, batch, width = shape_of(x)
    hidden = shape_of(r)[2]
    way = str(call.attr("direction", "forward"))
    directions = 2 if way == "bidirectional" else 1
    activations = activations_of(call, default, directions)
    flat = g.reshape(x, (length * batch, width))
    within = _steps_within(g, call, length)
    steps: list[ir.Value] = []
    last_h, last_c = [], []
    for d in range(directions):
        bias = call.optional(3)
        into = recurrent = None
        if bias is not None:
            both = _slice(g, bias, d)
            into = _part(g, both, 0, gates * hidden, 0)
            recurrent = Expr(g, _part(g, both, gates * hidden, 2 * gates * hidden, 0))
        product = g.op(
            "Gemm", flat, _slice(g, w, d), *([into] if into is not None else []), transB=1
        )
        each = g.reshape(product, (length, batch, gates * hidden))
        starts = [_start(g, call, i, d, (batch, hidden), x) for i in ((5, 6) if cell else (5,))]
        peepholes = call.optional(7) if cell else None
        weights = Weights(
            recurrent=Expr(g, _slice(g, r, d)),
            bias=recurrent,
            peepholes=None if peepholes is None else Expr(g, _slice(g, peepholes, d)),
            activations=activations[d],
            clip=call.attr("clip"),
            coupled=bool(call.attr("input_forget", 0)),
            linear_before_reset=bool(call.attr("linear_before_reset", 0)),
        )
        backward = way == "reverse" or d == 1
        one = _one_step(g, step, weights)
        sequences = [each] if within is None else [each, within]
        if may_loop(g, length):
            last, (stack,) = loop_over(g, sequences, starts, one, backward)
        else:
            last, stack = _unrolled(g, sequences, starts, one, backward)
        steps.append(g.reshape(stack, (length, 1, batch, hidden)))
        last = [_zero_without_steps(g, state, call.optional(4)) for state in last]
        last_h.append(g.reshape(last[0], (1, batch, hidden)))
        last_c.append(g.reshape(last[-1], (1, batch, hidden)))
    outputs = [_join(g, steps, 1), _join(g, last_h, 0), _join(g, last_c, 0)]
    if batch_first:
        outputs[0] = g.transpose(outputs[0], [2, 0, 1, 3])
        outputs[1:] = [g.transpose(last, [1, 0, 2]) for last in outputs[1:]]
    return outputs[: 3 if cell else 2]


def _steps_within(g: Emitter, call: Call, length: int) -> ir.Value | None:
    """Return which steps (steps, samples, 1) are within their samples; None if all of them are."""
    lengths, constant = call.optional(4), const_of(call.optional(4))
    if lengths is None or (constant is not None and bool((constant == length).all())):
        return None
    numbers = Expr(g, g.const(np.arange(length).reshape((length, 1, 1))))
    rows = Expr(g, g.reshape(lengths, (1, *shape_of(lengths), 1))).cast(ir.DataType.INT64)
    return (numbers < rows).value


def _zero_without_steps(g: Emitter, state: ir.Value, lengths: ir.Value | None) -> ir.Value:
    """Return the last states; those of samples without steps are 0, as the runtime has it."""
    constant = const_of(lengths)
    if lengths is None or (constant is not None and bool((constant > 0).all())):
        return state
    rows = Expr(g, g.reshape(lengths, (*shape_of(lengths), 1)))
    return where(rows > 0, Expr(g, state), 0.0).value


def _one_step(g: Emitter, step: Step, weights: Weights) -> OneStep:
    """Return a step of one direction as a function of slices and states.

    After its end a sample keeps its states, and its output is 0; a sample that is read backwards
    begins at its end.
    """

    def one(
        slices: list[ir.Value], states: list[ir.Value]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        before = [Expr(g, state) for state in states]
        h, c = step(weights, Expr(g, slices[0]), before[0], before[1] if before[1:] else None)
        after = [h] if c is None else [h, c]
        output = h
        if len(slices) > 1:
            inside = Expr(g, slices[1])
            output = where(inside, h, 0.0)
            after = [where(inside, new, old) for new, old in zip(after, before)]
        return [state.value for state in after], [output.value]

    return one


def _unrolled(
    g: Emitter,
    sequences: list[ir.Value],
    states: list[ir.Value],
    step: OneStep,
    backwards: bool,
) -> tuple[list[ir.Value], ir.Value]:
    """Do what ``loop_over`` does, step by step."""
    rows = zip(*(_steps_of(g, sequence) for sequence in sequences))
    outputs = []
    for slices in reversed(list(rows)) if backwards else list(rows):
        after, (output,) = step(list(slices), states)
        states = list(after)
        outputs.append(g.reshape(output, (1, *shape_of(output))))
    return states, _join(g, outputs[::-1] if backwards else outputs, 0)


def _steps_of(g: Emitter, sequence: ir.Value) -> list[ir.Value]:
    length, *shape = shape_of(sequence)
    parts = [sequence]
    if length > 1:
        parts = g.ops("Split", sequence, outputs=length, axis=0, num_outputs=length)
    return [g.reshape(part, shape) for part in parts]


def _join(g: Emitter, parts: list[ir.Value], axis: int) -> ir.Value:
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=axis)


def _start(
    g: Emitter, call: Call, i: int, direction: int, shape: tuple[int, int], like: ir.Value
) -> ir.Value:
    state = call.optional(i)
    if state is None:
        return g.const(np.zeros(shape), like=like)
    if call.attr("layout", 0):
        state = g.transpose(state, [1, 0, 2])
    rows = shape_of(state)[1]
    if rows != shape[0]:
        raise ShapeError(
            f"initial_{'hc'[i - 5]} holds the states of {rows} samples, the batch has {shape[0]}. "
            f"The file was exported for batches of {rows}; bind that size, or export the model "
            "with a dynamic batch axis"
        )
    return _slice(g, state, direction)


@translation("LSTM")
def _lstm(g: Emitter, call: Call) -> Results:
    return _run(g, call, 4, ["Sigmoid", "Tanh", "Tanh"], lstm_step)


@translation("GRU")
def _gru(g: Emitter, call: Call) -> Results:
    return _run(g, call, 3, ["Sigmoid", "Tanh"], gru_step)


@translation("RNN")
def _rnn(g: Emitter, call: Call) -> Results:
    return _run(g, call, 1, ["Tanh"], rnn_step)
