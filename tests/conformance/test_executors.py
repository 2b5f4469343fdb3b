"""What MXNet's scripts do with executors: outputs from bind on, backward after any forward."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, ShapeError, UnsupportedError


def _affine():
    return sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")


def _arrays():
    return {
        "data": sb.nd.array([[1, 2, 3]]),
        "fc_weight": sb.nd.array([[1, 0, 0], [0, 1, 1]]),
        "fc_bias": sb.nd.array([10, 20]),
    }


def test_outputs_exist_from_bind_on_and_later_runs_write_into_them():
    executor = _affine().bind(sb.cpu(), _arrays())
    output = executor.outputs[0]
    assert (output.shape, output.dtype) == ((1, 2), np.float32)
    np.testing.assert_array_equal(output.asnumpy(), 0)
    assert executor.output_dict["fc_output"] is output
    executor.forward()
    np.testing.assert_array_equal(output.asnumpy(), [[11, 25]])
    executor.forward(is_train=True, data=[[0, 0, 0]])
    np.testing.assert_array_equal(output.asnumpy(), [[10, 20]])
    assert executor.outputs[0] is output


def test_a_state_that_is_fed_back_from_the_outputs():
    """As in MXNet's inference models of recurrent networks."""
    network = sym.Group([sym.BlockGrad(sym.Variable("h") + sym.Variable("x"), name="next")])
    executor = network.simple_bind(sb.cpu(), grad_req="null", x=(1,), h=(1,))
    state = executor.outputs[0]
    for x in (1, 2, 3):
        executor.arg_dict["x"][:] = x
        executor.forward()
        state.copyto(executor.arg_dict["h"])
    assert state.asnumpy() == [6]


def test_backward_after_a_plain_forward():
    executor = sym.square(sym.Variable("x")).simple_bind(sb.cpu(), x=(2,))
    executor.arg_dict["x"][:] = [3, 4]
    executor.forward()
    executor.backward([np.array([1, 10])])
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), [6, 80])
    executor.forward(is_train=True)
    executor.backward(np.ones(2), is_train=True)
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), [6, 8])


def test_a_plain_forward_is_differentiated_as_inference():
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    normed = sym.BatchNorm(sym.Variable("x"), name="bn", fix_gamma=False, eps=1e-12)
    executor = sym.Dropout(normed, p=0.5).simple_bind(sb.cpu(), x=(4, 2))
    executor.arg_dict["bn_gamma"][:] = 3
    executor.aux_dict["bn_moving_mean"][:] = 1
    executor.aux_dict["bn_moving_var"][:] = 4
    executor.forward(x=x)
    executor.backward([x])
    np.testing.assert_allclose(executor.grad_dict["x"].asnumpy(), x * 3 / 2, rtol=1e-6)
    slope = (x * (x - 1) / 2).sum(0)
    np.testing.assert_allclose(executor.grad_dict["bn_gamma"].asnumpy(), slope, rtol=1e-6)
    np.testing.assert_array_equal(executor.aux_dict["bn_moving_mean"].asnumpy(), 1)


def test_noise_of_a_plain_forward_is_that_of_its_gradients():
    noise = sym.random_uniform(shape=(64,))
    executor = (noise * sym.Variable("x")).simple_bind(sb.cpu(), x=(64,))
    executor.arg_dict["x"][:] = 1
    output = executor.forward()[0].asnumpy()
    executor.backward([np.ones(64)])
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), output)


def test_gradients_stay_until_the_next_backward():
    x = sb.nd.array([1.0])
    loss = sym.MakeLoss(sym.square(sym.Variable("x")))
    executor = loss.bind(sb.cpu(), {"x": x}, {"x": sb.nd.array([-1.0])})
    executor.forward(is_train=True)
    assert executor.grad_dict["x"].asnumpy() == [-1]
    executor.backward()
    x[:] = 5
    executor.forward(is_train=True)
    assert executor.grad_dict["x"].asnumpy() == [2]
    executor.backward()
    assert executor.grad_dict["x"].asnumpy() == [10]


def test_dicts_may_have_more_names_and_other_keywords_of_mxnet():
    more = sb.nd.zeros((1,))
    executor = _affine().bind(
        sb.cpu(),
        {**_arrays(), "other": more},
        {"fc_weight": sb.nd.zeros((2, 3)), "other": more},
        aux_states={"other": more},
        group2ctx={"dev1": sb.cpu()},
        shared_exec=None,
    )
    assert list(executor.arg_dict) == ["data", "fc_weight", "fc_bias"]
    assert list(executor.grads) == ["fc_weight"]
    bound = _affine().simple_bind(
        sb.cpu(), data=(4, 3), softmax_label=(4,), group2ctx={"dev1": sb.cpu()}
    )
    assert bound.arg_dict["data"].shape == (4, 3)
    with pytest.raises(UnsupportedError, match="sparse"):
        _affine().simple_bind(sb.cpu(), data=(4, 3), stype_dict={"data": "csr"})


