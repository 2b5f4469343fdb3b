"""Tables for the terminal and for a README, from the results of a run."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def machine() -> dict[str, Any]:
    """CPU model, cores, memory and system."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, AttributeError, OSError):
        memory = 0
    system = f"{platform.system()} {platform.release()}"
    return {"cpu": model, "cores": os.cpu_count(), "memory": memory, "system": system}


def busy_seconds() -> float:
    """CPU seconds that all processes of the machine took since it started; NaN if not known."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return math.nan
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns stand straight; all but the first are set right."""
    cells = [list(head), *([str(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        texts = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))]
        return "| " + " | ".join(texts) + " |"

    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(cells[0]), line(rule), *(line(row) for row in cells[1:])])


def report(result: Result) -> str:
    """The whole report of a run."""
    parts = [_head(result), _speed(result), _keys(result), _losses(result)]
    if result["gemm"]:
        parts.append(_limit(result))
    return "\n\n".join(parts)


def _head(result: Result) -> str:
    host, setup, data = result["machine"], result["setup"], result["data"]
    memory = f", {host['memory'] / 2**30:.0f} GiB" if host["memory"] else ""
    batches = ", ".join(f"{key}: {n}" for key, n in data["batches_of_key"].items())
    versions = [f"{e['label']}: {_versions(e['versions'])}" for e in result["engines"]]
    return "\n".join(
        [
            f"{host['cpu']}, {host['cores']} cores{memory}, {host['system']}; "
            f"{setup['threads']} threads, float32",
            f"Embedding, {setup['layers']} LSTM layers of {setup['hidden']}, vocabulary "
            f"{setup['vocab']}, batch {setup['batch']}, SGD with rate {setup['rate']:g}",
            f"An epoch: {sum(data['batches_of_key'].values())} batches (by bucket {batches}), "
            f"{data['tokens']} tokens, {data['padding']:.0%} padding; "
            f"median of {result['epochs']} warm epochs in each of {result['processes']} processes, "
            "engines in alternation",
            *versions,
            *_strangers(result),
        ]
    )


def _strangers(result: Result) -> list[str]:
    """Whether the machine was quiet: one core that is taken away is more than any difference."""
    cores = result["other_cores"]
    if cores is None:
        return []
    warning = " NOT QUIET: do not trust these figures." if cores > 0.1 else ""
    return [f"Other processes kept {cores:.2f} cores busy during the epochs.{warning}"]


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _speed(result: Result) -> str:
    """Speed and memory; the ratio says how many times slower an engine is than the first."""
    engines = result["engines"]
    first = engines[0]
    rows = [
        [
            e["label"],
            f"{e['tokens_per_second']:,.0f}",
            f"{e['slowest']:,.0f}..{e['fastest']:,.0f}",
            f"{first['tokens_per_second'] / e['tokens_per_second']:.2f}",
            f"{e['ready_seconds']:.2f}",
            f"{e['peak_bytes'] / 2**20:.0f}",
            f"{e['start_bytes'] / 2**20:.0f}",
        ]
        for e in engines
    ]
    head = ["engine", "tokens/s", "range", "time, first = 1", "ready s", "peak MiB", "at start"]
    return (
        "Real tokens a second; seconds until all buckets were ready; peak memory of the process, "
        "and what of it\nimports and data took before the model was built\n\n" + table(head, rows)
    )


def _keys(result: Result) -> str:
    keys = list(result["data"]["batches_of_key"])
    rows = [[e["label"], *(f"{e['step_ms'][key]:.1f}" for key in keys)] for e in result["engines"]]
    return "Milliseconds a step, median by bucket\n\n" + table(["engine", *keys], rows)


def _losses(result: Result) -> str:
    rows = [
        [
            e["label"],
            f"{e['losses'][0]:.5f}",
            f"{e['losses'][-1]:.5f}",
            f"{e['first_epoch_difference']:.1e}",
            f"{e['loss_difference']:.1e}",
        ]
        for e in result["engines"]
    ]
    head = ["engine", "first loss", "last loss", "difference, first epoch", "all epochs"]
    steps = len(result["engines"][0]["losses"])
    return (
        f"Losses of {steps} steps from the same parameters; largest relative difference of a step "
        f"to {result['reference']}\n\n" + table(head, rows)
    )


def _limit(result: Result) -> str:
    parts = []
    for label, gemm in result["gemm"].items():
        rows = [[name, f"{value / 1e9:.0f}"] for name, value in gemm["rates"].items()]
        parts.append(f"Products alone in {label}\n\n" + table(["product", "GF/s"], rows))
    rows = []
    for e in result["engines"]:
        limit = e.get("limit")
        if limit:
            rows.append(
                [
                    e["label"],
                    f"{e['flops']['useful'] / e['epoch_seconds'] / 1e9:.0f}",
                    f"{e['flops']['useful'] / e['epoch_seconds'] / limit:.0%}",
                    f"{e['flops']['all'] / e['epoch_seconds'] / 1e9:.0f}",
                    f"{e['flops']['all'] / e['epoch_seconds'] / limit:.0%}",
                ]
            )
    head = ["engine", "GF/s useful", "of the limit", "GF/s with padding", "of the limit"]
    parts.append(
        "Share of the GEMM limit (the best rate above). Useful are rows of real tokens and, in the "
        "vocabulary\nproducts, rows with a label; an engine that skips the others may pass 100% "
        "with padding counted.\n\n" + table(head, rows)
    )
    return "\n\n".join(parts)


def profile_report(label: str, key: int, profiles: Sequence[dict[str, Any]], rows: int) -> str:
    """By operator and by node name, for every session of a step."""
    parts = [f"Profile of a step of bucket {key}: {label}"]
    for profile in profiles:
        between = profile["wall_ms"] - profile["kernel_ms"]
        parts.append(
            f"Session {profile['session']}, mean of {profile['runs']} runs: "
            f"{profile['wall_ms']:.1f} ms, "
            f"in kernels {profile['kernel_ms']:.1f}, between them {between:.1f}"
        )
        for kind in ("operators", "names"):
            parts.append(_profile_table(profile, kind, rows))
    return "\n\n".join(parts)


def _profile_table(found: dict[str, Any], kind: str, limit: int) -> str:
    entries = found[kind]
    shown, rest = entries[:limit], entries[limit:]
    if rest:
        other = {
            "name": f"{len(rest)} others",
            "ms": sum(e["ms"] for e in rest),
            "nodes": sum(e["nodes"] for e in rest),
        }
        shown = [*shown, other]
    total = found["kernel_ms"] or 1.0
    rows = [
        [e["name"], f"{e['ms']:.2f}", f"{e['nodes']:.0f}", f"{e['ms'] / total:.1%}"] for e in shown
    ]
    head = ["operator" if kind == "operators" else "node name", "ms", "nodes", "share"]
    return table(head, rows)
