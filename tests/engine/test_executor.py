"""Executors of a symbol by itself: arrays, requests, head gradients, errors.

Long, because all that one class promises is tried on one small network.
"""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions
from symbucket.errors import (
    DataError,
    DeviceError,
    InvalidArgumentError,
    ShapeError,
    StateError,
)
from symbucket.runtime import NDArray, Session
from symbucket.runtime.backend import ort

RNG = np.random.default_rng(3)
X = RNG.normal(size=(4, 3)).astype(np.float32)
W = RNG.normal(size=(2, 3)).astype(np.float32)
B = RNG.normal(size=2).astype(np.float32)
HEAD = RNG.normal(size=(4, 2)).astype(np.float32)


def _layer():
    return sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")


def _bound(grad_req="write", **kwargs):
    executor = _layer().simple_bind(sb.cpu(), grad_req, data=X.shape, **kwargs)
    executor.copy_params_from({"fc_weight": W, "fc_bias": B})
    return executor


def _close(got, wanted):
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-5, atol=1e-6)


# Arrays and requests ----------------------------------------------------------------------------


def test_simple_bind_allocates_zeros_for_everything():
    executor = _layer().simple_bind(sb.cpu(), data=X.shape)
    assert {n: a.shape for n, a in executor.arg_dict.items()} == {
        "data": (4, 3),
        "fc_weight": (2, 3),
        "fc_bias": (2,),
    }
    assert executor.arg_dict.keys() == executor.grad_dict.keys()
    assert not any(np.asarray(a).any() for a in [*executor.arg_arrays, *executor.grad_arrays])
    assert executor.aux_arrays == []


def test_forward_and_backward_against_numpy():
    executor = _bound()
    (out,) = executor.forward(is_train=True, data=X)
    _close(out, X @ W.T + B)
    assert executor.outputs[0] is out
    assert list(executor.output_dict) == ["fc_output"]
    executor.backward(HEAD)
    _close(executor.grad_dict["data"], HEAD @ W)
    _close(executor.grad_dict["fc_weight"], HEAD.T @ X)
    _close(executor.grad_dict["fc_bias"], HEAD.sum(0))


def test_the_next_run_sees_what_was_written_into_the_arrays():
    executor = _bound()
    executor.arg_dict["data"][:] = X
    _close(executor.forward()[0], X @ W.T + B)
    executor.arg_dict["fc_weight"][0] = 7.0
    executor.arg_dict["fc_bias"] += 1
    changed = W.copy()
    changed[0] = 7.0
    _close(executor.forward()[0], X @ changed.T + B + 1)
    _close(executor.forward(is_train=True)[0], X @ changed.T + B + 1)


def test_requests_by_name_list_and_word():
    by_name = _bound({"fc_weight": "write"})
    assert [n for n, grad in by_name.grad_dict.items() if grad is not None] == ["fc_weight"]
    assert by_name.grad_arrays[0] is None
    by_place = _bound(["null", "add", "write"])
    assert list(by_place.grads) == ["fc_weight", "fc_bias"]
    none = _bound("null")
    assert none.grad_dict == {"data": None, "fc_weight": None, "fc_bias": None}
    _close(none.forward(is_train=True, data=X)[0], X @ W.T + B)


def test_add_accumulates_and_write_replaces():
    executor = _bound({"data": "null", "fc_weight": "add", "fc_bias": "write"})
    executor.grad_dict["fc_weight"][:] = 1.0
    for _ in range(3):
        executor.forward(is_train=True, data=X)
        executor.backward(HEAD)
    _close(executor.grad_dict["fc_weight"], 1 + 3 * HEAD.T @ X)
    _close(executor.grad_dict["fc_bias"], HEAD.sum(0))
    executor.grad_dict["fc_weight"][:] = 0
    executor.forward(is_train=True, data=X)
    executor.backward(2 * HEAD)
    _close(executor.grad_dict["fc_weight"], 2 * HEAD.T @ X)


