"""Line charts: where points are, what axes say, and that texts of others do no harm."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree

import pytest

from symbucket.charts import Series, line_chart, short, smoothed, ticks

SVG = "{http://www.w3.org/2000/svg}"


def parsed(*series, **options):
    root = ElementTree.fromstring(line_chart("A title", series, "batches", **options))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    data = root.get("data-chart")
    return root, texts, json.loads(data) if data else None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.93, 1.02, [0.94, 0.96, 0.98, 1.0, 1.02]),
        (1, 4, [1, 2, 3, 4]),
        (-3, 3, [-2, 0, 2]),
        (7, 7, [7]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_numbers_are_short():
    assert [short(x) for x in (0.25, 1200, 3e6, 2e9, 0)] == ["0.25", "1.2k", "3M", "2G", "0"]


def test_points_are_where_they_belong():
    _, texts, data = parsed(Series("one", [(0, 0.0), (50, 5.0), (100, 10.0)]))
    (curve,) = data["curves"]
    xs = [p[2] for p in curve["points"]]
    ys = [p[3] for p in curve["points"]]
    assert xs[1] == pytest.approx((xs[0] + xs[2]) / 2, abs=0.1)
    assert ys[0] > ys[1] > ys[2]  # up is less
    assert data["top"] < ys[2] < ys[0] <= data["bottom"]
    assert {"A title", "batches", "one", "0", "100", "10"} <= set(texts)


def test_a_wide_range_is_logarithmic_if_it_may_be():
    points = [(1, 1.0), (2, 10.0), (3, 100.0)]
    _, texts, data = parsed(Series("one", points), x_from=1, may_be_log=True)
    first, second, third = (p[3] for p in data["curves"][0]["points"])
    assert first - second == pytest.approx(second - third, abs=0.2)
    assert {"1", "2", "5", "10", "20", "50", "100"} <= set(texts)
    first, second, third = (p[3] for p in parsed(Series("a", points))[2]["curves"][0]["points"])
    assert first - second < (second - third) / 5


def test_what_is_not_finite_leaves_a_gap():
    root, _, data = parsed(Series("one", [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0), (4, 2.0)]))
    assert len(data["curves"][0]["points"]) == 4
    curve = next(p for p in root.iter(f"{SVG}path") if p.get("stroke-linejoin"))
    assert curve.get("d").count("M") == 2
    root, texts, data = parsed(Series("one", [(0, math.inf)]))
    assert data is None
    assert "no values yet" in texts


def test_one_point_is_a_dot_and_whole_numbers_only_are_on_the_axis():
    root, texts, _ = parsed(Series("one", [(1, 3.0)]), x_from=1)
    assert len(list(root.iter(f"{SVG}circle"))) == 1
    _, texts, _ = parsed(Series("one", [(1, 3.0), (2, 4.0)]), x_from=1)
    assert "1.5" not in texts


def test_smoothing_keeps_a_line_and_takes_noise_away():
    flat = [(float(i), 3.0) for i in range(100)]
    assert [y for _, y in smoothed(flat)] == pytest.approx([3.0] * 100)
    noisy = smoothed([(float(i), float(i % 2)) for i in range(100)])
    assert all(abs(y - 0.5) < 0.2 for _, y in noisy[10:90])
    steep = smoothed([(float(i), -float(i)) for i in range(200)])
    assert steep[100][1] == pytest.approx(-100, abs=0.5)  # no lag
    assert math.isnan(smoothed([(0.0, math.nan), (1.0, 2.0)])[0][1])


def test_names_are_only_text():
    hostile = "</text><script>alert('1')</script>\""
    text = line_chart(hostile, [Series(hostile, [(0, 1.0), (1, 2.0)])], hostile)
    assert "<script" not in text
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == hostile
    assert json.loads(root.get("data-chart"))["curves"][0]["name"] == hostile
