"""Arrays of a batch, by its own descriptions or, if it has none, by the bound ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket.engine.network_interface import BatchShapes, Descs, NetworkInterface
from symbucket.errors import DataError
from symbucket.io import DataBatch, DataDesc
from symbucket.types import Shape


@dataclass(frozen=True)
class BatchArrays:
    """The arrays of a batch by name, and their descriptions."""

    shapes: BatchShapes
    arrays: dict[str, Any]


def read_batch(name: str, batch: DataBatch, bound: BatchShapes) -> BatchArrays:
    """Return the arrays of a batch.

    Args:
        name: how messages call the network.
        batch: its ``provide_data`` and ``provide_label`` describe the arrays.
        bound: describes data or labels that the batch does not; their shapes may differ, as those
            of a smaller last batch.

    Raises:
        DataError: numbers or shapes of arrays and descriptions differ, or an array is not one.
    """
    arrays: dict[str, Any] = {}
    data = _read("data", name, batch.provide_data, bound.data, batch.data, arrays)
    labels: Descs = []
    if batch.label and (batch.provide_label or bound.labels):  # a module may be bound without any
        labels = _read("label", name, batch.provide_label, bound.labels, batch.label, arrays)
    return BatchArrays(BatchShapes(data, labels), arrays)


def _read(
    kind: str,
    name: str,
    provided: Descs | None,
    bound: Descs,
    values: Sequence[Any],
    arrays: dict[str, Any],
) -> Descs:
    """Add the values to ``arrays``; return their descriptions."""
    descs = provided or bound
    if len(descs) != len(values):
        raise DataError(
            f"{name}: the batch has {len(values)} {kind} arrays, described are "
            f"{len(descs)}: {', '.join(d.name for d in descs)} (provide_{kind})"
        )
    described = []
    for desc, value in zip(descs, values):
        try:
            shape = tuple(np.shape(value))
        except ValueError as error:
            raise DataError(
                f"{name}: the batch's {kind} {desc.name!r} is no array: {error}"
            ) from None
        if provided and shape != desc.shape:
            raise DataError(
                f"{name}: the batch's {kind} array {desc.name!r} has shape {shape}, "
                f"its provide_{kind} says {desc.shape}"
            )
        described.append(desc if shape == desc.shape else desc.with_shape(shape))
        arrays[desc.name] = value
    return described


def batch_of_network(
    network: NetworkInterface,
    batch: DataBatch,
    bound: BatchShapes,
    labelled: BatchShapes,
    training: bool,
) -> BatchArrays:
    """Return the arrays of a batch that a network has.

    Args:
        network: what the batch is for.
        batch: the batch.
        bound: describes data of a batch that does not.
        labelled: the last data and labels that came together. They describe the labels of a batch
            that does not, or that has none.
        training: then all labels must be there.

    Raises:
        DataError: as ``read_batch``, or a label is missing.
    """
    read = read_batch(network.name, batch, BatchShapes(bound.data, labelled.labels))
    shapes = network.select(read.shapes.data, read.shapes.labels)
    if training:
        network.require_labels(read.arrays)
    if not shapes.labels:
        shapes = BatchShapes(shapes.data, _labels_for(shapes.data, labelled))
    names = {*network.data_names, *network.label_names}
    return BatchArrays(shapes, {n: a for n, a in read.arrays.items() if n in names})


def _labels_for(data: Descs, labelled: BatchShapes) -> Descs:
    """Return label shapes for data without labels: as last time, but for the batch size.

    What the labels hold does not matter then; without shapes many networks cannot be inferred.
    """
    last = {d.name: d for d in labelled.data}
    sizes = {(_batch_size(last[d.name]), _batch_size(d)) for d in data if d.name in last}
    same_rows = all(d.name in last and _row_shape(last[d.name]) == _row_shape(d) for d in data)
    if not same_rows or len(sizes) != 1:
        return []
    ((last_size, size),) = sizes
    labels = []
    for desc in labelled.labels:
        axis, shape = desc.batch_axis, list(desc.shape)
        if 0 <= axis < len(shape) and shape[axis] == last_size:
            shape[axis] = size
        labels.append(desc.with_shape(shape))
    return labels


def _batch_size(desc: DataDesc) -> int:
    axis = desc.batch_axis
    return desc.shape[axis] if 0 <= axis < len(desc.shape) else -1


def _row_shape(desc: DataDesc) -> Shape:
    return tuple(d for i, d in enumerate(desc.shape) if i != desc.batch_axis)
