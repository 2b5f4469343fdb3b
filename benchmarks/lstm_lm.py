"""Training speed of a bucketed LSTM language model: symbucket, PyTorch, MXNet, JAX.

Every engine trains the same network from the same parameters on the same batches in the same
order, each in a process of its own; they take turns, an epoch each, and one runs at a time.
`--processes` repeats all of it: the same program may be 15% faster or slower in another process.

    python benchmarks/lstm_lm.py                                # symbucket and PyTorch
    python benchmarks/lstm_lm.py --hidden 650 --mxnet-python ~/mxnet/bin/python
    python benchmarks/lstm_lm.py --engines symbucket,torch,jax --processes 3
    python benchmarks/lstm_lm.py --data                         # text: Python's documentation
    python benchmarks/lstm_lm.py --data ptb.train.txt           # text: a sentence a line
    python benchmarks/lstm_lm.py --python ~/stock/bin/python    # symbucket on a second runtime
    python benchmarks/lstm_lm.py --case short                   # bucketed against padded
    python benchmarks/lstm_lm.py --profile                      # where a step's time goes

`nox -s benchmark -- ...` installs PyTorch. MXNet 1.9.1 wants Python 3.8 with numpy below 1.24.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _lm_data import Batch, Setup, make_batches, make_parameters, save
from _lm_engines import NAMES, EngineSpec, Worker
from _lm_flops import epoch_flops
from _lm_report import busy_seconds, machine, profile_report, report
from _lm_text import read_text, text_batches
from _worker_process import WorkerError, has_module
from tqdm import tqdm

# Case -> buckets, mean and standard deviation of the lengths, engines.
CASES: dict[str, tuple[tuple[int, ...], float, float, tuple[str, ...]]] = {
    "text": ((10, 20, 30, 40, 50, 60), 22.0, 10.5, ("symbucket", "symbucket-padded", "torch")),
    "short": (
        (4, 6, 8, 10, 12, 14, 16, 20, 25, 32, 50),
        10.0,
        6.0,
        ("symbucket", "symbucket-padded", "symbucket-all-rows-padded"),
    ),
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--case", choices=list(CASES), default="text", help="lengths and buckets (default: text)")
    add(
        "--engines", type=_names, help=f"some of {','.join(NAMES)}; the first is the base of ratios"
    )
    add("--python", action="append", default=[], help="symbucket under this interpreter too")
    add("--torch-python", default=sys.executable, help="interpreter that has PyTorch")
    add("--mxnet-python", help="interpreter that has MXNet 1.9.1; adds the engine mxnet")
    add("--jax-python", default=sys.executable, help="interpreter that has JAX")
    add(
        "--data",
        nargs="?",
        const="python",
        default="synthetic",
        help="a file with a sentence a line; without a name Python's documentation "
        "(default: synthetic numbers with the lengths of the case)",
    )
    add("--processes", type=_positive, default=1, help="times that each engine is started")
    add("--hidden", type=_positive, default=200, help="units of a layer and of the embedding")
    add("--layers", type=_positive, default=2)
    add("--vocab", type=_positive, default=10000)
    add("--batch", type=_positive, default=32)
    add("--buckets", type=_numbers, help="ascending lengths, such as 10,20,30")
    add("--sentences", type=_positive, default=2048, help="sentences of an epoch, about")
    add("--epochs", type=_positive, default=5, help="epochs that count, after one that does not")
    add("--threads", type=_positive, default=2)
    add("--rate", type=float, default=1.0, help="learning rate")
    add("--seed", type=int, default=1)
    add("--gemm-seconds", type=float, default=0.5, help="time for each product; 0 leaves it out")
    add("--profile", action="store_true", help="profile symbucket's step instead")
    add("--profile-key", type=_positive, help="bucket to profile (default: one in the middle)")
    add("--profile-rows", type=_positive, default=25, help="rows of a profile's tables")
    add("--json", type=Path, help="write all results to this file")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def _numbers(text: str) -> tuple[int, ...]:
    values = tuple(int(part) for part in text.split(","))
    if values != tuple(sorted(set(values))) or values[0] < 2:
        raise argparse.ArgumentTypeError(f"{text}: buckets must ascend, from 2 on")
    return values


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: no such engine; there are {', '.join(NAMES)}"
        )
    return names


def choose(args: argparse.Namespace) -> list[EngineSpec]:
    """The engines of a run; what is asked for by name must be there, defaults may be missing."""
    names = list(args.engines or CASES[args.case][3])
    if args.mxnet_python and not any(n.startswith("mxnet") for n in names):
        names.append("mxnet")
    specs: list[EngineSpec] = []
    for name in names:
        spec = EngineSpec(name, sys.executable)
        if spec.kind.startswith("torch"):
            if not args.engines and not has_module(args.torch_python, "torch"):
                print(f"{name}: no torch in {args.torch_python}, left out", file=sys.stderr)
                continue
            specs.append(EngineSpec(name, args.torch_python))
        elif spec.kind == "jax":
            specs.append(EngineSpec(name, args.jax_python))
        elif spec.kind == "mxnet":
            if not args.mxnet_python:
                raise SystemExit(f"{name} needs --mxnet-python, an interpreter that has MXNet")
            specs.append(EngineSpec(name, args.mxnet_python))
        else:
            specs.append(spec)
            if not spec.padded:
                specs += [EngineSpec(name, python) for python in args.python]
    return specs


def label(spec: EngineSpec, specs: Sequence[EngineSpec], versions: dict[str, str]) -> str:
    """The engine's name, with the runtime where two run under one name."""
    if sum(other.name == spec.name for other in specs) == 1:
        return spec.name
    return f"{spec.name} ({next(f'{n} {v}' for n, v in versions.items() if 'onnx' in n)})"


