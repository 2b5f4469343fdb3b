"""Hostile input: whatever it is, reading it ends soon, with a result or a SymbucketError.

Each module that draws inputs has ``case(seed)``, which returns what to do with input number
``seed``, and runs by hand: ``python -m tests.fuzz.NAME --seconds 600 --seed 1000``.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbucket.errors import SymbucketError

MAX_SECONDS = 5.0  # of one input, on a machine that does other things too
_HANGS_AFTER = 120.0

HOSTILE: list[Any] = [
    None,
    -1,
    0,
    1 << 63,
    10**30,
    10**9,
    1e999,
    float("nan"),
    True,
    "",
    "x" * 300,
    "\x00",
    "\ud800",
    "1e999",
    "nan",
    "0",
    "7",
    "-3",
    "(1, 2)",
    "True",
    "float16",
    str(10**9),
    "(" * 300,
    "object",
    [],
    {},
    [[[]]],
    ["a", {"b": None}],
]
"""JSON values that stand where others are expected."""

Case = Callable[[], object]


@dataclass
class Report:
    """What became of the inputs."""

    seed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return ", ".join(f"{n} {what}" for what, n in sorted(self.outcomes.items()))


def attempt(report: Report, where: str, case: Case, most_bytes: int | None = None) -> None:
    """Do what ``case`` says; record how it ended, and as a failure if it must not end so."""
    began = time.perf_counter()
    if most_bytes is not None:
        tracemalloc.start()
    try:
        case()
        report.outcomes["accepted"] += 1
    except SymbucketError:
        report.outcomes["refused"] += 1
    except Exception as error:
        report.outcomes["raw errors"] += 1
        last = traceback.extract_tb(error.__traceback__)[-1]
        report.failures.append(
            f"{where}: {type(error).__name__}: {str(error)[:200]} ({last.filename}:{last.lineno})"
        )
    if most_bytes is not None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if peak > most_bytes:
            report.failures.append(f"{where}: held {peak:,} bytes")
    if time.perf_counter() - began > MAX_SECONDS:
        report.failures.append(f"{where}: took {time.perf_counter() - began:.1f} s")


def survive(
    case: Callable[[int], Case], start: int, count: int | None, seconds: float | None
) -> Iterator[Report]:
    """Attempt one input after another; yield the report after each."""
    report, end = Report(start), None if seconds is None else time.perf_counter() + seconds
    while count is None or report.seed < start + count:
        if end is not None and time.perf_counter() > end:
            return
        attempt(report, f"seed {report.seed}", case(report.seed))
        report.seed += 1
        yield report


def replaced(tree: Any, rng: np.random.Generator) -> Any:
    """Return a copy of JSON values, one of which is another, is gone, or is there twice."""
    if not isinstance(tree, (list, dict)) or not tree or rng.random() < 0.02:
        return HOSTILE[rng.integers(len(HOSTILE))]
    keys = list(range(len(tree))) if isinstance(tree, list) else list(tree)
    key = keys[rng.integers(len(keys))]
    copy: Any = tree.copy()
    kind = rng.random()
    if kind < 0.08:
        del copy[key]
    elif kind < 0.14 and isinstance(copy, list):
        copy.insert(key, copy[rng.integers(len(copy))])
    elif kind < 0.2 and isinstance(copy, dict):
        copy[key] = copy[keys[rng.integers(len(keys))]]
    else:
        copy[key] = replaced(copy[key], rng)
    return copy


def main(case: Callable[[int], Case], text: str | None) -> int:
    """Run ``case`` from the command line; return 1 if there were failures."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--seconds", type=float, default=60, help="how long; 60 by default")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    report, shown = Report(), 0
    faulthandler.dump_traceback_later(_HANGS_AFTER, exit=True)
    for report in survive(case, options.seed, None, options.seconds):
        faulthandler.dump_traceback_later(_HANGS_AFTER, exit=True)
        for failure in report.failures[shown:]:
            print(failure, flush=True)
        shown = len(report.failures)
    faulthandler.cancel_dump_traceback_later()
    print(f"seeds {options.seed} to {report.seed - 1}: {report}; {shown} failures")
    return int(shown > 0)
