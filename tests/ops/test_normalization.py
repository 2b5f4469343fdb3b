from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket.compiler import compile_training
from symbucket.errors import InvalidArgumentError, ShapeError
from tests.ops.differences import apply, bound, check, draw, run


def along(vector, axis, rank):
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def standard(x, axes, eps):
    mean = x.mean(axis=axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(var + eps)


def batch_norm(axis=1, eps=1e-3, fix_gamma=False, moving=False):
    def reference(data, gamma, beta, moving_mean, moving_var):
        rank = data.ndim
        others = tuple(i for i in range(rank) if i != axis % rank)
        if moving:
            mean, var = along(moving_mean, axis, rank), along(moving_var, axis, rank)
            y = (data - mean) / np.sqrt(var + eps)
        else:
            y = standard(data, others, eps)
        gamma = np.ones_like(gamma) if fix_gamma else gamma
        return y * along(gamma, axis, rank) + along(beta, axis, rank)

    return reference


def batch_inputs(shape, axis=1, seed=3):
    size = shape[axis]
    data, gamma, beta, mean, var = draw(seed, shape, *[(size,)] * 4)
    return {
        "data": data * 2 + 1,
        "gamma": gamma,
        "beta": beta,
        "moving_mean": mean,
        "moving_var": np.abs(var) + np.float32(0.5),
    }


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((6, 3), 1), ((4, 3, 5), 1), ((3, 2, 2, 3), 1), ((3, 2, 4), -1), ((2, 3, 4), 2), ((3, 4), 0)],
)
def test_batch_norm_over_axes(shape, axis):
    inputs = batch_inputs(shape, axis)
    symbol = apply("BatchNorm", inputs, axis=axis, fix_gamma=False)
    check(symbol, batch_norm(axis), inputs, ["data", "gamma", "beta"])


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_batch_norm_eps(eps):
    inputs = batch_inputs((5, 2, 3))
    symbol = apply("BatchNorm", inputs, eps=eps, fix_gamma=False)
    check(symbol, batch_norm(eps=eps), inputs, ["data", "gamma", "beta"])


def test_fix_gamma_is_the_default_and_gives_gamma_no_gradient():
    inputs = batch_inputs((5, 2, 3))
    symbol = apply("BatchNorm", inputs)
    check(symbol, batch_norm(fix_gamma=True), inputs, ["data", "beta"])
    executor = bound(symbol, inputs, ["gamma"])
    executor.grad_dict["gamma"][:] = 7.0
    executor.forward(is_train=True)
    executor.backward([np.ones((5, 2, 3), np.float32)])
    np.testing.assert_array_equal(executor.grad_dict["gamma"].asnumpy(), np.zeros(2))
    np.testing.assert_array_equal(executor.arg_dict["gamma"].asnumpy(), inputs["gamma"])


@pytest.mark.parametrize(("shape", "axis"), [((5, 2, 3), 1), ((5, 4), 1), ((2, 3, 4), -1)])
def test_global_statistics_in_training(shape, axis):
    inputs = batch_inputs(shape, axis)
    symbol = apply("BatchNorm", inputs, use_global_stats=True, fix_gamma=False, axis=axis)
    check(symbol, batch_norm(axis, moving=True), inputs, ["data", "gamma", "beta"])
    executor = bound(symbol, inputs)
    executor.forward(is_train=True)
    for name in ("moving_mean", "moving_var"):
        np.testing.assert_array_equal(executor.aux_dict[name].asnumpy(), inputs[name])


