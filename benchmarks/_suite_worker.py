"""The worker's side of the suite: trains one workload on one engine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from _suite_workloads import WORKLOADS, Workload
from _worker_loop import answer, answer_stream, peak_memory


class Step(NamedTuple):
    """Mean loss before the step's update, and how long the step took."""

    loss: float
    seconds: float


class Engine:
    """What an engine defines; ``way`` is one of its ways to run the workload."""

    def __init__(self, workload: Workload, way: str, threads: int) -> None:
        self.workload, self.way, self.threads = workload, way, threads

    def describe(self) -> dict[str, str]:
        """Versions, by name of the package."""
        raise NotImplementedError

    def build(self) -> None:
        """Make the model with the initial parameters and its optimizer."""
        raise NotImplementedError

    def epoch(self) -> list[Step]:
        """A step on every batch."""
        raise NotImplementedError

    def profile(self, epochs: int) -> Any:
        """Where the time goes."""
        raise NotImplementedError


def epoch(engine: Engine) -> dict[str, Any]:
    """One pass over all batches; ``cpu`` are the seconds of all threads together."""
    start = time.process_time()
    steps = engine.epoch()
    return {
        "losses": [step.loss for step in steps],
        "seconds": [step.seconds for step in steps],
        "cpu": time.process_time() - start,
    }


def serve(make: Callable[[Workload, str, int], Engine]) -> None:
    """Answer commands until ``stop``. Arguments: workload, way, number of threads."""
    answers = answer_stream()
    name, way, threads = sys.argv[1:4]
    engine = make(WORKLOADS[name](), way, int(threads))
    commands: dict[str, Callable[[dict[str, Any]], Any]] = {
        "describe": lambda _: engine.describe(),
        "build": lambda _: engine.build(),
        "epoch": lambda _: epoch(engine),
        "profile": lambda request: engine.profile(request["epochs"]),
        "memory": lambda _: {"bytes": peak_memory()},
    }
    answer(commands, answers)
