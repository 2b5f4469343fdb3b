"""Recurrent networks, which the compiler may roll into loops: cells, and steps that are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import symbucket as sb
from symbucket import sym
from symbucket.symbol import Symbol
from tests.fuzz.networks import Drawing
from tests.ops.op_cases import index


def draw_recurrent(d: Drawing) -> None:
    """Add a recurrence with its weights, and perhaps an output layer."""
    rows, inputs, steps = d.batch(4), d.integer(1, 4), d.integer(2, 9)
    data = d.value((rows, steps, inputs))
    if d.chance(0.5):
        outputs = _cells(d, data, steps)
    else:
        outputs = _drawn_loop(d, data, rows, inputs, steps)
    for output in outputs:
        d.add(output)
        if d.chance(0.4):
            d.add(_output_layer(d, output))


# Cells ------------------------------------------------------------------------------------------


def _cells(d: Drawing, data: Symbol, steps: int) -> Symbol:
    cells = sb.rnn.SequentialRNNCell()
    hidden = d.integer(1, 4)
    prefix = f"cells{len(d.makers)}_"
    for i in range(d.integer(1, 2)):
        cells.add(_layer(d, hidden, f"{prefix}{i}_"))
        if d.chance(0.15):
            cells.add(sb.rnn.DropoutCell(0.3, prefix=f"{prefix}dropout{i}_"))
    merged = d.chance(0.6)
    outputs, states = cells.unroll(steps, data, layout="NTC", merge_outputs=merged)
    if not merged:
        outputs = _taken(d, outputs)
    flat = [s for state in states for s in (state if isinstance(state, list) else [state])]
    if flat and d.chance(0.3):
        outputs = sym.Group([outputs, d.choice(flat)])
    return _with_weights(d, outputs)


def _layer(d: Drawing, hidden: int, prefix: str) -> Any:
    kinds = (sb.rnn.RNNCell, sb.rnn.LSTMCell, sb.rnn.LSTMCell, sb.rnn.GRUCell)
    if d.chance(0.15):
        kind = d.choice(kinds)
        return sb.rnn.BidirectionalCell(
            kind(hidden, prefix=f"{prefix}l_"),
            kind(hidden, prefix=f"{prefix}r_"),
            output_prefix=prefix,
        )
    cell = d.choice(kinds)(hidden, prefix=prefix)
    if d.chance(0.1):
        cell = sb.rnn.ZoneoutCell(cell, zoneout_outputs=0.2, zoneout_states=0.3)
    return cell


def _with_weights(d: Drawing, outputs: Symbol) -> Symbol:
    """The outputs, with the cells' own weights as variables of the drawing."""
    known = {n: a.shape for n, a in d.arrays(0).items()}
    names = outputs.list_arguments()
    shapes = outputs.complete_shapes(**{n: s for n, s in known.items() if n in names})[0]
    for name, shape in zip(names, shapes):
        if name not in known:
            d.makers[name] = d.free(tuple(shape))
            d.wanted.append(name)
    return outputs


# Steps that are drawn ---------------------------------------------------------------------------

Instruction = Callable[[Drawing, list[Symbol]], Symbol]


def _drawn_loop(d: Drawing, data: Symbol, rows: int, width: int, steps: int) -> Symbol:
    """A step of a few drawn instructions, written out for every time step."""
    shape = (rows, width)
    instructions = [_instruction(d, width) for _ in range(d.integer(2, 6))]
    states = [
        sym.zeros(shape=shape) if d.chance(0.4) and not d.of_rows else d.value(shape)
        for _ in range(d.integer(1, 2))
    ]
    inputs = _time_slices(d, data, steps)
    order = list(range(steps))
    if d.chance(0.2):
        order.reverse()
    odd = d.integer(0, steps - 1) if d.chance(0.2) else None
    outputs = []
    for t in order:
        values = [*states, inputs[t]]
        if t == odd:
            values[0] = values[0] * 0.5
        for instruction in instructions:
            values.append(instruction(d, values))
        states = [sym.tanh(values[-1 - i]) for i in range(len(states))]
        outputs.append(_put_out(values, states))
    result = _taken(d, outputs)
    return sym.Group([result, states[-1]]) if d.chance(0.3) else result


