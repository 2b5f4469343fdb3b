"""Where the time of a step goes, from ONNX Runtime's profile files."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def read_profile(path: Path, skip: int) -> dict[str, Any] | None:
    """Milliseconds and nodes for each run, by operator and by node name with digits folded.

    The first ``skip`` runs are left out; None where there are no others. The wall time of a run
    is more than its kernels: what lies between is the runtime's own work.
    """
    events = json.loads(path.read_text(encoding="utf-8"))
    runs = sorted((e["ts"], e["dur"]) for e in events if e.get("name") == "model_run")
    if len(runs) <= skip:
        return None
    start, count = runs[skip][0], len(runs) - skip
    kernels = list(_own_times([e for e in events if _is_kernel(e) and e["ts"] >= start]))
    return {
        "session": re.sub(r"^\d+-|_\d{4}-\d\d-\d\d_.*$", "", path.stem),
        "runs": count,
        "wall_ms": sum(dur for _, dur in runs[skip:]) / count / 1e3,
        "kernel_ms": sum(dur for _, _, dur in kernels) / count / 1e3,
        "operators": _table(((op, dur) for op, _, dur in kernels), count),
        "names": _table(((f"{fold(name)} ({op})", dur) for op, name, dur in kernels), count),
    }


def _is_kernel(event: dict[str, Any]) -> bool:
    return event.get("cat") == "Node" and event["name"].endswith("_kernel_time")


def _own_times(events: list[dict[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """Operator, node and time of every kernel; of a Scan what its body's kernels leave of it."""
    around: list[tuple[float, int]] = []  # end and number of the kernels that have not ended
    own = [float(e["dur"]) for e in events]
    for i in sorted(range(len(events)), key=lambda i: (events[i]["ts"], -events[i]["dur"])):
        begin, end = events[i]["ts"], events[i]["ts"] + events[i]["dur"]
        while around and around[-1][0] < end:
            around.pop()
        if around and around[-1][0] > begin and events[around[-1][1]]["args"]["op_name"] == "Scan":
            own[around[-1][1]] -= events[i]["dur"]
        around.append((end, i))
    for event, time in zip(events, own):
        yield event["args"]["op_name"], event["name"][: -len("_kernel_time")], max(time, 0.0)


def fold(name: str) -> str:
    """A node's name with every number as a star, so that time steps come together."""
    return re.sub(r"\d+", "*", name)


def _table(kernels: Iterable[tuple[str, float]], runs: int) -> list[dict[str, Any]]:
    time: defaultdict[str, float] = defaultdict(float)
    nodes: defaultdict[str, int] = defaultdict(int)
    for name, duration in kernels:
        time[name] += duration
        nodes[name] += 1
    return [
        {"name": name, "ms": time[name] / runs / 1e3, "nodes": nodes[name] / runs}
        for name in sorted(time, key=time.__getitem__, reverse=True)
    ]
