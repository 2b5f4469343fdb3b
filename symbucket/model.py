"""``FeedForward`` and checkpoints, under the names of ``mx.model``."""

from typing import Any

from symbucket import checkpoint
from symbucket.callback import BatchEndParam
from symbucket.checkpoint import load_checkpoint, save_checkpoint
from symbucket.module.feedforward import FeedForward

__all__ = ["BatchEndParam", "FeedForward", "load_checkpoint", "load_params", "save_checkpoint"]


def load_params(prefix: str, epoch: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and auxiliary states of ``prefix-EPOCH.params``, as NDArrays by name.

    Raises CheckpointError if the file is missing or damaged.
    """
    return checkpoint.load_params(checkpoint.params_path(prefix, epoch))
