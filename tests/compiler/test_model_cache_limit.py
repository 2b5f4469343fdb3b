"""The size of the cache of compiled models, and processes that share it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from symbucket.compiler.cache import ModelCache
from tests.compiler.cache_folder import files


def test_the_least_recently_used_goes_first(tmp_path):
    store = ModelCache(tmp_path, 1000)
    for i, key in enumerate("abc"):
        store.write(key, bytes(200))
        os.utime(store.path(key), (i, i))
    assert store.read("a") is not None  # now the last one used
    store.write("d", bytes(300))
    assert [f[0] for f in files(tmp_path)] == ["a", "c", "d"]
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 1000
    store.write("e", bytes(700))
    assert [f[0] for f in files(tmp_path)] == ["e"]
    store.write("huge", bytes(2000))
    assert store.read("huge") is None


def test_what_a_dead_process_left_behind_goes_too(tmp_path):
    store = ModelCache(tmp_path, 1000)
    old, new, other = (tmp_path / n for n in (".a.0123.tmp", ".b.0123.tmp", "notes"))
    for path in (old, new, other):
        path.write_bytes(bytes(10))
        os.utime(path, (1, 1))
    now = time.time()
    os.utime(new, (now, now))
    store.write("k", b"content")
    assert not old.exists()
    assert new.exists()
    assert other.exists()


# Several processes ------------------------------------------------------------------------------

_PROCESS = """
import hashlib, sys
sys.path.insert(0, sys.argv[2])
from tests.small_networks import language_model
import symbucket as sb
from symbucket.compiler import CompilerOptions, compile_training
options = CompilerOptions(cache_dir=sys.argv[1], cache_bytes=int(sys.argv[3]))
digest = hashlib.sha256()
for turn in range(6):
    for length in (1, 2, 3):
        with sb.NameManager():
            net = language_model(length)
        shapes = {"data": (3, length), "softmax_label": (3, length)}
        made = compile_training(net, shapes, wanted=["pred_weight"], options=options)
        digest.update(made.step.model)
print(digest.hexdigest())
"""


@pytest.mark.parametrize("limit", [1 << 30, 40_000], ids=["roomy", "tight"])
def test_two_processes_at_once(tmp_path, limit):
    tests = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", _PROCESS, str(tmp_path), tests, str(limit)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in running]
    assert [p.returncode for p in running] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert said[0][1] == said[1][1] == ""
    assert not [f for f in files(tmp_path) if f.startswith(".")]
    if limit == 1 << 30:
        assert len(files(tmp_path)) == 3
    for name in files(tmp_path):
        assert ModelCache(tmp_path, limit).read(name.removesuffix(".symbucket")) is not None
