"""The RNN operator's lstm with projected outputs and bounded cell states."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from tests.ops.differences import apply, check, draw, run

HIDDEN, PROJECTED = 3, 2
SIZES = {"state_size": HIDDEN, "num_layers": 2, "state_outputs": True}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unpack(vector, channels, projected, directions):
    """[[w, r, p, bw, br], ...]; p is None without a projection."""
    start = 0

    def take(*shape):
        nonlocal start
        size = int(np.prod(shape))
        start += size
        return vector[start - size : start].reshape(shape)

    cells, width = [], projected or HIDDEN
    for layer in range(2):
        wide = channels if layer == 0 else width * directions
        for _ in range(directions):
            w, r = take(4 * HIDDEN, wide), take(4 * HIDDEN, width)
            cells.append([w, r, take(projected, HIDDEN) if projected else None])
    for cell in cells:
        cell += [take(4 * HIDDEN), take(4 * HIDDEN)]
    assert start == vector.size
    return cells


def lstm(projected, directions, bound=np.inf):
    def reference(data, parameters, state, state_cell):
        cells = unpack(parameters, data.shape[2], projected, directions)
        last_h, last_c = [], []
        for layer in range(2):
            sides = []
            for side in range(directions):
                number = layer * directions + side
                (w, r, p, bw, br), h, c = cells[number], state[number], state_cell[number]
                outputs = []
                for x in data[::-1] if side else data:
                    i, f, new, o = np.split(x @ w.T + bw + h @ r.T + br, 4, axis=1)
                    c = np.clip(sigmoid(f) * c + sigmoid(i) * np.tanh(new), -bound, bound)
                    h = sigmoid(o) * np.tanh(c)
                    h = h if p is None else h @ p.T
                    outputs.append(h)
                sides.append(np.stack(outputs[::-1] if side else outputs))
                last_h.append(h)
                last_c.append(c)
            data = np.concatenate(sides, axis=2)
        return [data, np.stack(last_h), np.stack(last_c)]

    return reference


def inputs_of(steps, projected, directions, seed=3):
    width = projected or HIDDEN
    wide = [4, width * directions]
    count = sum(
        directions * (4 * HIDDEN * (w + width + 2) + (projected or 0) * HIDDEN) for w in wide
    )
    cells = 2 * directions
    shapes = [(steps, 2, 4), (count,), (cells, 2, width), (cells, 2, HIDDEN)]
    return dict(zip(("data", "parameters", "state", "state_cell"), draw(seed, *shapes)))


@pytest.mark.parametrize(("steps", "directions"), [(2, 2), (5, 1)])
def test_projection(steps, directions):
    inputs = inputs_of(steps, PROJECTED, directions)
    symbol = apply(
        "RNN",
        inputs,
        mode="lstm",
        projection_size=PROJECTED,
        bidirectional=directions == 2,
        **SIZES,
    )
    shapes = symbol.infer_shape(data=(steps, 2, 4))
    assert shapes[0] == [a.shape for a in inputs.values()]
    assert shapes[1][0] == (steps, 2, directions * PROJECTED)
    check(symbol, lstm(PROJECTED, directions), inputs, list(inputs), 5e-5)


@pytest.mark.parametrize("projected", [None, PROJECTED])
def test_bounds_of_the_cell_state(projected):
    inputs = inputs_of(5, projected, 1)
    symbol = apply(
        "RNN",
        inputs,
        mode="lstm",
        projection_size=projected,
        lstm_state_clip_min=-0.4,
        lstm_state_clip_max=0.4,
        **SIZES,
    )
    reference = lstm(projected, 1, 0.4)
    cells = run(symbol, inputs)[2]
    assert 0 < (np.abs(cells) == np.float32(0.4)).sum() < cells.size
    check(symbol, reference, inputs, list(inputs), 5e-5)


def test_nan_is_kept_or_becomes_the_lower_bound():
    inputs = inputs_of(4, None, 1)
    inputs["state_cell"][0, 0, 0] = np.nan
    clip = {"lstm_state_clip_min": -0.4, "lstm_state_clip_max": 0.4}
    for replaced in (False, True):
        symbol = apply("RNN", inputs, mode="lstm", lstm_state_clip_nan=replaced, **clip, **SIZES)
        assert np.isnan(run(symbol, inputs)[2]).any() == (not replaced)


@pytest.mark.parametrize(
    ("directions", "output", "cell"),
    [
        (1, [-0.107424, 0.078285], [0.299798, -0.548844]),
        (2, [0.252456, -0.26009, -0.004177, 0.025024], [0.555638, -0.111641]),
    ],
)
def test_numbers_of_mxnet(directions, output, cell):
    """MXNet 1.9.1 projects on a CPU too, at inference."""
    data, vector, h, c = (sb.sym.Variable(name) for name in "xphc")
    symbol = sb.sym.RNN(
        data,
        vector,
        h,
        c,
        mode="lstm",
        projection_size=PROJECTED,
        bidirectional=directions == 2,
        **SIZES,
    )
    shapes = symbol.infer_shape(x=(5, 1, 4))[0]
    values = [
        (0.5 * np.sin(np.arange(np.prod(shape)) + i).astype(np.float32)).reshape(shape)
        for i, shape in enumerate(shapes)
    ]
    results = run(symbol, dict(zip("xphc", values)))
    np.testing.assert_allclose(results[0][-1].ravel(), output, atol=2e-6)
    place = 2 if directions == 1 else 6
    np.testing.assert_allclose(results[2].ravel()[place : place + 2], cell, atol=2e-6)
