"""Labels and outputs as checked numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket.casts import check_unmasked
from symbucket.errors import DataError, InvalidArgumentError, ShapeError
from symbucket.types import Array, IntArray


def array_list(arrays: Any) -> list[Array]:
    """Return a list of numpy arrays, from a list of array-likes or from one array."""
    listed = arrays if isinstance(arrays, (list, tuple)) else [arrays]
    for array in listed:
        check_unmasked(array, "a label or output of a metric")
    return [np.asarray(array) for array in listed]


def pairs(metric: str, labels: Any, preds: Any) -> list[tuple[Array, Array]]:
    """Return each label with its output; raise ShapeError unless there are equally many."""
    label_list, pred_list = array_list(labels), array_list(preds)
    if len(label_list) != len(pred_list):
        raise ShapeError(
            f"metric {metric!r} compares labels with outputs one by one, but got "
            f"{len(label_list)} labels and {len(pred_list)} outputs. Name those that belong "
            "together by label_names= and output_names= of the metric."
        )
    return list(zip(label_list, pred_list))


def check_ignore_label(metric: str, ignore_label: Any) -> int | None:
    """Return ``ignore_label`` as an integer or None."""
    if ignore_label is None:
        return None
    whole = isinstance(ignore_label, (int, float, np.number)) and float(ignore_label) % 1 == 0
    if isinstance(ignore_label, bool) or not whole:
        raise InvalidArgumentError(
            f"metric {metric!r}: ignore_label must be a whole number or None, "
            f"found {ignore_label!r}."
        )
    return int(ignore_label)


def class_rows(metric: str, pred: Array, axis: int) -> Array:
    """Return ``pred`` as (rows, classes): ``axis`` last, the other axes flattened in order."""
    if not -pred.ndim <= axis < pred.ndim:
        raise ShapeError(
            f"metric {metric!r}: the class axis {axis} does not exist in an output of shape "
            f"{pred.shape}; correct axis=."
        )
    last = np.moveaxis(pred, axis, -1)
    if last.shape[-1] == 0:
        raise ShapeError(f"metric {metric!r}: an output of shape {pred.shape} has no classes.")
    return last.reshape(-1, last.shape[-1])


def class_labels(
    metric: str, label: Array, table: tuple[int, ...], ignore_label: int | None
) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Return flat labels and the mask of those that count.

    ``table`` is (rows, classes) of the output that they belong to.
    Ignored labels are returned as 0, so the result indexes rows of ``classes`` columns safely.
    """
    rows, classes = table
    if label.size != rows:
        raise ShapeError(
            f"metric {metric!r}: labels of shape {label.shape} are {label.size} labels, but "
            f"the output has {rows} rows of {classes} classes; there must be one label a row."
        )
    if label.dtype.kind not in "biufV":
        raise DataError(f"metric {metric!r}: labels must be numbers, found {label.dtype}.")
    # float64 holds every float label exactly; integers stay as they are.
    flat = label.reshape(-1)
    wide = flat if flat.dtype.kind in "biu" else flat.astype(np.float64)
    keep = np.ones(wide.shape, np.bool_) if ignore_label is None else wide != ignore_label
    # Written so that NaN fails too.
    good = (wide >= 0) & (wide < classes) & (wide == np.floor(wide))
    wrong = np.flatnonzero(keep & ~good)
    if wrong.size:
        where = tuple(int(i) for i in np.unravel_index(wrong[0], label.shape))
        ignoring = (
            "no label is ignored (ignore_label=None)"
            if ignore_label is None
            else f"only {ignore_label} is ignored"
        )
        raise DataError(
            f"metric {metric!r}: label {wide[wrong[0]].item():g} at {where} of labels of shape "
            f"{label.shape} is not a class in [0, {classes}), and {ignoring}; {wrong.size} of "
            f"{label.size} labels are such. Correct the labels, or set ignore_label."
        )
    return np.where(keep, wide, 0).astype(np.int64), keep


def same_shape(metric: str, label: Array, pred: Array) -> tuple[Array, Array]:
    """Return both as flat float64; axes of length 1 at the end may be left out in either.

    Labels (N, T) also fit outputs of N*T rows, which is how merged time steps come out.
    Complex and text arrays are refused.
    """
    for what, array in (("labels", label), ("outputs", pred)):
        if array.dtype.kind not in "biufV":
            raise DataError(f"metric {metric!r}: {what} must be numbers, found {array.dtype}.")
    label, pred = label.astype(np.float64), pred.astype(np.float64)
    shapes = [label.shape, pred.shape]
    for i, shape in enumerate(shapes):
        while len(shape) > 1 and shape[-1] == 1:
            shape = shape[:-1]
        shapes[i] = shape
    merged = len(shapes[1]) == 1 and label.size == pred.size
    if shapes[0] != shapes[1] and not merged:
        raise ShapeError(
            f"metric {metric!r}: labels of shape {label.shape} and outputs of shape {pred.shape} "
            "do not match; give both the same shape."
        )
    return label.reshape(-1), pred.reshape(-1)


def check_label_shapes(
    labels: Any, preds: Any, wrap: bool = False, shape: bool = False
) -> tuple[Any, Any]:
    """Raise ShapeError unless there are as many labels as outputs; a metric of one's own calls it.

    Args:
        labels, preds: lists of arrays, or two arrays.
        wrap: return a single array as a list of one.
        shape: compare the shapes of two arrays.
    """
    sizes = (np.shape(labels), np.shape(preds)) if shape else (len(labels), len(preds))
    if sizes[0] != sizes[1]:
        raise ShapeError(
            f"Shape of labels {sizes[0]} does not match shape of predictions {sizes[1]}"
        )
    if wrap:
        labels, preds = (a if isinstance(a, (list, tuple)) else [a] for a in (labels, preds))
    return labels, preds
