#!/usr/bin/env python3
"""Measure training with two workers of one thread each against one process with two threads.

    python benchmarks/workers.py
    python benchmarks/workers.py --hidden 650 --bandwidth 3e9 --latency 20e-6

The same joint batches of the LSTM language model in both. Then a model of the cost with more
workers, each on cores of its own: a step of one worker's rows (measured) and a ring sum of the
gradients (2 (n - 1) messages of bytes / n over the given network).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import symbucket as sb
from symbucket.apps.language_model import language_model
from symbucket.runtime import set_threads
from symbucket.tables import format_table


def train(args: argparse.Namespace, store: sb.kvstore.KVStore | None, rows: int) -> dict:
    """Return median seconds of a step and of summing its gradients, for this worker's rows."""
    sb.random.seed(0)
    sym_gen = language_model(
        args.vocabulary, num_layers=2, num_hidden=args.hidden, num_embed=args.hidden, dropout=0.0
    )
    module = sb.mod.BucketingModule(sym_gen, args.length)
    shape = [sb.io.DataDesc("data", (rows, args.length), layout="NT")]
    label = [sb.io.DataDesc("softmax_label", (rows, args.length), layout="NT")]
    module.bind(shape, label)
    module.init_params(sb.init.Xavier())
    module.init_optimizer(store or "local", args.optimizer, {"learning_rate": 1e-3})
    words = np.random.default_rng(0).integers(1, args.vocabulary, (2, rows, args.length))
    batch = sb.io.DataBatch([words[0]], [words[1]], 0, None, args.length, shape, label)
    steps, sums = [], []
    gradients = [array.view() for array in module.default_module.store.grads.values()]
    for _ in range(args.steps + 3):
        start = time.perf_counter()
        module.forward_backward(batch)
        module.update()
        steps.append(time.perf_counter() - start)
        if store is not None:
            start = time.perf_counter()
            store.group.sum(gradients)
            sums.append(time.perf_counter() - start)
    return {
        "step": statistics.median(steps[3:]),
        "sum": statistics.median(sums[3:]) if sums else 0.0,
        "bytes": sum(array.nbytes for array in gradients),
    }


def mpiexec() -> str:
    """Return the command that starts workers."""
    beside = Path(sys.executable).parent / "mpiexec"
    path = str(beside) if beside.exists() else shutil.which("mpiexec")
    if path is None:
        raise SystemExit("there is no mpiexec: install mpi4py and mpich")
    return path


def measure(workers: int, argv: list[str]) -> dict:
    """Run this program as so many workers; return what worker 0 measured."""
    command = [sys.executable, __file__, *argv, "--worker"]
    if workers > 1:
        command = [mpiexec(), "-n", str(workers), *command]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return next(json.loads(line) for line in lines if line.startswith("{"))


def main() -> None:
    """Print the measured steps and the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--hidden", type=int, default=200)
    add("--vocabulary", type=int, default=10_000)
    add("--length", type=int, default=30)
    add("--rows", type=int, default=32, help="of the joint batch")
    add("--optimizer", default="adam")
    add("--steps", type=int, default=20)
    add("--rounds", type=int, default=3, help="runs of each, in turns")
    add("--bandwidth", type=float, default=1.25e9, help="bytes a second between machines")
    add("--latency", type=float, default=30e-6, help="seconds of a message")
    add("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        store = sb.kvstore.create("dist_sync")
        count = store.num_workers
        set_threads(2 if count == 1 else 1)
        result = train(args, store, args.rows // count)
        if store.rank == 0:
            print(json.dumps(result))
        return
    argv = sys.argv[1:]
    runs = [(measure(1, argv), measure(2, argv)) for _ in range(args.rounds)]
    one, two = (
        {k: statistics.median(run[i][k] for run in runs) for k in runs[0][0]} for i in (0, 1)
    )
    print(
        format_table(
            [
                ("", "step ms", "sum ms", "speed"),
                ("1 process, 2 threads", f"{one['step'] * 1e3:.1f}", "", "1.00"),
                (
                    "2 workers, 1 thread",
                    f"{two['step'] * 1e3:.1f}",
                    f"{two['sum'] * 1e3:.1f}",
                    f"{one['step'] / two['step']:.2f}",
                ),
            ],
            left=[0],
        )
    )
    computing = two["step"] - two["sum"]
    print(
        f"\n{two['bytes'] / 1e6:.1f} MB of gradients; a step of {args.rows // 2} rows alone takes "
        f"{computing * 1e3:.1f} ms. With so many rows a worker, at {args.bandwidth / 1e9:g} GB/s "
        f"and {args.latency * 1e6:g} us a message:\n"
    )
    rows = [("workers", "float32: sum ms", "efficiency", "fp16: sum ms", "efficiency")]
    for workers in (8, 64, 512):
        cells = [str(workers)]
        for size in (two["bytes"], two["bytes"] / 2):
            messages = 2 * (workers - 1)
            seconds = messages * (args.latency + size / workers / args.bandwidth)
            cells += [f"{seconds * 1e3:.1f}", f"{computing / (computing + seconds):.0%}"]
        rows.append(tuple(cells))
    print(format_table(rows))


if __name__ == "__main__":
    main()
