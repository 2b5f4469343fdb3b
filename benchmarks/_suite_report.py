"""Medians, ratios and tables of the suite."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from _lm_report import table
from _suite_workloads import Workload

TOLERANCE = 2e-3
"""Largest relative difference of losses in the first epoch; rounding grows from step to step."""


def judge(workload: Workload, processes: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
    """What the processes of a workload say together, engine by engine."""
    engines = []
    for runs in zip(*processes):
        each = [_step_ms(workload, run["warm"], "seconds") for run in runs]
        # CPU time is known for whole epochs; it counts waiting threads that spin.
        cpu = [1e3 * e["cpu"] / len(workload.batches) for run in runs for e in run["warm"]]
        engines.append(
            {
                "name": runs[0]["name"],
                "versions": runs[0]["versions"],
                "step_ms": statistics.median(each),
                "step_ms_of_processes": each,
                "cpu_ms": statistics.median(cpu),
                "losses": runs[0]["epochs"][0]["losses"],
                "peak_bytes": max(run["peak_bytes"] for run in runs),
                "other_cores": max(max(run["other_cores"]) for run in runs),
            }
        )
    first = engines[0]["losses"]
    for engine in engines:
        pairs = list(zip(engine["losses"], first))
        engine["loss_difference"] = max(abs(a - b) / max(abs(b), 1e-3) for a, b in pairs)
    return {
        "name": workload.name,
        "title": workload.title,
        "engines": engines,
        "equal": all(engine["loss_difference"] < TOLERANCE for engine in engines),
    }


def _step_ms(workload: Workload, epochs: Sequence[dict[str, Any]], what: str) -> float:
    """The mean over the batches of the median time of their key."""
    times: defaultdict[Any, list[float]] = defaultdict(list)
    for epoch in epochs:
        for batch, value in zip(workload.batches, epoch[what]):
            times[batch.key].append(value)
    medians = {key: statistics.median(values) for key, values in times.items()}
    return 1e3 * statistics.mean(medians[batch.key] for batch in workload.batches)


def best_torch(result: dict[str, Any]) -> dict[str, Any] | None:
    """PyTorch's fastest way, if there is any."""
    torch = [engine for engine in result["engines"] if engine["name"].startswith("torch")]
    return min(torch, key=lambda engine: engine["step_ms"], default=None)


def report(result: dict[str, Any]) -> str:
    """All tables."""
    host = result["machine"]
    versions = {
        f"{n} {v}"
        for w in result["workloads"]
        for e in w["engines"]
        for n, v in e["versions"].items()
    }
    lines = [
        f"{host['cpu']}, {host['cores']} cores, {host['system']}; "
        f"{result['threads']} threads, float32",
        ", ".join(sorted(versions)),
    ]
    other = max(e["other_cores"] for w in result["workloads"] for e in w["engines"])
    if other > 0.1:
        lines.append(f"NOT QUIET: other processes kept up to {other:.2f} cores busy during a turn.")
    unequal = [w["name"] for w in result["workloads"] if not w["equal"]]
    if unequal:
        lines.append(f"DIFFERENT NUMBERS: {', '.join(unequal)}")
    return "\n\n".join(["\n".join(lines), _ratios(result), _details(result)])


def _ratios(result: dict[str, Any]) -> str:
    rows, ratios = [], []
    for workload in result["workloads"]:
        ours, theirs = workload["engines"][0], best_torch(workload)
        row = [workload["title"], f"{ours['step_ms']:.2f}"]
        if theirs is not None:
            ratios.append(theirs["step_ms"] / ours["step_ms"])
            way = theirs["name"].partition(", ")[2]
            row += [f"{theirs['step_ms']:.2f}", way, f"{ratios[-1]:.2f}"]
        rows.append([*row, *[""] * (5 - len(row))])
    if ratios:
        rows.append(["geometric mean", "", "", "", f"{statistics.geometric_mean(ratios):.2f}"])
    head = ["milliseconds a step", "symbucket", "PyTorch", "its best way", "ratio"]
    return table(head, rows)


def _details(result: dict[str, Any]) -> str:
    rows = []
    for workload in result["workloads"]:
        ours = workload["engines"][0]
        for engine in workload["engines"]:
            each = engine["step_ms_of_processes"]
            runtime = next((f"{n} {v}" for n, v in engine["versions"].items() if "onnx" in n), "")
            rows.append(
                [
                    workload["name"],
                    runtime or engine["name"],
                    f"{engine['step_ms']:.2f}",
                    f"{min(each):.2f}..{max(each):.2f}",
                    f"{engine['step_ms'] / ours['step_ms']:.2f}",
                    f"{engine['cpu_ms']:.2f}",
                    f"{engine['cpu_ms'] / ours['cpu_ms']:.2f}",
                    f"{engine['loss_difference']:.0e}",
                    f"{engine['other_cores']:.2f}",
                ]
            )
    head = [
        "workload",
        "engine",
        "ms",
        "processes",
        "ratio",
        "cpu ms",
        "ratio",
        "loss",
        "other cores",
    ]
    return table(head, rows)
