"""Memory that the system does not have."""

import resource

import pytest

import symbucket as sb
from symbucket.errors import MemoryLimitError, SymbucketError
from symbucket.runtime import memory
from symbucket.runtime.ndarray import aligned_empty


def test_an_array_larger_than_the_machine():
    with pytest.raises(MemoryLimitError, match=r"shape \(1000000, 1000000\) .*needs 4,000,000 MB"):
        aligned_empty((10**6, 10**6), "float32")
    with pytest.raises(MemoryLimitError):
        sb.nd.zeros((10**12, 10**12))


def test_limits_of_the_system(monkeypatch, tmp_path):
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroups"
    (proc / "self").mkdir(parents=True)
    (cgroups / "job").mkdir(parents=True)
    monkeypatch.setattr(memory, "_PROC", proc)
    monkeypatch.setattr(memory, "_CGROUPS", cgroups)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert memory.most_memory() is None
    memory.check_memory(1 << 60, "anything")
    (proc / "meminfo").write_text("MemTotal:  1000 kB\nSwapTotal:  24 kB\nHugePages: 0\n")
    assert memory.most_memory() == 1024 << 10
    (proc / "self/cgroup").write_text("0::/job\n")
    (cgroups / "job/memory.max").write_text("max\n")
    assert memory.most_memory() == 1024 << 10
    (cgroups / "job/memory.max").write_text("512000\n")
    assert memory.most_memory() == 512000 + (24 << 10)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, resource.RLIM_INFINITY))
    assert memory.most_memory() == 4096


def test_a_network_that_the_runtime_refuses_is_said_in_our_words():
    from symbucket.runtime.session import Session

    with pytest.raises(SymbucketError, match=r"session 'bad': onnxruntime .* refuses the network"):
        Session(b"no model", sb.cpu(), "bad")