def repeat(args: argparse.Namespace, setup: Setup, batches: list[Batch], folder: Path) -> Any:
    """Measure in new processes, as often as asked for, and join what they say.

    Of all processes but the first only the warm epochs are kept.
    """
    runs, gemm = measure(args, setup, batches, folder)
    for _ in range(args.processes - 1):
        again, _ = measure(args, setup, batches, folder)
        for run, other in zip(runs, again):
            run["epochs"] += other["epochs"][1:]
            run["peak_bytes"] = max(run["peak_bytes"], other["peak_bytes"])
    return runs, gemm


def measure(args: argparse.Namespace, setup: Setup, batches: list[Batch], folder: Path) -> Any:
    """Run all engines and give what they said, unjudged."""
    specs = choose(args)
    runs: list[dict[str, Any]] = []
    gemm: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack, tqdm(unit="part", disable=None) as bar:
        bar.total = len(specs) * (args.epochs + 2)
        workers = []
        for spec in specs:
            bar.set_postfix_str(f"{spec.name}: compile")
            worker = stack.enter_context(Worker(spec, folder, args.threads))
            versions = worker.ask("describe")
            start = worker.ask("memory")["bytes"]
            ready = worker.ask("prepare")["seconds"]
            workers.append(worker)
            runs.append(
                {
                    "name": spec.name,
                    "label": label(spec, specs, versions),
                    "python": spec.python,
                    "padded": spec.padded,
                    "versions": versions,
                    "ready_seconds": ready,
                    "start_bytes": start,
                    "epochs": [],
                }
            )
            bar.update()
        pairs = list(zip(workers, runs))
        pythons = {w.spec.python: run for w, run in pairs if w.spec.kind.startswith("symbucket")}
        for number in range(args.epochs + 1):
            if args.gemm_seconds and number in (0, args.epochs):
                bar.set_postfix_str("products alone")
                for python, run in pythons.items():
                    _add_rates(gemm, run, python, folder, args)
            # There and back again, so that a machine that slows down favours nobody.
            for worker, run in pairs[:: -1 if number % 2 else 1]:
                bar.set_postfix_str(f"{run['label']}: epoch {number}")
                before, start = busy_seconds(), time.perf_counter()
                answer = worker.ask("epoch")
                answer["wall"] = time.perf_counter() - start
                answer["other_cpu"] = busy_seconds() - before - answer["cpu"]
                run["epochs"].append(answer)
                bar.update()
        for worker, run in pairs:
            run["peak_bytes"] = worker.ask("memory")["bytes"]
    return runs, gemm


def _add_rates(
    gemm: dict[str, dict[str, Any]],
    run: dict[str, Any],
    python: str,
    folder: Path,
    args: argparse.Namespace,
) -> None:
    """Measure the products in a process of its own; of two measurements the better one stays."""
    with Worker(EngineSpec("symbucket", python), folder, args.threads) as worker:
        measured = worker.ask("gemm", seconds=args.gemm_seconds)
    name = next(f"{n} {v}" for n, v in run["versions"].items() if "onnx" in n)
    rates = gemm.setdefault(name, {"python": python, "rates": {}})["rates"]
    for product, value in measured.items():
        rates[product] = max(value, rates.get(product, 0.0))