def test_add_accumulates_for_losses_at_backward_only():
    net = sym.MakeLoss(sym.sum(sym.Variable("x") * 3))
    executor = net.simple_bind(grad_req="add", x=(2,))
    executor.forward(is_train=True)
    executor.forward(is_train=True)
    assert np.asarray(executor.grad_dict["x"]).tolist() == [0, 0]
    executor.backward()
    executor.backward()
    assert np.asarray(executor.grad_dict["x"]).tolist() == [6, 6]


def test_wrong_requests(caplog):
    with pytest.raises(InvalidArgumentError, match="'data' is 'wrte'; it must be one of write"):
        _bound("wrte")
    with pytest.raises(InvalidArgumentError, match="2 entries for 3 arguments"):
        _bound(["write", "write"])
    assert not _bound({"fc_wieght": "write"}).grads  # MXNet ignores it
    assert "grad_req names fc_wieght; the arguments are" in caplog.text


def test_an_argument_that_does_not_matter_gets_a_zero_gradient():
    net = sym.Group([sym.relu(sym.Variable("a")), sym.BlockGrad(sym.Variable("b") * 2)])
    executor = net.simple_bind(a=(2,), b=(2,))
    executor.grad_dict["b"][:] = 5
    executor.forward(is_train=True, a=[1, 2], b=[3, 4])
    executor.backward([np.ones(2), np.ones(2)])
    assert np.asarray(executor.grad_dict["a"]).tolist() == [1, 1]
    assert np.asarray(executor.grad_dict["b"]).tolist() == [0, 0]


# bind -------------------------------------------------------------------------------------------


def test_bind_shares_ndarrays_and_copies_numpy():
    weight, grad, data = NDArray(W), NDArray(np.zeros_like(W)), X.copy()
    executor = _layer().bind(
        sb.cpu(), {"data": data, "fc_weight": weight, "fc_bias": B}, {"fc_weight": grad}
    )
    assert executor.arg_dict["fc_weight"] is weight
    assert executor.grad_req == {"data": "null", "fc_weight": "write", "fc_bias": "null"}
    data[:] = 0
    executor.forward(is_train=True)
    executor.backward(HEAD)
    _close(grad, HEAD.T @ X)
    weight *= 2
    _close(executor.forward()[0], 2 * X @ W.T + B)


def test_bind_by_position():
    executor = _layer().bind(sb.cpu(), [X, W, B], [None, np.zeros_like(W), None])
    assert list(executor.grads) == ["fc_weight"]
    _close(executor.forward()[0], X @ W.T + B)


def test_wrong_bind():
    net, args = _layer(), {"data": X, "fc_weight": W, "fc_bias": B}
    with pytest.raises(InvalidArgumentError, match="args has 2 entries, the symbol needs 3: data"):
        net.bind(sb.cpu(), [X, W])
    with pytest.raises(InvalidArgumentError, match="args lacks fc_bias"):
        net.bind(sb.cpu(), {"data": X, "fc_weight": W})
    with pytest.raises(ShapeError, match=r"fc_weight\(2, 4\)"):
        net.bind(sb.cpu(), {**args, "fc_weight": np.zeros((2, 4))})
    with pytest.raises(ShapeError, match=r"gradient of 'fc_weight' has shape \(3,\)"):
        net.bind(sb.cpu(), args, {"fc_weight": np.zeros(3)})


def test_auxiliary_states_change_in_training_and_are_read_at_inference():
    net = sym.BatchNorm(sym.Variable("x"), name="bn", fix_gamma=False, momentum=0.5)
    executor = net.simple_bind(x=X.shape)
    executor.copy_params_from(
        {"bn_gamma": np.ones(3)}, {"bn_moving_mean": np.zeros(3), "bn_moving_var": np.ones(3)}
    )
    for _ in range(2):  # they change in backward
        executor.forward(is_train=True, x=X)
        _close(executor.aux_dict["bn_moving_mean"], 0)
    executor.backward([X])
    mean = np.asarray(executor.aux_dict["bn_moving_mean"]).copy()
    _close(mean, X.mean(0) / 2)
    executor.forward(is_train=False, x=X)
    _close(executor.aux_dict["bn_moving_mean"], mean)


