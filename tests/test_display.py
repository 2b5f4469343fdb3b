"""What fit shows: a bar on a terminal, lines elsewhere, and nothing that was not asked for."""

import io
import logging
import re
import subprocess
import sys

import numpy as np
import pytest

import symbucket as sb
from symbucket.callback import display as module
from symbucket.callback.display import Display, batches_of
from symbucket.callback.run_record import BucketUse, RunRecord
from symbucket.errors import InvalidArgumentError

PROGRAM = """
import logging, sys
import numpy as np
import symbucket as sb
{before}
x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
net = sb.mod.Module(sb.sym.SoftmaxOutput(x, name="softmax"))
net.fit(sb.io.NDArrayIter(np.eye(4), np.zeros(4), 2), num_epoch=1, {options})
assert {after}, (logging.root.handlers, logging.root.level)
"""


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self):
        return True


class Clock:
    """A time that stands still until a test moves it."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def use_terminal(monkeypatch):
    """Make standard error a terminal, from within a test: pytest sets it before each phase."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "100")
    return sys.stderr


def _run(before="", options="", after="not logging.root.handlers"):
    program = PROGRAM.format(before=before, options=options, after=after)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.splitlines()


def test_a_program_that_configures_nothing_sees_lines():
    # A warning that comes first adds a handler by itself.
    lines = _run("logging.warning('first')", after="logging.root.level == logging.WARNING")
    assert lines[:2] == ["WARNING:root:first", "Epoch[0] Train-accuracy=1.000000"]
    assert lines[2].startswith("Epoch[0] Time cost=")
    assert len(lines) == 3


def test_handlers_are_gone_afterwards(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(logging.root, "handlers", [])
    level = logging.root.level
    with Display(logging, "auto", None, RunRecord(epochs_planned=1)).shown():
        logging.info("a line")
    assert sys.stderr.getvalue() == "a line\n"
    assert logging.root.handlers == []
    assert logging.root.level == level


def test_a_program_that_configures_logging_decides():
    lines = _run(
        "logging.basicConfig(level=logging.INFO, format='my %(message)s')",
        after="len(logging.root.handlers) == 1",
    )
    assert lines[0] == "my Epoch[0] Train-accuracy=1.000000"
    assert len(lines) == 2


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_configured_logging_stays_as_it_is(monkeypatch, clock, level):
    """Nothing is added, whatever the program has chosen."""
    handler = logging.StreamHandler(io.StringIO())
    monkeypatch.setattr(logging.root, "handlers", [handler])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    before = logging.root.level
    logging.root.setLevel(level)
    try:
        with Display(logging, "auto", None, RunRecord(epochs_planned=1)).shown():
            assert logging.root.handlers == [handler]
            assert logging.root.level == level
    finally:
        logging.root.setLevel(before)


def _param(batch, epoch=0, metric=None):
    return sb.callback.BatchEndParam(epoch, batch, metric)


class Run:
    """A display and the record that it shows, on a clock that a test moves."""

    def __init__(self, clock, progress, total, epochs=1, metric=None):
        self.clock, self.metric = clock, metric
        self.record = RunRecord(epochs_planned=epochs)
        self.display = Display(logging, progress, total, self.record)

    def begin_epoch(self, epoch):
        self.record.begin_epoch(epoch)

    def batch(self, number, seconds, key=20, positions=640, tokens=480.0):
        self.clock.now += seconds
        self.record.bucket = repr(key)
        self.record.in_epoch.add(32, positions, tokens, seconds)
        self.display.batch_done(_param(number, self.record.epoch, self.metric))


def test_the_bar(monkeypatch, clock):
    terminal = use_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "160")
    metric = sb.metric.Perplexity(0)
    metric.update_sums(8, 4)
    run = Run(clock, "auto", 10, 3, metric)
    with run.display.shown():
        run.begin_epoch(0)
        run.batch(0, 0.5)
        assert terminal.getvalue() == (
            "\rEpoch 1/3  [==                      ]  1/10  loss=2  perplexity=7.389"
            "  padding 25%  bucket 20"
        )
        run.batch(1, 0.1)  # too soon
        for number in (2, 3, 4):
            run.batch(number, 0.8, key=(3, 4))
        last = terminal.getvalue().rpartition("\r")[2]
        assert last == (
            "Epoch 1/3  [============            ]  5/10  loss=2  perplexity=7.389  "
            "800 tokens/s  padding 25%  bucket (3, 4)  0:03 left, 0:15 in all"
        )
        assert terminal.getvalue().count("\r") == 4
        run.begin_epoch(2)
        run.batch(0, 1)
        assert terminal.getvalue().rpartition("\r")[2].startswith("Epoch 3/3  [==  ")
    assert re.search(r"\r +\r$", terminal.getvalue())  # nothing is left of it


