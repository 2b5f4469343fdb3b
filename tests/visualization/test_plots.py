"""Plots: memory plans over time, and buckets."""

from __future__ import annotations

import json
import re
import sys
from base64 import b64decode

import numpy as np
import pytest

import symbucket as sb
from symbucket.compiler.memory import Buffer, MemoryPlan
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.visualization import bucket_picture, bucket_shares, plan_picture
from symbucket.visualization.plot_page import Table, to_plot_page
from tests.visualization.viz_networks import language_model


@pytest.fixture
def needs_matplotlib():
    # Warnings of a library while it is imported are none of these tests' business.
    pytest.importorskip("matplotlib", reason="the extra view is not installed")


def small_plan():
    buffers = (
        Buffer(["a"], 1_000_192, 0, 3, stash=True),
        Buffer(["b", "c"], 500_224, 1, 2),
        Buffer(["d"], 500_224, 3, 4),
    )
    return MemoryPlan(5, {"x": 100}, {"y": 200, "w.grad": 300}, buffers, ("w.grad",), 1_500_416)


def key_plan():
    module = sb.mod.BucketingModule(
        lambda key: (language_model(key)[0], ("data",), ("softmax_label",)), default_bucket_key=6
    )

    def shapes(key):
        return [("data", (3, key))], [("softmax_label", (3, key))]

    module.bind(*shapes(6))
    return module.plan_memory([4, 6], shapes, None, "sgd")


def rectangles(figure):
    found = [c for c in figure.axes[0].collections if c.get_paths()]
    return [p.vertices for c in found for p in c.get_paths()]


def test_one_plan_shows_every_tensor_in_its_place(needs_matplotlib):
    plan = small_plan()
    figure = plan_picture(plan)
    drawn = {
        (v[:, 0].min(), v[:, 0].max(), round(v[:, 1].min() * 1e6), round(v[:, 1].max() * 1e6))
        for v in rectangles(figure)
    }
    wanted = {
        (t.birth, t.death + 1, t.offset, t.offset + t.size)
        for t in plan.tensors()
        if t.offset is not None
    }
    assert drawn == wanted
    (line,) = [x for x in figure.axes[0].lines if x.get_linestyle() == "--"]
    assert line.get_ydata()[0] == plan.peak / 1e6


def test_many_keys_have_one_pool_line(needs_matplotlib, tmp_path):
    plan = key_plan()
    figure = plan_picture(plan, tmp_path / "plan.svg")
    assert [a.get_title(loc="left") for a in figure.axes] == ["key 4", "key 6"]
    for axis, key in zip(figure.axes, (4, 6)):
        lines = {x.get_linestyle(): x.get_ydata()[0] for x in axis.lines}
        assert lines["--"] == plan.peak / 1e6
        (model,) = plan.plans[key]
        # What lives at a node never exceeds the key's own pool, and somewhere is the lower bound.
        alive = max(x.get_ydata().max() for x in axis.lines if len(x.get_ydata()) > 2)
        assert alive == pytest.approx(model.lower_bound / 1e6)
        assert round(alive * 1e6) <= model.peak
    assert (tmp_path / "plan.svg").read_text().count("<svg") == 1


def test_plans_from_files_look_the_same(needs_matplotlib, tmp_path):
    plan = key_plan()
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.as_dict()))
    for key in (None, 6):
        first, second = plan_picture(plan, key=key), plan_picture(path, key=key)
        ours = [line.get_ydata() for a in first.axes for line in a.lines]
        theirs = [line.get_ydata() for a in second.axes for line in a.lines]
        assert len(ours) == len(theirs) > 0
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs))
    plan_picture(json.loads(json.dumps(small_plan().as_dict())), tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_plans_that_are_none(needs_matplotlib, tmp_path):
    with pytest.raises(InvalidArgumentError, match="the plan has no key 5; its keys are 4, 6"):
        plan_picture(key_plan(), key=5)
    with pytest.raises(InvalidArgumentError, match="no memory plan"):
        plan_picture({"peak": 3})
    with pytest.raises(InvalidArgumentError, match="no memory plan"):
        plan_picture([1, 2])
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InvalidArgumentError, match="cannot be read as a plan"):
        plan_picture(tmp_path / "a.json")
    with pytest.raises(InvalidArgumentError, match="the format 'gif' is unknown"):
        plan_picture(small_plan(), tmp_path / "a.gif")


def cells(page, row="td"):
    lines = re.findall(r"<tr>.*</tr>", page)
    return [re.findall(rf"<{row}[^>]*>([^<]*)</{row}>", line) for line in lines]


