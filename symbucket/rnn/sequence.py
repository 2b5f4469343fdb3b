"""Sequences in their two forms: a list with a Symbol a time step, or one merged Symbol."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from symbucket import symbol as sym
from symbucket.errors import InvalidArgumentError
from symbucket.symbol import Symbol
from symbucket.symbol.repetition import joined, repeat

Inputs = Symbol | Sequence[Symbol]
Outputs = Symbol | list[Symbol]


def time_axis(layout: str) -> int:
    """Position of the time axis in ``layout``, which is "NTC" or "TNC"."""
    if layout not in ("NTC", "TNC"):
        raise InvalidArgumentError(
            f"layout={layout!r}: expected 'NTC' (batch, time, channels) or 'TNC' (time first)"
        )
    return layout.index("T")


def check_inputs(who: str, length: int, inputs: Inputs) -> None:
    """Raise InvalidArgumentError unless ``inputs`` is a sequence of ``length`` steps."""
    try:
        steps = operator.index(length)
    except TypeError:
        steps = 0
    if steps <= 0 or isinstance(length, bool):
        raise InvalidArgumentError(
            f"{who}: unroll needs a number of time steps of 1 or more, not length={length!r}"
        )
    if isinstance(inputs, Symbol):
        if len(inputs) != 1:
            raise InvalidArgumentError(
                f"{who}: unroll got one Symbol with {len(inputs)} outputs. Pass list(inputs) where "
                "each output is a time step, or choose the merged sequence with [i]."
            )
        return
    if not isinstance(inputs, (list, tuple)) or not all(isinstance(x, Symbol) for x in inputs):
        raise InvalidArgumentError(
            f"{who}: unroll needs one Symbol of the whole sequence or a list of Symbols, one a "
            f"time step, not {_kinds(inputs)}"
        )
    if len(inputs) != steps:
        raise InvalidArgumentError(
            f"{who}: unroll over length={steps} steps got {len(inputs)} inputs; give one Symbol a "
            "time step, or one Symbol of the whole sequence."
        )
    for i, x in enumerate(inputs):
        if len(x) != 1:
            raise InvalidArgumentError(
                f"{who}: input {i} of unroll has {len(x)} outputs; choose one with [i]."
            )


def split_steps(length: int, inputs: Inputs, layout: str) -> list[Symbol]:
    """The sequence as a list; a merged one is cut by one SliceChannel."""
    axis = time_axis(layout)
    if not isinstance(inputs, Symbol):
        return list(inputs)
    return list(sym.split(inputs, axis=axis, num_outputs=length, squeeze_axis=True))


def merge_steps(inputs: Inputs, layout: str) -> Symbol:
    """The sequence as one Symbol; a list gets a time axis and is joined along it."""
    axis = time_axis(layout)
    if isinstance(inputs, Symbol):
        return inputs
    steps = each(lambda x: sym.expand_dims(x, axis=axis), inputs)
    return joined(sym.Concat(*steps, dim=axis))


def each(function: Callable[..., Symbol], *sequences: Sequence[Symbol]) -> list[Symbol]:
    """``function`` of the elements of one step of each sequence, for all steps."""
    outputs, _ = repeat(lambda items, states: (function(*items), states), sequences, [], alike=True)
    return outputs


def in_form(length: int, outputs: Inputs, layout: str, merge: bool | None) -> Outputs:
    """``outputs`` merged, as a list, or (None) as they come."""
    if merge is None:
        return outputs if isinstance(outputs, Symbol) else list(outputs)
    return merge_steps(outputs, layout) if merge else split_steps(length, outputs, layout)


def _kinds(inputs: object) -> str:
    if isinstance(inputs, (list, tuple)):
        strange = next(x for x in inputs if not isinstance(x, Symbol))
        return f"a list with {strange!r} in it"
    return repr(inputs)
