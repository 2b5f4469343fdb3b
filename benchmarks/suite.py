"""Training speed of eleven networks: symbucket against PyTorch's best way.

Every engine trains the same network from the same parameters on the same batches in the same
order, in a process of its own; they take turns, some epochs each, and one runs at a time. All of
it is repeated in new processes, because the same program may be faster or slower from process to
process. A time is the median of a key's steps; a workload's is the mean over its batches.

    python benchmarks/suite.py                                     # all workloads
    python benchmarks/suite.py --only cnn,transformer --processes 5
    python benchmarks/suite.py --python ~/stock/bin/python         # symbucket on a second runtime
    python benchmarks/suite.py --only cnn --profile                # where a step's time goes

`nox -s suite` installs PyTorch. PyTorch's ways are: eager (nn.LSTM, fused optimizers, oneDNN),
ignored rows left out before the output layer, channels last, torch.compile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _lm_report import busy_seconds, machine, profile_report
from _suite_report import judge, report
from _suite_workloads import WORKLOADS, Workload
from _worker_process import WorkerError, WorkerProcess
from tqdm import tqdm


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", type=_names, default=tuple(WORKLOADS), help=f"some of {','.join(WORKLOADS)}")
    add("--python", action="append", default=[], help="symbucket under this interpreter too")
    add("--torch-python", default=sys.executable, help="interpreter that has PyTorch")
    add("--ways", help="only these ways of PyTorch, such as eager,compile")
    add("--processes", type=int, default=3, help="times that each engine is started")
    add("--rounds", type=int, default=3, help="turns that count, after one that does not")
    add("--seconds", type=float, default=2.0, help="length of a turn, about")
    add("--threads", type=int, default=2)
    add("--profile", action="store_true", help="profile the steps instead")
    add("--profile-rows", type=int, default=25, help="rows of a profile's tables")
    add("--json", type=Path, help="write all results to this file")
    return parser.parse_args(argv)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: no such workload; there are {', '.join(WORKLOADS)}"
        )
    return names


def engines_of(
    args: argparse.Namespace, workload: Workload
) -> list[tuple[str, str, str, list[str]]]:
    """(name, interpreter, worker's file, its arguments) of each engine."""
    threads = str(args.threads)
    engines = [
        ("symbucket", python, "_suite_symbucket.py", [workload.name, "fit", threads])
        for python in [sys.executable, *args.python]
    ]
    ways = args.ways.split(",") if args.ways else workload.torch
    engines += [
        (f"torch, {way}", args.torch_python, "_suite_torch.py", [workload.name, way, threads])
        for way in workload.torch
        if way in ways
    ]
    return engines


def measure(args: argparse.Namespace, workload: Workload, bar: Any) -> list[dict[str, Any]]:
    """Start every engine of a workload once and let them take turns; returns what they said."""
    runs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        pairs = []
        for name, python, script, arguments in engines_of(args, workload):
            bar.set_postfix_str(f"{workload.name}, {name}: first steps")
            worker = WorkerProcess(name, python, script, arguments, args.threads)
            stack.enter_context(worker)
            versions = worker.ask("describe")
            worker.ask("build")
            first, second = worker.ask("epoch"), worker.ask("epoch")
            run = {"name": name, "versions": versions, "epochs": [first, second], "warm": []}
            # As many epochs a turn as fit into its time, the same number in every turn.
            run["repeats"] = max(1, round(args.seconds / sum(second["seconds"])))
            runs.append(run)
            pairs.append((worker, run))
            bar.update()
        for number in range(args.rounds + 1):
            # There and back again, so that a machine that slows down favours nobody.
            for worker, run in pairs[:: -1 if number % 2 else 1]:
                bar.set_postfix_str(f"{workload.name}, {run['name']}: turn {number}")
                before = busy_seconds()
                epochs = [worker.ask("epoch") for _ in range(run["repeats"])]
                other = busy_seconds() - before - sum(epoch["cpu"] for epoch in epochs)
                wall = sum(sum(epoch["seconds"]) for epoch in epochs)
                if number:
                    run["warm"] += epochs
                    run.setdefault("other_cores", []).append(max(0.0, other / wall))
                bar.update()
        for worker, run in pairs:
            run["peak_bytes"] = worker.ask("memory")["bytes"]
    return runs


def profile(args: argparse.Namespace, workload: Workload) -> None:
    """Print where the time of each engine goes."""
    for name, python, script, arguments in engines_of(args, workload):
        with WorkerProcess(name, python, script, arguments, args.threads) as worker:
            versions = ", ".join(f"{n} {v}" for n, v in worker.ask("describe").items())
            worker.ask("build")
            worker.ask("epoch")
            profiles = worker.ask("profile", epochs=3)
            if "text" in profiles:
                print(f"{workload.name}: {name}\n{profiles['text']}")
            else:
                label = f"{workload.name}: {versions}"
                print(profile_report(label, "", profiles, args.profile_rows), end="\n\n")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    workloads = [WORKLOADS[name]() for name in args.only]
    try:
        if args.profile:
            for workload in workloads:
                profile(args, workload)
            return
        total = sum(len(engines_of(args, w)) for w in workloads) * (args.rounds + 2)
        results = []
        with tqdm(total=total * args.processes, unit="part", disable=None) as bar:
            processes: dict[str, list[Any]] = {workload.name: [] for workload in workloads}
            for _ in range(args.processes):
                for workload in workloads:
                    processes[workload.name].append(measure(args, workload, bar))
            results = [judge(w, processes[w.name]) for w in workloads]
    except WorkerError as error:
        raise SystemExit(str(error)) from None
    result = {"machine": machine(), "threads": args.threads, "workloads": results}
    print(report(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
