"""What the compiler is told of the device of a context, and the runtimes that serve it."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.engine.device_copy import DeviceCopy
from symbucket.errors import DeviceError
from symbucket.runtime import backend
from symbucket.runtime.backend import session_provider
from symbucket.runtime.target import target_of


def test_the_target_of_a_context():
    assert target_of(sb.cpu()).supports_scan
    assert target_of(sb.cpu()) == target_of(sb.cpu(1))
    cuda = target_of(sb.gpu())
    assert cuda.name == "CUDAExecutionProvider"
    assert cuda.supports_scan
    assert not any(cuda.runs([name]) for name in ("Atanh", "If", "LSTM"))
    assert list(cuda.missing) == sorted(cuda.missing)


@pytest.mark.parametrize(("version", "is_enough"), [("1.26.0", False), ("1.28.0", True)])
def test_a_runtime_that_is_too_old_for_a_device(monkeypatch, version, is_enough):
    monkeypatch.setattr(backend.load_runtime(), "__version__", version)
    monkeypatch.setattr(backend, "is_available", lambda provider: True)
    assert session_provider(sb.cpu())[0] == "CPUExecutionProvider"
    if is_enough:
        assert session_provider(sb.gpu())[0] == "CUDAExecutionProvider"
        return
    with pytest.raises(DeviceError, match=r"^gpu\(0\) needs onnxruntime 1.28 or newer, here is 1"):
        session_provider(sb.gpu())


def test_copies_on_a_device():
    pairs = [(sb.nd.zeros((2, 3)), sb.nd.ones((2, 3))), (sb.nd.zeros(4), sb.nd.arange(4))]
    copy = DeviceCopy(pairs, sb.cpu(), "copy")
    for factor in (1, 2):
        copy.run()
        for target, source in pairs:
            np.testing.assert_array_equal(target.asnumpy(), source.asnumpy())
            source *= factor + 1
