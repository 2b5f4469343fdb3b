"""The suite of workloads: its data, its arithmetic, and a run of the smallest one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from _suite_report import best_torch, judge, report  # noqa: E402
from _suite_symbols import network_of  # noqa: E402
from _suite_workloads import WORKLOADS, Batch, Workload  # noqa: E402


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_networks_have_the_parameters_of_their_workload(name):
    workload = WORKLOADS[name]()
    assert workload.name == name
    batch = workload.batches[0]
    network = network_of(workload)(batch.key)
    shapes = {n: a.shape for n, a in (*batch.data.items(), *batch.label.items())}
    inferred, _, auxiliary = network.infer_shape(**shapes)
    parameters = dict(zip(network.list_arguments(), inferred))
    assert {n: s for n, s in parameters.items() if n not in shapes} == workload.shapes
    assert dict(zip(network.list_auxiliary_states(), auxiliary)) == {
        n: a.shape for n, a in workload.auxiliary.items()
    }
    values = workload.parameters
    assert {n: a.shape for n, a in values.items()} == workload.shapes
    again = WORKLOADS[name]().parameters
    assert all(np.array_equal(values[n], again[n]) for n in values)


def _run(name: str, seconds: dict[str, float], losses: list[float]) -> dict:
    epoch = {"losses": losses, "seconds": [seconds["a"], seconds["b"], seconds["a"]], "cpu": 0.3}
    slow = {**epoch, "seconds": [9.0, seconds["b"], 9.0]}
    return {
        "name": name,
        "versions": {"torch": "2"} if "torch" in name else {"onnxruntime": "1"},
        "epochs": [epoch],
        "warm": [epoch, epoch, slow],
        "peak_bytes": 5,
        "other_cores": [0.0, 0.05],
    }


def test_times_are_medians_by_key_and_ratios_to_the_best_way():
    batches = [Batch(key, {}, {}) for key in "aba"]
    workload = Workload("w", "a title", {}, "sgd", {}, batches, {})
    ours = [_run("symbucket", {"a": s, "b": 4 * s}, [1.0, 2.0, 3.0]) for s in (0.1, 0.3, 0.2)]
    eager = [_run("torch, eager", {"a": 1.0, "b": 1.0}, [1.0, 2.0, 3.0])] * 3
    other = [_run("torch, compile", {"a": 0.6, "b": 0.6}, [1.0, 2.001, 3.0])] * 3
    result = judge(workload, list(zip(ours, eager, other)))
    assert result["engines"][0]["step_ms"] == pytest.approx(400)  # the process in the middle
    assert result["engines"][0]["cpu_ms"] == pytest.approx(100)
    assert best_torch(result)["name"] == "torch, compile"
    assert result["equal"]
    text = report(
        {"machine": {"cpu": "c", "cores": 2, "system": "s"}, "threads": 2, "workloads": [result]}
    )
    assert "| a title" in text
    assert "compile |  1.50 |" in text
    assert "NOT QUIET" not in text


def test_other_numbers_and_other_processes_are_told():
    workload = Workload("w", "a title", {}, "sgd", {}, [Batch(key, {}, {}) for key in "aba"], {})
    ours = _run("symbucket", {"a": 1.0, "b": 1.0}, [1.0, 2.0, 3.0])
    theirs = _run("torch, eager", {"a": 1.0, "b": 1.0}, [1.0, 2.1, math.pi])
    theirs["other_cores"] = [0.0, 1.5]
    result = judge(workload, [[ours, theirs]])
    assert not result["equal"]
    text = report(
        {"machine": {"cpu": "c", "cores": 2, "system": "s"}, "threads": 2, "workloads": [result]}
    )
    assert "DIFFERENT NUMBERS: w" in text
    assert "NOT QUIET: other processes kept up to 1.50 cores busy" in text


def test_a_run_of_the_smallest_workload(tmp_path):
    file = tmp_path / "results.json"
    options = ["--only", "tree", "--processes", "1", "--rounds", "1", "--seconds", "0.01"]
    ways = ["--ways", "eager" if find_spec("torch") else "none"]
    command = [sys.executable, str(BENCHMARKS / "suite.py"), *options, *ways, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (tree,) = json.loads(file.read_text(encoding="utf-8"))["workloads"]
    assert tree["equal"]
    assert all(engine["step_ms"] > 0 for engine in tree["engines"])
    losses = tree["engines"][0]["losses"]
    # The first four losses of PyTorch 2.13.
    np.testing.assert_allclose(losses[:4], [1.608525, 1.581380, 1.640113, 1.614042], rtol=1e-5)


def test_a_workload_that_is_not_there_is_refused():
    command = [sys.executable, str(BENCHMARKS / "suite.py"), "--only", "lm-300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "lm-300: no such workload; there are lm-200" in done.stderr
