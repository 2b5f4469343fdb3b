"""Contexts as blocks, and what devices there are."""

from __future__ import annotations

import threading

import pytest

import symbucket as sb
from symbucket import nd
from symbucket.runtime import backend


def test_new_arrays_lie_on_the_context_of_the_block():
    assert sb.current_context() == sb.context.current_context() == sb.cpu()
    with sb.cpu(2) as context:
        assert sb.current_context() is context
        a = nd.zeros((1,))
        with sb.Context("cpu", 3):
            made = [nd.array([1]), nd.arange(2), nd.random.uniform(shape=1), nd.NDArray([1])]
            assert {x.context for x in made} == {sb.cpu(3)}
            assert (a + 1).context == nd.exp(a).context == sb.cpu(2)
            assert nd.zeros((1,), ctx=sb.cpu(1)).context == sb.cpu(1)
        with context:
            assert sb.current_context() == sb.cpu(2)
        assert nd.ones((1,)).context == sb.cpu(2)
        others = []
        thread = threading.Thread(target=lambda: others.append(sb.current_context()))
        thread.start()
        thread.join()
        assert others == [sb.cpu()]
    with pytest.raises(ZeroDivisionError), sb.cpu(5):
        1 / 0
    assert sb.current_context() == sb.cpu()


def test_names_of_mxnet():
    assert sb.Context(sb.cpu(2)) == sb.cpu(2)
    assert sb.Context("cpu", 2).device_typeid == 1
    assert [sb.gpu().device_typeid, sb.cpu_pinned().device_typeid] == [2, 3]
    assert sb.Context("npu").device_typeid == 0
    assert str(sb.cpu_pinned(1)) == "cpu_pinned(1)"
    assert sb.Context.default_ctx == sb.cpu()
    sb.cpu().empty_cache()


@pytest.mark.parametrize("kind", ["cpu_pinned", "cpu_shared"])
def test_pinned_and_shared_memory_is_memory_of_the_host(kind):
    x = nd.ones((2, 3), ctx=sb.Context(kind, 0))
    assert (nd.exp(x) + x).context == sb.Context(kind)
    assert nd.dot(x, x.T).asnumpy().tolist() == [[3, 3], [3, 3]]


def test_gpus_count_if_the_runtime_has_them(monkeypatch):
    assert isinstance(sb.num_gpus(), int)
    monkeypatch.setattr(backend, "is_available", lambda provider: False)
    assert sb.num_gpus() == sb.context.num_gpus() == 0
    monkeypatch.setattr(backend, "is_available", lambda provider: True)
    monkeypatch.setattr(backend, "_CUDA_DRIVERS", ("no_such_driver.so",))
    assert sb.num_gpus() == 0

    class Driver:
        def cuInit(self, flags):
            return 0

        def cuDeviceGetCount(self, count):
            count._obj.value = 2
            return 0

    monkeypatch.setattr(backend.ctypes, "CDLL", lambda name: Driver())
    assert sb.num_gpus() == 2
