"""Steps of optimizers on arrays: what MXNet 1.9.1 gives after two of them."""

from __future__ import annotations

import numpy as np
import pytest

from symbucket import nd
from symbucket.errors import ShapeError

ALL = {"lr": 0.1, "wd": 0.1, "rescale_grad": 0.5, "clip_gradient": 1.0}
# Name, arguments, weight [1, -2, 3] and states after two steps with the gradient [0.5, -3, 2].
STEPS = [
    ("sgd_update", {"lr": 0.1}, [0.9, -1.4, 2.6]),
    ("sgd_update", ALL, [0.93035, -1.7612, 2.7413]),
    ("sgd_mom_update", {"lr": 0.1, "momentum": 0.9}, [0.855, -1.13, 2.42], [-0.095, 0.57, -0.38]),
    (
        "sgd_mom_update",
        {**ALL, "momentum": 0.9},
        [0.89885, -1.6532, 2.6243],
        [-0.06615, 0.2268, -0.2457],
    ),
    (
        "adam_update",
        {"lr": 0.1},
        [0.258808, -1.258808, 2.258808],
        [0.095, -0.57, 0.38],
        [0.0005, 0.017991, 0.007996],
    ),
    (
        "adam_update",
        {**ALL, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
        [0.855321, -1.854553, 2.854553],
        [0.124746, -0.36, 0.36],
        [0.02284, 0.19, 0.19],
    ),
    ("rmsprop_update", {"lr": 0.1}, [0.23253, -1.23253, 2.23253], [0.024375, 0.8775, 0.39]),
    (
        "rmsprop_update",
        {**ALL, "gamma1": 0.8, "epsilon": 1e-3, "clip_weights": 2.0},
        [0.620976, -1.610514, 1.833564],
        [0.041128, 0.36, 0.36],
    ),
    (
        "rmspropalex_update",
        {"lr": 0.1},
        [-0.208891, -0.791108, 1.791109],
        [0.024375, 0.8775, 0.39],
        [0.04875, -0.2925, 0.195],
        [-0.75006, 0.75006, -0.75006],
    ),
    (
        "rmspropalex_update",
        {**ALL, "gamma1": 0.8, "gamma2": 0.7, "epsilon": 1e-3, "clip_weights": 2.0},
        [0.387772, -1.368439, 1.617662],
        [0.040805, 0.36, 0.36],
        [0.121123, -0.36, 0.36],
        [-0.368372, 0.382338, -0.382338],
    ),
    (
        "ftrl_update",
        {"lr": 0.1},
        [0.270044, -1.367527, 1.880759],
        [-4.619939, 71.704521, -72.013496],
        [0.5, 18, 8],
    ),
    (
        "ftrl_update",
        {**ALL, "lamda1": 0.1, "beta": 0.5},
        [0.253945, -1.199686, 1.861938],
        [-2.292947, 23.184526, -35.927662],
        [0.125, 2, 2],
    ),
    ("signsgd_update", ALL, [0.7811, -1.7612, 2.7413]),
    (
        "signum_update",
        {**ALL, "momentum": 0.9, "wd_lh": 0.01},
        [0.798101, -1.796102, 2.794103],
        [-0.06549, 0.22698, -0.24597],
    ),
    # Without decay: MXNet decays the momentum by the new weight if it writes over the old one.
    (
        "nag_mom_update",
        {"lr": 0.1, "momentum": 0.9},
        [0.7695, -0.617, 2.078],
        [-0.095, 0.57, -0.38],
    ),
]


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case[0])
def test_two_steps(case):
    name, arguments, weight, *states = case
    w, g = nd.array([1, -2, 3]), nd.array([0.5, -3, 2])
    arrays = [nd.zeros((3,)) for _ in states]
    for _ in range(2):
        assert getattr(nd, name)(w, g, *arrays, out=w, **arguments) is w
    for array, expected in zip([w, *arrays], [weight, *states]):
        np.testing.assert_allclose(array.asnumpy(), expected, rtol=2e-5, atol=2e-6)


def test_without_out_the_weight_stays():
    w, g = nd.array([1, -2]), nd.array([0.5, 1])
    np.testing.assert_allclose(nd.sgd_update(w, g, lr=0.1).asnumpy(), [0.95, -2.1], rtol=1e-6)
    assert w.asnumpy().tolist() == [1, -2]
    for wrong in (nd.zeros((3,)), nd.zeros((2,), dtype="float64")):
        with pytest.raises(ShapeError, match=r"update: the weight is float32\[2\], another array"):
            nd.sgd_mom_update(w, g, wrong, lr=0.1, out=w)
    assert w.asnumpy().tolist() == [1, -2]
