"""Loops: the labels of the states, found by running over the body until they stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from symbucket.compiler.shards.labels import OPEN, SAME, Label, RefusedError, digit_of, rows
from symbucket.compiler.shards.rules.base import Changes
from symbucket.ir import attr, body_of, shape_of, states_of

if TYPE_CHECKING:
    from symbucket.compiler.shards.prove import Proof

_MOST_ROUNDS = 6


def label_loop(proof: Proof, node: ir.Node) -> Sequence[Label]:
    """Return the labels of what a Scan returns: last states, then stacks."""
    body = body_of(node)
    assert body is not None
    count = states_of(node)
    initial = [proof.label(_present(value)) for value in node.inputs[:count]]
    read = attr(node, "scan_input_axes") or [0] * (len(node.inputs) - count)
    for i, axis in enumerate(read):
        label = proof.label(_present(node.inputs[count + i]))
        value = body.inputs[count + i]
        proof.labels[value] = _slice_label(proof, label, node.inputs[count + i], axis)
    states = [OPEN if label.is_fill else label for label in initial]
    for _ in range(_MOST_ROUNDS):
        proof.labels.update(zip(body.inputs, states))
        proof.walk(body)
        results = [proof.label(value) for value in body.outputs]
        nexts = [
            _joined(state, result, first) for state, result, first in zip(states, results, initial)
        ]
        if nexts == states:
            if OPEN not in states:
                break
            nexts = [SAME if state is OPEN else state for state in nexts]
        states = nexts
    else:
        raise RefusedError("what its states are is not clear")
    _fit_states(proof, node, states, initial)
    stacked = attr(node, "scan_output_axes") or [0] * (len(node.outputs) - count)
    stacks = [
        _stack_label(proof, label, out, axis)
        for label, out, axis in zip(results[count:], node.outputs[count:], stacked)
    ]
    return [*states, *stacks]


def _joined(state: Label, result: Label, initial: Label) -> Label:
    """Return what a state is if it begins as ``initial`` and a step makes ``result`` of it."""
    if state is OPEN:
        return SAME if result.is_fill else result
    if result is OPEN or result == state or (result.is_same and state.is_same):
        return state
    if state.is_same and initial.is_fill:
        return result
    raise RefusedError("a step makes something else of a state")


def _fit_states(
    proof: Proof, node: ir.Node, states: Sequence[Label], initial: Sequence[Label]
) -> None:
    """Give states that begin with equal elements the shapes of a shard."""
    changes = Changes()
    for i, (state, first) in enumerate(zip(states, initial)):
        if state.is_rows and not first.is_rows:
            shape = shape_of(_present(node.inputs[i]))
            digit = digit_of(shape, state.outer, proof.parts)
            changes.fits[i] = digit.shard(shape, proof.parts)
        elif state.is_sum and not (first.is_sum or first.is_zero):
            raise RefusedError("a sum over the batch's rows begins with something else")
    if changes.fits:
        proof.changes[node] = changes


def _slice_label(proof: Proof, label: Label, value: ir.Value | None, axis: int) -> Label:
    """Return the label of one step of a sequence."""
    if label.choices:
        choices = []
        for at_input, here in label.choices:
            try:
                choices.append((at_input, _slice_label(proof, here, value, axis)))
            except RefusedError:
                continue
        return Label(label.kind, noise=label.noise, choices=tuple(choices))
    if not label.is_rows:
        return label
    shape = shape_of(_present(value))
    axis %= len(shape)
    digit = digit_of(shape, label.outer, proof.parts)
    if digit.axis == axis:
        raise RefusedError("its steps are the batch's rows")
    return rows(label.outer // shape[axis] if axis < digit.axis else label.outer)


def _stack_label(proof: Proof, label: Label, out: ir.Value, axis: int) -> Label:
    """Return the label of the results of all steps, stacked along ``axis``."""
    if label.choices:
        raise RefusedError("random numbers leave a loop before they meet the batch's rows")
    if not label.is_rows:
        return label
    shape = shape_of(out)
    axis %= len(shape)
    digit = digit_of((*shape[:axis], *shape[axis + 1 :]), label.outer, proof.parts)
    return digit.moved(axis <= digit.axis).label(shape)


def _present(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value
