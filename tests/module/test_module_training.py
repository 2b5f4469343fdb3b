"""``Module``: binding, training, outputs, gradients, states, sharing."""

import logging

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    DataError,
    DeviceError,
    InvalidArgumentError,
    ParameterError,
    ShapeError,
    StateError,
)
from symbucket.runtime.backend import ort
from tests.small_networks import (
    bound_regression,
    language_model,
    numbers,
    regression,
    regression_batch,
    regression_data,
    same,
    sentence_batch,
    shapes,
)

X, Y = regression_data()


def test_a_step_of_sgd_by_hand():
    module = bound_regression(rate=0.1)
    before = numbers(module)
    module.forward_backward(regression_batch())
    y = X[:4] @ before["fc_weight"].T + before["fc_bias"]
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), y, rtol=1e-5, atol=1e-6)
    dy = (y - Y[:4]) / 2  # LinearRegressionOutput divides by the outputs of a row
    grads = module.gradients()
    slope = dy.T @ X[:4]
    np.testing.assert_allclose(grads["fc_weight"].asnumpy(), slope, rtol=1e-5, atol=1e-6)
    module.update()
    after = numbers(module)
    # rescale_grad is 1 / batch size
    for name, grad in (("fc_weight", slope), ("fc_bias", dy.sum(0))):
        expected = before[name] - 0.1 * grad / 4
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-6)


def test_descriptions():
    module = sb.mod.Module(regression(), label_names=("softmax_label", "not_there"))
    assert module.data_names == ["data"]
    assert module.label_names == ["softmax_label"]
    assert module.output_names == ["out_output"]
    assert module.param_names == ["fc_weight", "fc_bias"]
    for unbound in ("data_shapes", "label_shapes", "output_shapes", "executor", "store"):
        with pytest.raises(StateError, match="call bind"):
            getattr(module, unbound)
    module.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
    assert module.data_shapes == [("data", (4, 3))]
    assert module.label_shapes == [("softmax_label", (4, 2))]
    assert module.output_shapes == [("out_output", (4, 2))]


def test_names_that_the_symbol_does_not_have():
    with pytest.raises(InvalidArgumentError, match="data_names has 'dta', but the symbol's arg"):
        sb.mod.Module(regression(), data_names=["dta"])
    with pytest.raises(InvalidArgumentError, match="fixed_param_names has 'fc_wieght'"):
        sb.mod.Module(regression(), fixed_param_names=["fc_wieght"])
    with pytest.raises(InvalidArgumentError, match="is not a Symbol"):
        sb.mod.Module("net.json")
    module = sb.mod.Module(regression())
    with pytest.raises(DataError, match="describe dta, but the data inputs are data"):
        module.bind([("dta", (4, 3))])
    assert not module.binded


def test_the_order_of_calls():
    module = sb.mod.Module(regression())
    for call in (
        lambda: module.forward(regression_batch()),
        module.init_params,
        module.get_params,
        module.get_outputs,
    ):
        with pytest.raises(StateError, match="call bind"):
            call()
    module.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
    for call in (
        lambda: module.forward(regression_batch()),
        module.init_optimizer,
        module.get_params,
    ):
        with pytest.raises(StateError, match=r"call init_params\(\) first"):
            call()
    module.init_params()
    with pytest.raises(StateError, match=r"call init_optimizer\(\) first"):
        module.update()
    with pytest.raises(StateError, match=r"needs forward\(batch, is_train=True\)"):
        module.backward()
    with pytest.raises(StateError, match="call forward first"):
        module.get_outputs()


def test_binding_twice_is_ignored_and_said(caplog):
    module = bound_regression()
    with caplog.at_level(logging.WARNING):
        module.bind([("data", (7, 3))], [("softmax_label", (7, 2))])
        module.init_optimizer(optimizer="adam")
    assert "Already bound" in caplog.text
    assert "already initialized" in caplog.text
    assert module.data_shapes == [("data", (4, 3))]
    assert type(module.updater.optimizer).__name__ == "SGD"


