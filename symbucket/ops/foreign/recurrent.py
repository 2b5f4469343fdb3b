"""The recurrent operators of ONNX (LSTM, GRU, RNN), as loops over the steps of the bucket.

Formulas are those of the operators' definitions in the ONNX standard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import const_of, shape_of
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter
from symbucket.ops.recurrence import Step as OneStep
from symbucket.ops.recurrence import loop_over, may_loop

# One step: what the input adds to the gates, h, c, recurrent weight, recurrent bias -> h, c.
Step = Callable[[ir.Value, ir.Value, "ir.Value | None", ir.Value, "ir.Value | None"], "_State"]
_State = tuple[ir.Value, "ir.Value | None"]


def _part(g: Emitter, x: ir.Value, start: int, end: int, axis: int) -> ir.Value:
    return g.op("Slice", x, g.ints(start), g.ints(end), g.ints(axis))


def _slice(g: Emitter, x: ir.Value, direction: int) -> ir.Value:
    """The part of one direction, without the axis of directions."""
    shape = shape_of(x)
    part = x if shape[0] == 1 else _part(g, x, direction, direction + 1, 0)
    return g.reshape(part, shape[1:])


def _check(call: Call, default: Sequence[str], length: int) -> None:
    lengths = const_of(call.optional(4))
    uneven = lengths is None or bool((lengths != length).any())
    call.refuse(call.optional(4) is not None and uneven, "sequence_lens (rows of different length)")
    call.refuse(call.optional(7) is not None, "a peephole (input P)")
    call.refuse(call.attr("clip") is not None, "clip")
    call.refuse(bool(call.attr("input_forget", 0)), "input_forget")
    activations = [name.lower() for name in call.attr("activations") or default]
    defaults = [name.lower() for name in default]
    directions = len(activations) // len(defaults)
    call.refuse(activations != defaults * directions, f"activations {activations}")


def _run(g: Emitter, call: Call, gates: int, default: Sequence[str], cell: bool) -> Results:
    x, w, r = call.input(0), call.input(1), call.input(2)
    batch_first = bool(call.attr("layout", 0))
    if batch_first:
        x = g.transpose(x, [1, 0, 2])
    length, batch, width = shape_of(x)
    _check(call, default, length)
    hidden = shape_of(r)[2]
    way = call.attr("direction", "forward")
    directions = 2 if way == "bidirectional" else 1
    step = _STEPS[call.op_type](g, call, hidden)
    flat = g.reshape(x, (length * batch, width))
    steps: list[ir.Value] = []
    last_h, last_c = [], []
    for d in range(directions):
        bias = call.optional(3)
        into = recurrent = None
        if bias is not None:
            both = _slice(g, bias, d)
            into = _part(g, both, 0, gates * hidden, 0)
            recurrent = _part(g, both, gates * hidden, 2 * gates * hidden, 0)
        product = g.op(
            "Gemm", flat, _slice(g, w, d), *([into] if into is not None else []), transB=1
        )
        each = g.reshape(product, (length, batch, gates * hidden))
        starts = [_start(g, call, i, d, (batch, hidden), x) for i in ((5, 6) if cell else (5,))]
        weight = _slice(g, r, d)
        backward = way == "reverse" or d == 1
        one = _with_weight(step, weight, recurrent)
        if may_loop(g, length):
            last, stack = loop_over(g, [each], starts, one, backward)
        else:
            last, stack = _unrolled(g, each, starts, one, backward)
        steps.append(g.reshape(stack, (length, 1, batch, hidden)))
        last_h.append(g.reshape(last[0], (1, batch, hidden)))
        last_c.append(g.reshape(last[-1], (1, batch, hidden)))
    outputs = [_join(g, steps, 1), _join(g, last_h, 0), _join(g, last_c, 0)]
    if batch_first:
        outputs[0] = g.transpose(outputs[0], [2, 0, 1, 3])
        outputs[1:] = [g.transpose(last, [1, 0, 2]) for last in outputs[1:]]
    return outputs[: 3 if cell else 2]


def _with_weight(step: Step, weight: ir.Value, bias: ir.Value | None) -> OneStep:
    """Return a step of one direction as a function of the input's share and the states."""

    def one(slices: list[ir.Value], states: list[ir.Value]) -> tuple[list[ir.Value], ir.Value]:
        h, c = step(slices[0], states[0], states[1] if len(states) > 1 else None, weight, bias)
        return ([h] if c is None else [h, c]), h

    return one


