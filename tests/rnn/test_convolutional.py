"""Convolutional cells against MXNet's numbers, and cells of one's own."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import rnn, sym
from symbucket.errors import InvalidArgumentError, ShapeError

OTHER = {
    "activation": "tanh",
    "i2h_stride": (2, 2),
    "i2h_kernel": (3, 2),
    "h2h_kernel": (3, 5),
    "h2h_dilate": (1, 2),
}
# Sums of absolute values of outputs and states of MXNet 1.9.1.
RECORDED = [
    ("ConvRNNCell", {}, [441.579, 199.1183]),
    ("ConvRNNCell", OTHER, [115.2405, 49.5737]),
    ("ConvLSTMCell", {}, [51.0183, 20.6885, 56.8803]),
    ("ConvLSTMCell", OTHER, [24.3114, 9.7839, 20.5169]),
    ("ConvGRUCell", {}, [175.1693, 75.0138]),
    ("ConvGRUCell", OTHER, [69.5874, 25.8898]),
]


@pytest.mark.parametrize(("name", "params", "sums"), RECORDED)
def test_numbers_of_mxnet(name, params, sums):
    cell = getattr(rnn, name)((2, 3, 6, 7), 4, prefix="c_", **params)
    outputs, states = cell.unroll(3, sym.Variable("data"), merge_outputs=True)
    executor = sym.Group([outputs, *states]).simple_bind(sb.cpu(), data=(2, 3, 3, 6, 7))
    rng = np.random.RandomState(1)
    for key in sorted(executor.arg_dict):
        executor.arg_dict[key][:] = rng.normal(size=executor.arg_dict[key].shape) * 0.3
    values = [float(np.abs(o.asnumpy()).sum()) for o in executor.forward()]
    np.testing.assert_allclose(values, sums, rtol=2e-6, atol=5e-5)  # four decimals are recorded
    weights = {n: a for n, a in executor.arg_dict.items() if n != "data"}
    unpacked = cell.unpack_weights(weights)
    gates = {"ConvRNNCell": 1, "ConvLSTMCell": 4, "ConvGRUCell": 3}[name]
    assert len(unpacked) == 4 * gates
    for key, array in cell.pack_weights(unpacked).items():
        np.testing.assert_array_equal(array.asnumpy(), weights[key].asnumpy())


def test_refusals():
    with pytest.raises(InvalidArgumentError, match=r"h2h_kernel is \(2, 3\); the sizes must"):
        rnn.ConvRNNCell((2, 3, 6, 7), 4, h2h_kernel=(2, 3))
    with pytest.raises(ShapeError, match=r"expected \(batch, channels, height, width\)"):
        rnn.ConvGRUCell((3, 6, 7), 4)
    with pytest.raises(InvalidArgumentError, match="conv_layout is 'NHWC'"):
        rnn.ConvLSTMCell((2, 3, 6, 7), 4, conv_layout="NHWC")


class Leaky(rnn.BaseRNNCell):
    """A cell as scripts for MXNet write it."""

    def __init__(self, num_hidden, prefix="leaky_", params=None):
        super().__init__(prefix=prefix, params=params)
        self._num_hidden = num_hidden
        self._iW = self.params.get("i2h_weight")
        self._iB = self.params.get("i2h_bias")

    @property
    def state_info(self):
        return [{"shape": (0, self._num_hidden), "__layout__": "NC"}]

    def __call__(self, inputs, states):
        self._counter += 1
        name = f"{self._prefix}t{self._counter}_"
        new = sym.FullyConnected(
            inputs, self._iW, self._iB, num_hidden=self._num_hidden, name=f"{name}i2h"
        )
        output = self._get_activation(new, "tanh", name=f"{name}act") + 0.5 * states[0]
        return output, [output]


def test_a_cell_of_ones_own():
    outputs, _ = Leaky(2).unroll(3, sym.Variable("data"), merge_outputs=True)
    executor = outputs.simple_bind(sb.cpu(), data=(1, 3, 2))
    executor.arg_dict["leaky_i2h_weight"][:] = np.eye(2)
    x = np.array([[[1, 2], [3, 4], [5, 6]]], np.float32)
    h = np.zeros(2)
    for t, y in enumerate(executor.forward(data=x)[0].asnumpy()[0]):
        h = np.tanh(x[0, t]) + 0.5 * h
        np.testing.assert_allclose(y, h, rtol=1e-5)


def test_a_cell_may_be_in_two_modifiers():
    cell = rnn.LSTMCell(3)
    zoned, residual = rnn.ZoneoutCell(cell, zoneout_states=0.5), rnn.ResidualCell(cell)
    for modifier in (zoned, residual):
        outputs, _ = modifier.unroll(2, sym.Variable("data"), merge_outputs=True)
        assert outputs.complete_shapes(data=(2, 2, 3))[1] == [(2, 2, 3)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("begin", [None, "own"])
def test_zoneout_of_outputs_keeps_elements_of_images(begin, dtype):
    cell = rnn.ZoneoutCell(rnn.ConvRNNCell((1, 2, 4, 4), 8, prefix="c_"), zoneout_outputs=0.5)
    states = cell.begin_state(func=sym.zeros, dtype=dtype) if begin else None
    steps = [sym.Variable("a"), sym.Variable("b")]
    zoned, _ = cell.unroll(2, steps, states)
    plain, _ = rnn.ConvRNNCell((1, 2, 4, 4), 8, prefix="c_", params=cell.params).unroll(
        2, steps, states
    )
    shapes = {"a": (4, 2, 4, 4), "b": (4, 2, 4, 4)}
    types = dict.fromkeys(shapes, dtype)
    net = sym.Group([*zoned, *plain])
    executor = net.simple_bind(sb.cpu(), "null", type_dict=types, **shapes)
    rng = np.random.RandomState(1)
    for array in executor.arg_dict.values():
        array[:] = rng.normal(size=array.shape).astype(dtype)
    first, second, *new = (o.asnumpy() for o in executor.forward(is_train=True))
    assert first.dtype == dtype
    before = np.zeros_like(first)  # what stands before the first step
    for output, fresh in zip((first, second), new):
        is_new = np.isclose(output, fresh, atol=1e-5)
        assert (is_new | np.isclose(output, before, atol=1e-5)).all()
        assert 0.4 < is_new.mean() < 0.6
        before = output
