"""The step that makes a training step one of a part of the batch's rows, where that is right."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from symbucket.compiler.ports import PortedGraph, Role
from symbucket.compiler.request import CompileRequest
from symbucket.compiler.shards.labels import SAME, SUM, Kind, Label, RefusedError, rows
from symbucket.compiler.shards.pays import pays
from symbucket.compiler.shards.prove import prove
from symbucket.compiler.shards.sharding import Piece, Sharding
from symbucket.compiler.shards.to_one_shard import to_one_shard
from symbucket.ir import shape_of
from symbucket.types import Shape

LEAST_ROWS = 8
"""Rows that a shard has at least: products of fewer take as long, one of 4 rows as one of 16."""


def shard(ported: PortedGraph, request: CompileRequest, heads: bool) -> None:
    """Give the graph of a training step the shapes of a shard, or say why not.

    Nothing is changed unless all of the graph is proven to work row by row. ``heads``: gradients
    depend on head gradients.
    """
    if heads:
        ported.unsharded = "its gradients depend on head gradients"
        return
    if request.options.memory_limit is not None:
        ported.unsharded = "its memory is limited"
        return
    graph = ported.graph
    graph.outputs.extend(ported.outputs.values())
    try:
        _shard(ported, request)
    except RefusedError as refusal:
        ported.unsharded = str(refusal)
    ported.outputs = dict(zip(ported.outputs, graph.outputs))
    graph.outputs.clear()


def _shard(ported: PortedGraph, request: CompileRequest) -> None:
    axes = dict(request.batch_axes)
    for value, port in ported.inputs.items():
        if port.of in axes and not 0 <= axes[port.of] < len(shape_of(value)):
            raise RefusedError(f"{port.of!r} has no axis {axes[port.of]}")
    parts = parts_of(ported, axes, request.target.shards)
    gradients = [v for port, v in ported.outputs.items() if port.role is Role.GRAD]
    if not pays(ported.graph, gradients, parts):
        raise RefusedError("it would not be faster")
    size = min(_batch_sizes(ported, axes))
    labels: dict[ir.Value, Label] = {}
    for value, port in ported.inputs.items():
        if port.role is Role.NOISE and value.uses():
            labels[value] = _noise_label(value, size)
        elif port.role is Role.ARGUMENT and port.of in axes:
            labels[value] = rows(math.prod(shape_of(value)[: axes[port.of]]))
        else:
            labels[value] = SAME
    arguments = [v for v, port in ported.inputs.items() if port.role is Role.ARGUMENT]
    proof = prove(ported.graph, labels, parts, arguments)
    pieces = {}
    for ports in (ported.inputs.items(), ((v, port) for port, v in ported.outputs.items())):
        for value, port in ports:
            pieces[port.name] = _piece(proof.label(value))
    shapes = {port.name: shape_of(v) for v, port in ported.inputs.items()}
    shapes |= {port.name: shape_of(v) for port, v in ported.outputs.items()}
    for value, whole in to_one_shard(proof).items():
        ported.inputs[whole] = ported.inputs[value]
        pieces[whole.name or ""] = Piece("same")
    ported.sharding = Sharding(parts, pieces)
    ported.whole_shapes = shapes
    ported.changes["shard-rows"] = parts


def parts_of(ported: PortedGraph, axes: Mapping[str, int], most: int) -> int:
    """Return into how many parts the batch is cut; raises RefusedError if there are none."""
    sizes = _batch_sizes(ported, axes)
    if not sizes:
        raise RefusedError("no argument has a batch axis")
    size = min(sizes)
    for parts in range(min(most, size // LEAST_ROWS), 1, -1):
        if all(one % parts == 0 for one in sizes):
            return parts
    raise RefusedError(
        f"a batch of {size} cannot be cut into equal parts of {LEAST_ROWS} rows or more"
    )


def _batch_sizes(ported: PortedGraph, axes: Mapping[str, int]) -> list[int]:
    return [
        shape_of(value)[axes[port.of]]
        for value, port in ported.inputs.items()
        if port.role is Role.ARGUMENT and port.of in axes and value.uses()
    ]


def _noise_label(value: ir.Value, batch: int) -> Label:
    """Return FREE with the axes along which random numbers may be cut, if there are any."""
    shape: Shape = shape_of(value)
    places = {0: SAME}
    for axis, size in enumerate(shape):
        before = math.prod(shape[:axis])
        if size % batch == 0:
            for outer in (before, before * (size // batch)):
                places[outer] = rows(outer)
    if len(places) == 1:
        return SAME
    choices = tuple((label, label) for label in places.values())
    return Label(Kind.FREE, noise=value, choices=choices)


def _piece(label: Label) -> Piece:
    if label.is_rows:
        return Piece("rows", label.outer)
    if label.choices:
        raise RefusedError("random numbers do not meet the batch's rows")
    return Piece("sum" if label == SUM else "same")