def test_pages_have_the_numbers_beside_the_plot(needs_matplotlib, tmp_path):
    plan_picture(small_plan(), tmp_path / "one.html", title="<one>")
    page = (tmp_path / "one.html").read_text()
    assert "<h1>&lt;one&gt;</h1>" in page
    (picture,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert b"<svg" in b64decode(picture)
    kept, *transients = cells(page)[1:]
    assert kept[:4] == ["a", "stash: kept for the backward part", "1,000,192", "0"]
    assert sorted(row[0] for row in transients) == ["b", "d"]
    assert next(row for row in transients if row[0] == "b")[4:] == ["1", "2", "c"]
    plan = key_plan()
    plan_picture(plan, tmp_path / "keys.html")
    page = (tmp_path / "keys.html").read_text()
    for row, key in zip(cells(page)[1:], (4, 6)):
        (model,) = plan.plans[key]
        assert row[:2] == [str(key), str(model.nodes)]
        assert row[3:5] == [f"{model.peak:,}", f"{model.arena:,}"]
    bucket_picture([1, 2, 3, 5, 5, 6, 12, 13], [6, 3, 12], tmp_path / "b.html")
    page = (tmp_path / "b.html").read_text()
    assert cells(page)[1:] == [
        ["3", "3", "37.5%", "9", "33.3%"],
        ["6", "3", "37.5%", "18", "11.1%"],
        ["12", "1", "12.5%", "12", "0.0%"],
        ["too long for all", "1", "12.5%", "", ""],
    ]
    assert "://" not in re.sub(r'src="[^"]+"', "", page)


def test_a_long_table_says_what_it_leaves_out():
    rows = [("x", i, i / 1000) for i in range(501)]
    page = to_plot_page("t", b"<svg/>", [Table("Numbers", ("a", "b", "c"), rows)])
    assert "Numbers (the first 500 of 501)" in page
    assert cells(page)[-1] == ["x", "499", "49.9%"]


def test_shares_of_padding():
    shares, discarded = bucket_shares([1, 2, 3, 5, 5, 6, 12, 13], [6, 3, 12])
    assert [(s.key, s.count) for s in shares] == [(3, 3), (6, 3), (12, 1)]
    assert [s.padding for s in shares] == pytest.approx([1 - 2 / 3, 1 - 16 / 18, 0])
    assert discarded == 1
    empty, _ = bucket_shares([7], [3, 8])
    assert (empty[0].count, empty[0].padding) == (0, 0.0)


@pytest.mark.parametrize("buckets", [[10, 20, 40], [5, 6, 7, 8, 60], [200]])
def test_bars_count_all_sentences_and_boundaries_stand(needs_matplotlib, tmp_path, buckets):
    lengths = np.random.default_rng(3).integers(1, 70, 2000)
    figure = bucket_picture(lengths, buckets, tmp_path / "b.png")
    (axis,) = figure.axes
    kept = sum(s.count for s in bucket_shares(lengths, buckets)[0])
    inside = [b for b in axis.patches if b.get_x() + b.get_width() <= buckets[-1] + 0.5]
    assert sum(b.get_height() for b in inside) == kept
    lines = [x.get_xdata()[0] for x in axis.lines]
    assert lines == [b + 0.5 for b in buckets]
    assert (tmp_path / "b.png").stat().st_size > 5000
    title = figure.texts[0].get_text()
    assert f"{kept:,} sentences" in title
    assert ("too long" in title) == (kept < 2000)


def test_labels_of_buckets_do_not_overlap(needs_matplotlib):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    lengths = np.random.default_rng(3).integers(1, 120, 3000)
    figure = bucket_picture(lengths, [8, 10, 12, 14, 20, 30, 60, 120])
    FigureCanvasAgg(figure).draw()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts]
    assert len(boxes) > 6
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize(
    ("lengths", "buckets", "said"),
    [
        ([], [3], "lengths must be a list of positive integers"),
        ([3, 0], [3], "lengths must be .* the least 0"),
        ([3], [], "buckets must be"),
        ([3], [2.5], "buckets must be .*float64"),
        ([[3]], [3], r"of shape \(1, 1\)"),
    ],
)
def test_bad_lengths_and_buckets(lengths, buckets, said):
    with pytest.raises(InvalidArgumentError, match=said):
        bucket_shares(lengths, buckets)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UnsupportedError, match=r'needs matplotlib.*"symbucket\[view\]"'):
        bucket_picture([3], [3])