def test_rebinding_keeps_the_parameters():
    module = bound_regression()
    before = numbers(module)
    module.bind([("data", (7, 3))], [("softmax_label", (7, 2))], force_rebind=True)
    assert same(numbers(module), before)
    assert module.data_shapes == [("data", (7, 3))]
    with pytest.raises(ShapeError):
        module.bind([("data", (7, 5))], [("softmax_label", (6, 2))], force_rebind=True)
    with pytest.raises(ParameterError, match=r"'fc_weight' has shape \(2, 3\).*\(2, 5\)"):
        module.bind([("data", (7, 5))], [("softmax_label", (7, 2))], force_rebind=True)
    assert module.data_shapes == [("data", (7, 3))]
    module.forward_backward(regression_batch(slice(7)))
    module.update()
    assert not same(numbers(module), before)


def test_bound_for_inference_then_for_training():
    module = bound_regression(for_training=False)
    with pytest.raises(StateError, match="bound with for_training=False"):
        module.forward(regression_batch(), is_train=True)
    before = numbers(module)
    module.bind([("data", (4, 3))], [("softmax_label", (4, 2))], force_rebind=True)
    module.init_optimizer()
    module.forward_backward(regression_batch())
    module.update()
    after = numbers(module)
    assert all(not np.array_equal(after[n], before[n]) for n in before)


def test_init_params_from_values_and_by_initializer():
    module = bound_regression()
    weight = np.arange(6.0).reshape(2, 3)
    module.init_params(arg_params={"fc_weight": weight})  # initialised already
    assert not np.array_equal(numbers(module)["fc_weight"], weight)
    module.init_params(
        sb.init.One(), arg_params={"fc_weight": weight}, allow_missing=True, force_init=True
    )
    assert np.array_equal(numbers(module)["fc_weight"], weight)
    module.set_params({"fc_bias": [7, 8]}, allow_missing=True)
    assert numbers(module)["fc_bias"].tolist() == [7, 8]
    assert np.array_equal(numbers(module)["fc_weight"], weight)
    module.set_params({"fc_weight": weight, "fc_bias": [1, 2], "other": 3}, allow_extra=True)
    assert numbers(module)["fc_bias"].tolist() == [1, 2]


def test_wrong_parameters_change_nothing():
    module = bound_regression()
    before = numbers(module)
    weight, bias = np.ones((2, 3)), np.ones(2)
    for wrong, options, words in (
        ({"fc_weight": weight}, {}, "lack fc_bias"),
        ({"fc_weight": weight, "z": bias}, {"allow_missing": True}, "have z, which the network"),
        ({"fc_weight": weight, "fc_bias": np.ones(3)}, {}, r"'fc_bias' has shape \(2,\), .*\(3,\)"),
    ):
        with pytest.raises(ParameterError, match=words):
            module.set_params(wrong, **options)
        assert same(numbers(module), before)


def test_more_parameters_are_passed_over_as_in_mxnet(caplog):
    module = bound_regression()
    weight, bias = np.ones((2, 3)), np.array([1, 2])
    module.set_params({"fc_weight": weight, "fc_bias": bias, "z": bias}, {})
    assert "z given, which the network does not have" in caplog.text
    module.init_params(arg_params={"fc_weight": weight, "fc_bias": bias, "z": 3}, force_init=True)
    module.set_params({"fc_bias": bias + 1, "z": bias}, allow_missing=True, allow_extra=True)
    assert numbers(module)["fc_bias"].tolist() == [2, 3]
    module.set_params({"fc_weight": weight, "fc_bias": bias}, force_init=False)
    assert numbers(module)["fc_bias"].tolist() == [2, 3]


def test_variable_attributes_rule_initialisation_and_updates():
    weight = sym.Variable("fc_weight", lr_mult=0.0, init=sb.init.Constant(3.0))
    bias = sym.Variable("fc_bias", wd_mult=5.0, lr_mult=2.0)
    module = bound_regression(module=sb.mod.Module(regression(weight=weight, bias=bias)))
    assert (numbers(module)["fc_weight"] == 3).all()
    module.forward_backward(regression_batch())
    grad = module.gradients()["fc_bias"].asnumpy()
    module.update()
    assert (numbers(module)["fc_weight"] == 3).all()
    np.testing.assert_allclose(numbers(module)["fc_bias"], -0.1 * 2 * grad / 4, rtol=1e-5)


