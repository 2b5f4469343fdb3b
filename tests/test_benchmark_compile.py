"""The benchmark of compiling runs, on networks that are ready in no time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parents[1] / "benchmarks" / "_compile_worker.py"
SMALL = {"layers": 1, "hidden": 8, "vocabulary": 20, "batch": 2}


def _worker(**job):
    done = subprocess.run(
        [sys.executable, str(WORKER), json.dumps({**SMALL, **job})],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("cell", ["lstm", "bi-gru"])
def test_times_are_those_of_the_keys(cell, tmp_path):
    result = _worker(cell=cell, lengths=[3, 6], cache_dir=str(tmp_path))
    assert 0 < result["symbols"] < result["ready"]
    assert 0 < result["later"] < result["ready"]
    assert result["steps"] > 0
    assert len(list(tmp_path.glob("*"))) >= 2
