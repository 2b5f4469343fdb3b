"""Times of nodes, from a profile that ONNX Runtime wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.visualization.diagram import Box, Diagram

_KERNEL = "_kernel_time"


def read_profile(file: str | os.PathLike[str]) -> dict[str, float]:
    """Return the seconds of one run by the names of nodes, the mean over all runs.

    ``file``: the JSON that a session with ``enable_profiling`` wrote.

    Raises InvalidArgumentError if the file is no such profile, or if nothing was run.
    """
    try:
        events = json.loads(Path(file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"cannot read the profile {str(file)!r}: {error}") from None
    runs, micros = 0, dict[str, float]()
    for event in events if isinstance(events, list) else []:
        name, duration = _event(event)
        if name == "model_run":
            runs += 1
        elif name.endswith(_KERNEL):
            node = name.removesuffix(_KERNEL)
            micros[node] = micros.get(node, 0.0) + duration
    if not runs or not micros:
        raise InvalidArgumentError(
            f"{str(file)!r} is no profile of ONNX Runtime with a run in it: there are {runs} runs "
            f"and the times of {len(micros)} nodes. Sessions write one if enable_profiling is set"
        )
    return {node: 1e-6 * total / runs for node, total in micros.items()}


def _event(event: Any) -> tuple[str, float]:
    if not isinstance(event, Mapping):
        return "", 0.0
    name, duration = event.get("name"), event.get("dur")
    if isinstance(name, str) and isinstance(duration, (int, float)):
        return name, float(duration)
    return "", 0.0


def with_profile(
    diagrams: Mapping[str, Diagram], file: str | os.PathLike[str]
) -> dict[str, Diagram]:
    """Return the diagrams with the times of their nodes.

    Raises InvalidArgumentError if the profile is of other networks.
    """
    seconds = read_profile(file)
    names = {box.name for diagram in diagrams.values() for box in diagram.boxes if box.op}
    if not names.intersection(seconds):
        raise InvalidArgumentError(
            f"the profile {str(file)!r} has the times of {', '.join(map(repr, list(seconds)[:3]))} "
            "..., and no node of the network has such a name. Draw the model that was profiled"
        )
    loops = {box.loop.name for d in diagrams.values() for box in d.boxes if box.loop is not None}
    others = sum(time for name, time in seconds.items() if name not in names | loops)
    elsewhere = others if len(diagrams) == 1 else 0.0
    return {
        name: replace(diagram, boxes=_timed(diagram.boxes, seconds), elsewhere=elsewhere)
        for name, diagram in diagrams.items()
    }


def _timed(boxes: Iterable[Box], seconds: Mapping[str, float]) -> tuple[Box, ...]:
    """Return the boxes with times; a node that the runtime computed beforehand takes none."""
    return tuple(replace(b, seconds=seconds.get(b.name, 0.0)) if b.op else b for b in boxes)