@pytest.mark.parametrize("fix_gamma", [False, True])
def test_inference_uses_the_moving_statistics(fix_gamma):
    inputs = batch_inputs((4, 3, 2))
    symbol = apply("BatchNorm", inputs, fix_gamma=fix_gamma)
    expected = batch_norm(fix_gamma=fix_gamma, moving=True)(**inputs)
    executor = bound(symbol, inputs)
    np.testing.assert_allclose(executor.forward()[0].asnumpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(executor.aux_dict["moving_mean"].asnumpy(), inputs["moving_mean"])


@pytest.mark.parametrize("momentum", [0.9, 0.5, 0.0, 1.0])
@pytest.mark.parametrize(("shape", "axis"), [((4, 3, 2), 1), ((6, 3), -1)])
def test_the_moving_statistics_follow_over_steps(momentum, shape, axis):
    inputs = batch_inputs(shape, axis)
    executor = bound(apply("BatchNorm", inputs, momentum=momentum, axis=axis), inputs, ["data"])
    others = tuple(i for i in range(len(shape)) if i != axis % len(shape))
    mean, var = (inputs[n].astype(np.float64) for n in ("moving_mean", "moving_var"))
    for step in range(4):
        x = draw(10 + step, shape)[0] * (step + 1) + step
        executor.forward(is_train=True, data=x)
        executor.backward([np.ones(shape, np.float32)])
        mean = momentum * mean + (1 - momentum) * x.mean(axis=others)
        var = momentum * var + (1 - momentum) * x.var(axis=others)
        moving_mean, moving_var = (executor.aux_dict[f"moving_{n}"] for n in ("mean", "var"))
        np.testing.assert_allclose(moving_mean.asnumpy(), mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(moving_var.asnumpy(), var, rtol=1e-5)
        executor.forward(is_train=False)  # must leave them alone
    assert np.abs(mean - inputs["moving_mean"]).max() > 0.1 or momentum == 1.0


def test_a_large_mean_does_not_cancel():
    inputs = batch_inputs((64, 2))
    inputs["data"] = (draw(5, (64, 2))[0] + 4000).astype(np.float32)
    executor = bound(apply("BatchNorm", inputs), inputs)
    found = executor.forward(is_train=True)[0].asnumpy()
    exact = {n: a.astype(np.float64) for n, a in inputs.items()}
    np.testing.assert_allclose(found, batch_norm(fix_gamma=True)(**exact), atol=2e-3)


def test_batch_norm_names_and_partial_shapes():
    symbol = sb.sym.BatchNorm(sb.sym.Variable("data"), name="bn")
    assert symbol.list_arguments() == ["data", "bn_gamma", "bn_beta"]
    assert symbol.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    args, outs, aux = symbol.infer_shape_partial(data=(0, 3, 8))
    assert args == [(0, 3, 8), (3,), (3,)]
    assert outs == [(0, 3, 8)]
    assert aux == [(3,), (3,)]


def test_layer_norm_names_and_shapes():
    symbol = sb.sym.LayerNorm(sb.sym.Variable("data"), name="ln")
    args, _, aux = symbol.infer_shape(data=(2, 3, 8))
    assert args == [(2, 3, 8), (8,), (8,)]
    assert aux == []


def affine_inputs(shape, size, seed=4):
    data, gamma, beta = draw(seed, shape, (size,), (size,))
    return {"data": data * 2 + 1, "gamma": gamma, "beta": beta}


@pytest.mark.parametrize(
    ("shape", "axis", "eps"),
    [((4, 5), -1, 1e-5), ((2, 3, 4), 1, 1e-5), ((2, 3, 4), 0, 1e-2), ((2, 3, 4), 2, 0.5)],
)
def test_layer_norm(shape, axis, eps):
    inputs = affine_inputs(shape, shape[axis])

    def reference(data, gamma, beta):
        y = standard(data, (axis,), eps)
        return y * along(gamma, axis, data.ndim) + along(beta, axis, data.ndim)

    symbol = apply("LayerNorm", inputs, axis=axis, eps=eps)
    check(symbol, reference, inputs, ["data", "gamma", "beta"])
    np.testing.assert_allclose(run(symbol, inputs)[0], reference(**inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "eps"), [((2, 3, 4), 1e-3), ((2, 2, 2, 3), 0.1)])
def test_instance_norm(shape, eps):
    inputs = affine_inputs(shape, shape[1])

    def reference(data, gamma, beta):
        y = standard(data, tuple(range(2, data.ndim)), eps)
        return y * along(gamma, 1, data.ndim) + along(beta, 1, data.ndim)

    check(apply("InstanceNorm", inputs, eps=eps), reference, inputs, ["data", "gamma", "beta"])


@pytest.mark.parametrize(("shape", "groups"), [((2, 4, 3), 2), ((2, 6, 2, 2), 3), ((3, 2, 3), 1)])
def test_group_norm(shape, groups):
    inputs = affine_inputs(shape, groups)

    def reference(data, gamma, beta):
        y = standard(data.reshape(shape[0], groups, -1), (2,), 1e-5)
        return (y * along(gamma, 1, 3) + along(beta, 1, 3)).reshape(shape)

    symbol = apply("GroupNorm", inputs, num_groups=groups)
    check(symbol, reference, inputs, ["data", "gamma", "beta"])


def test_a_normalization_is_few_nodes():
    inputs = batch_inputs((8, 3, 5))
    symbol = apply("BatchNorm", inputs, fix_gamma=False)
    shapes = {n: a.shape for n, a in inputs.items()}
    programs = compile_training(symbol, shapes, wanted=["data", "gamma", "beta"])
    assert programs.forward is not None
    assert programs.backward is not None
    domains = {
        n.domain for p in (programs.forward, programs.backward) for n in p.proto().graph.node
    }
    assert domains == {""}
    assert len(programs.forward.proto().graph.node) <= 20
    assert (
        len(programs.backward.proto().graph.node) <= 17
    )  # the chain rule through the expansion takes 30


def test_statistics_of_inference_are_the_moving_ones():
    """MXNet puts out 1 / sqrt(variance + eps) under the name of the variance."""
    symbol = sb.sym.BatchNorm(sb.sym.Variable("x"), name="b", output_mean_var=True)
    assert symbol.list_outputs() == ["b_output", "b_mean", "b_var"]
    step = symbol.simple_bind(sb.cpu(), x=(3, 2))
    step.aux_dict["b_moving_mean"][:] = np.array([0.5, 1.0])
    step.aux_dict["b_moving_var"][:] = np.array([2.0, 3.0])
    _, mean, spread = step.forward(is_train=False)
    np.testing.assert_allclose(mean.asnumpy(), [0.5, 1.0])
    np.testing.assert_allclose(spread.asnumpy(), [0.7069301, 0.5772541], rtol=1e-6)


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("BatchNorm", {"eps": 0}, r"BatchNorm: eps=0\.0 must be positive"),
        ("BatchNorm", {"momentum": 1.5}, r"momentum=1\.5 must be from 0 to 1"),
        ("LayerNorm", {"eps": -1}, r"LayerNorm: eps=-1\.0 must be positive"),
        ("GroupNorm", {"num_groups": 0}, r"num_groups=0 must be positive"),
        ("BatchNorm", {"epsilon": 1e-5}, r"unknown attribute 'epsilon'.* 'eps'"),
    ],
)
def test_wrong_attributes(op, attributes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        getattr(sb.sym, op)(sb.sym.Variable("data"), **attributes)


@pytest.mark.parametrize(
    ("op", "attributes", "shape", "message"),
    [
        ("BatchNorm", {"axis": 3}, (2, 3), r"Node 'x' .*axis 3 does not exist in 2 dimensions"),
        ("LayerNorm", {"axis": 2}, (2, 3), r"axis 2 does not exist"),
        ("InstanceNorm", {}, (2, 3), r"three or more axes \(n, c, \.\.\.\).*\(2, 3\)"),
        ("GroupNorm", {"num_groups": 2}, (2, 3, 4), r"3 channels cannot be divided into 2 groups"),
        ("GroupNorm", {}, (2, 3), r"three or more axes"),
    ],
)
def test_data_that_does_not_fit(op, attributes, shape, message):
    symbol = getattr(sb.sym, op)(sb.sym.Variable("data"), name="x", **attributes)
    with pytest.raises(ShapeError, match=message):
        symbol.infer_shape(data=shape)


def test_a_gamma_that_does_not_fit():
    symbol = sb.sym.BatchNorm(sb.sym.Variable("data"), name="bn")
    with pytest.raises(ShapeError, match=r"Node 'bn' \(BatchNorm; .*\(3,\) and \(4,\) differ"):
        symbol.infer_shape(data=(2, 3), bn_gamma=(4,))
