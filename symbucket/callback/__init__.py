"""Functions that ``fit`` and ``score`` call after a batch or an epoch, as ``mx.callback``."""

from symbucket.callback.checkpoints import do_checkpoint, module_checkpoint
from symbucket.callback.early_stopping import EarlyStopping
from symbucket.callback.live_plot import LivePlot
from symbucket.callback.progress import (
    BatchEndParam,
    LogValidationMetricsCallback,
    ProgressBar,
    Speedometer,
    log_train_metric,
)
from symbucket.callback.trackers import CSVTracker, MLflowTracker, TensorBoardTracker, Tracker

__all__ = [
    "BatchEndParam",
    "CSVTracker",
    "EarlyStopping",
    "LivePlot",
    "LogValidationMetricsCallback",
    "MLflowTracker",
    "ProgressBar",
    "Speedometer",
    "TensorBoardTracker",
    "Tracker",
    "do_checkpoint",
    "log_train_metric",
    "module_checkpoint",
]
