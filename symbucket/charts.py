"""Line charts as SVG: what reports and notebooks show of a run.

They are plain text without a plotting library, so they come with every installation. Colours are
CSS variables with a default, so a page can have a dark mode; in a notebook texts have the colour
of the text around them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 34, 40
_LOG_RANGE = 8.0
"""Largest by smallest value beyond which an axis is logarithmic, if it may be."""

COLOURS = ("var(--train, #3f74ad)", "var(--val, #c8692b)", "var(--third, #5d9150)")
_FAINT = "var(--faint, #7d8896)"
_GRID = "var(--grid, #8a95a340)"


@dataclass(frozen=True)
class Series:
    """One curve: ``points`` are (x, y); values that are not finite leave a gap.

    ``smooth`` draws the points faintly and their moving average over them; ``dots`` marks points.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    smooth: bool = False
    dots: bool = False


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float  # on the screen
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return where a value is on the screen."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    *,
    x_from: float = 0.0,
    may_be_log: bool = False,
    readable: bool = True,
) -> str:
    """Return an SVG element with curves over a common x axis, a legend, and the data for a page.

    The x axis counts something, from ``x_from`` on. ``may_be_log``: the y axis is logarithmic if
    values differ by more than a factor of 8. ``readable``: the data are there too, for
    the script of a page.
    """
    shown = [s for s in series if any(map(_finite, s.points))]
    finite = [p for s in shown for p in s.points if _finite(p)]
    axes = _axes(finite, x_from, may_be_log)
    parts = [
        f'<text x="{_LEFT - 44}" y="18" style="font-weight:600;font-size:14px" '
        f'fill="currentColor">{escape(title)}</text>'
    ]
    if finite:
        parts += [*_grid(*axes), *_legend(shown)]
        for one in shown:
            parts += _curve(one, *axes)
        parts.append(
            f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end" fill="{_FAINT}">'
            f"{escape(x_label)}</text>"
        )
    else:
        parts.append(f'<text x="{_LEFT}" y="{_HEIGHT / 2}" fill="{_FAINT}">no values yet</text>')
    data = ""
    if readable:
        numbers = escape(json.dumps(_data(shown, axes)), quote=True) if finite else ""
        data = f'data-chart="{numbers}" '
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title, quote=True)}" {data}'
        f'style="max-width:100%;font:12px system-ui,sans-serif" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _axes(
    points: Sequence[tuple[float, float]], x_from: float, may_be_log: bool
) -> tuple[_Axis, _Axis]:
    xs = [x for x, _ in points] or [0.0]
    ys = [y for _, y in points] or [0.0]
    x_axis = _Axis(min(x_from, *xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    low, high = min(ys), max(ys)
    log = may_be_log and low > 0 and high / low > _LOG_RANGE
    if log:
        low, high = low / 1.05, high * 1.05
    else:
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        positive = low >= 0
        low, high = low - room, high + room
        low = max(low, 0.0) if positive else low
    return x_axis, _Axis(low, high, _HEIGHT - _BOTTOM, _TOP, log)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about ``count`` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    few = math.log10(high / low) > 3
    return [m * 10.0**p for p in powers for m in ((1,) if few else (1, 2, 5))
            if low <= m * 10.0**p <= high]  # fmt: skip


def _grid(x_axis: _Axis, y_axis: _Axis) -> Iterator[str]:
    values = (_log_ticks if y_axis.log else ticks)(y_axis.low, y_axis.high)
    for value in values:
        y = y_axis(value)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>'
        yield (
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{_FAINT}">'
            f"{short(value)}</text>"
        )
    for value in ticks(x_axis.low, x_axis.high, 6):
        if value != int(value):
            continue
        yield (
            f'<text x="{x_axis(value):.1f}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle" '
            f'fill="{_FAINT}">{short(value)}</text>'
        )


def short(value: float) -> str:
    """Return a number in few letters: 1,200 as 1.2k."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def _legend(series: Sequence[Series]) -> Iterator[str]:
    x = float(_WIDTH - _RIGHT)
    for one in reversed(series):
        x -= 7.0 * len(one.name) + 26
        yield (
            f'<path d="M{x:.0f} 14h14" stroke="{COLOURS[one.colour]}" stroke-width="2.5"/>'
            f'<text x="{x + 18:.0f}" y="18" fill="currentColor">{escape(one.name)}</text>'
        )


def _curve(series: Series, x_axis: _Axis, y_axis: _Axis) -> Iterator[str]:
    colour = COLOURS[series.colour]
    style = f'fill="none" stroke="{colour}" stroke-linejoin="round"'
    if series.smooth:
        faint = _path(series.points, x_axis, y_axis)
        yield f'<path d="{faint}" {style} stroke-width="1" opacity="0.3"/>'
        yield f'<path d="{_path(smoothed(series.points), x_axis, y_axis)}" {style} ' \
              'stroke-width="2"/>'  # fmt: skip
    else:
        yield f'<path d="{_path(series.points, x_axis, y_axis)}" {style} stroke-width="2"/>'
    finite = [p for p in series.points if _finite(p)]
    if series.dots or len(finite) == 1:
        for x, y in finite:
            yield f'<circle cx="{x_axis(x):.1f}" cy="{y_axis(y):.1f}" r="3" fill="{colour}"/>'


def _path(points: Sequence[tuple[float, float]], x_axis: _Axis, y_axis: _Axis) -> str:
    texts, pen = [], "M"
    for point in points:
        if not _finite(point):
            pen = "M"
            continue
        texts.append(f"{pen}{x_axis(point[0]):.1f} {y_axis(point[1]):.1f}")
        pen = "L"
    return "".join(texts)


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return an average of points that weighs neighbours on both sides, so it does not lag."""
    keep = 1 - 1 / max(1.0, len(points) / 25)
    ys = [y for _, y in points]
    before, after = _averages(ys, keep), _averages(ys[::-1], keep)[::-1]
    return [(x, (b + a) / 2) for (x, _), b, a in zip(points, before, after)]


def _averages(values: Sequence[float], keep: float) -> list[float]:
    """Return the exponential moving average of values; those that are not finite have none."""
    average, weight, result = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            average, weight = keep * average + (1 - keep) * value, keep * weight + (1 - keep)
        result.append(average / weight if weight and math.isfinite(value) else math.nan)
    return result


def _finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _data(series: Sequence[Series], axes: tuple[_Axis, _Axis]) -> dict[str, object]:
    """Return what a page needs to read values off the chart."""
    x_axis, y_axis = axes
    curves = [
        {
            "name": one.name,
            "colour": COLOURS[one.colour],
            "points": [
                [x, float(f"{y:.5g}"), round(x_axis(x), 1), round(y_axis(y), 1)]
                for x, y in one.points
                if _finite((x, y))
            ],
        }
        for one in series
    ]
    return {"curves": curves, "top": _TOP, "bottom": _HEIGHT - _BOTTOM}