def test_compiling_does_not_count_as_speed(monkeypatch, clock):
    terminal = use_terminal(monkeypatch)
    run = Run(clock, "bar", 4)
    with run.display.shown():
        run.begin_epoch(0)
        run.batch(0, 1)
        clock.now += 100
        run.record.seconds["compile"] = 100.0
        run.batch(1, 1)
    assert "480 tokens/s" in terminal.getvalue()
    assert "0:02 left" in terminal.getvalue()


def test_without_tokens_there_are_samples(monkeypatch, clock):
    terminal = use_terminal(monkeypatch)
    run = Run(clock, "bar", 4)
    with run.display.shown():
        run.begin_epoch(0)
        run.batch(0, 1, positions=0, tokens=0)
        run.batch(1, 1, positions=0, tokens=0)
    assert "2/4  32 samples/s  bucket 20  0:02 left" in terminal.getvalue()
    assert "padding" not in terminal.getvalue()
    assert BucketUse().padding is None


def test_a_narrow_terminal_has_the_numbers(monkeypatch, clock):
    terminal = use_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "50")
    run = Run(clock, "bar", 4)
    with run.display.shown():
        run.begin_epoch(0)
        run.batch(0, 1)
        run.batch(1, 1)
    last = terminal.getvalue().split("\r")[2]
    assert last == "Epoch 1/1  2/4  480 tokens/s  padding 25%  bucket 20  0:02 left"[:49]


def test_lines_of_others_begin_on_a_line_of_their_own(monkeypatch, clock):
    terminal = use_terminal(monkeypatch)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    run = Run(clock, "bar", 10)
    with run.display.shown():
        run.begin_epoch(0)
        run.batch(0, 1)
        logging.error("a line")
    assert re.search(r"\r {67}\ra line\n$", terminal.getvalue())
    assert not handler.filters


def test_lines_now_and_then(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(logging.root, "handlers", [])
    run = Run(clock, "auto", None)
    with run.display.shown():
        run.begin_epoch(0)
        run.batch(0, 1)
        run.batch(1, 29)
        assert sys.stderr.getvalue() == ""
        run.batch(20, 2)
    assert sys.stderr.getvalue() == ("Epoch 1/1  batch 21  45 tokens/s  padding 25%  bucket 20\n")


def test_configured_logging_elsewhere_gets_no_lines(monkeypatch, clock, caplog):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    run = Run(clock, "auto", None)
    with run.display.shown():
        run.begin_epoch(0)
        run.batch(0, 1)
        run.batch(1, 100)
    assert sys.stderr.getvalue() == ""


def test_how_many_batches_there_are():
    assert batches_of([1, 2, 3]) == 3
    assert batches_of(sb.io.NDArrayIter(np.ones((5, 1)), batch_size=2)) == 3
    assert batches_of(iter([])) is None


def test_arguments():
    with pytest.raises(InvalidArgumentError, match="fit: progress is 'bars'; expected one of"):
        Display(logging, "bars", None, RunRecord())
