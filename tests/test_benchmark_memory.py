"""The memory benchmark runs, on a model that is trained in no time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "memory.py"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads /proc for the process's memory"
)


def _worker(**job):
    size = {"hidden": 8, "vocabulary": 50, "batch": 4, "layers": 1, "buckets": [2, 3, 5]}
    command = [sys.executable, str(SCRIPT.with_name("_memory_worker.py"))]
    done = subprocess.run(
        [*command, json.dumps({**size, "outputs": False, **job})],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("outputs", [False, True])
def test_the_parts_add_up_to_the_process(outputs):
    found = _worker(do="memory", order=[3, 2], late=[5, 2], outputs=outputs)
    parts = ("activations", "sessions", "parameters", "rest")
    assert sum(found[p] for p in parts) == pytest.approx(found["whole"])
    assert 0 < found["start"] < found["import"] < found["whole"] <= found["peak"]
    assert 0 < found["outputs"] < 1


def test_speed_gives_a_ratio_for_each_bucket():
    found = _worker(do="speed", turns=2)
    assert found["ratios"].keys() == found["seconds"].keys() == {"2", "3", "5"}
    assert all(0 < r < 100 for r in found["ratios"].values())


def test_many_steps_do_not_grow_the_process():
    points = _worker(do="endurance", steps=400)["points"]
    assert points[-1][0] == 400
    assert points[-1][1] - points[4][1] < 1


@pytest.mark.slow
def test_20000_steps_do_not_grow_the_process():
    points = _worker(do="endurance", steps=20_000)["points"]
    assert points[-1][1] - points[1][1] < 2