# Heads ------------------------------------------------------------------------------------------


def _loss_and_head():
    y = _layer()
    loss = sym.MakeLoss(sym.sum(y * y), name="loss")
    return sym.Group([loss, y])


def test_losses_and_heads_mixed():
    executor = _loss_and_head().simple_bind(data=X.shape)
    executor.copy_params_from({"fc_weight": W, "fc_bias": B})
    loss, y = executor.forward(is_train=True, data=X)
    wanted = X @ W.T + B
    _close(y, wanted)
    _close(np.asarray(loss).reshape(()), (wanted**2).sum())
    executor.backward([None, HEAD])
    np.testing.assert_allclose(
        np.asarray(executor.grad_dict["fc_bias"]), (2 * wanted + HEAD).sum(0), rtol=1e-4
    )


def test_missing_and_wrong_head_gradients():
    executor = _loss_and_head().simple_bind(data=X.shape)
    executor.forward(is_train=True, data=X)
    with pytest.raises(InvalidArgumentError, match="for outputs that are not losses: fc_output"):
        executor.backward()
    with pytest.raises(InvalidArgumentError, match="not losses: fc_output"):
        executor.backward([np.ones(1), None])
    with pytest.raises(InvalidArgumentError, match="not losses: fc_output"):
        executor.backward([np.ones(1)])  # none for the second
    with pytest.raises(ShapeError, match=r"fc_output has shape \(2, 4\), the output \(4, 2\)"):
        executor.backward([None, HEAD.T])
    executor.backward([None, HEAD])  # still usable


def test_only_losses_need_no_heads_and_ignore_them():
    net = sym.LinearRegressionOutput(_layer(), sym.Variable("label"), name="out")
    executor = net.simple_bind(grad_req={"fc_bias": "write"}, data=X.shape)
    label = np.zeros((4, 2))
    executor.copy_params_from({"fc_weight": W, "fc_bias": B})
    executor.forward(is_train=True, data=X, label=label)
    executor.backward()
    first = np.asarray(executor.grad_dict["fc_bias"]).copy()
    executor.backward(np.full((4, 2), 9.0))
    _close(executor.grad_dict["fc_bias"], first)
    _close(first, (X @ W.T + B).sum(0) / 2)


def test_one_build_for_each_mode():
    executor = _bound()
    for _ in range(3):
        executor.forward(is_train=True, data=X)
        executor.backward(HEAD)
        executor.forward(is_train=False, data=X)
    assert executor.builds == {"training": 1, "inference": 1}


# Order of calls and wrong input -----------------------------------------------------------------


def test_backward_alone_runs_the_network_first():
    executor, other = _bound(), _bound()
    executor.backward(HEAD)
    other.forward(is_train=True)
    other.backward(HEAD)
    for name, gradient in other.grads.items():
        np.testing.assert_array_equal(executor.grads[name].asnumpy(), gradient.asnumpy())


def test_wrong_feeds_write_nothing():
    executor = _bound()
    executor.forward(data=X)
    with pytest.raises(ShapeError, match=r"data has shape \(4, 2\), it is bound with \(4, 3\)"):
        executor.forward(fc_bias=np.zeros(2), data=X[:, :2])
    with pytest.raises(InvalidArgumentError, match="no argument 'dta'; it has data, fc_weight"):
        executor.forward(fc_bias=np.zeros(2), dta=X)
    with pytest.raises(DataError, match="data has dtype <U1, not numbers"):
        executor.forward(fc_bias=np.zeros(2), data=np.full((4, 3), "a"))
    with pytest.raises(DataError, match="data is no array"):
        executor.forward(fc_bias=np.zeros(2), data=[[1, 2], [3]])
    _close(executor.forward()[0], X @ W.T + B)


