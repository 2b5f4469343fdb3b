"""Sessions get the threads that the system allows, and say so; nothing hangs."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import symbucket as sb
from symbucket.errors import DeviceError, InvalidArgumentError
from symbucket.runtime import threads
from symbucket.runtime.session import session_options


@pytest.fixture
def limits(tmp_path, monkeypatch):
    """A group of processes whose limit and number of threads a test sets."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/mine\n")
    (groups / "mine").mkdir(parents=True)
    monkeypatch.setattr(threads, "_PROC", proc)
    monkeypatch.setattr(threads, "_CGROUPS", groups)
    monkeypatch.setattr(threads, "_user_room", lambda: None)
    monkeypatch.setattr(threads._Settings, "warned", False)

    def set_limits(limit, used):
        (groups / "mine" / "pids.max").write_text(f"{limit}\n")
        (groups / "mine" / "pids.current").write_text(f"{used}\n")

    return set_limits


def test_many_cores_are_capped(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert threads.thread_count() == 16
    assert session_options().intra_op_num_threads == 16
    with threads.threads(40):
        assert session_options().intra_op_num_threads == 40
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert session_options().intra_op_num_threads == 0  # the runtime's own choice


def test_a_limited_container_gives_fewer_threads(limits, caplog):
    limits("max", 50)
    assert threads.allowed_threads(64) == 64
    limits(1000, 100)
    assert threads.allowed_threads(64) == 64
    assert not caplog.records
    limits(1000, 975)
    with caplog.at_level(logging.WARNING):
        assert threads.allowed_threads(64) == 18
        assert threads.allowed_threads(64) == 18
    assert len(caplog.records) == 1
    assert "sessions get 18 threads, not 64: the system allows 1000" in caplog.text
    limits(1000, 992)
    assert threads.allowed_threads(64) == 1
    assert threads.allowed_threads(1) == 1
    limits(1000, 999)
    with pytest.raises(DeviceError, match=r"have 1000 threads.*max_executors="):
        threads.allowed_threads(64)


def test_set_threads_is_for_users():
    assert sb.runtime.set_threads is threads.set_threads
    with pytest.raises(InvalidArgumentError, match=r"threads is 1\.5"):
        sb.runtime.set_threads(1.5)


PROGRAM = """
import os, resource, sys
import numpy as np
import symbucket as sb

def sym_gen(key):
    x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=4, flatten=False, name="fc")
    out = sb.sym.SoftmaxOutput(sb.sym.sum(x, axis=1), name="softmax")
    return out, ("data",), ("softmax_label",)

def shapes(key):
    return [("data", (2, key, 3))], [("softmax_label", (2,))]

def step(key):
    data, label = shapes(key)
    batch = sb.io.DataBatch([np.ones(data[0][1])], [np.ones(2)], 0, None, key, data, label)
    module.forward_backward(batch)
    module.update()

sb.runtime.set_threads(64)
module = sb.mod.BucketingModule(sym_gen, 30)
module.bind(*shapes(30)); module.init_params(); module.init_optimizer()
step(30)  # imports everything while this process may still read it
os.setgid(65534); os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (300, 300))
for key in range(1, 31):
    step(key)
print("threads", len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to become another user")
def test_thirty_keys_of_64_threads_fit_under_a_limit_of_300(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    path = os.pathsep.join([str(Path(sb.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.returncode == 0, process.stderr
    assert 200 < int(process.stdout.split()[1]) <= 300
    assert "the system allows 300 threads in all" in process.stderr


def test_the_limit_of_a_user_counts_all_its_threads(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5000, 5000))
    assert threads._threads_of_user(os.getuid()) >= len(os.listdir("/proc/self/task"))
    monkeypatch.setattr(threads, "_threads_of_user", lambda user: 120)
    assert threads._user_room() == (5000 - 120 - 8, 5000)
