"""The worker's side of the benchmark: one engine in a process, told over pipes what to do.

A command is a line of JSON on standard input, the answer a line of JSON on standard output.
Runs under Python 3.8 with numpy alone, because MXNet's worker imports it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _lm_data import Batch, Setup, load
from _worker_loop import answer, answer_stream, peak_memory


class Step(NamedTuple):
    """Mean cross entropy before the step's update, and how long the step took."""

    loss: float
    seconds: float


class Engine:
    """What an engine defines. ``batches`` are those of an epoch, padded where asked for."""

    def __init__(
        self, setup: Setup, batches: list[Batch], params: dict[str, np.ndarray], variant: str
    ) -> None:
        self.setup = setup
        self.batches = batches
        self.params = params
        self.variant = variant

    def describe(self) -> dict[str, str]:
        """Versions, by name of the package."""
        raise NotImplementedError

    def build(self) -> None:
        """Make the model with the initial parameters and its optimizer."""
        raise NotImplementedError

    def restore(self) -> None:
        """Set the parameters back to the initial ones."""
        raise NotImplementedError

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        """A step on every batch; the loss is the one before the step's update."""
        raise NotImplementedError

    def commands(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """Commands beyond the common ones."""
        return {}


def one_of_each_key(batches: Sequence[Batch]) -> list[Batch]:
    """The first batch of every key, largest key first."""
    first: dict[int, Batch] = {}
    for batch in batches:
        first.setdefault(batch.key, batch)
    return [first[key] for key in sorted(first, reverse=True)]


def prepare(engine: Engine) -> dict[str, float]:
    """Build, and make every bucket ready; seconds without those of the steps themselves."""
    each = one_of_each_key(engine.batches)
    start = time.perf_counter()
    engine.build()
    engine.train(each)
    first = time.perf_counter()
    engine.train(each)
    second = time.perf_counter()
    engine.restore()
    return {"seconds": max(0.0, (first - start) - (second - first))}


def epoch(engine: Engine) -> dict[str, Any]:
    """One pass over all batches; ``cpu`` are the seconds of all threads together."""
    start = time.process_time()
    steps = engine.train(engine.batches)
    return {
        "losses": [step.loss for step in steps],
        "seconds": [step.seconds for step in steps],
        "cpu": time.process_time() - start,
    }


def serve(make: Callable[..., Engine]) -> None:
    """Answer commands until ``stop``. Arguments: folder of the data, variant, "padded" or ""."""
    answers = answer_stream()
    folder, variant, padded = sys.argv[1:4]
    setup, batches, params = load(Path(folder))
    if padded:
        batches = [batch.padded(setup.longest) for batch in batches]
    engine = make(setup, batches, params, variant)
    commands: dict[str, Callable[[dict[str, Any]], Any]] = {
        "describe": lambda _: engine.describe(),
        "prepare": lambda _: prepare(engine),
        "epoch": lambda _: epoch(engine),
        "memory": lambda _: {"bytes": peak_memory()},
    }
    commands.update(engine.commands())
    answer(commands, answers)
