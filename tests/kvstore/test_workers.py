"""Workers under ``mpiexec``: equal to one process, to one another, and never left waiting."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from symbucket import kvstore
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.kvstore.workers import check_compression
from tests.kvstore.worker_program import CASES, train

ROOT = Path(__file__).parents[2]


def _mpiexec():
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


SLOW = pytest.mark.slow
needs_mpi = pytest.mark.skipif(_mpiexec() is None, reason="there is no mpiexec")


def run(what, folder, workers, *options):
    """Run a function of the program on so many workers; return the process, after its end."""
    pytest.importorskip("mpi4py")
    program = [sys.executable, "-m", "tests.kvstore.worker_program", what, str(folder)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [_mpiexec(), *options, "-n", str(workers), *program],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _checked(process):
    assert process.returncode == 0, process.stdout + process.stderr
    return process


@pytest.fixture(scope="module")
def alone():
    """What one process learns from the joint batches."""
    return {name: train(**options) for name, options in CASES.items() if name != "norm"}


@needs_mpi
@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_workers_learn_what_one_process_learns_from_the_joint_batch(workers, tmp_path, alone):
    _checked(run("train_cases", tmp_path, workers))
    for name in [*CASES, "fp16"]:
        parts = [dict(np.load(tmp_path / f"{name}-{rank}.npz")) for rank in range(workers)]
        for part in parts[1:]:
            for key, value in parts[0].items():
                np.testing.assert_array_equal(part[key], value, err_msg=f"{name} {key}")
        if name in alone:
            for key, value in alone[name].items():
                # Adam divides by what may be nearly zero.
                atol = 2e-5 if name == "adam" else 1e-6
                np.testing.assert_allclose(parts[0][key], value, rtol=0, atol=atol, err_msg=name)
    # The moving averages are means of those of the workers, not zero.
    norm = dict(np.load(tmp_path / "norm-0.npz"))
    assert np.abs(norm["norm_moving_mean"]).max() > 1e-3
    # fp16 rounds each gradient, and the run stays near.
    rounded = dict(np.load(tmp_path / "fp16-0.npz"))
    exact = alone["adam"]
    assert max(np.abs(rounded[k] - v).max() for k, v in exact.items()) < 0.02
    assert any((rounded[k] != v).any() for k, v in exact.items())
    # Small gradients are one message an update; those of the table travel as rows.
    messages, size = map(int, (tmp_path / "messages-0").read_text().split())
    updates = 2 * (150 // 12)
    assert messages <= 4 * updates
    assert size > 0


@needs_mpi
@pytest.mark.slow
def test_a_store_by_hand_and_masks(tmp_path):
    _checked(run("push_pull", tmp_path, 2))
    assert {(tmp_path / f"pushed-{rank}").read_text() for rank in range(2)} == {"ok"}
    _checked(run("masks", tmp_path, 2))
    first, second = (np.load(tmp_path / f"masks-{rank}.npy") for rank in range(2))
    assert (first != second).any()
    assert {*first} == {*second} == {0.0, 2.0}


@needs_mpi
@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("buckets", "workers differ in the batches so far"),
        pytest.param("network", "init_optimizer: workers differ in the network", marks=SLOW),
        pytest.param("optimizer", r"differ in the optimizer: worker 0 has SGD\(", marks=SLOW),
        pytest.param("parameters", "workers differ in the parameters", marks=SLOW),
    ],
)
def test_workers_that_differ_raise_on_all(how, text, tmp_path):
    (tmp_path / "how").write_text(how)
    _checked(run("differ", tmp_path, 2))
    for rank in range(2):
        error = (tmp_path / f"error-{rank}").read_text()
        assert error.startswith("WorkerError: ")
        assert re.search(text, error), error
        assert "worker 1 has" in error


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "silent"])
def test_workers_do_not_wait_for_one_that_is_gone(how, tmp_path):
    (tmp_path / "how").write_text(how)
    process = run("die", tmp_path, 2)
    assert process.returncode != 0
    symbol, args, _ = sb.model.load_checkpoint(str(tmp_path / "run"), 1)
    assert set(args) <= set(symbol.list_arguments())
    if how == "silent":  # mpiexec itself stops the others of one that was killed
        text, seconds = (tmp_path / "error-0").read_text().rsplit("\n", 1)
        assert "worker 0 of 2 has waited 3 s for the others: one has died" in text
        assert float(seconds) < 60


@needs_mpi
def test_an_error_of_one_worker_stops_all(tmp_path):
    process = run("fail", tmp_path, 2)
    assert process.returncode != 0
    assert "ValueError: no data here" in process.stderr
    assert "worker 1 of 2 failed with ValueError; all workers are stopped" in process.stderr


@needs_mpi
@pytest.mark.slow
def test_all_workers_leave_out_a_batch_that_diverges_on_one(tmp_path):
    process = _checked(run("diverge", tmp_path, 2))
    assert "(worker 1)" in process.stderr
    weights = [np.load(tmp_path / f"weights-{rank}.npy") for rank in range(2)]
    np.testing.assert_array_equal(*weights)


# Without mpiexec -------------------------------------------------------------------------------


def test_a_single_process_is_a_group_of_one():
    pytest.importorskip("mpi4py")
    store = kvstore.create("dist_sync")
    assert (store.rank, store.num_workers) == (0, 1)
    values = train(store, "adam", epochs=1)
    for name, value in train(None, "adam", epochs=1).items():
        np.testing.assert_array_equal(values[name], value)


def test_without_mpi_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(UnsupportedError, match="Install the extra mpi"):
        kvstore.create("dist_sync")


def test_kinds_that_are_not_there():
    with pytest.raises(UnsupportedError, match=r"dist_async.*several processes train in step"):
        kvstore.create("dist_async")
    with pytest.raises(InvalidArgumentError, match="Did you mean 'dist_sync'"):
        kvstore.create("dis_sync")
    with pytest.raises(UnsupportedError, match=r"only \{'type': 'fp16'\}"):
        check_compression({"type": "2bit", "threshold": 0.5})
    with pytest.raises(InvalidArgumentError, match="compression type"):
        check_compression({"type": "fp8"})
    assert check_compression({"type": "none"}) is None


class _Comm:
    """Two workers with the same arrays, without MPI."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 2

    def Iallreduce(self, _, flat):
        assert flat.dtype != np.float16  # MPI has no such type
        flat *= 2
        return


def test_sums_of_workers_are_in_the_dtype_of_the_arrays(monkeypatch):
    from symbucket.kvstore import workers

    monkeypatch.setattr(workers, "_in_place", lambda: None)
    monkeypatch.setattr(workers.WorkerGroup, "_wait", lambda *_: None)
    group = workers.WorkerGroup(_Comm())
    arrays = [
        np.array([1 / 3, 2.0]),
        np.array([2**40 + 1, 3]),
        np.array([0.5], np.float32),
        np.array([0.25], np.float16),
        np.full(10**6, 0.25, np.float16),  # a large one
    ]
    expected = [array * 2 for array in arrays]
    group.sum(arrays)
    for array, right in zip(arrays, expected):
        np.testing.assert_array_equal(array, right)
    moving = [np.array([1 / 3])]
    group.mean(moving)
    assert moving[0][0] == 1 / 3
