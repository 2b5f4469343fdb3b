"""Undo a Split that a Concat puts together again.

``Concat(Split(x))`` along one axis is x; the steps of a sequence, cut along the time axis and
stacked row upon row, are one transposition.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.compiler.rewrite.base import graph_pass
from symbucket.compiler.rewrite.pattern import Match, Op, match_each, replace_matches, variables
from symbucket.ir import Builder, attribute_of, input_of, produced_by, shape_of

part, shape = variables("part", "shape")
RESHAPED = Op("Reshape", part, shape)
JOIN = Op("Concat")


@graph_pass("forward", "joint")
def simplify_stacking(graph: ir.Graph) -> int:
    """Rewrite every Concat of all parts of one Split."""
    return replace_matches(graph, JOIN, _whole)


def _whole(g: Builder, match: Match) -> ir.Value | None:
    """Return what the Split cut, as the Concat puts it together."""
    inputs, axis = match.node(JOIN).inputs, match.attribute(JOIN, "axis")
    if len(inputs) < 2:
        return None
    split = _split_into(inputs)
    if split is not None:
        rank = len(shape_of(match[JOIN]))
        same_axis = attribute_of(split, "axis") % rank == axis % rank
        return input_of(split, 0) if same_axis else None
    matches = match_each(RESHAPED, inputs) if axis == 0 else None
    split = None if matches is None else _split_into([m[part] for m in matches])
    return None if split is None else _steps_as_rows(g, split, shape_of(match[JOIN]))


def _split_into(values: Sequence[ir.Value | None]) -> ir.Node | None:
    """Return the Split whose outputs, all and in order, are ``values``."""
    split = produced_by(values[0], "Split")
    return split if split is not None and tuple(split.outputs) == tuple(values) else None


def _steps_as_rows(g: Builder, split: ir.Node, result: tuple[int, ...]) -> ir.Value | None:
    """Return the steps of a Split along axis 0 or 1, row upon row: ``Concat_0(Reshape(part))``."""
    whole, axis = input_of(split, 0), attribute_of(split, "axis")
    shape = shape_of(whole)
    single_steps = axis in (0, 1) and axis < len(shape) and shape[axis] == len(split.outputs)
    if len(shape) < 2 or not single_steps or result != (shape[0] * shape[1], *shape[2:]):
        return None
    if axis == 1:
        whole = g.transpose(whole, [1, 0, *range(2, len(shape))])
    return g.reshape(whole, result)