def test_fixed_parameters_get_no_gradient_and_stay():
    module = sb.mod.Module(regression(), fixed_param_names=["fc_weight"])
    module = bound_regression(module=module)
    before = numbers(module)
    module.forward_backward(regression_batch())
    module.update()
    after = numbers(module)
    assert np.array_equal(after["fc_weight"], before["fc_weight"])
    assert not np.array_equal(after["fc_bias"], before["fc_bias"])
    assert list(module.gradients()) == ["fc_bias"]


def test_grad_req_of_a_module():
    module = bound_regression(grad_req={"fc_weight": "null"})
    assert list(module.gradients()) == ["fc_bias"]
    with pytest.raises(InvalidArgumentError, match="grad_req names 'fc_wieght'"):
        bound_regression(grad_req={"fc_wieght": "add"})
    with pytest.raises(InvalidArgumentError, match="must be one of write, add, null"):
        bound_regression(grad_req="sum")


def test_added_gradients_are_those_of_a_larger_batch():
    module = bound_regression(grad_req="add")
    for rows in (slice(0, 4), slice(4, 8)):
        module.forward_backward(regression_batch(rows))
    added = {n: g.asnumpy() for n, g in module.gradients().items()}
    whole = bound_regression(rows=8)
    whole.set_params(*module.get_params())
    whole.forward_backward(regression_batch(slice(8)))
    for name, grad in whole.gradients().items():
        np.testing.assert_allclose(added[name], grad.asnumpy(), rtol=1e-5, atol=1e-6)


def test_input_gradients():
    module = bound_regression(inputs_need_grad=True)
    module.forward_backward(regression_batch())
    params = numbers(module)
    dy = (module.get_outputs()[0].asnumpy() - Y[:4]) / 2
    (grad,) = module.get_input_grads()
    np.testing.assert_allclose(grad.asnumpy(), dy @ params["fc_weight"], rtol=1e-5, atol=1e-6)
    with pytest.raises(StateError, match="inputs_need_grad=True"):
        bound_regression().get_input_grads()
    with pytest.raises(InvalidArgumentError, match="needs for_training=True"):
        bound_regression(for_training=False, inputs_need_grad=True)


def test_modules_in_a_row_through_head_gradients():
    """The first module's outputs feed the second one, whose input gradients come back."""
    first = sb.mod.Module(
        sym.FullyConnected(sym.Variable("data"), num_hidden=3, name="a"), label_names=None
    )
    first.bind([("data", (4, 3))])
    first.init_params(sb.init.Uniform(0.5))
    second = bound_regression(inputs_need_grad=True)
    first.forward(sb.io.DataBatch([X[:4]]))
    second.forward(sb.io.DataBatch(first.get_outputs(), [Y[:4]]))
    second.backward()
    first.backward(second.get_input_grads())
    got = first.gradients()["a_weight"].asnumpy()
    a, b = numbers(first), numbers(second)
    h = X[:4] @ a["a_weight"].T + a["a_bias"]
    dh = (h @ b["fc_weight"].T + b["fc_bias"] - Y[:4]) / 2 @ b["fc_weight"]
    np.testing.assert_allclose(got, dh.T @ X[:4], rtol=1e-4, atol=1e-6)
    with pytest.raises(InvalidArgumentError, match="needs head gradients"):
        first.backward()


def test_smaller_batches_get_their_own_executor_once():
    module = bound_regression()
    for _ in range(2):
        for rows in (slice(4), slice(3)):
            module.forward_backward(regression_batch(rows))
            module.update()
            assert module.get_outputs()[0].shape == (rows.stop, 2)
    assert [e.builds["training"] for e in module.executors] == [1, 1]
    module.reshape([("data", (4, 3))], [("softmax_label", (4, 2))])
    assert module.executor is module.executors[0]


