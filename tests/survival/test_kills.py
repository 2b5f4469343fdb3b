"""Processes are killed for real, and what they end with is what they would have ended with."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.survival import program
from tests.survival.program import KINDS

SPAN = 600_000
"""Microseconds from the first batch within which a process is killed; less where it ends sooner."""


def run(kind, folder="", kill_after=None):
    """The exit code and the digest that the program printed, if it came to its end."""
    argv = [sys.executable, "-m", "tests.survival.program", kind, str(folder)]
    argv += [] if kill_after is None else [str(kill_after)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, ended.stdout.strip()


def survive(kind, tmp_path, kills, seed):
    """Kill a run and those that go on from it; return how often that was."""
    rng = np.random.default_rng(seed)
    # A run that is killed after its last checkpoint leaves no epoch for the next to score.
    ends = {program.whole(kind), program.whole(kind).partition(":")[0] + ":"}
    folder, killed, finished, span = tmp_path / "0", 0, 0, float(SPAN)
    while killed < kills:
        code, digest = run(kind, folder, int(rng.uniform(0, span)))
        killed += code != 0
        if code == 0:
            assert digest in ends
            finished += 1
            span *= 0.8
            folder = tmp_path / str(finished)
    code, digest = run(kind, folder)
    assert code == 0
    assert digest in ends
    left = [name for name in os.listdir(folder) if not name.startswith("checkpoint-")]
    assert left == []
    return killed


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    assert survive("language", tmp_path, kills=1, seed=0) == 1


def test_a_run_that_was_complete_stays_as_it_was(tmp_path):
    _, digest = run("own", tmp_path)
    trained, _, scores = digest.partition(":")
    assert scores
    assert run("own", tmp_path) == (0, trained + ":")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_kills(kind, tmp_path):
    kills = 100 // len(KINDS)
    assert survive(kind, tmp_path, kills, seed=len(kind)) == kills
