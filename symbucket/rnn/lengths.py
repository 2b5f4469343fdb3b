"""Sequences of their own lengths in one batch: masked outputs, last states, reversal, masks.

``valid_length`` (n,) says how many steps of each sequence are real; what follows is padding. Every
function returns what the sequence alone would give, whatever the padding holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symbucket import symbol as sym
from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError
from symbucket.rnn import sequence
from symbucket.rnn.sequence import Inputs
from symbucket.symbol import Symbol


def sequence_mask(valid_length: Symbol, length: int) -> Symbol:
    """Return (n, length), float32: 1 at real steps, 0 at padding.

    ``sym.where`` with it keeps attention away from padding: give what is masked scores of -1e30
    before the softmax. For one length a row ``sym.softmax(scores, lengths, use_length=True)`` does.

    Args:
        valid_length: (n,), how many steps of each sequence are real.
        length: number of time steps.
    """
    length = check_integer(length, "sequence_mask: length", 1)
    check_lengths("sequence_mask", valid_length)
    steps = sym.reshape(sym.arange(length), shape=(1, length))
    lengths = sym.Cast(valid_length, dtype="float32")  # they may be integers
    return sym.broadcast_lesser(steps, sym.reshape(lengths, shape=(-1, 1)))


def check_lengths(who: str, valid_length: object) -> None:
    """Raise InvalidArgumentError unless ``valid_length`` is one Symbol."""
    if not isinstance(valid_length, Symbol) or len(valid_length) != 1:
        raise InvalidArgumentError(
            f"{who}: valid_length must be a Symbol of the shape (batch,), as "
            f'sym.Variable("valid_length"), not {valid_length!r}'
        )


def masked(inputs: Inputs, valid_length: Symbol, layout: str) -> Symbol:
    """The merged sequence with zeros where padding stands."""
    return sym.SequenceMask(
        sequence.merge_steps(inputs, layout),
        valid_length,
        use_sequence_length=True,
        axis=sequence.time_axis(layout),
    )


def reversed_steps(inputs: Inputs, valid_length: Symbol, layout: str) -> Symbol:
    """The merged sequence with its real steps in reverse order; padding stays at the end."""
    merged = sequence.merge_steps(inputs, layout)
    if layout == "TNC":
        return sym.SequenceReverse(merged, valid_length, use_sequence_length=True)
    by_time = sym.SwapAxis(merged, dim1=0, dim2=1)
    turned = sym.SequenceReverse(by_time, valid_length, use_sequence_length=True)
    return sym.SwapAxis(turned, dim1=0, dim2=1)


def last_states(
    steps: Sequence[Sequence[Symbol]], begin: Sequence[Symbol], valid_length: Symbol
) -> list[Any]:
    """The states after the last real step of each sequence; of an empty one those before it.

    Args:
        steps: for each step the states after it, each (n, ...).
        begin: the states before the first step.
        valid_length: (n,), how many steps of each sequence are real.
    """
    last = []
    for before, *after in zip(begin, *steps):
        stacked = sequence.merge_steps(after, "TNC")
        state = sym.SequenceLast(stacked, valid_length, use_sequence_length=True)
        last.append(sym.where(valid_length > 0, state, before))
    return last