def test_labels_may_be_left_out_at_inference_but_not_in_training():
    module = sb.mod.Module(language_model(4))
    module.bind(*shapes(4))
    module.init_params(sb.init.Uniform(0.2))
    rng = np.random.default_rng(0)
    batch = sentence_batch(rng, 4)
    module.forward(batch, is_train=False)
    wanted = module.get_outputs()[0].asnumpy()
    bare = sb.io.DataBatch([batch.data[0]])
    module.forward(bare, is_train=False)
    np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), wanted)
    assert len(module.executors) == 1
    module.forward(sb.io.DataBatch([batch.data[0][:2]]), is_train=False)
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), wanted[:8], rtol=1e-5)
    with pytest.raises(DataError, match="no label 'softmax_label', and training needs it"):
        module.forward(bare, is_train=True)
    module.forward(batch, is_train=True)  # labels without a description still find their name
    module.forward(sb.io.DataBatch(batch.data, batch.label), is_train=True)


def test_label_shapes_that_nobody_said():
    with pytest.raises(ShapeError, match=r"softmax_label was not given: label_shapes of bind"):
        sb.mod.Module(language_model(4)).bind([("data", (3, 4))])


def test_metrics_match_labels_by_name_even_if_the_network_uses_only_some():
    module = sb.mod.Module(regression(), label_names=["other", "softmax_label"])
    labels = [("other", (4, 2)), ("softmax_label", (4, 2))]
    module.bind([("data", (4, 3))], labels)
    module.init_params(sb.init.Zero())
    batch = sb.io.DataBatch(
        [X[:4]],
        [100 + Y[:4], Y[:4]],
        provide_data=[("data", (4, 3))],
        provide_label=labels,
    )
    module.forward(batch, is_train=False)
    metric = sb.metric.MSE(output_names=["out_output"], label_names=["softmax_label"])
    module.update_metric(metric, batch.label)
    np.testing.assert_allclose(metric.get()[1], (Y[:4] ** 2).mean(), rtol=1e-5)


def test_states():
    net = sym.Variable("data") + sym.Variable("memory")
    net = sym.Group([sym.BlockGrad(net, name="sum"), sym.MakeLoss(net)])
    module = sb.mod.Module(net, label_names=None, state_names=["memory"])
    module.bind([("data", (2, 3))])
    module.init_params()
    assert module.param_names == []
    batch = sb.io.DataBatch([np.ones((2, 3))])
    module.set_states(value=2)
    module.forward(batch, is_train=False)
    assert (module.get_outputs()[0].asnumpy() == 3).all()
    module.set_states(states=[module.get_outputs()[0]])
    assert (module.get_states()[0].asnumpy() == 3).all()
    module.forward(batch, is_train=False)
    assert (module.get_outputs()[0].asnumpy() == 4).all()
    with pytest.raises(InvalidArgumentError, match="either states or value"):
        module.set_states()
    with pytest.raises(InvalidArgumentError, match="2 arrays for memory"):
        module.set_states(states=[1, 2])
    with pytest.raises(ShapeError):
        module.set_states(states=[np.ones((3, 3))])
    module.forward(batch, is_train=False)
    assert (module.get_outputs()[0].asnumpy() == 4).all()


def test_an_optimizer_object_is_taken_as_it_is():
    module = bound_regression()
    optimizer = sb.optimizer.create("sgd", learning_rate=0.5, rescale_grad=0.25)
    module.init_optimizer(optimizer=optimizer, force_init=True)
    assert module.updater.optimizer is optimizer
    other = sb.optimizer.create("sgd", learning_rate=0.5)
    with pytest.warns(UserWarning, match=r"rescale_grad=1\.0, where the module would take"):
        module.init_optimizer(optimizer=other, force_init=True)


def test_a_list_of_one_context_is_that_context():
    assert sb.mod.Module(regression(), context=[sb.cpu(1)]).context == sb.cpu(1)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this build has CUDA"
)
def test_a_gpu_that_is_not_there():
    module = sb.mod.Module(regression(), context=sb.gpu(0))
    with pytest.raises(DeviceError, match=r"gpu\(0\) needs the CUDAExecutionProvider"):
        module.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
    assert not module.binded


def test_float64_parameters_are_copied_in_full():
    module = sb.mod.Module(regression())
    module.bind([("data", (4, 3), "float64")], [("softmax_label", (4, 2))], for_training=False)
    exact = {"fc_weight": np.full((2, 3), 1 + 1e-12), "fc_bias": np.zeros(2)}
    module.init_params(arg_params=exact)
    assert module.get_params()[0]["fc_weight"].dtype == np.float64
    assert same(numbers(module), exact)
