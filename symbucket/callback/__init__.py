"""Functions that ``fit`` and ``score`` call after a batch or an epoch, as ``mx.callback``."""

from symbucket.callback.checkpoints import do_checkpoint, module_checkpoint
from symbucket.callback.early_stopping import EarlyStopping
from symbucket.callback.progress import (
    BatchEndParam,
    LogValidationMetricsCallback,
    ProgressBar,
    Speedometer,
    log_train_metric,
)

__all__ = [
    "BatchEndParam",
    "EarlyStopping",
    "LogValidationMetricsCallback",
    "ProgressBar",
    "Speedometer",
    "do_checkpoint",
    "log_train_metric",
    "module_checkpoint",
]