def test_more_heads_than_outputs():
    executor = (sym.Variable("x") * 2).simple_bind(sb.cpu(), x=(1,))
    executor.forward(is_train=True)
    executor.backward([np.ones(1), np.ones(7)])
    assert executor.grad_dict["x"].asnumpy() == [2]


def test_simple_bind_shares_arguments_and_a_buffer():
    first = _affine().simple_bind(sb.cpu(), data=(4, 3))
    second = _affine().simple_bind(
        sb.cpu(), data=(2, 3), shared_arg_names=["fc_weight"], shared_exec=first
    )
    assert second.arg_dict["fc_weight"] is first.arg_dict["fc_weight"]
    assert second.grad_dict["fc_weight"] is first.grad_dict["fc_weight"]
    assert second.arg_dict["fc_bias"] is not first.arg_dict["fc_bias"]
    buffer = {"fc_bias": sb.nd.ones((2,))}
    third = _affine().simple_bind(sb.cpu(), data=(2, 3), shared_buffer=buffer)
    assert third.arg_dict["fc_bias"] is buffer["fc_bias"]
    assert buffer["fc_weight"] is third.arg_dict["fc_weight"]
    with pytest.raises(ShapeError, match=r"'fc_weight' is to be shared; it has shape \(2, 3\)"):
        _affine().simple_bind(
            sb.cpu(), data=(2, 5), shared_arg_names=["fc_weight"], shared_exec=first
        )


def test_reshape_to_less_shares_memory():
    executor = _affine().simple_bind(sb.cpu(), data=(5, 2), grad_req="null")
    for array in executor.arg_dict.values():
        array[:] = 1
    other = executor.reshape(data=(3, 2))
    np.testing.assert_array_equal(other.forward()[0].asnumpy(), np.full((3, 2), 3))
    np.testing.assert_array_equal(executor.outputs[0].asnumpy()[:3], 3)
    other.arg_dict["data"][0] = 5
    np.testing.assert_array_equal(executor.arg_dict["data"].asnumpy()[0], 5)
    executor.forward()
    larger = other.reshape(allow_up_sizing=True, data=(6, 2))
    assert larger.forward(data=np.ones((6, 2)))[0].shape == (6, 2)


def test_gradient_arrays_of_arguments_without_a_gradient_are_none():
    executor = _affine().bind(sb.cpu(), _arrays())
    assert executor.grad_dict == {"data": None, "fc_weight": None, "fc_bias": None}
    assert executor.grad_arrays == [None, None, None]
    executor.backward()  # there is nothing to compute
    with pytest.raises(InvalidArgumentError, match="no argument 'zz'"):
        executor.copy_params_from({"zz": np.zeros(1)})
    executor.copy_params_from({"zz": np.zeros(1)}, allow_extra_params=True)


def test_input_gradients_that_are_not_asked_for():
    module = sb.mod.Module(sym.Variable("data") * 2, label_names=None)
    module.bind([("data", (2,))], inputs_need_grad=True, grad_req="null")
    module.init_params()
    module.forward(sb.io.DataBatch([sb.nd.ones((2,))]), is_train=True)
    assert module.get_input_grads() == [None]


def test_arrays_of_any_cpu_context_are_shared():
    a, b, slope = (sb.nd.ones((2,), ctx=sb.cpu(i)) for i in (0, 1, 1))
    total = sym.Variable("a") * sym.Variable("b")
    executor = total.bind(sb.cpu(), {"a": a, "b": b}, {"a": slope}, group2ctx={"d": sb.cpu(1)})
    b[:] = 3.0
    assert executor.forward(is_train=True)[0].asnumpy().tolist() == [3.0, 3.0]
    executor.backward([sb.nd.ones((2,))])
    assert slope.asnumpy().tolist() == [3.0, 3.0]
    sb.optimizer.get_updater(sb.optimizer.create("sgd", learning_rate=0.5))(0, slope, b)
    assert executor.arg_dict["b"].asnumpy().tolist() == [1.5, 1.5]


def test_outputs_that_need_no_head_gradient_may_have_none_at_the_end():
    x = sb.sym.Variable("x")
    for second, needs_none in ((sb.sym.BlockGrad(x * 3), True), (x * 3, False)):
        grad = sb.nd.zeros((2,))
        executor = sb.sym.Group([x * 2, second]).bind(
            sb.cpu(), {"x": sb.nd.ones((2,))}, {"x": grad}
        )
        executor.forward(is_train=True)
        if needs_none:
            executor.backward([sb.nd.ones((2,))])
            assert grad.asnumpy().tolist() == [2, 2]
        else:
            with pytest.raises(sb.SymbucketError, match="needs head gradients"):
                executor.backward([sb.nd.ones((2,))])