def test_copy_params_checks_before_it_writes():
    executor = _bound()
    with pytest.raises(ShapeError, match=r"'fc_bias' has shape \(2,\), not \(3,\)"):
        executor.copy_params_from({"fc_weight": 2 * W, "fc_bias": np.zeros(3)})
    with pytest.raises(InvalidArgumentError, match="no argument 'other'"):
        executor.copy_params_from({"fc_weight": 2 * W, "other": B})
    _close(executor.arg_dict["fc_weight"], W)
    executor.copy_params_from({"fc_weight": 2 * W, "other": B}, allow_extra_params=True)
    _close(executor.arg_dict["fc_weight"], 2 * W)


def _classifier(**attributes):
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=5, name="fc")
    return sym.SoftmaxOutput(net, sym.Variable("label"), name="softmax", **attributes)


def test_labels_out_of_range_are_named():
    executor = _classifier().simple_bind(data=X.shape)
    with pytest.raises(DataError) as caught:
        executor.forward(is_train=True, data=X, label=[0, 4, 5, -1])
    message = str(caught.value)
    assert "label[2] is 5, but 'softmax' reads it as one of 5 classes: 0 to 4" in message
    assert "2 values of this batch are outside" in message
    assert "Padding needs use_ignore=True and ignore_label" in message
    executor.forward(is_train=True, data=X, label=[0, 4, 4, 0])


def test_the_label_to_ignore_may_lie_outside():
    executor = _classifier(use_ignore=True, ignore_label=-1).simple_bind(data=X.shape)
    executor.forward(is_train=True, data=X, label=[0, -1, -1, 4])
    with pytest.raises(DataError, match="0 to 4, or -1 to be ignored"):
        executor.forward(is_train=True, data=X, label=[0, -2, -1, 4])


def test_tokens_out_of_range_are_named_also_behind_reshapes():
    ids = sym.Reshape(sym.transpose(sym.Variable("data")), shape=(-1,))
    net = sym.Embedding(ids, input_dim=6, output_dim=2, name="embed")
    executor = net.simple_bind(data=(2, 3))
    with pytest.raises(DataError, match=r"data\[1, 2\] is 6, but 'embed' reads it as one of 6 ids"):
        executor.forward(True, data=[[0, 1, 2], [3, 4, 6]])
    with pytest.raises(DataError, match=r"data\[0, 0\] is nan"):
        executor.forward(data=np.full((2, 3), np.nan))


def test_values_written_into_arg_dict_are_checked_too():
    net = sym.Embedding(sym.Variable("data"), input_dim=6, output_dim=2, name="embed")
    executor = net.simple_bind(data=(2,))
    executor.arg_dict["data"][:] = [1, 17]
    with pytest.raises(DataError, match=r"data\[1\] is 17"):
        executor.forward(True)
    executor.arg_dict["data"][:] = [1, 5]
    executor.forward()
    executor.forward(data=[0, 1])
    executor.arg_dict["data"][:] = [8, 1]
    with pytest.raises(DataError, match=r"data\[0\] is 8"):
        executor.forward(True)


def test_inference_reads_the_last_row_for_ids_beyond_the_table_as_mxnet_does():
    ids = sym.Variable("data")
    for data in (ids, ids + 0):  # also for ids that are computed
        net = sym.Embedding(data, input_dim=3, output_dim=2, name="embed")
        executor = net.simple_bind(data=(4,))
        executor.arg_dict["embed_weight"][:] = np.arange(1, 7).reshape(3, 2)
        rows = executor.forward(data=[3, -2, 1, 7])[0].asnumpy()
        assert rows.tolist() == [[5, 6], [1, 2], [3, 4], [5, 6]]


