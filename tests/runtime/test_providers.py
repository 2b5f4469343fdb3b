"""The registry of execution providers: what a new kind of device needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DeviceError
from symbucket.runtime import providers
from symbucket.runtime.providers import PROVIDERS, provider_of


def test_contexts_have_providers():
    assert provider_of(sb.cpu(3)).name == "CPUExecutionProvider"
    assert provider_of(sb.gpu(1)).options(sb.gpu(1)) == {"device_id": "1"}
    assert provider_of(sb.cpu(3)).options(sb.cpu(3)) == {}


def test_an_unknown_type_of_device_is_an_error_that_lists_the_types():
    with pytest.raises(DeviceError, match=r"^npu\(0\): no such type of device; the types are cpu,"):
        sb.nd.zeros((2,), ctx=sb.Context("npu"))


def test_one_record_is_all_that_another_device_needs(monkeypatch):
    """A second kind of device in host memory trains like the CPU, without an edit elsewhere."""
    other = dataclasses.replace(PROVIDERS[0], device_type="npu")
    monkeypatch.setattr(providers, "PROVIDERS", (*PROVIDERS, other))
    x, y = np.eye(4, 3, dtype=np.float32), np.arange(4) % 2
    network = sb.sym.SoftmaxOutput(
        sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc"), name="softmax"
    )

    def weights(context: sb.Context) -> np.ndarray:
        sb.random.seed(0)
        module = sb.mod.Module(network, context=context)
        module.fit(sb.io.NDArrayIter(x, y, 2), num_epoch=1, initializer=sb.init.Xavier())
        return module.get_params()[0]["fc_weight"].asnumpy()

    np.testing.assert_array_equal(weights(sb.Context("npu")), weights(sb.cpu()))
