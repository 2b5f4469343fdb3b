"""What a batch says of its arrays, and what the bound shapes say where it says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.engine.network import Descs, Network, Shapes
from symbucket.errors import DataError
from symbucket.io import DataBatch, DataDesc


def read_batch(
    network: Network, batch: DataBatch, bound: Descs, labelled: Shapes, training: bool
) -> tuple[Shapes, dict[str, Any]]:
    """The shapes of a batch, and its arrays by name, of those that the network has.

    Args:
        network: says which arrays are expected.
        bound: descriptions of data for a batch that has none.
        labelled: the last data and labels that came together; labels of other batches are
            described by them.
        training: then all labels must be there.

    Raises DataError where arrays and descriptions differ.
    """
    name = network.name
    data = batch.provide_data or _redescribed(bound, batch.data)
    labels = batch.provide_label
    given = batch.label or []
    if labels is None:
        labels = _redescribed(labelled.labels, given) if given else []
    arrays: dict[str, Any] = {}
    for kind, descs, values in (("data", data, batch.data), ("label", labels, given)):
        if kind == "label" and not values:
            continue
        if len(descs) != len(values):
            raise DataError(
                f"{name}: the batch has {len(values)} {kind} arrays, described are "
                f"{len(descs)}: {', '.join(d.name for d in descs)} (provide_{kind})"
            )
        for desc, array in zip(descs, values):
            try:
                shape = tuple(np.shape(array))
            except ValueError as error:
                raise DataError(
                    f"{name}: the batch's {kind} {desc.name!r} is no array: {error}"
                ) from None
            if shape != desc.shape:
                raise DataError(
                    f"{name}: the batch's {kind} array {desc.name!r} has shape {shape}, "
                    f"its provide_{kind} says {desc.shape}"
                )
            arrays[desc.name] = array
    found = network.described(data, labels if given else [])
    absent = [n for n in network.label_names if n not in arrays]
    if training and absent:
        raise DataError(
            f"{name}: the batch has no label {', '.join(map(repr, absent))}, and "
            "training needs it (label= and provide_label= of DataBatch)"
        )
    if not found.labels:
        found = Shapes(found.data, _labels_for(found.data, labelled))
    known = {*network.data_names, *network.label_names}
    return found, {n: a for n, a in arrays.items() if n in known}


def _labels_for(data: Descs, labelled: Shapes) -> Descs:
    """Label shapes for data without labels: as last time, but for the batch size.

    What the labels hold does not matter then; without shapes many networks cannot be inferred.
    """
    by_name = {d.name: d for d in labelled.data}
    changed = {(_batch(by_name[d.name]), _batch(d)) for d in data if d.name in by_name}
    same = all(d.name in by_name and _row(by_name[d.name]) == _row(d) for d in data)
    if not same or len(changed) != 1:
        return []
    old, new = next(iter(changed))
    found = []
    for desc in labelled.labels:
        axis = DataDesc.get_batch_axis(desc.layout)
        shape = list(desc.shape)
        if 0 <= axis < len(shape) and shape[axis] == old:
            shape[axis] = new
        found.append(DataDesc(desc.name, shape, desc.dtype, desc.layout))
    return found


def _redescribed(descs: Descs, arrays: Sequence[Any]) -> Descs:
    """The bound descriptions with the shapes that arrived, as for a smaller last batch."""
    if len(descs) != len(arrays):
        return descs
    return [DataDesc(d.name, tuple(np.shape(a)), d.dtype, d.layout) for d, a in zip(descs, arrays)]


def _batch(desc: DataDesc) -> int:
    axis = DataDesc.get_batch_axis(desc.layout)
    return desc.shape[axis] if 0 <= axis < len(desc.shape) else -1


def _row(desc: DataDesc) -> tuple[int, ...]:
    axis = DataDesc.get_batch_axis(desc.layout)
    return tuple(d for i, d in enumerate(desc.shape) if i != axis)