def test_training_computes_what_mxnet_does_with_ids_and_labels_if_it_is_told_to():
    options = CompilerOptions(out_of_range="mxnet")
    net = sym.Embedding(sym.Variable("data"), input_dim=3, output_dim=3, name="embed")
    net = sym.SoftmaxOutput(net, name="softmax")
    module = sb.mod.Module(net, options=options)
    module.bind([("data", (4,))], [("softmax_label", (4,))])
    module.init_params(arg_params={"embed_weight": np.tile([1.0, 2.0, 3.0], (3, 1))})
    batch = sb.io.DataBatch([np.array([3, -2, 1, 7])], [np.array([0, 3, -1, 7])])
    module.forward_backward(batch)
    # MXNet: p - onehot(label), where a label that is no class has no 1; rows are added up.
    p = np.array([0.09003057, 0.24472848, 0.66524094])
    expected = np.stack([p, p, p + p])
    expected[2, 0] -= 1.0
    gradient = module._exec_group.grad_arrays[0][0].asnumpy()
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_integer_and_float64_data():
    executor = _bound()
    _close(executor.forward(data=X.astype(np.float64))[0], X @ W.T + B)
    ones = np.ones(X.shape, dtype=np.int64)
    _close(executor.forward(data=ones)[0], ones @ W.T + B)


def test_networks_in_float64():
    executor = _layer().simple_bind(type_dict={"data": "float64"}, data=X.shape)
    assert {a.dtype for a in executor.arg_dict.values()} == {np.dtype(np.float64)}
    x = X.astype(np.float64) + 1e-12
    executor.copy_params_from({"fc_weight": W.astype(np.float64)})
    (out,) = executor.forward(is_train=True, data=x)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out.asnumpy(), x @ W.astype(np.float64).T, rtol=1e-13)
    executor.backward(HEAD)
    np.testing.assert_allclose(
        executor.grad_dict["fc_weight"].asnumpy(), HEAD.T.astype(np.float64) @ x, rtol=1e-13
    )


def test_integer_arguments_get_no_gradient():
    net = sym.Embedding(sym.Variable("data"), input_dim=6, output_dim=2, name="embed")
    executor = net.simple_bind(type_dict={"data": "int64"}, data=(2,))
    assert list(executor.grads) == ["embed_weight"]
    executor.forward(is_train=True, data=[3, 3])
    executor.backward(np.ones((2, 2)))
    assert np.asarray(executor.grad_dict["embed_weight"])[:, 0].tolist() == [0, 0, 0, 2, 0, 0]


# reshape ----------------------------------------------------------------------------------------


def test_reshape_shares_parameters_and_makes_new_data():
    executor = _bound()
    other = executor.reshape(data=(7, 3))
    assert other.arg_dict["fc_weight"] is executor.arg_dict["fc_weight"]
    assert other.grad_dict["fc_weight"] is executor.grad_dict["fc_weight"]
    assert other.arg_dict["data"].shape == (7, 3)
    more = RNG.normal(size=(7, 3)).astype(np.float32)
    _close(other.forward(data=more)[0], more @ W.T + B)
    executor.arg_dict["fc_weight"][:] = 0
    _close(other.forward()[0], np.tile(B, (7, 1)))
    with pytest.raises(ShapeError):
        executor.reshape(data=(0, 3))


# Devices and sessions ---------------------------------------------------------------------------

needs_no_gpu = pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this build has CUDA"
)


@needs_no_gpu
def test_a_gpu_that_is_not_there():
    words = r"gpu\(1\) needs the CUDAExecutionProvider; onnxruntime .* here has .*CPUExec.*"
    with pytest.raises(DeviceError, match=words + r"Install symbucket\[cuda\]"):
        _layer().simple_bind(sb.gpu(1), data=X.shape)
    with pytest.raises(DeviceError, match=words):
        NDArray(X, sb.gpu(1))


def test_a_session_that_is_not_bound_says_what_is_missing():
    executor = _bound()
    program = executor.inference_program()
    session = Session(program.model, sb.cpu(), "alone")
    session.bind_inputs({"data": executor.arg_dict["data"]})
    with pytest.raises(StateError, match="'alone': not bound yet: fc_weight, fc_bias, fc_output"):
        session.run()
