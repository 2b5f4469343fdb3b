"""The report of ``fit``: curves, buckets, time and memory in one page; runs that go on in it."""

from __future__ import annotations

import json
import logging
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

import symbucket as sb
from symbucket.callback.run_record import BucketUse, MetricWindow, Point, RunRecord
from symbucket.callback.tokens import TokenCounter
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.stopwatch import Laps, timed
from symbucket.visualization.run_page import to_run_page

WORK = {"start", "data", "compile", "step", "validation", "callbacks"}


def sentences(count=24):
    return [[1 + i % 4] * (2 + i % 5) for i in range(count)]


def network(length):
    data = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=6, output_dim=4, name="embed")
    rows = sb.sym.Reshape(data, shape=(-1, 4))
    scores = sb.sym.FullyConnected(rows, num_hidden=6, name="scores")
    label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
    return (
        sb.sym.SoftmaxOutput(scores, label, name="softmax", use_ignore=True, ignore_label=0),
        ["data"],
        ["softmax_label"],
    )


def fit(report, epochs=2, **options):
    train = sb.io.BucketSentenceIter(sentences(), 4, buckets=[3, 6], invalid_label=0, seed=1)
    module = sb.mod.BucketingModule(network, train.default_bucket_key)
    metric = sb.metric.Perplexity(0)
    options = {"eval_data": train, "num_epoch": epochs, "eval_metric": metric} | options
    module.fit(train, progress="none", report=report, **options)
    return train


def record_in(path):
    text = path.read_text()
    plain = re.search(r'<script type="application/json" id="run">(.*?)</script>', text, re.S)[1]
    return RunRecord.from_dict(json.loads(plain))


def test_the_page_says_what_the_run_did(tmp_path):
    path = tmp_path / "runs" / "run.html"
    train = fit(path)
    record, text = record_in(path), path.read_text()
    batches = len(train)
    assert record.state == "finished"
    assert record.step == 2 * batches
    assert [p.step for p in record.windows] == list(range(1, 2 * batches + 1))
    assert [p.epoch for p in record.epochs] == [0, 1]
    assert set(record.epochs[0].values) == {"train-perplexity", "val-perplexity", "learning_rate"}
    assert set(record.seconds) == WORK
    assert all(seconds >= 0 for seconds in record.seconds.values())
    rows = {repr(row.key): row for row in train.bucket_table()}
    assert set(record.buckets) == set(rows)
    for key, use in record.buckets.items():
        assert use.batches == 2 * rows[key].batches
        assert use.samples == 4 * use.batches
        assert use.padding == pytest.approx(rows[key].padding_share)
        assert 0 < use.seconds < record.seconds["step"]
    assert record.memory["parameters"] == record.memory["gradients"] == 4 * (6 * 4 + 6 * 4 + 6)
    assert record.memory["activations"] > 0
    assert not re.search(r"""(src|href)=|https?://(?!www\.w3\.org/2000/svg)""", text)
    assert "default-src 'none'" in text
    assert text.count('<svg class="chart"') == 2
    for words in ("Where time went", "Where memory went", "Loss (log perplexity) by batch"):
        assert words in text


def test_the_same_numbers_with_and_without_a_report(tmp_path):
    values = []
    for report in (None, tmp_path / "a.html"):
        sb.random.seed(3)
        seen = []
        fit(report, batch_end_callback=lambda p, seen=seen: seen.append(p.eval_metric.get()[1]))
        values.append(seen)
    assert values[0] == values[1]


def test_a_run_that_goes_on_goes_on_in_its_page(tmp_path):
    whole, parts = tmp_path / "whole.html", tmp_path / "parts.html"
    fit(whole, 3)
    sb.random.seed(0)
    stops = StopAfter(2)
    with pytest.raises(RuntimeError, match="stop"):
        fit(parts, 3, checkpoint=tmp_path / "c", batch_end_callback=stops)
    assert record_in(parts).state == "RuntimeError"
    assert "ended by RuntimeError" in parts.read_text()
    begun = record_in(parts).started
    fit(parts, 3, checkpoint=tmp_path / "c", resume="auto")
    record, expected = record_in(parts), record_in(whole)
    assert [(p.step, p.values) for p in record.windows] == [
        (p.step, pytest.approx(p.values, rel=1e-5)) for p in expected.windows
    ]
    assert [p.epoch for p in record.epochs] == [0, 1, 2]
    assert record.started == begun
    assert record.state == "finished"
    assert record.seconds["checkpoint"] > 0