def judge(
    args: argparse.Namespace,
    setup: Setup,
    batches: list[Batch],
    runs: list[dict[str, Any]],
    gemm: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Medians, differences and shares."""
    tokens = sum(batch.tokens for batch in batches)
    reference = next((r for r in runs if r["name"] == "torch"), runs[0])
    reference_losses = _losses(reference)
    by_python = {rates["python"]: max(rates["rates"].values()) for rates in gemm.values()}
    for run in runs:
        seconds = [sum(epoch["seconds"]) for epoch in run["epochs"][1:]]
        run["epoch_seconds"] = statistics.median(seconds)
        run["tokens_per_second"] = tokens / run["epoch_seconds"]
        run["fastest"], run["slowest"] = tokens / min(seconds), tokens / max(seconds)
        run["step_ms"] = _by_key(batches, [epoch["seconds"] for epoch in run["epochs"][1:]])
        run["losses"] = _losses(run)
        differences = [abs(a - b) / abs(b) for a, b in zip(run["losses"], reference_losses)]
        run["first_epoch_difference"] = max(differences[: len(batches)])
        run["loss_difference"] = max(differences)
        inputs = [b.padded(setup.longest) for b in batches] if run["padded"] else batches
        run["flops"] = epoch_flops(setup, inputs)
        run["limit"] = by_python.get(run["python"], max(by_python.values(), default=None))
    counts: dict[str, int] = {}
    for key in sorted({batch.key for batch in batches}):
        counts[str(key)] = sum(batch.key == key for batch in batches)
    cells = sum(batch.data.size for batch in batches)
    return {
        "machine": machine(),
        "case": args.case,
        "text": args.data,
        "processes": args.processes,
        "setup": vars(setup),
        "epochs": args.epochs,
        "data": {"batches_of_key": counts, "tokens": tokens, "padding": 1 - tokens / cells},
        "reference": reference["label"],
        "other_cores": _other_cores(runs),
        "engines": runs,
        "gemm": gemm,
    }


def _losses(run: dict[str, Any]) -> list[float]:
    return [loss for epoch in run["epochs"] for loss in epoch["losses"]]


def _other_cores(runs: list[dict[str, Any]]) -> float | None:
    """Cores that other processes (idle workers too) kept busy while an engine ran its epochs."""
    epochs = [epoch for run in runs for epoch in run["epochs"][1:]]
    cores = sum(e["other_cpu"] for e in epochs) / sum(e["wall"] for e in epochs)
    return None if math.isnan(cores) else max(0.0, cores)


def _by_key(batches: list[Batch], epochs: list[list[float]]) -> dict[str, float]:
    """Median milliseconds of a step by key (as a string: JSON has no other keys)."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for seconds in epochs:
        for batch, value in zip(batches, seconds):
            times[str(batch.key)].append(value * 1e3)
    return {key: statistics.median(values) for key, values in times.items()}


def profile(args: argparse.Namespace, setup: Setup, folder: Path) -> dict[str, Any]:
    """Profile one bucket under every interpreter."""
    key = args.profile_key or sorted(setup.buckets)[(len(setup.buckets) - 1) // 2]
    if key not in setup.buckets:
        raise SystemExit(f"--profile-key {key}: the buckets are {setup.buckets}")
    profiles = {}
    for python in [sys.executable, *args.python]:
        with Worker(EngineSpec("symbucket", python), folder, args.threads) as worker:
            versions = worker.ask("describe")
            name = ", ".join(f"{n} {v}" for n, v in versions.items())
            profiles[name] = worker.ask("profile", key=key, steps=12)
            print(profile_report(name, key, profiles[name], args.profile_rows), end="\n\n")
    return {"machine": machine(), "setup": vars(setup), "key": key, "profiles": profiles}


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    buckets, mean, deviation, _ = CASES[args.case]
    setup = Setup(
        hidden=args.hidden,
        layers=args.layers,
        vocab=args.vocab,
        batch=args.batch,
        buckets=args.buckets or buckets,
        threads=args.threads,
        rate=args.rate,
    )
    # Other buckets than the case's: lengths shrink or grow with them.
    scale = setup.longest / max(buckets)
    if args.data == "synthetic":
        batches = make_batches(setup, args.sentences, mean * scale, deviation * scale, args.seed)
    else:
        batches = text_batches(setup, read_text(args.data), args.sentences, args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder, setup, batches, make_parameters(setup, args.seed))
        try:
            if args.profile:
                result = profile(args, setup, folder)
            else:
                result = judge(args, setup, batches, *repeat(args, setup, batches, folder))
                print(report(result))
        except WorkerError as error:
            raise SystemExit(str(error)) from None
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
