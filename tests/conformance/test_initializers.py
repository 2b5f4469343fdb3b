"""Initializers as MXNet's scripts write and mix them."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import ParameterError
from tests.small_networks import numbers, regression


@sb.init.register
class Drawn(sb.init.Initializer):
    """Writes with the imperative functions, into an NDArray."""

    def __init__(self, low=2.0):
        super().__init__(low=low)
        self.low = low

    def _init_weight(self, name, arr):
        assert isinstance(arr, sb.nd.NDArray)
        sb.random.uniform(self.low, self.low + 1, out=arr)

    def _init_bias(self, name, arr):
        arr[:] = sb.nd.ones(arr.shape, arr.context) * 3


def _initialized(initializer, **kwargs):
    module = sb.mod.Module(regression())
    module.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
    module.init_params(initializer, **kwargs)
    return numbers(module)


def test_an_initializer_gets_ndarrays():
    values = _initialized(Drawn())
    assert ((values["fc_weight"] >= 2) & (values["fc_weight"] <= 3)).all()
    assert (values["fc_bias"] == 3).all()


def test_none_among_mixed_initializers():
    mixed = sb.init.Mixed([".*bias", ".*"], [None, sb.init.One()])
    with pytest.raises(ParameterError, match=r"'fc_bias' fits Mixed's pattern '\.\*bias'"):
        _initialized(mixed)
    values = _initialized(mixed, arg_params={"fc_bias": np.zeros(2)}, allow_missing=True)
    assert (values["fc_weight"] == 1).all()
    assert (values["fc_bias"] == 0).all()
