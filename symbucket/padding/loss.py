"""The numbers whose gradients the loss operators compute; the operators give no such number."""

from __future__ import annotations

import numpy as np

from symbucket.ops.loss import MakeLoss, SoftmaxOutput
from symbucket.ops.record import Operator
from symbucket.ops.regression import (
    LinearRegressionOutput,
    LogisticRegressionOutput,
    MAERegressionOutput,
)
from symbucket.types import Array


def loss_of(op: Operator, output: Array, label: Array | None) -> float | None:
    """Return the loss of a loss operator for this output; None if ``op`` is not a loss."""
    output = output.astype(np.float64)
    if isinstance(op, MakeLoss):
        divisor = {
            "null": 1,
            "batch": output.shape[0],
            "valid": max(1, int((output > op.valid_thresh).sum())),
        }[op.normalization]
        return float(output.sum() * op.grad_scale / divisor)
    if label is None:
        return None
    if isinstance(op, SoftmaxOutput):
        return _softmax_loss(op, output, label)
    label = label.reshape(output.shape)
    if isinstance(op, LinearRegressionOutput):
        each = (output - label) ** 2 / 2
    elif isinstance(op, MAERegressionOutput):
        each = np.abs(output - label)
    elif isinstance(op, LogisticRegressionOutput):
        safe = np.clip(output, 1e-12, 1 - 1e-12)
        each = -label * np.log(safe) - (1 - label) * np.log(1 - safe)
    else:
        return None
    return float(each.sum() * op.grad_scale / (output.size / output.shape[0]))


def _softmax_loss(op: SoftmaxOutput, output: Array, label: Array) -> float:
    if op.multi_output:
        rows = np.moveaxis(output, 1, -1).reshape(-1, output.shape[1])
        batch = output.size // output.shape[1]
    else:
        classes = output.shape[-1] if op.preserve_shape else output.size // output.shape[0]
        rows = output.reshape(-1, classes)
        batch = len(rows) if op.preserve_shape else output.shape[0]
    labels = label.reshape(-1).astype(np.int64)
    counted = labels != int(op.ignore_label)
    picked = rows[np.arange(len(rows)), np.clip(labels, 0, rows.shape[1] - 1)]
    each = -np.log(np.maximum(picked, 1e-30))
    if op.use_ignore:
        each = each[counted]
    divisor = {"null": 1, "batch": batch, "valid": max(1, int(counted.sum()))}[op.normalization]
    return float(each.sum() * op.grad_scale / divisor)
