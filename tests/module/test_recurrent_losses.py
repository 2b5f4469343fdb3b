"""Losses and parameters that differ from segment to segment of ``RecurrentModule``."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 7, 4)).astype(np.float32)
Y = RNG.normal(size=(2, 7, 3)).astype(np.float32)


WEIGHTS = {
    name: sym.Variable(f"{name}_weight", shape=(3, width))
    for name, width in (("in", 4), ("back", 3), ("third", 4))
}


def weighted(x, name):
    return sym.FullyConnected(x, weight=WEIGHTS[name], no_bias=True, num_hidden=3)


def module(rows_are_steps=True):
    """A network whose third step has a parameter of its own."""

    def sym_gen(steps):
        data, label = sym.Variable("data"), sym.Variable("label")
        state, outputs = sym.Variable("begin", shape=(2, 3)), []
        for t in range(steps):
            x = sym.Reshape(sym.slice_axis(data, axis=1, begin=t, end=t + 1), shape=(-1, 4))
            score = weighted(x, "in") + weighted(state, "back")
            state = sym.tanh(score + weighted(x, "third") if t == 2 else score)
            outputs.append(sym.expand_dims(state, axis=1))
        scores = sym.concat(*outputs, dim=1)
        if rows_are_steps:
            scores, label = (sym.Reshape(s, shape=(-1, 3)) for s in (scores, label))
        loss = sym.LinearRegressionOutput(scores, label, name="loss")
        return sym.Group([loss, state]), ["data"], ["label"]

    recurrent = sb.mod.RecurrentModule(sym_gen, ["begin"], unroll=3)
    recurrent.bind([("data", (2, 3, 4))], [("label", (2, 3, 3))])
    recurrent.init_params(sb.init.Uniform(0.5))
    return recurrent


def gradients(recurrent, steps):
    recurrent.forward(sb.io.DataBatch([X[:, :steps]], [Y[:, :steps]]), is_train=True)
    recurrent.backward()
    return {n: np.array(a) for n, a in recurrent.gradients().items()}


def test_a_parameter_that_the_last_segment_lacks_has_the_gradient_of_one_batch():
    recurrent = module()
    first, again = gradients(recurrent, 7), gradients(recurrent, 7)  # segments of 3, 3, 1 steps
    params = {n: np.array(a) for n, a in recurrent.get_params()[0].items()}

    def loss(change):
        third = params["third_weight"].copy()
        third[0, 0] += change
        recurrent.set_params({**params, "third_weight": third})
        recurrent.forward(sb.io.DataBatch([X], [Y]), is_train=False)
        out = np.asarray(recurrent.get_outputs()[0], np.float64).reshape(Y.shape)
        return ((out - Y) ** 2).sum() / 6

    slope = (loss(0.01) - loss(-0.01)) / 0.02
    np.testing.assert_allclose(first["third_weight"][0, 0], slope, rtol=1e-3)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


def test_a_parameter_that_no_segment_has_is_not_updated():
    recurrent = module()
    recurrent.init_optimizer(optimizer_params={"learning_rate": 1.0})
    gradients(recurrent, 3)
    params = recurrent.get_params()[0]
    assert "third_weight" not in gradients(recurrent, 2)
    recurrent.update()
    later = recurrent.get_params()[0]
    unchanged = [n for n in params if np.array_equal(params[n], later[n])]
    assert unchanged == ["third_weight"]


def test_a_regression_that_divides_by_the_steps_of_a_segment():
    recurrent = module(rows_are_steps=False)
    with pytest.raises(InvalidArgumentError, match=r"'loss' divides its gradient.*on unroll"):
        gradients(recurrent, 7)
    recurrent = module(rows_are_steps=False)
    recurrent.bind([("data", (2, 3, 4))], None, for_training=False, force_rebind=True)
    recurrent.forward(sb.io.DataBatch([X], None), is_train=False)
    assert recurrent.get_outputs()[0].shape == (2, 7, 3)