class StopAfter:
    """Raises in the second batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def __call__(self, param):
        if (param.epoch, param.nbatch) == (self.epoch, 1):
            raise RuntimeError("stop")


def test_other_files_are_not_replaced(tmp_path):
    other = tmp_path / "index.html"
    other.write_text("<p>mine</p>")
    with pytest.raises(InvalidArgumentError, match="is there and is not a report of fit"):
        fit(other)
    assert other.read_text() == "<p>mine</p>"
    for name in (3, "run.txt", ""):
        with pytest.raises(InvalidArgumentError, match="expected the name of a page"):
            fit(name)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot make the folder"):
        fit(tmp_path / "file" / "run.html")


def test_of_several_workers_the_first_one_reports(tmp_path, monkeypatch):
    store = sb.kvstore.create("local")
    for rank in (1, 0):
        monkeypatch.setattr(type(store), "rank", rank)
        fit(tmp_path / "run.html", 1, kvstore=store)
        assert (tmp_path / "run.html").exists() == (rank == 0)


def test_a_page_that_cannot_be_written_ends_nothing(tmp_path, caplog):
    folder = tmp_path / "gone"

    def remove(*_):
        if folder.is_dir():
            folder.rmdir()
            folder.touch()

    with caplog.at_level(logging.ERROR):
        fit(folder / "run.html", epoch_end_callback=remove)
    assert "Training goes on" in caplog.text


def test_modules_without_buckets_and_metrics_without_perplexity(tmp_path):
    x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
    module = sb.mod.Module(sb.sym.SoftmaxOutput(x, name="softmax"))
    data = sb.io.NDArrayIter(np.eye(4), np.zeros(4), 2)
    module.fit(data, num_epoch=2, eval_metric=["acc", "ce"], report=tmp_path / "a.html")
    record = record_in(tmp_path / "a.html")
    assert set(record.windows[0].values) == {"train-accuracy", "train-cross-entropy"}
    assert record.buckets[""].samples == 8
    assert "<h2>Buckets" not in to_run_page(record)
    assert "validation accuracy" not in to_run_page(record)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("finished", "finished"),
        ("SystemExit", "interrupted"),
        ("KeyboardInterrupt", "interrupted"),
        ("DivergenceError", "ended by DivergenceError"),
    ],
)
def test_how_it_ended_is_said(state, words):
    text = to_run_page(RunRecord("Module", epochs_planned=3, state=state))
    assert text[: text.index("</header>")].endswith(f" {words}</p>")


def test_the_first_of_several_best_epochs_is_named():
    record = RunRecord(perplexities=["ppl"], epochs_planned=3)
    for epoch, (accuracy, ppl) in enumerate([(0.5, 9.0), (0.7, 7.0), (0.7, 7.0)]):
        record.epochs.append(Point(epoch, epoch, 1.0, {"val-acc": accuracy, "val-ppl": ppl}))
    text = to_run_page(record)
    assert "<b>0.7</b><span>best validation acc, epoch 2" in text
    assert "<b>7</b><span>best validation ppl, epoch 2" in text


def test_windows_are_of_what_was_added_since():
    metric = sb.metric.CompositeEvalMetric([sb.metric.Loss("a"), sb.metric.Perplexity(0)])
    window = MetricWindow(metric)
    for total in (2, 6):
        metric.metrics[0].update_sums(total, 2)
        metric.metrics[1].update_sums(total, 2)
        assert window.values() == {"a": total / 2, "perplexity": pytest.approx(math.exp(total / 2))}
    assert window.values() == {}
    metric.metrics[0].reset_local()
    metric.metrics[0].update_sums(5, 1)
    assert window.values() == {"a": 5.0}
    metric.reset()
    metric.metrics[0].update_sums(3, 1)
    assert window.values() == {"a": 3.0}


def test_long_runs_have_few_points():
    record = RunRecord()
    record.begin_epoch(0)
    for record.step in range(1, 100_001):
        if record.window_is_due:
            record.add_window({})
    steps = [p.step for p in record.windows]
    assert 1000 < len(steps) < 1700
    assert steps[:200] == list(range(1, 201))


def test_records_are_the_same_after_a_page():
    record = RunRecord("Module", {"lr": 0.1}, 3, 12.0, "finished")
    record.windows = [Point(1, 0, 0.5, {"train-a": math.inf})]
    record.buckets = {"(3, '</script>')": BucketUse(1, 2, 3, 2.5, 0.5)}
    record.step = 7
    again = RunRecord.from_dict(json.loads(json.dumps(record.as_dict())))
    assert math.isnan(again.windows[0].values["train-a"])
    assert (again.buckets, again.step, again.config) == (record.buckets, 7, {"lr": 0.1})
    assert to_run_page(record).count("</script>") == 2


def test_tokens_by_metric_if_there_is_no_table():
    metric = sb.metric.Perplexity(0)
    data = sb.io.NDArrayIter(np.ones((4, 3)), np.ones((4, 3)), 2)
    counter = TokenCounter(data, metric)
    batch = next(data)
    metric.update_sums(1.0, 4)
    assert counter.count(batch, None) == (2, 6, 4)
    metric.update_sums(1.0, 5)
    assert counter.count(batch, None) == (2, 6, 5)
    metric.reset()
    metric.update_sums(1.0, 6)
    assert counter.count(batch, None) == (2, 6, 6)
    assert TokenCounter(data, sb.metric.Accuracy()).count(batch, 3) == (2, 0, 0.0)


def test_lengths_that_are_an_input_tell():
    data = [{"data": np.ones(5), "valid_length": n} for n in (1, 4, 5)]
    keyed = sb.io.KeyedIter([5] * 3, data, [0] * 3, 4, shuffle=False, last_batch="pad")
    batch = next(keyed)
    assert batch.pad == 1
    assert TokenCounter(keyed, sb.metric.Accuracy()).count(batch, 5) == (3, 15, 10.0)


def test_wrapped_iterators_have_the_table_of_the_inner_one():
    inner = sb.io.BucketSentenceIter(sentences(), 4, buckets=[6], invalid_label=0)
    for data in (sb.io.ResizeIter(inner, 2), sb.io.PrefetchingIter(inner)):
        samples, positions, tokens = TokenCounter(data, sb.metric.Loss()).count(next(inner), 6)
        assert (samples, positions) == (4, 24)
        assert tokens == pytest.approx(24 * (1 - inner.bucket_table()[0].padding_share))


def test_time_is_divided_without_a_gap(monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 5.0, 6.0])
    monkeypatch.setattr("symbucket.stopwatch.time", SimpleNamespace(perf_counter=clock.__next__))
    laps = Laps()
    with timed("inner"), timed("within"):
        pass
    rest = laps.lap("outer")
    laps.lap("next")
    assert set(laps.seconds) == {"inner", "outer", "next"}
    assert laps.seconds["inner"] >= 0.01
    assert rest == laps.seconds["outer"] < laps.seconds["inner"]
