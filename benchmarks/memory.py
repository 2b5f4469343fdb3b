"""What six buckets cost in memory, against the largest one alone.

Trains a bucketed LSTM language model, each scenario in a process of its own, and says what the
process holds in the end: activations (what the shared arena gives back when it is released, and
the outputs' pool), sessions, parameters with gradients, and the rest (Python and its packages).
Needs Linux, for /proc.

    python benchmarks/memory.py
    python benchmarks/memory.py --endurance 20000 --json memory.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

WORKER = Path(__file__).with_name("_memory_worker.py")
ACTIVATIONS, WHOLE, MEGABYTES, SPEED = 1.02, 1.10, 300.0, 1.03  # what we hold ourselves to


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The worker's answer."""
    command = [sys.executable, str(WORKER), json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{job}: the worker failed\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def scenarios(buckets: list[int], warm: int) -> dict[str, dict[str, Any]]:
    """The orders in which keys come, by name."""
    up = sorted(buckets)
    rng = np.random.default_rng(1)
    mixed = [int(k) for _ in range(warm) for k in rng.permutation(up)]
    return {
        "largest alone": {"order": up[-1:] * warm},
        "all, ascending": {"order": [k for k in up for _ in range(warm)]},
        "all, descending": {"order": [k for k in up[::-1] for _ in range(warm)]},
        "all, random": {"order": mixed},
        "largest comes late": {
            "order": [k for k in mixed if k != up[-1]],
            "late": [up[-1], *mixed],
        },
        "separate arenas": {"order": mixed, "separate": True},
    }


def machine() -> str:
    """The processor and its cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="ascii", errors="replace").splitlines()
        name = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def print_table(title: str, found: dict[str, dict[str, Any]]) -> None:
    """One line a scenario, in MB; ratios are against the largest bucket alone."""
    parts = ["activations", "sessions", "parameters", "rest", "whole", "peak"]
    alone = found["largest alone"]
    print(f"\n{title} (MB)\n\n| scenario | {' | '.join(parts)} | activations x | whole x |")
    print("| --- " * (len(parts) + 3) + "|")
    for name, row in found.items():
        shared = name != "separate arenas"
        cells = [f"{row[p]:.1f}" if shared or p in ("whole", "peak") else "" for p in parts]
        cells.append(f"{row['activations'] / alone['activations']:.3f}" if shared else "")
        cells.append(f"{row['whole'] / alone['whole']:.3f}")
        print(f"| {name} | {' | '.join(cells)} |")


def print_bars(found: dict[str, dict[str, Any]], megabytes: bool) -> None:
    """The worst of the shared scenarios against what we hold ourselves to."""
    alone = found["largest alone"]
    shared = [row for name, row in found.items() if name != "separate arenas"]
    checks = [  # the megabytes are for steps as fit takes them
        (
            "activations x",
            max(r["activations"] for r in shared) / alone["activations"],
            ACTIVATIONS,
        ),
        ("whole x", max(r["whole"] for r in shared) / alone["whole"], WHOLE),
        ("whole, MB", max(r["whole"] for r in shared), MEGABYTES),
    ]
    print()
    for name, value, bar in checks if megabytes else checks[:-1]:
        print(f"{name}: {value:.3f}, bar {bar}: {'held' if value <= bar else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--buckets", default="10,20,30,40,50,60")
    parser.add_argument("--warm", type=int, default=4, help="steps of each key")
    parser.add_argument(
        "--turns", type=int, default=15, help="steps of each key when timing; 0: no"
    )
    parser.add_argument("--endurance", type=int, default=0, help="steps of a small model; 0: none")
    parser.add_argument("--json", metavar="FILE", help="write all numbers here too")
    args = parser.parse_args()
    if not Path("/proc/self/status").exists():
        raise SystemExit("benchmarks/memory.py reads /proc, which this system does not have")
    buckets = [int(k) for k in args.buckets.split(",")]
    size = {k: getattr(args, k) for k in ("hidden", "vocabulary", "batch", "layers")}
    base = {**size, "buckets": buckets}
    result: dict[str, Any] = {"machine": machine(), "setup": base}
    for kind, outputs in (("steps as in fit", False), ("steps with outputs", True)):
        rows = {}
        for name, more in scenarios(buckets, args.warm).items():
            rows[name] = run({**base, "do": "memory", "outputs": outputs, **more})
        if "versions" not in result:
            result["versions"] = rows["largest alone"]["versions"]
            print(f"{result['machine']}; {result['versions']}; {base}")
        result[kind] = rows
        print_table(kind, rows)
        print_bars(rows, megabytes=not outputs)
    if args.turns:
        speed = run({**base, "do": "speed", "outputs": False, "turns": args.turns})
        result["speed"] = speed
        mean = math.exp(sum(map(math.log, speed["ratios"].values())) / len(speed["ratios"]))
        each = ", ".join(f"{k}: {v:.3f}" for k, v in speed["ratios"].items())
        print(f"\ntime with the shared arena / with separate ones, medians: {each}")
        print(f"mean {mean:.3f}, bar {SPEED}: {'held' if mean <= SPEED else 'MISSED'}")
    if args.endurance:
        small = {"hidden": 16, "vocabulary": 200, "batch": 8, "layers": 1}
        job = {**small, "buckets": [4, 8, 12, 16, 20, 24], "outputs": False}
        endurance = run({**job, "do": "endurance", "steps": args.endurance})
        result["endurance"] = endurance
        first, last = endurance["points"][0], endurance["points"][-1]
        print(
            f"\n{args.endurance} steps with random keys: {first[1]:.1f} MB after {first[0]}, "
            f"{last[1]:.1f} MB after {last[0]}"
        )
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
