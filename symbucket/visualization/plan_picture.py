"""Plot memory over time, as planned."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from symbucket.compiler.memory import MemoryPlan, PlannedTensor, PoolPlan
from symbucket.errors import InvalidArgumentError
from symbucket.visualization.colours import FAINT, FILLS, INK, PALE
from symbucket.visualization.diagram import BACKWARD, FORWARD
from symbucket.visualization.figures import MEGA, TITLE_STYLE, new_figure, save
from symbucket.visualization.plot_page import Table

_MAX_OUTLINED = 300  # tensors with a border
_COLOURS = {"stash": ("#c3d5ea", FILLS[FORWARD][1]), "transient": ("#f3d3bc", FILLS[BACKWARD][1])}
_NAMES = {"stash": "stash: kept for the backward part", "transient": "transients"}
_COLUMNS = 3
_WIDTH = 9.0  # inches


class Part(NamedTuple):
    """A model of a plan: ``peak`` bytes of the pool, ``arena`` bytes that the runtime touches."""

    name: str
    tensors: Sequence[PlannedTensor]
    nodes: int
    peak: int
    arena: int


def plan_picture(
    plan: MemoryPlan | PoolPlan | Mapping[str, Any] | str | os.PathLike[str],
    file: str | os.PathLike[str] | None = None,
    key: Hashable = None,
    title: str = "",
) -> Any:
    """Draw a memory plan; return matplotlib's figure.

    The plan of one model shows every tensor as a rectangle: its live range horizontally, its place
    in the pool vertically. A plan of many keys shows for each key the bytes that are live at each
    node, below the line of the shared pool.

    Args:
        plan: of one model, of a module (``plan_memory``), or its ``as_dict()``, or a JSON file of
            that (``symbucket plan --json``).
        file: where to save the picture: .svg, .png or .pdf, or .html, a page with the picture and
            a table of the tensors, of many keys one of the keys; nowhere by default.
        key: only this key of many, tensor by tensor.
        title: a line above.

    Raises InvalidArgumentError for an unknown key or a file that holds no plan, UnsupportedError if
    matplotlib is missing.
    """
    parts, pool = _parts(plan)
    if key is not None:
        names = list(dict.fromkeys(name for name, *_ in parts))
        name_of_key = key if isinstance(key, str) and key in names else repr(key)
        parts = [part for part in parts if part[0] == name_of_key]
        if not parts:
            raise InvalidArgumentError(
                f"the plan has no key {key!r}; its keys are {', '.join(names)}"
            )
    single = len(parts) == 1
    columns = 1 if single else min(_COLUMNS, len(parts))
    rows = -(-len(parts) // columns)
    figure, axes = new_figure(rows, columns, (_WIDTH, 4.4 if single else 0.6 + 2.2 * rows))
    for axis, (name, tensors, nodes, peak, _) in zip(axes.flat, parts):
        placed = [t for t in tensors if t.offset is not None]
        if single:
            _rectangles(axis, placed)
        else:
            _areas(axis, placed, nodes)
            axis.set_title(f"key {name}", loc="left", fontsize=9, color=INK)
        if pool != peak:
            axis.axhline(peak / MEGA, color=PALE, linewidth=1)
        axis.axhline(pool / MEGA, color=INK, linewidth=1.2, linestyle="--")
        axis.set_xlim(0, max((t.death + 1 for t in placed), default=1))  # updates come after it
        axis.set_ylim(0, max(pool, peak, 1) / MEGA * 1.08)
    for axis in list(axes.flat)[len(parts) :]:
        axis.set_visible(False)
    first = axes.flat[0]
    first.annotate(
        f"pool {pool / MEGA:,.1f} MB",
        (1, pool / MEGA),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )
    figure.supxlabel("node, in the order of running", fontsize=9, color=FAINT)
    figure.supylabel("MB in the pool" if single else "MB alive", fontsize=9, color=FAINT)
    what = f"key {parts[0][0]}" if single and len(parts[0][0]) else "Activations over time"
    title = title or what
    figure.suptitle(title, **TITLE_STYLE)
    _legend(figure, single, any(part.peak != pool for part in parts))
    return save(figure, file, title, [_tensors(parts[0]) if single else _keys(parts)])


def _parts(plan: Any) -> tuple[list[Part], int]:
    """Return the models of a plan, and the size of the pool."""
    if isinstance(plan, MemoryPlan):
        return [Part("", plan.tensors(), plan.nodes, plan.peak, plan.arena)], plan.peak
    if isinstance(plan, PoolPlan):
        parts: list[Part] = [
            Part(repr(key), model.tensors(), model.nodes, model.peak, model.arena)
            for key, many in plan.plans.items()
            for model in many
        ]
        return _checked(parts), plan.peak
    if isinstance(plan, (str, os.PathLike)):
        try:
            plan = json.loads(Path(plan).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidArgumentError(f"{str(plan)!r} cannot be read as a plan: {error}") from None
    try:
        if "keys" not in plan:
            return [_from_dict("", plan)], int(plan["peak"])
        keys = plan["keys"].items()
        parts = [_from_dict(name, model) for name, part in keys for model in part["models"]]
        return _checked(parts), int(plan["peak"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidArgumentError(
            f"this is no memory plan ({type(error).__name__}: {error}); expected what "
            "`symbucket plan --json` prints, or module.plan_memory(...)"
        ) from None


def _from_dict(name: str, model: Mapping[str, Any]) -> Part:
    tensors = [PlannedTensor(**{**t, "also": tuple(t["also"])}) for t in model["tensors"]]
    peak = int(model["peak"])
    return Part(name, tensors, int(model["nodes"]), peak, int(model.get("arena", peak)))


def _checked(parts: list[Part]) -> list[Part]:
    if not parts:
        raise InvalidArgumentError("the plan has no keys, so there is nothing to draw")
    return parts


def _tensors(part: Part) -> Table:
    """Return what is in the pool, largest first."""
    placed = [(t.size, t.offset, t) for t in part.tensors if t.offset is not None]
    placed.sort(key=lambda row: (-row[0], row[1]))
    rows = [
        (t.name, _NAMES[t.kind], size, offset, t.birth, t.death, ", ".join(t.also))
        for size, offset, t in placed
    ]
    columns = ("tensor", "kind", "bytes", "offset", "first node", "last node", "written over by")
    return Table("Tensors in the pool", columns, rows)


def _keys(parts: Sequence[Part]) -> Table:
    rows = []
    for name, tensors, nodes, peak, arena in parts:
        placed = [t for t in tensors if t.offset is not None]
        largest = max(placed, key=lambda t: t.size, default=None)
        row = (name, nodes, len(placed), peak, arena)
        rows.append((*row, largest.size if largest else 0, largest.name if largest else ""))
    columns = (
        "key",
        "nodes",
        "tensors",
        "bytes of the pool",
        "of the runtime's arena",
        "of its largest tensor",
        "largest tensor",
    )
    return Table("Keys", columns, rows)


def _rectangles(axis: Any, tensors: Sequence[PlannedTensor]) -> None:
    from matplotlib.collections import PolyCollection

    for kind, (fill, border) in _COLOURS.items():
        corners = []
        for t in tensors:
            if t.kind != kind or t.offset is None:
                continue
            x0, x1 = t.birth, t.death + 1
            y0, y1 = t.offset / MEGA, (t.offset + t.size) / MEGA
            corners.append([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        # Borders of a thousand tensors would be one block of ink.
        width = 0.5 if len(tensors) < _MAX_OUTLINED else 0.0
        axis.add_collection(
            PolyCollection(corners, facecolor=fill, edgecolor=border, linewidth=width)
        )


def _areas(axis: Any, tensors: Sequence[PlannedTensor], nodes: int) -> None:
    layers = []
    for kind in _COLOURS:
        change = np.zeros(nodes + 1)
        for t in tensors:
            if t.kind == kind:
                change[t.birth] += t.size
                change[t.death + 1] -= t.size
        layers.append(np.cumsum(change)[:nodes] / MEGA)
    steps = np.arange(nodes + 1)
    filled = [np.append(layer, layer[-1:]) for layer in layers]
    axis.stackplot(
        steps,
        *filled,
        colors=[fill for fill, _ in _COLOURS.values()],
        step="post",
        edgecolor="none",
    )
    axis.step(steps, sum(filled), where="post", color=_COLOURS["transient"][1], linewidth=0.8)
    axis.step(steps, filled[0], where="post", color=_COLOURS["stash"][1], linewidth=0.8)


def _legend(figure: Any, single: bool, lower: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    marks: list[Any] = [
        Patch(facecolor=fill, edgecolor=border, label=_NAMES[kind])
        for kind, (fill, border) in _COLOURS.items()
    ]
    marks.append(Line2D([], [], color=INK, linewidth=1.2, linestyle="--", label="pool"))
    if lower:
        text = "what it alone needs" if single else "what a key alone needs"
        marks.append(Line2D([], [], color=PALE, linewidth=1, label=text))
    figure.legend(
        handles=marks,
        loc="upper right",
        ncols=len(marks),
        frameon=False,
        fontsize=8,
        labelcolor=FAINT,
    )