def _put_out(values: list[Symbol], states: list[Symbol]) -> Symbol:
    """What a step puts out: the first new value if there are many, else the state."""
    return values[len(states) + 1] if len(values) > 6 else states[0]


def _time_slices(d: Drawing, data: Symbol, steps: int) -> list[Symbol]:
    if d.chance(0.6):
        return list(sym.SliceChannel(data, num_outputs=steps, axis=1, squeeze_axis=True))
    slices = (sym.slice_axis(data, axis=1, begin=t, end=t + 1) for t in range(steps))
    return [sym.Reshape(s, shape=(0, -1)) for s in slices]


def _instruction(d: Drawing, width: int) -> Instruction:
    """One operation on values that lie at fixed places behind the newest."""
    first, second = d.integer(1, 3), d.integer(1, 3)
    kind = d.choice(("unary", "binary", "binary", "dense", "dense", "vector", "move", "noise"))
    if kind == "unary":
        name = d.choice("tanh sigmoid relu softsign square negative sin _plus _times".split())
        if name == "_plus":
            return lambda d, v: v[-min(first, len(v))] + 0.5
        if name == "_times":
            return lambda d, v: v[-min(first, len(v))] * -0.75
        return lambda d, v: getattr(sym, name)(v[-min(first, len(v))])
    if kind == "binary":
        operator = d.choice(
            (sym.elemwise_add, sym.elemwise_mul, sym.elemwise_sub, sym.broadcast_add)
        )
        return lambda d, v: operator(v[-min(first, len(v))], v[-min(second, len(v))])
    if kind == "dense":
        weight = d.variable(d.free((width, width)))
        bias = d.variable(d.free((width,))) if d.chance(0.6) else None
        inputs = [weight] if bias is None else [weight, bias]
        more = {"num_hidden": width, "no_bias": bias is None}
        return lambda d, v: sym.FullyConnected(v[-min(first, len(v))], *inputs, **more)
    if kind == "vector":
        vector = d.variable(d.free((1, width)))
        operator = d.choice((sym.broadcast_mul, sym.broadcast_add, sym.broadcast_maximum))
        return lambda d, v: operator(v[-min(first, len(v))], vector)
    if kind == "move":
        return d.choice(
            (
                lambda d, v: sym.flip(v[-min(first, len(v))], axis=(1,)),
                lambda d, v: sym.softmax(v[-min(first, len(v))], axis=-1),
                lambda d, v: sym.broadcast_sub(
                    v[-min(first, len(v))],
                    sym.mean(v[-min(second, len(v))], axis=1, keepdims=True),
                ),
            )
        )
    if d.chance(0.3):
        return lambda d, v: sym.Dropout(v[-min(first, len(v))], p=0.3)
    return lambda d, v: sym.identity(v[-min(first, len(v))])


def _taken(d: Drawing, outputs: list[Symbol]) -> Symbol:
    """Some or all of the outputs of the steps, put together."""
    kind = d.choice(("last", "concat", "stack", "sum", "some", "ends"))
    if kind == "last":
        return outputs[-1]
    if kind == "sum":
        return sum(outputs[1:], outputs[0])
    if kind == "ends":
        return outputs[0] + outputs[-1]
    chosen = outputs[:: d.integer(1, 2)] if kind == "some" else outputs
    if kind == "stack":
        return sym.stack(*chosen, axis=1)
    return sym.Concat(*chosen, dim=1)


def _output_layer(d: Drawing, value: Symbol) -> Symbol:
    """Classes for each row, as a language model has them."""
    shape = d.shape_of(value)
    classes = d.integer(2, 5)
    flatten = len(shape) == 2
    weight, bias = d.variable(d.free((classes, shape[-1]))), d.variable(d.free((classes,)))
    flat = value if flatten else sym.Reshape(value, shape=(-1, shape[-1]))
    scores = sym.FullyConnected(flat, weight, bias, num_hidden=classes)
    labels: Symbol = d.variable(index(classes, *shape[:-1], dtype=d.choice(("float32", "int32"))))
    if not flatten:
        labels = sym.Reshape(labels, shape=(-1,))
    more: dict[str, Any] = {"normalization": d.choice(("null", "batch", "valid"))}
    if d.chance(0.5):
        more.update(use_ignore=True, ignore_label=0)
    return sym.SoftmaxOutput(scores, labels, **more)
