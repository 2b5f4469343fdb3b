"""``FeedForward`` and checkpoints, under the names of ``mx.model``."""

from symbucket.callback import BatchEndParam
from symbucket.checkpoint import load_checkpoint, save_checkpoint
from symbucket.module.feedforward import FeedForward

__all__ = ["BatchEndParam", "FeedForward", "load_checkpoint", "save_checkpoint"]
