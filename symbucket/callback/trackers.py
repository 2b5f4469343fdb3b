"""Trackers of the values of epochs: a CSV file, TensorBoard, MLflow."""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from symbucket.checks import check_integer
from symbucket.errors import UnsupportedError
from symbucket.files import make_folder, write_atomic


class Tracker(Protocol):
    """Interface of ``fit(trackers=[...])``: anything with these methods.

    ``step`` counts updates of the optimizer. Values are ``train-NAME`` and ``val-NAME`` of metrics,
    and ``learning_rate``. An exception in them ends nothing: it is logged, and the tracker is left
    out from then on.
    """

    every_batches: int | None
    """Whether values in the middle of an epoch are wanted, and after how many batches."""

    def begin(self, step: int, config: Mapping[str, Any]) -> None:
        """Training begins, or goes on, after ``step`` updates; ``config`` says with what."""

    def log(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Take values at the end of an epoch, or in its middle."""

    def end(self) -> None:
        """Training has ended, in whatever way."""


class CSVTracker:
    """One row an epoch in a CSV file, which begins with a header.

    Args:
        path: the file; its folder is made. A run that goes on from a checkpoint goes on in it, and
            rows that came after the checkpoint are taken out; else it is written anew.
        every_batches: a row after every so many batches too.

    Raises CheckpointError if the folder cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], every_batches: int | None = None) -> None:
        self.every_batches = _checked(every_batches, "CSVTracker")
        self.path = Path(path)
        make_folder(self.path)
        self._rows: list[dict[str, str]] = []

    def begin(self, step: int, config: Mapping[str, Any]) -> None:
        """Keep the rows up to ``step``."""
        self._rows = []
        if step and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]

    def log(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Add a row; new names become new columns."""
        self._rows.append({"step": str(step), "epoch": str(epoch)})
        self._rows[-1].update((name, repr(float(value))) for name, value in values.items())
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomic(self.path, text.getvalue().encode())

    def end(self) -> None:
        """Do nothing: the file is complete after each row."""


class TensorBoardTracker:
    """Scalars for TensorBoard; needs the extra ``symbucket[tracking]`` (tensorboardX).

    Args:
        folder: where the event files go. A run that goes on adds a file, from whose first step on
            TensorBoard forgets what came after the checkpoint.
        every_batches: values after every so many batches too.
    """

    def __init__(self, folder: str | os.PathLike[str], every_batches: int | None = None) -> None:
        self.every_batches = _checked(every_batches, "TensorBoardTracker")
        self._module = _needed("tensorboardX", "TensorBoardTracker")
        self._folder = os.fspath(folder)
        self._writer: Any = None

    def begin(self, step: int, config: Mapping[str, Any]) -> None:
        """Open an event file."""
        self._writer = self._module.SummaryWriter(self._folder, purge_step=step + 1)
        text = "\n".join(f"    {name}: {value}" for name, value in config.items())
        self._writer.add_text("config", text, step)

    def log(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Write scalars."""
        for name, value in {**values, "epoch": epoch}.items():
            self._writer.add_scalar(name.replace("-", "/", 1), value, step)
        self._writer.flush()

    def end(self) -> None:
        """Close the file."""
        self._writer.close()


class MLflowTracker:
    """Metrics and parameters for MLflow; needs the extra ``symbucket[tracking]``.

    Args:
        run_name: name of the run. experiment: name of the experiment, made if it is not there.
        run_id: an existing run to go on with.
        tracking_uri: where; by default what MLflow is configured for.
        every_batches: values after every so many batches too.
    """

    def __init__(
        self,
        run_name: str | None = None,
        experiment: str | None = None,
        run_id: str | None = None,
        tracking_uri: str | None = None,
        every_batches: int | None = None,
    ) -> None:
        self.every_batches = _checked(every_batches, "MLflowTracker")
        self._mlflow = _needed("mlflow", "MLflowTracker")
        self._name, self._experiment, self.run_id = run_name, experiment, run_id
        self._uri = tracking_uri

    def begin(self, step: int, config: Mapping[str, Any]) -> None:
        """Begin the run, or go on with it."""
        if self._uri is not None:
            self._mlflow.set_tracking_uri(self._uri)
        if self._experiment is not None:
            self._mlflow.set_experiment(self._experiment)
        run = self._mlflow.start_run(run_id=self.run_id, run_name=self._name)
        if self.run_id is None:
            self._mlflow.log_params(dict(config))
        self.run_id = run.info.run_id

    def log(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Log metrics."""
        self._mlflow.log_metrics({**values, "epoch": float(epoch)}, step=step)

    def end(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def _checked(every_batches: int | None, who: str) -> int | None:
    if every_batches is not None:
        check_integer(every_batches, f"{who}: every_batches", 1)
    return every_batches


def _needed(name: str, who: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(
            f'{who} needs {name}: pip install "symbucket[tracking]" ({error})'
        ) from error
