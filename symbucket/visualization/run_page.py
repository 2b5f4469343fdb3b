"""The report of a run of ``fit``: one page with curves, and where time and memory went."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from symbucket.callback.pace import duration
from symbucket.callback.run_record import Point, RunRecord
from symbucket.charts import Series, line_chart
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.files import write_checkpoint
from symbucket.visualization.amounts import nbytes_text
from symbucket.visualization.page_parts import asset, filled, script_json

_BEGIN, _END = '<script type="application/json" id="run">', "</script>"

# What kinds of work are called, in the order in which they are shown.
_WORK = {
    "step": "training steps",
    "compile": "compiling networks",
    "data": "waiting for data",
    "validation": "validation",
    "checkpoint": "checkpoints",
    "callbacks": "callbacks and the rest",
    "start": "binding and the first batch",
}
_PEAK = "process peak"


def write_run_page(record: RunRecord, path: Path) -> None:
    """Write the report; raise CheckpointError if that fails, and leave the old one then."""
    write_checkpoint(path, to_run_page(record).encode())


def check_run_page(path: Path) -> None:
    """Raise InvalidArgumentError if there is another file than a report."""
    if path.exists() and _read(path) is None:
        raise InvalidArgumentError(
            f"{str(path)!r} is there and is not a report of fit, which would replace it. Choose "
            "another name, or move it away"
        )


def read_run_page(record: RunRecord, path: Path, epoch: int, batches: int) -> None:
    """Fill a record with what the report of the run so far says, if there is one.

    The run goes on after ``batches`` of ``epoch``; what came after that is left out.
    """
    earlier = _read(path) if path.exists() else None
    if earlier is None:
        return
    earlier.go_back(epoch, batches)
    for name in ("started", "windows", "epochs", "buckets", "seconds", "step"):
        setattr(record, name, getattr(earlier, name))


def _read(path: Path) -> RunRecord | None:
    """Return the record in a page; None if it is no report."""
    try:
        text = path.read_text(encoding="utf-8")
        _, _, rest = text.partition(_BEGIN)
        return RunRecord.from_dict(json.loads(rest.partition(_END)[0]))
    except OSError as error:
        raise CheckpointError(f"cannot read {str(path)!r}: {error}") from error
    except (ValueError, KeyError, TypeError):
        return None


def to_run_page(record: RunRecord) -> str:
    """Return the text of the page, which loads nothing from elsewhere."""
    charts = "".join(f"<section>{chart}</section>" for chart in _charts(record))
    content = [
        _facts(record),
        f'<div class="charts">{charts}</div>',
        _buckets(record),
        f'<div class="halves">{_time(record)}{_memory(record)}</div>',
        _epochs(record),
    ]
    parts = {
        "TITLE": "Training run",
        "LINE": escape(_line(record)),
        "STYLE": asset("run.css"),
        "CONTENT": "\n".join(filter(None, content)),
        "RECORD": script_json(record.as_dict()),
        "SCRIPT": asset("run.js"),
    }
    return filled("run.html", parts)


def _line(record: RunRecord) -> str:
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started))
    numbers = {n: v for n, v in record.config.items() if n != "optimizer"}
    rate = numbers.get("learning_rate", numbers.get("lr"))
    optimizer = str(record.config.get("optimizer", ""))
    if rate is not None:
        optimizer += f", learning rate {rate:g}"
    state = record.state
    if state not in ("running", "finished"):
        stopped = state in ("KeyboardInterrupt", "SystemExit")  # Ctrl-C, SIGTERM
        state = "interrupted" if stopped else f"ended by {state}"
    done = f"{len(record.epochs)} of {record.epochs_planned} epochs"
    batches = f"{record.step:,} batches"
    return " \u00b7 ".join(filter(None, [record.module, optimizer, done, batches, began, state]))


def _facts(record: RunRecord) -> str:
    facts: list[tuple[str, str]] = []
    for name in _metrics(record):
        rows = [(v, p.epoch) for p, v in _values(record.epochs, f"val-{name}") if math.isfinite(v)]
        if rows:
            sign = 1 if _less_is_better(record, name) else -1
            value, epoch = min(rows, key=lambda row: (sign * row[0], row[1]))
            facts.append((_number(value), f"best validation {name}, epoch {epoch + 1}"))
        elif record.epochs:
            last = record.epochs[-1].values.get(f"train-{name}", math.nan)
            facts.append((_number(last), f"training {name}, last epoch"))
    seconds = record.seconds.get("step", 0.0)
    uses = record.buckets.values()
    tokens, samples = sum(u.tokens for u in uses), sum(u.samples for u in uses)
    if seconds and (tokens or samples):
        unit = "tokens" if tokens else "samples"
        facts.append((f"{(tokens or samples) / seconds:,.0f}", f"{unit} a second of steps"))
    positions = sum(u.positions for u in uses if u.tokens)
    if positions:
        facts.append((f"{1 - tokens / positions:.1%}", "of the positions is padding"))
    facts.append((_seconds(record.total_seconds), "in all"))
    if _PEAK in record.memory:
        facts.append((nbytes_text(record.memory[_PEAK]), "memory of the process, at most"))
    cells = "".join(f"<div><b>{escape(v)}</b><span>{escape(n)}</span></div>" for v, n in facts)
    return f'<section class="facts">{cells}</section>'


def _metrics(record: RunRecord) -> list[str]:
    names = [
        name.partition("-")[2]
        for point in [*record.windows[:1], *record.epochs]
        for name in point.values
        if name.startswith(("train-", "val-"))
    ]
    return list(dict.fromkeys(names))


def _less_is_better(record: RunRecord, name: str) -> bool:
    words = ("loss", "error", "entropy", "mae", "mse", "rmse", "nll", "perplexity")
    return name in record.perplexities or any(word in name.lower() for word in words)


def _charts(record: RunRecord) -> list[str]:
    charts = []
    for name in _metrics(record):
        is_perplexity = name in record.perplexities
        by_batch = f"loss (log {name})" if is_perplexity else name
        curve = [(float(p.step), v) for p, v in _values(record.windows, f"train-{name}")]
        dots = [(float(p.step), v) for p, v in _values(record.epochs, f"val-{name}")]
        if is_perplexity:
            curve, dots = _logarithms(curve), _logarithms(dots)
        series = [
            Series("training", curve, 0, smooth=len(curve) > 20),
            Series("validation", dots, 1, dots=True),
        ]
        charts.append(line_chart(f"{_title(by_batch)} by batch", series, "batches"))
        series = [
            Series(kind, [(p.epoch + 1.0, v) for p, v in _values(record.epochs, f"{key}-{name}")],
                   colour, dots=True)
            for colour, (key, kind) in enumerate((("train", "training"), ("val", "validation")))
        ]  # fmt: skip
        charts.append(
            line_chart(
                f"{_title(name)} by epoch", series, "epochs", x_from=1, may_be_log=is_perplexity
            )
        )
    rates = [(p.epoch + 1.0, v) for p, v in _values(record.epochs, "learning_rate")]
    if len({rate for _, rate in rates}) > 1:
        series = [Series("learning rate", rates, 2, dots=True)]
        charts.append(
            line_chart("Learning rate by epoch", series, "epochs", x_from=1, may_be_log=True)
        )
    return charts


def _values(points: Sequence[Point], name: str) -> list[tuple[Point, float]]:
    return [(p, p.values[name]) for p in points if name in p.values]


def _logarithms(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, math.log(y) if 0 < y < math.inf else math.nan) for x, y in points]


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


def _buckets(record: RunRecord) -> str:
    uses = record.buckets
    if not uses or set(uses) == {""}:
        return ""
    most = max(u.seconds for u in uses.values()) or 1.0
    whole = sum(u.seconds for u in uses.values()) or 1.0
    head = ("bucket", "batches", "samples", "ms a batch", "tokens/s", "time", "", "padding", "")
    rows = []
    for key in sorted(uses, key=_sort_key):
        use = uses[key]
        speed = f"{use.tokens / use.seconds:,.0f}" if use.tokens and use.seconds else ""
        padding = use.padding
        cells = [
            escape(key or "no key"),
            f"{use.batches:,}",
            f"{use.samples:,}",
            f"{1000 * use.seconds / use.batches:,.1f}",
            speed,
            f"{use.seconds / whole:.1%}",
            _bar(use.seconds / most, "--p0"),
            "" if padding is None else f"{padding:.1%}",
            "" if padding is None else _bar(padding, "--p1"),
        ]
        rows.append(cells)
    return f'<section class="wide"><h2>Buckets</h2>{_table(head, rows)}</section>'


def _sort_key(key: str) -> tuple[int, Any]:
    try:
        value = json.loads(key.replace("(", "[").replace(")", "]"))
        return 0, value if isinstance(value, list) else [value]
    except ValueError:
        return 1, key


def _bar(share: float, colour: str) -> str:
    return f'<i style="width:{100 * min(1.0, share):.1f}%;background:var({colour})"></i>'


def _time(record: RunRecord) -> str:
    amounts = {text: record.seconds.get(work, 0.0) for work, text in _WORK.items()}
    rows = {text: s for text, s in amounts.items() if s > 0}
    return _breakdown("Where time went", rows, _seconds, "")


def _memory(record: RunRecord) -> str:
    rows = {n: float(b) for n, b in record.memory.items() if n != _PEAK and b}
    peak = record.memory.get(_PEAK)
    note = (
        f"The process had {nbytes_text(peak)} at most, with Python, runtime and compiler."
        if peak
        else ""
    )
    return _breakdown("Where memory went", rows, nbytes_text, note)


def _breakdown(
    title: str, amounts: Mapping[str, float], text: Callable[[float], str], note: str
) -> str:
    if not amounts:
        return ""
    whole = sum(amounts.values()) or 1.0
    parts, rows = [], []
    for i, (name, value) in enumerate(amounts.items()):
        colour = f"var(--p{min(i, 6)})"
        hint = escape(f"{name}: {text(value)}", quote=True)
        parts.append(f'<i title="{hint}" style="flex:{value / whole:.5f};background:{colour}"></i>')
        dot = f'<i class="dot" style="background:{colour}"></i>'
        rows.append([dot + escape(name), text(value), f"{value / whole:.1%}"])
    rows.append(["all", text(whole), ""])
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<section><h2>{title}</h2><div class="stack">{"".join(parts)}</div>'
        f"{_table((), rows, total=True)}{note}</section>"
    )


def _epochs(record: RunRecord) -> str:
    if not record.epochs:
        return ""
    names = list(dict.fromkeys(n for p in record.epochs for n in p.values))
    rows, before = [], 0.0
    for point in record.epochs:
        values = [_number(point.values.get(name, math.nan)) for name in names]
        rows.append([str(point.epoch + 1), *values, _seconds(point.seconds - before)])
        before = point.seconds
    head = ("epoch", *(name.replace("_", " ") for name in names), "time")
    return f'<section class="wide"><h2>Epochs</h2>{_table(head, rows)}</section>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, total: bool = False) -> str:
    """Return a table; cells of ``rows`` are HTML."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = []
    for i, row in enumerate(rows):
        kind = ' class="total"' if total and i == len(rows) - 1 else ""
        cells = "".join(
            f"<td{' class=bar' if cell.startswith('<i style') else ''}>{cell}</td>" for cell in row
        )
        lines.append(f"<tr{kind}>{cells}</tr>")
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f"<table>{top}<tbody>{''.join(lines)}</tbody></table>"


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _seconds(seconds: float) -> str:
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else duration(seconds)
