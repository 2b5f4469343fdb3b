"""How long networks take until they are ready to train, and what each key of a module holds.

Every line is a process of its own, and times are CPU seconds of its main thread. "whole" is from
the first call to the end of the first steps, without drawing parameters; "symbol" of it is what
``sym_gen`` takes, "first step" the time that sessions run, and "compile" all the rest: inferring
shapes, compiling or reading from the cache, loading models, binding arrays. "step" is what one more
step takes: less than the first one, which touches the memory of the activations.

    python benchmarks/compile.py
    python benchmarks/compile.py --part lengths --hidden 64
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("_compile_worker.py")
LENGTHS = (10, 30, 60, 100, 200, 500, 1000, 2000)
CELLS = ("rnn", "gru", "lstm", "bi-gru", "zoneout", "residual", "fused")
KEYS = (1, 6, 20, 50, 100, 200)
BUCKETS = (10, 20, 30, 40, 50, 60)  # of benchmarks/lstm_lm.py
COLUMNS = ("symbol", "compile", "first step", "step", "whole")
SMALL = {"cell": "lstm", "layers": 2, "hidden": 64, "vocabulary": 1000, "batch": 8}
LARGE = {"cell": "lstm", "layers": 2, "hidden": 200, "vocabulary": 10_000, "batch": 32}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Return what a worker measures."""
    command = [sys.executable, str(WORKER), json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{job}: the worker failed\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def print_header(title: str, *columns: str) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|")


def print_row(*cells: Any) -> None:
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def seconds(value: float) -> str:
    return f"{value:.3f}"


def compile_seconds(result: dict[str, Any]) -> float:
    """Seconds to be ready, without the making of symbols and without the runs of sessions."""
    return float(result["ready"] - result["symbols"] - result["runs"])


def cells(result: dict[str, Any]) -> list[str]:
    """What the columns ``COLUMNS`` show of a result."""
    names = ("runs", "steps", "ready")
    times = [result["symbols"], compile_seconds(result), *(result[name] for name in names)]
    return [seconds(value) for value in times]


def show_lengths(size: dict[str, Any], lengths: tuple[int, ...]) -> None:
    """One key of a growing number of steps."""
    print_header(f"One key, {describe(size)}", "steps", *COLUMNS)
    for length in lengths:
        print_row(length, *cells(run({**size, "lengths": [length]})))


def show_cells(size: dict[str, Any], kinds: tuple[str, ...]) -> None:
    """One key of 60 steps of each cell."""
    print_header("One key of 60 steps", "cell", *COLUMNS)
    for kind in kinds:
        print_row(kind, *cells(run({**size, "cell": kind, "lengths": [60]})))


def show_keys(size: dict[str, Any], counts: tuple[int, ...]) -> None:
    """Keys of 2, 3, 4, ... steps: what each further one takes, in seconds and in memory."""
    print_header(f"Keys of 2, 3, ... steps, {describe(size)}", "keys", "seconds a key", "KB a key")
    for count in counts:
        result = run({**size, "lengths": [2 + i for i in range(count)]})
        further = max(count - 1, 1)
        print_row(count, seconds(result["later"] / further), f"{result['kilobytes']:.0f}")


def show_buckets(size: dict[str, Any], buckets: tuple[int, ...]) -> None:
    """The six keys of the language model, alone and from the cache."""
    print_header(f"Six buckets, {describe(size)}", "process", *COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        for name, cache in (("without cache", None), ("fills cache_dir", folder), ("next", folder)):
            result = run({**size, "lengths": list(buckets), "cache_dir": cache})
            print_row(name, *cells(result))


def describe(size: dict[str, Any]) -> str:
    """Return the network's size in words."""
    layers, cell, hidden = size["layers"], size["cell"].upper(), size["hidden"]
    return f"{layers} {cell} of {hidden}, vocabulary {size['vocabulary']}, batch {size['batch']}"


PARTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "lengths": lambda size: show_lengths(size, LENGTHS),
    "cells": lambda size: show_cells(size, CELLS),
    "keys": lambda size: show_keys(size, KEYS),
    "buckets": lambda _: show_buckets(LARGE, BUCKETS),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="may be repeated; all")
    parser.add_argument("--hidden", type=int, default=SMALL["hidden"], help="units of a layer")
    options = parser.parse_args()
    for part in options.part or PARTS:
        PARTS[part]({**SMALL, "hidden": options.hidden})


if __name__ == "__main__":
    main()
