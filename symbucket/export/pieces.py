"""Prove that a network with carried states reads a text in pieces as it reads it at once.

States are not all that may reach from one step to another: positions begin anew with every piece,
a reversed sequence ends where the piece ends, and a convolution over time sees the padding.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from symbucket.compiler import Program
from symbucket.errors import UnsupportedError
from symbucket.export.free_networks import drawn_inputs, factor_sizes, is_close
from symbucket.export.spec import KEY, NetworkSpec, TensorSpec
from symbucket.runtime.session import run_model
from symbucket.types import Array

_STATE = "state"


def check_pieces(program: Program, spec: NetworkSpec, auxiliary: Collection[str]) -> None:
    """Raise UnsupportedError unless two pieces give the steps and the states of the whole.

    ``spec`` is that of the longest key. Outputs without an axis of steps, such as a mean, are
    those of each piece and are not compared.
    """
    length = (spec.sizes or (1,))[0]
    if length < 2:
        return
    values = drawn_inputs(program, spec, auxiliary)
    rng = np.random.default_rng(1)
    for tensor in spec.inputs:
        if tensor.kind == _STATE:
            values[tensor.name] = rng.normal(0.0, 0.3, tensor.shape).astype(tensor.dtype)
    # One number a sample may be its length, which is that of the piece.
    answers = [_wrong_output(program, spec, values, counts) for counts in (False, True)]
    if all(answers):
        raise UnsupportedError(
            f"carry_states: in two pieces, the output {answers[0]!r} is another one than at once. "
            "Something besides the states of LSTM, GRU or RNN reaches from step to step, such as "
            "positions, a reversed sequence, or a convolution over time. Export the network "
            "without carry_states and run whole texts"
        )


def _wrong_output(
    program: Program, spec: NetworkSpec, values: Mapping[str, Array], counts: bool
) -> str | None:
    """Return the name of an output that the pieces change; ``counts``: set the lengths."""
    length = (spec.sizes or (1,))[0]
    middle = length // 2

    def run(start: int, stop: int, states: Mapping[str, Array]) -> dict[str, Array]:
        part = {t.name: _part(values[t.name], t, start, stop) for t in spec.inputs}
        for tensor in spec.inputs:
            if counts and len(tensor.shape) == 1 and tensor.batch_axis == 0:
                part[tensor.name] = np.full(tensor.shape, stop - start, tensor.dtype)
        return run_model(program.model, {**values, **part, **states}, log_failure=False)

    whole = run(0, length, {})
    try:
        first = run(0, middle, {})
        last = {t.name: first[f"{t.name}.next"] for t in spec.inputs if t.kind == _STATE}
        second = run(middle, length, last)
    except Exception:  # the runtime's exceptions have no common base; a position past the piece
        return spec.outputs[0].name
    for output in spec.outputs:
        name = output.name
        if output.kind == _STATE:
            if not is_close(second[name], whole[name]):
                return name
            continue
        sizes, place = factor_sizes(output, spec)
        if place is None:
            continue
        parts = []
        for array, steps in ((first[name], middle), (second[name], length - middle)):
            sizes[place] = steps
            if array.size != math.prod(sizes):
                return name
            parts.append(array.reshape(sizes))
        joined = np.concatenate(parts, place)
        if not is_close(joined, whole[name].reshape(joined.shape)):
            return name
    return None


def _part(array: Array, tensor: TensorSpec, start: int, stop: int) -> Array:
    return array[tuple(slice(start, stop) if a == KEY else slice(None) for a in tensor.axes)]
