"""Unrolled cells against plain numpy, and against each other in another layout or form."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import ops, rnn
from symbucket import symbol as sym
from symbucket.rnn.base import flatten

T, N, C, H = 5, 3, 4, 6


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def _products(p, stem, x, h):
    i2h = x @ p[f"{stem}i2h_weight"].T + p[f"{stem}i2h_bias"]
    h2h = h @ p[f"{stem}h2h_weight"].T + p[f"{stem}h2h_bias"]
    return i2h, h2h


def _rnn_step(p, stem, x, states):
    i2h, h2h = _products(p, stem, x, states[0])
    h = np.tanh(i2h + h2h)
    return h, [h]


def _lstm_step(p, stem, x, states):
    i2h, h2h = _products(p, stem, x, states[0])
    z = (i2h + h2h).reshape(len(x), 4, -1)
    c = _sigmoid(z[:, 1]) * states[1] + _sigmoid(z[:, 0]) * np.tanh(z[:, 2])
    h = _sigmoid(z[:, 3]) * np.tanh(c)
    return h, [h, c]


def _gru_step(p, stem, x, states):
    i2h, h2h = (a.reshape(len(x), 3, -1) for a in _products(p, stem, x, states[0]))
    r, z = _sigmoid(i2h[:, 0] + h2h[:, 0]), _sigmoid(i2h[:, 1] + h2h[:, 1])
    n = np.tanh(i2h[:, 2] + r * h2h[:, 2])
    h = (1 - z) * n + z * states[0]
    return h, [h]


STEPS = {
    "rnn": (rnn.RNNCell, _rnn_step),
    "lstm": (rnn.LSTMCell, _lstm_step),
    "gru": (rnn.GRUCell, _gru_step),
}


def _arrays(net, seed, **shapes):
    rng = np.random.default_rng(seed)
    arg_shapes, _, _ = net.infer_shape(**shapes)
    return {
        name: rng.uniform(-1, 1, shape).astype(np.float32)
        for name, shape in zip(net.list_arguments(), arg_shapes)
    }


def _forward(net, arrays, is_train=False):
    shapes = {name: array.shape for name, array in arrays.items()}
    executor = net.simple_bind(sb.cpu(), "null", **shapes)
    return [out.asnumpy() for out in executor.forward(is_train, **arrays)]


def _repeat(step, p, stem, x, states, time):
    outputs = []
    for t in range(x.shape[time]):
        h, states = step(p, stem, np.take(x, t, time), states)
        outputs.append(h)
    return np.stack(outputs, time), states


@pytest.mark.parametrize("layout", ["NTC", "TNC"])
@pytest.mark.parametrize("kind", STEPS)
def test_cell_equals_numpy(kind, layout):
    make, step = STEPS[kind]
    cell = make(H, prefix="x_")
    states = cell.begin_state(func=sym.Variable)
    outputs, after = cell.unroll(
        T, sym.Variable("data"), begin_state=states, layout=layout, merge_outputs=True
    )
    net = sym.Group([outputs, *after])
    shape = (N, T, C) if layout == "NTC" else (T, N, C)
    arrays = _arrays(net, 7, data=shape)
    before = [arrays[s.name] for s in states]
    assert [a.shape for a in before] == [(N, H)] * len(states)
    wanted, wanted_states = _repeat(step, arrays, "x_", arrays["data"], before, layout.index("T"))
    got, *got_states = _forward(net, arrays)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    for a, b in zip(got_states, wanted_states):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_begin_state_is_zeros_of_the_inferred_batch():
    outputs, _ = rnn.LSTMCell(H, prefix="x_").unroll(T, sym.Variable("data"), merge_outputs=True)
    arrays = _arrays(outputs, 3, data=(N, T, C))
    zeros = [np.zeros((N, H), np.float32)] * 2
    wanted, _ = _repeat(_lstm_step, arrays, "x_", arrays["data"], zeros, 1)
    (got,) = _forward(outputs, arrays)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_steps_by_hand_equal_unroll():
    params = rnn.RNNParams("x_")
    merged, _ = rnn.GRUCell(H, "x_", params).unroll(2, sym.Variable("data"), merge_outputs=True)
    cell = rnn.GRUCell(H, "x_", params)
    states = cell.begin_state()
    for x in sym.split(sym.Variable("data"), axis=1, num_outputs=2, squeeze_axis=True):
        output, states = cell(x, states)
    arrays = _arrays(merged, 4, data=(N, 2, C))
    (whole,), (last,) = _forward(merged, arrays), _forward(output, arrays)
    np.testing.assert_allclose(last, whole[:, -1], rtol=1e-6, atol=1e-6)


def test_shared_params_give_equal_outputs():
    first = rnn.LSTMCell(H, prefix="a_")
    second = rnn.LSTMCell(H, prefix="b_", params=first.params)
    x = sym.Variable("data")
    net = sym.Group([c.unroll(T, x, merge_outputs=True)[0] for c in (first, second)])
    assert [n for n in net.list_arguments() if n != "data"] == list(first.params)
    one, two = _forward(net, _arrays(net, 5, data=(N, T, C)))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("merge", [True, False])
def test_bidirectional_equals_numpy(merge):
    cell = rnn.BidirectionalCell(rnn.LSTMCell(H, "l_"), rnn.GRUCell(H, "r_"))
    outputs, states = cell.unroll(T, sym.Variable("data"), merge_outputs=merge)
    assert [len(s) for s in states] == [2, 1]
    net = sym.Group([*([outputs] if merge else outputs), *flatten(states)])
    arrays = _arrays(net, 6, data=(N, T, C))
    x, zero = arrays["data"], np.zeros((N, H), np.float32)
    left, l_states = _repeat(_lstm_step, arrays, "l_", x, [zero, zero], 1)
    right, r_states = _repeat(_gru_step, arrays, "r_", x[:, ::-1], [zero], 1)
    wanted = np.concatenate([left, right[:, ::-1]], axis=2)
    got = _forward(net, arrays)
    sequence = got[0] if merge else np.stack(got[:T], 1)
    np.testing.assert_allclose(sequence, wanted, rtol=1e-5, atol=1e-6)
    for a, b in zip(got[-3:], [*l_states, *r_states]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("merge", [True, False])
def test_residual_adds_the_input(merge):
    plain = rnn.RNNCell(C, prefix="x_")
    residual = rnn.ResidualCell(rnn.RNNCell(C, prefix="x_", params=plain.params))
    x = sym.Variable("data")
    a, _ = plain.unroll(T, x, merge_outputs=merge)
    b, _ = residual.unroll(T, x, merge_outputs=merge)
    net = sym.Group([a, b] if merge else [*a, *b])
    arrays = _arrays(net, 8, data=(N, T, C))
    got = _forward(net, arrays)
    half = len(got) // 2
    data = [arrays["data"]] if merge else [arrays["data"][:, t] for t in range(T)]
    for without, with_input, x_t in zip(got[:half], got[half:], data):
        np.testing.assert_allclose(with_input, without + x_t, rtol=1e-5, atol=1e-6)


def test_residual_step_equals_unroll():
    cell = rnn.ResidualCell(rnn.RNNCell(C, prefix="x_"))
    x = sym.Variable("data")
    merged, _ = cell.unroll(1, [x], merge_outputs=True)
    output, _ = cell(x, cell.begin_state())
    arrays = _arrays(merged, 9, data=(N, C))
    np.testing.assert_array_equal(_forward(merged, arrays)[0][:, 0], _forward(output, arrays)[0])


needs_random = pytest.mark.skipif(
    not {"Dropout", "where"} <= set(ops.names()), reason="Dropout or where is not there"
)


@needs_random
@pytest.mark.parametrize("merge", [True, False, None])
def test_dropout_cell_passes_everything_when_not_training(merge):
    outputs, states = rnn.DropoutCell(0.5).unroll(T, sym.Variable("data"), merge_outputs=merge)
    assert states == []
    net = sym.Group(outputs) if isinstance(outputs, list) else outputs
    arrays = _arrays(net, 10, data=(N, T, C))
    got = _forward(net, arrays)
    whole = np.stack(got, 1) if merge is False else got[0]
    np.testing.assert_array_equal(whole, arrays["data"])


@needs_random
def test_zoneout_changes_nothing_when_not_training():
    plain = rnn.LSTMCell(H, prefix="x_")
    zoneout = rnn.ZoneoutCell(rnn.LSTMCell(H, prefix="x_", params=plain.params), 0.3, 0.4)
    x = sym.Variable("data")
    pair = [c.unroll(T, x, merge_outputs=True) for c in (plain, zoneout)]
    net = sym.Group([s for out, states in pair for s in (out, *states)])
    got = _forward(net, _arrays(net, 11, data=(N, T, C)))
    for a, b in zip(got[:3], got[3:]):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@needs_random
def test_zoneout_keeps_elements_of_the_step_before_when_training():
    share = 0.4
    cell = rnn.ZoneoutCell(rnn.RNNCell(40, prefix="x_"), zoneout_outputs=share)
    outputs, _ = cell.unroll(6, sym.Variable("data"), merge_outputs=True)
    arrays = _arrays(outputs, 12, data=(20, 6, C))
    (got,) = _forward(outputs, arrays, is_train=True)
    kept = got[:, 1:] == got[:, :-1]
    assert abs(kept.mean() - share) < 0.05
    assert abs((got[:, 0] == 0).mean() - share) < 0.1  # zeros stand before the first step


@needs_random
def test_zoneout_of_states_keeps_the_memory_when_training():
    share = 0.4
    cell = rnn.ZoneoutCell(rnn.LSTMCell(40, prefix="x_"), zoneout_states=share)
    before = [sym.Variable("h"), sym.Variable("c")]
    output, after = cell(sym.Variable("data"), before)
    net = sym.Group([output, *after])
    arrays = _arrays(net, 13, data=(20, C))
    out, h, c = _forward(net, arrays, is_train=True)
    assert abs((h == arrays["h"]).mean() - share) < 0.1
    assert abs((c == arrays["c"]).mean() - share) < 0.1
    np.testing.assert_array_equal(np.where(h == arrays["h"], out, h), out)
