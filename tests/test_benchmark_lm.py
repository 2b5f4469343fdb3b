"""The language-model benchmark at tiny sizes: its data, its arithmetic, a run of each engine."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import _lm_data as data  # noqa: E402
from _lm_engines import EngineSpec, Worker  # noqa: E402
from _lm_flops import epoch_flops  # noqa: E402
from _lm_profile import fold, read_profile  # noqa: E402
from _lm_report import table  # noqa: E402
from _lm_text import END, UNKNOWN, text_batches  # noqa: E402
from _worker_process import WorkerError  # noqa: E402

TINY = ["--hidden", "8", "--vocab", "50", "--batch", "4", "--buckets", "3,6", "--sentences", "24"]


def setup(**changes: Any) -> data.Setup:
    fields = {
        "hidden": 8,
        "layers": 2,
        "vocab": 50,
        "batch": 4,
        "buckets": (3, 6),
        "threads": 2,
        "rate": 1.0,
    }
    return data.Setup(**{**fields, **changes})


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "lstm_lm.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def results(tmp_path: Path, *arguments: str) -> tuple[str, Any]:
    file = tmp_path / "results.json"
    done = run(*TINY, "--json", str(file), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


# Data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "deviation", "longest"), [(22.0, 10.5, 60), (10.0, 6.0, 50)])
def test_lengths_have_the_mean_asked_for(mean, deviation, longest):
    weights = data.length_weights(mean, deviation, longest)
    assert weights.sum() == pytest.approx(1)
    assert weights @ np.arange(longest + 1) == pytest.approx(mean)
    assert not weights[:2].any()


def test_tokens_are_frequent_first_and_never_padding():
    tokens = data.zipf_tokens(20000, 30, np.random.RandomState(0))
    counts = np.bincount(tokens, minlength=30)
    assert counts[0] == 0
    assert len(counts) == 30
    assert counts[1] / counts[11] == pytest.approx((11 + 2.7) / (1 + 2.7), rel=0.2)


def test_text_is_numbered_by_frequency_and_batched_whole():
    sentences = [["the", "cat"]] * 5 + [["the", "dog", "ran", "off"]] * 4 + [["a"] * 9]
    s = setup(vocab=7, buckets=(3, 6))  # the, cat, dog and one more have numbers
    batches = text_batches(s, sentences, 100, seed=1)
    assert sorted(batch.key for batch in batches) == [3, 6]  # the fifth and the long one wait
    short, long = sorted(batches, key=lambda batch: batch.key)
    the, cat = short.data[0, :2]
    assert sorted([the, cat]) != [UNKNOWN, UNKNOWN]
    np.testing.assert_array_equal(short.data, [[the, cat, END]] * 4)
    np.testing.assert_array_equal(short.label, [[cat, END, 0]] * 4)
    assert (long.data[:, 0] == the).all()
    assert (long.data[:, 4] == END).all()
    assert not long.data[:, 5].any()
    assert (long.data < 7).all()
    with pytest.raises(SystemExit, match="fill no batch of 4"):
        text_batches(s, sentences[:3], 100, seed=1)


def test_batches_repeat_with_the_seed_and_have_shifted_labels():
    s = setup(buckets=(5, 10, 40))
    batches = data.make_batches(s, 200, 8.0, 4.0, seed=3)
    again = data.make_batches(s, 200, 8.0, 4.0, seed=3)
    other = data.make_batches(s, 200, 8.0, 4.0, seed=4)
    assert all(np.array_equal(a.data, b.data) for a, b in zip(batches, again))
    assert not all(np.array_equal(a.data, b.data) for a, b in zip(batches, other))
    assert {batch.key for batch in batches} == {5, 10, 40}
    smallest = {5: 2, 10: 6, 40: 11}
    for batch in batches:
        assert batch.data.shape == batch.label.shape == (4, batch.key)
        np.testing.assert_array_equal(batch.label[:, :-1], batch.data[:, 1:])
        assert not batch.label[:, -1].any()
        lengths = np.count_nonzero(batch.data, axis=1)
        assert lengths.min() >= smallest[batch.key]
        # Padding stands behind the sentence only.
        assert all(row[:n].all() for row, n in zip(batch.data, lengths))


def test_a_padded_batch_has_the_same_tokens():
    batch = data.make_batches(setup(), 24, 3.0, 1.0, seed=1)[0]
    padded = batch.padded(9)
    assert padded.data.shape == padded.label.shape == (4, 9)
    assert (padded.tokens, padded.labels) == (batch.tokens, batch.labels)


def test_a_worker_reads_what_the_driver_saved(tmp_path):
    s = setup()
    batches = data.make_batches(s, 48, 3.0, 1.5, seed=1)
    params = data.make_parameters(s, seed=1)
    data.save(tmp_path, s, batches, params)
    read_setup, read_batches, read_params = data.load(tmp_path)
    assert read_setup == s
    assert [b.key for b in read_batches] == [b.key for b in batches]
    assert all(np.array_equal(a.label, b.label) for a, b in zip(read_batches, batches))
    assert {n: a.shape for n, a in read_params.items()} == data.parameter_shapes(s)
    assert all(np.array_equal(read_params[n], params[n]) for n in params)


# Arithmetic --------------------------------------------------------------------------------------


def test_flops_of_an_epoch():
    tokens = np.array([[5, 6, 0], [7, 0, 0]])
    labels = np.array([[6, 0, 0], [0, 0, 0]])
    s = setup(hidden=2, layers=1, vocab=10, batch=2, buckets=(3,))
    found = epoch_flops(s, [data.Batch(3, tokens, labels)])
    # A row of the layer: six products of 2 by 8; of the vocabulary: three of 2 by 10.
    layer, vocabulary = 6 * 2 * 2 * 8, 3 * 2 * 2 * 10
    assert found == {"useful": 3 * layer + 1 * vocabulary, "all": 6 * (layer + vocabulary)}


def test_profile_skips_first_runs_and_folds_time_steps(tmp_path):
    def node(name: str, op: str, ts: int, dur: int) -> dict[str, Any]:
        return {
            "cat": "Node",
            "name": f"{name}_kernel_time",
            "ts": ts,
            "dur": dur,
            "args": {"op_name": op},
        }

    events: list[dict[str, Any]] = []
    for start in (0, 10_000, 20_000):
        events.append({"cat": "Session", "name": "model_run", "ts": start, "dur": 9_000})
        slow = 5_000 if start == 0 else 0
        events.append(node("lstm_t0_h2h/Gemm", "Gemm", start + 100, 2_000 + slow))
        events.append(node("lstm_t1_h2h/Gemm", "Gemm", start + 3_000, 4_000))
        events.append(node("out/Mul", "Mul", start + 8_000, 1_000))
    file = tmp_path / "0-bucket_key_3_step_2024-01-01_00-00-00.json"
    file.write_text(json.dumps(events), encoding="utf-8")
    found = read_profile(file, skip=1)
    assert found is not None
    assert found["session"] == "bucket_key_3_step"
    assert (found["runs"], found["wall_ms"], found["kernel_ms"]) == (2, 9.0, 7.0)
    assert found["operators"] == [
        {"name": "Gemm", "ms": 6.0, "nodes": 2.0},
        {"name": "Mul", "ms": 1.0, "nodes": 1.0},
    ]
    assert [row["name"] for row in found["names"]] == ["lstm_t*_h*h/Gemm (Gemm)", "out/Mul (Mul)"]
    assert read_profile(file, skip=3) is None
    assert fold("grad/lstm_l0_t12_c/Tanh") == "grad/lstm_l*_t*_c/Tanh"


def test_table_is_markdown_with_straight_columns():
    text = table(["engine", "ms"], [["a", "10.0"], ["longer", "9.5"]])
    assert text.splitlines() == [
        "| engine |   ms |",
        "| ------ | ---: |",
        "| a      | 10.0 |",
        "| longer |  9.5 |",
    ]


# Runs --------------------------------------------------------------------------------------------


def test_run_compares_bucketed_with_padded(tmp_path):
    text, found = results(
        tmp_path,
        "--engines",
        "symbucket,symbucket-padded",
        "--epochs",
        "2",
        "--gemm-seconds",
        "0.01",
    )
    plain, padded = found["engines"]
    steps = sum(found["data"]["batches_of_key"].values()) * 3
    assert len(plain["losses"]) == len(padded["losses"]) == steps
    assert plain["losses"][-1] < plain["losses"][0]
    assert padded["loss_difference"] < 1e-4
    assert padded["flops"]["useful"] == plain["flops"]["useful"]
    assert padded["flops"]["all"] > plain["flops"]["all"]
    assert set(plain["step_ms"]) == {"3", "6"}
    for engine in (plain, padded):
        assert engine["tokens_per_second"] > 0
        assert engine["peak_bytes"] >= engine["start_bytes"] > 0
        assert engine["ready_seconds"] > 0
    (runtime,) = found["gemm"].values()
    assert all(rate > 0 for rate in runtime["rates"].values())
    for part in ("tokens/s", "ready s", "peak MiB", "first loss", "vocabulary, x W^T", "GF/s"):
        assert part in text


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch (group bench) is not installed")
def test_losses_are_those_of_pytorch(tmp_path):
    _, found = results(
        tmp_path, "--engines", "symbucket,torch,torch-tuned", "--epochs", "1", "--gemm-seconds", "0"
    )
    assert found["reference"] == "torch"
    ours, plain, tuned = found["engines"]
    assert plain["loss_difference"] == 0
    assert ours["loss_difference"] < 1e-4
    assert tuned["loss_difference"] < 1e-4


def test_profile_names_operators_and_nodes(tmp_path):
    text, found = results(tmp_path, "--profile", "--profile-key", "6")
    (sessions,) = found["profiles"].values()
    step = sessions[0]
    assert step["runs"] == 12
    assert step["wall_ms"] >= step["kernel_ms"] > 0
    assert any(row["name"] == "Gemm" for row in step["operators"])
    assert any("embed" in row["name"] for row in step["names"])
    assert "Profile of a step of bucket 6" in text


def test_wrong_requests_are_refused():
    done = run("--engines", "caffe")
    assert done.returncode == 2
    assert "caffe: no such engine; there are symbucket, torch" in done.stderr
    done = run("--buckets", "10,5")
    assert "10,5: buckets must ascend" in done.stderr
    done = run(*TINY, "--engines", "mxnet")
    assert "mxnet needs --mxnet-python" in done.stderr
    done = run(*TINY, "--profile", "--profile-key", "4")
    assert "--profile-key 4: the buckets are (3, 6)" in done.stderr


def test_a_worker_that_dies_is_told_with_its_last_words(tmp_path):
    with pytest.raises(WorkerError, match="cannot start /no/such/python"):
        Worker(EngineSpec("torch", "/no/such/python"), tmp_path, 2)
    # The folder is empty, so the worker cannot load its setup.
    with (
        Worker(EngineSpec("symbucket", sys.executable), tmp_path, 2) as worker,
        pytest.raises(WorkerError, match=r"(?s)status 1 at 'describe'.*setup\.json"),
    ):
        worker.ask("describe")
