from __future__ import annotations

import io
import logging
import sys
import types

import pytest

import symbucket.callback as callback
from symbucket.callback import BatchEndParam
from symbucket.errors import InvalidArgumentError
from symbucket.metric import CompositeEvalMetric, Loss


@pytest.fixture(autouse=True)
def _info(caplog):
    caplog.set_level(logging.INFO)


class Clock:
    """A clock that goes on by ``step`` seconds for each batch."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("symbucket.callback.progress.time.perf_counter", lambda: self.now)


def run_epoch(callbacks, batches, metric, epoch=0, clock=None, seconds=0.0):
    for nbatch in range(batches):
        if clock is not None:
            clock.now += seconds
        if metric is not None:
            metric.update_sums(nbatch, 1)  # batch i has loss i
        for each in callbacks:
            each(BatchEndParam(epoch, nbatch, metric, {}))


def test_speedometer_windows(monkeypatch, caplog):
    clock, metric = Clock(monkeypatch), Loss()
    run_epoch([callback.Speedometer(10, frequent=4)], 10, metric, 3, clock, 0.5)
    assert caplog.messages == [
        # batches 1..4 took 2 s for 40 samples; losses 0..4 are in the first window
        "Epoch[3] Batch [0-4]\tSpeed: 20.00 samples/sec\tloss=2.000000",
        "Epoch[3] Batch [4-8]\tSpeed: 20.00 samples/sec\tloss=6.500000",
    ]
    # The window is what was left, the epoch is whole.
    assert metric.get() == ("loss", 9.0)
    assert metric.get_global() == ("loss", 4.5)


def test_speedometer_without_reset(monkeypatch, caplog):
    clock = Clock(monkeypatch)
    metric = CompositeEvalMetric([Loss("a")])
    speed = callback.Speedometer(1, frequent=2, auto_reset=False)
    for nbatch in range(5):
        clock.now += 1 + nbatch
        metric.get_metric(0).update_sums(nbatch, 1)
        speed(BatchEndParam(0, nbatch, metric))
    assert caplog.messages == [
        "Epoch[0] Batch [0-2]\tSpeed: 0.40 samples/sec\ta=1.000000",
        "Epoch[0] Batch [0-4]\tSpeed: 0.22 samples/sec\ta=2.000000",
    ]


def test_speedometer_starts_anew_with_an_epoch(monkeypatch, caplog):
    clock = Clock(monkeypatch)
    speed = callback.Speedometer(10, frequent=2)
    run_epoch([speed], 4, None, 0, clock, 1.0)
    clock.now += 1000  # validation between the epochs
    run_epoch([speed], 3, None, 1, clock, 1.0)
    assert caplog.messages == [
        "Epoch[0] Batch [0-2]\tSpeed: 10.00 samples/sec",
        "Epoch[1] Batch [0-2]\tSpeed: 10.00 samples/sec",
    ]


def test_speedometer_survives_a_standing_clock(monkeypatch, caplog):
    run_epoch([callback.Speedometer(1, 1)], 2, None, 0, Clock(monkeypatch), 0.0)
    assert caplog.messages == ["Epoch[0] Batch [0-1]\tSpeed: inf samples/sec"]


def test_log_train_metric(caplog):
    metric = Loss()
    run_epoch([callback.log_train_metric(2)], 4, metric)
    assert caplog.messages == [
        "Iter[0] Batch[0] Train-loss=0.000000",
        "Iter[0] Batch[2] Train-loss=1.000000",
    ]
    caplog.clear()
    metric.reset()
    run_epoch([callback.log_train_metric(2, auto_reset=True)], 4, metric, 1)
    assert caplog.messages[1] == "Iter[1] Batch[2] Train-loss=1.500000"
    assert metric.get_global() == ("loss", 1.5)
    callback.log_train_metric(1)(BatchEndParam(0, 0, None))
    assert len(caplog.messages) == 2


def test_validation_metrics(caplog):
    metric = CompositeEvalMetric([Loss("a"), Loss("b")])
    metric.get_metric(0).update_sums(3, 2)
    metric.get_metric(1).update_sums(1, 2)
    callback.LogValidationMetricsCallback()(BatchEndParam(2, 0, metric, None))
    callback.LogValidationMetricsCallback()(BatchEndParam(3, 0, None, None))
    assert caplog.messages == [
        "Epoch[2] Validation-a=1.500000",
        "Epoch[2] Validation-b=0.500000",
    ]


def test_progress_bar():
    stream = io.StringIO()
    run_epoch([callback.ProgressBar(3, length=10, stream=stream)], 3, None)
    assert stream.getvalue() == "\r[===-------] 34%\r[=======---] 67%\r[==========] 100%\n"


def test_progress_bar_draws_on_standard_error(capsys):
    callback.ProgressBar(1, 2)(BatchEndParam(0, 0, None))
    captured = capsys.readouterr()
    assert captured.err == "\r[==] 100%\n"
    assert captured.out == ""


def test_do_checkpoint(monkeypatch):
    calls = []
    fake = types.ModuleType("symbucket.checkpoint")
    fake.save_checkpoint = lambda *args, **options: calls.append((*args, options))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    save = callback.do_checkpoint("model", period=2, format="mxnet")
    arg, aux = {"w": 1}, {"m": 2}
    for epoch in range(5):
        save(epoch, "sym", arg, aux)
    assert calls == [("model", i, "sym", arg, aux, {"format": "mxnet"}) for i in (2, 4)]


def test_module_checkpoint():
    calls = []

    class Module:
        def save_checkpoint(self, prefix, epoch, save_optimizer_states=False):
            calls.append((prefix, epoch, save_optimizer_states))

    every = callback.module_checkpoint(Module(), "m")
    third = callback.module_checkpoint(Module(), "n", 3, save_optimizer_states=True)
    for epoch in range(3):
        every(epoch)
        third(epoch, None, {}, {})
    assert calls == [("m", 1, False), ("m", 2, False), ("m", 3, False), ("n", 3, True)]


def test_batch_end_param():
    param = BatchEndParam(epoch=1, nbatch=2, eval_metric=None, locals={"x": 3})
    assert param == (1, 2, None, {"x": 3})
    assert param.locals == {"x": 3}


@pytest.mark.parametrize(
    "make",
    [
        lambda: callback.do_checkpoint("p", 0),
        lambda: callback.module_checkpoint(None, "p", 1.5),
        lambda: callback.log_train_metric(0),
        lambda: callback.Speedometer(0),
        lambda: callback.Speedometer(1, 0),
        lambda: callback.ProgressBar(0),
        lambda: callback.ProgressBar(True),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(InvalidArgumentError, match="expected an integer of 1 or more"):
        make()
