"""``LivePlot`` and the bar in a notebook, with a stand-in for IPython; elsewhere it says so."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError


class Handle:
    """What ``IPython.display.display`` returns."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, html):
        self.shown[-1] = html


@pytest.fixture
def outputs(monkeypatch):
    """Make this a notebook; return the lists of what each output has shown."""
    outputs = []

    def display(html, display_id):
        assert display_id
        outputs.append([html])
        return Handle(outputs[-1])

    package = types.ModuleType("IPython")
    package.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    module = types.ModuleType("IPython.display")
    module.display, module.HTML = display, str
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return outputs


def fit(**options):
    x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    module = sb.mod.Module(sb.sym.SoftmaxOutput(x, name="softmax"))
    data = sb.io.NDArrayIter(np.eye(4), np.zeros(4), 2)
    module.fit(data, data, num_epoch=2, **options)


def test_long_curves_lose_every_second_point(outputs):
    plot = sb.callback.LivePlot(seconds=1e9)
    plot.begin(0, {})
    for step in range(10_000):
        plot.log(step, 0, {"train-loss": float(step)})
    points = plot._points["train-loss"]
    assert 400 < len(points) <= 1000
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (9999.0, 9999.0)
    assert points == sorted(points)


def test_curves_grow_in_a_notebook(outputs):
    plot = sb.callback.LivePlot(every_batches=1, seconds=0)
    fit(trackers=plot, progress="none")
    (shown,) = outputs
    assert shown[-1].count("<svg") == 1
    assert all(word in shown[-1] for word in ("accuracy", "training", "validation"))
    # Two batches and the end of each of two epochs.
    assert len(plot._points["train-accuracy"]) == 6
    assert len(plot._points["val-accuracy"]) == 2
    fit(trackers=plot, progress="none")
    assert len(outputs) == 2
    assert len(plot._points["val-accuracy"]) == 2  # of the new run


def test_the_bar_of_a_notebook_stays_at_the_end(outputs):
    fit()
    ((bar,),) = outputs
    assert '<progress value="2" max="2">' in bar
    assert "Epoch 2/2  2/2  accuracy=" in bar


def test_elsewhere_it_says_so(caplog):
    fit(trackers=sb.callback.LivePlot(), progress="none")
    assert caplog.text.count("LivePlot draws in notebooks, and this is none") == 1


def test_a_name_is_no_tracker():
    with pytest.raises(InvalidArgumentError, match="trackers has 'LivePlot'; expected objects"):
        fit(trackers="LivePlot")


def test_it_is_no_callback():
    with pytest.raises(InvalidArgumentError, match=r"fit\(trackers=sb.callback.LivePlot\(\)\)"):
        fit(batch_end_callback=sb.callback.LivePlot())
    for options in ({"every_batches": 0}, {"seconds": -1}):
        with pytest.raises(InvalidArgumentError, match="LivePlot: "):
            sb.callback.LivePlot(**options)