def _unrolled(
    g: Emitter, sequence: ir.Value, states: list[ir.Value], step: OneStep, backwards: bool
) -> tuple[list[ir.Value], ir.Value]:
    """Do what ``loop_over`` does, step by step."""
    length, *shape = shape_of(sequence)
    parts = [sequence]
    if length > 1:
        parts = g.ops("Split", sequence, outputs=length, axis=0, num_outputs=length)
    outputs = []
    for part in reversed(parts) if backwards else parts:
        states, output = step([g.reshape(part, tuple(shape))], states)
        outputs.append(g.reshape(output, (1, *shape_of(output))))
    return states, _join(g, outputs[::-1] if backwards else outputs, 0)


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


def _biased(g: Emitter, x: ir.Value, bias: ir.Value | None) -> ir.Value:
    return x if bias is None else g.op("Add", x, bias)


def _lstm_step(g: Emitter, call: Call, hidden: int) -> Step:
    def step(
        gated: ir.Value, h: ir.Value, c: ir.Value | None, weight: ir.Value, bias: ir.Value | None
    ) -> _State:
        total = _biased(g, g.op("Gemm", h, weight, gated, transB=1), bias)
        i, o, f, new = g.ops("Split", total, outputs=4, axis=1, num_outputs=4)
        cell = g.op("Mul", g.op("Sigmoid", f), c)
        cell = g.op("Add", cell, g.op("Mul", g.op("Sigmoid", i), g.op("Tanh", new)))
        return g.op("Mul", g.op("Sigmoid", o), g.op("Tanh", cell)), cell

    return step


def _gru_step(g: Emitter, call: Call, hidden: int) -> Step:
    def step(
        gated: ir.Value, h: ir.Value, c: ir.Value | None, weight: ir.Value, bias: ir.Value | None
    ) -> _State:
        z_in, r_in, new_in = g.ops("Split", gated, outputs=3, axis=1, num_outputs=3)
        if call.attr("linear_before_reset", 0):
            again = _biased(g, g.op("Gemm", h, weight, transB=1), bias)
            z_h, r_h, new_h = g.ops("Split", again, outputs=3, axis=1, num_outputs=3)
            z = g.op("Sigmoid", g.op("Add", z_in, z_h))
            r = g.op("Sigmoid", g.op("Add", r_in, r_h))
            new = g.op("Tanh", g.op("Add", new_in, g.op("Mul", r, new_h)))
        else:
            gates = _part(g, weight, 0, 2 * hidden, 0)
            first = g.op("Gemm", h, gates, transB=1)
            if bias is not None:
                first = g.op("Add", first, _part(g, bias, 0, 2 * hidden, 0))
            z_h, r_h = g.ops("Split", first, outputs=2, axis=1, num_outputs=2)
            z = g.op("Sigmoid", g.op("Add", z_in, z_h))
            r = g.op("Sigmoid", g.op("Add", r_in, r_h))
            last = _part(g, weight, 2 * hidden, 3 * hidden, 0)
            again = g.op("Gemm", g.op("Mul", r, h), last, new_in, transB=1)
            if bias is not None:
                again = g.op("Add", again, _part(g, bias, 2 * hidden, 3 * hidden, 0))
            new = g.op("Tanh", again)
        rest = g.op("Sub", g.const(1.0, like=z), z)
        return g.op("Add", g.op("Mul", rest, new), g.op("Mul", z, h)), None

    return step


def _rnn_step(g: Emitter, call: Call, hidden: int) -> Step:
    kind = (call.attr("activations") or ["Tanh"])[0]

    def step(
        gated: ir.Value, h: ir.Value, c: ir.Value | None, weight: ir.Value, bias: ir.Value | None
    ) -> _State:
        return g.op(kind, _biased(g, g.op("Gemm", h, weight, gated, transB=1), bias)), None

    return step


_STEPS = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN": _rnn_step}


@translation("LSTM")
def _lstm(g: Emitter, call: Call) -> Results:
    return _run(g, call, 4, ["Sigmoid", "Tanh", "Tanh"], True)


@translation("GRU")
def _gru(g: Emitter, call: Call) -> Results:
    return _run(g, call, 3, ["Sigmoid", "Tanh"], False)


@translation("RNN")
def _rnn(g: Emitter, call: Call) -> Results:
    relu = [n.lower() for n in call.attr("activations") or []] in (["relu"], ["relu"] * 2)
    return _run(g, call, 1, ["Relu"] if relu else ["Tanh"], False)
