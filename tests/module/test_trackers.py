"""Values of epochs in CSV files, TensorBoard and MLflow; the latter two by stand-ins."""

import csv
import logging
import sys
import types

import numpy as np
import pytest

import symbucket as sb
from symbucket.callback import CSVTracker, MLflowTracker, TensorBoardTracker
from symbucket.errors import InvalidArgumentError, UnsupportedError


def fit(epochs=2, **options):
    x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    module = sb.mod.Module(sb.sym.SoftmaxOutput(x, name="softmax"))
    data = sb.io.NDArrayIter(np.eye(6), np.zeros(6), 2)
    params = {"learning_rate": 0.5}
    module.fit(data, data, num_epoch=epochs, optimizer_params=params, **options)
    return module


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_file(tmp_path):
    path = tmp_path / "new" / "values.csv"
    fit(trackers=CSVTracker(path, every_batches=2))
    assert [(r["step"], r["epoch"]) for r in rows(path)] == [
        ("2", "0"),
        ("3", "0"),
        ("5", "1"),
        ("6", "1"),
    ]
    assert list(rows(path)[0]) == [
        "step",
        "epoch",
        "train-accuracy",
        "learning_rate",
        "val-accuracy",
    ]
    assert rows(path)[0]["val-accuracy"] == ""
    assert rows(path)[3]["val-accuracy"] == "1.0"
    assert rows(path)[3]["learning_rate"] == "0.5"
    fit(1, trackers=[CSVTracker(path)])  # anew
    assert len(rows(path)) == 1


def test_a_csv_file_goes_on_at_the_checkpoint(tmp_path):
    path, folder = tmp_path / "values.csv", tmp_path / "run"
    fit(1, trackers=CSVTracker(path), checkpoint=folder)
    with path.open("a") as file:
        file.write("5,1,0.5,0.5,0.5\n")  # of batches that came after the checkpoint
    fit(2, trackers=CSVTracker(path), checkpoint=folder, resume="auto")
    assert [r["step"] for r in rows(path)] == ["3", "6"]


class Failing:
    every_batches = None

    def __init__(self, where):
        self.where, self.calls = where, []

    def _do(self, what):
        self.calls.append(what)
        if what == self.where:
            raise OSError("disk full")

    def begin(self, step, config):
        self.config = config
        self._do("begin")

    def log(self, step, epoch, values):
        self._do("log")

    def end(self):
        self._do("end")


@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("begin", ["begin"]),
        ("log", ["begin", "log"]),
        ("end", ["begin", "log", "log", "end"]),
        ("nowhere", ["begin", "log", "log", "end"]),
    ],
)
def test_a_tracker_that_fails_is_left_out(where, calls, caplog):
    tracker, other = Failing(where), Failing("nowhere")
    fit(trackers=[tracker, other])
    assert tracker.calls == calls
    assert other.calls == ["begin", "log", "log", "end"]
    assert other.config["optimizer"] == "SGD"
    assert other.config["lr"] == 0.5
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    expected = [
        "Failing has failed and is left out from now on: OSError: disk full. Training goes on"
    ]
    assert errors == (expected if where != "nowhere" else [])


def test_trackers_end_whatever_happens():
    tracker = Failing("nowhere")

    def stop(param):
        raise KeyError

    with pytest.raises(KeyError):
        fit(trackers=tracker, batch_end_callback=stop)
    assert tracker.calls == ["begin", "end"]
    with pytest.raises(InvalidArgumentError, match="trackers has 3; expected objects with begin"):
        fit(trackers=[3])


def test_tensorboard(monkeypatch, tmp_path):
    calls = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            calls.append(("open", folder, purge_step))

        def add_text(self, name, text, step):
            assert "optimizer: SGD" in text

        def add_scalar(self, name, value, step):
            calls.append((name, value, step))

        def flush(self):
            pass

        def close(self):
            calls.append("close")

    monkeypatch.setitem(
        sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter)
    )
    fit(1, trackers=TensorBoardTracker(tmp_path))
    assert calls == [
        ("open", str(tmp_path), 1),
        ("train/accuracy", 1.0, 3),
        ("val/accuracy", 1.0, 3),
        ("learning_rate", 0.5, 3),
        ("epoch", 0, 3),
        "close",
    ]


def test_mlflow(monkeypatch):
    calls = []

    def note(name, result=None):
        return lambda *args, **kwargs: calls.append((name, args, kwargs)) or result

    run = types.SimpleNamespace(info=types.SimpleNamespace(run_id="r7"))
    functions = ("set_tracking_uri", "set_experiment", "log_params", "log_metrics", "end_run")
    fake = types.SimpleNamespace(
        **{n: note(n) for n in functions}, start_run=note("start_run", run)
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    tracker = MLflowTracker("first", experiment="words", tracking_uri="here")
    fit(1, trackers=tracker)
    assert [name for name, _, _ in calls] == [
        "set_tracking_uri",
        "set_experiment",
        "start_run",
        "log_params",
        "log_metrics",
        "end_run",
    ]
    assert calls[2][2] == {"run_id": None, "run_name": "first"}
    assert calls[4][1][0]["val-accuracy"] == 1.0
    assert calls[4][2] == {"step": 3}
    assert tracker.run_id == "r7"
    calls.clear()
    fit(1, trackers=tracker)  # goes on with its run
    assert calls[2][2] == {"run_id": "r7", "run_name": "first"}
    assert "log_params" not in [name for name, _, _ in calls]


def test_what_is_not_installed(monkeypatch):
    for name, make in (("tensorboardX", TensorBoardTracker), ("mlflow", MLflowTracker)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UnsupportedError, match=r'pip install "symbucket\[tracking\]"'):
            make("x")
    with pytest.raises(InvalidArgumentError, match="every_batches is 0"):
        CSVTracker("x.csv", 0)
