"""A checkpoint of everything, in one file: arrays, and a record of all that is no array.

A file is safetensors with a SHA-256 over all of it, written beside its place, synced, and renamed:
there is the whole checkpoint or none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from symbucket.checks import one_line
from symbucket.errors import CheckpointError
from symbucket.files import pack_arrays, read_arrays, read_metadata, write_checkpoint

Array = np.ndarray[Any, Any]

_KIND = "symbucket-checkpoint"
_RECORD = "record"
_WHAT = "checkpoint"


RECORD_VERSION = 1


class _Progress(msgspec.Struct):
    epoch: int
    batch: int
    updates: int


class _OptimizerRecord(msgspec.Struct):
    name: str
    counters: dict[str, Any]
    learning_rate: float
    initial_learning_rate: float | None
    numbers: dict[str, float | bool]
    schedule: str | None
    base_lr: float | None


class _Record(msgspec.Struct):
    """What a record of version 1 holds besides the states of iterator and metric."""

    progress: _Progress
    scores: dict[str, float]
    module: str
    network: str
    default_bucket_key: str
    clocks: list[tuple[int, int]]
    optimizer: _OptimizerRecord | None
    random: dict[str, Any]
    versions: dict[str, Any]
    iterator: dict[str, Any] | None
    metric: Any


@dataclass(frozen=True)
class WholeCheckpoint:
    """Contents of a checkpoint.

    Attributes:
        arrays: ``arg:NAME``, ``aux:NAME``, ``state:OPTIMIZER/STATE/NAME``, and others by such
            prefixes.
        record: everything else, as JSON values.
        path: its file; empty if it has none yet.
    """

    arrays: Mapping[str, Array]
    record: Mapping[str, Any]
    path: str = ""

    @property
    def epoch(self) -> int:
        """Number of the epoch that it lies in, from 0."""
        return int(self.record["progress"]["epoch"])

    @property
    def batch(self) -> int:
        """Number of batches of this epoch that had their turn."""
        return int(self.record["progress"]["batch"])

    @property
    def updates(self) -> int:
        """Number of updates of the optimizer."""
        return int(self.record["progress"]["updates"])

    @property
    def scores(self) -> dict[str, float]:
        """Values of metrics by name: ``train-perplexity``, ``val-perplexity``."""
        return dict(self.record["scores"])

    def group(self, prefix: str) -> dict[str, Array]:
        """Return the arrays whose names begin with ``prefix:``, without it."""
        start = f"{prefix}:"
        return {n.removeprefix(start): a for n, a in self.arrays.items() if n.startswith(start)}

    def write(self, path: str | os.PathLike[str]) -> WholeCheckpoint:
        """Write the file, whole or not at all; raise CheckpointError if it cannot be written."""
        write_checkpoint(path, pack_arrays(self.arrays, _KIND, {_RECORD: json.dumps(self.record)}))
        return WholeCheckpoint(self.arrays, self.record, os.fspath(path))

    @staticmethod
    def read(path: str | os.PathLike[str]) -> WholeCheckpoint:
        """Read a file and verify its checksum; raise CheckpointError if it is damaged."""
        arrays, about = read_arrays(path, _WHAT)
        return WholeCheckpoint(arrays, _record(about, path), os.fspath(path))


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the record of a checkpoint without reading its arrays, and without verifying it."""
    return _record(read_metadata(path, _WHAT), path)


def _record(about: Mapping[str, str], path: str | os.PathLike[str]) -> dict[str, Any]:
    where = repr(os.fspath(path))
    if about.get("format") != _KIND:
        raise CheckpointError(
            f"{where} is no checkpoint of CheckpointManager; load_params reads files of parameters"
        )
    try:
        record: dict[str, Any] = json.loads(about[_RECORD])
        if record["version"] == RECORD_VERSION:
            msgspec.convert(record, _Record)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{where} is damaged: its record cannot be read ({one_line(error)})"
        ) from error
    return record


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder by their names, the newest first."""
    return sorted(folder.glob(f"checkpoint-{'[0-9]' * 8}.safetensors"), reverse=True)


def checkpoint_name(number: int) -> str:
    """Return the name of checkpoint ``number`` of a folder."""
    return f"checkpoint-{number:08d}.safetensors"
