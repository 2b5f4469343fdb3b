"""Private names of MXNet's modules that scripts reach for."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError
from tests.small_networks import bound_regression, generate, regression_batch


def test_what_a_module_calls_its_own():
    module = bound_regression()
    assert module._symbol is module.symbol
    assert module._context == [sb.cpu()]
    assert module._optimizer is module.updater.optimizer
    assert module._param_names == ["fc_weight", "fc_bias"]
    assert module._label_names == ["softmax_label"]
    assert module._fixed_param_names == []
    assert module._data_shapes[0].name == "data"
    assert module._kvstore is None
    module.forward_backward(regression_batch())
    group = module._exec_group
    assert group.param_names == ["fc_weight", "fc_bias"]
    assert group.arg_names == module.symbol.list_arguments()
    grads = dict(zip(group.arg_names, group.execs[0].grad_arrays))
    assert grads["data"] is None
    assert grads["fc_bias"].shape == (2,)
    assert group.data_names == ["data"]
    assert group.for_training
    assert group.slices == [slice(0, 4)]
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        getattr(group, "nothing")  # noqa: B009
    (grad,), _ = group.grad_arrays
    np.testing.assert_array_equal(grad.asnumpy(), module.gradients()["fc_weight"].asnumpy())
    grad[:] = 0  # as scripts that clip by a global norm do
    before = group.param_arrays[0][0].asnumpy()
    module.update()
    np.testing.assert_array_equal(group.param_arrays[0][0].asnumpy(), before)
    assert group.execs[0].outputs[0].shape == module.get_outputs()[0].shape
    assert group.batch_size == 4
    assert group.data_arrays[0][0][1].shape == (4, 3)
    assert group.label_arrays[0][0][0] == slice(0, 4)
    assert group.aux_arrays == []
    assert group.contexts == [sb.cpu()]
    assert module._arg_params["fc_weight"].shape == (2, 3)
    assert module._grad_req == "write"
    assert "Op:FullyConnected, Name=fc" in group.execs[0].debug_str()
    unbound = sb.mod.Module(module.symbol)
    assert unbound._exec_group is None
    assert unbound._arg_params is None
    assert unbound._optimizer is None


def test_what_a_bucketing_module_calls_its_own():
    module = sb.mod.BucketingModule(generate, 6)
    assert module._default_bucket_key == 6
    assert module._curr_module is None
    assert module._buckets == {}
    assert module._sym_gen is generate
    module.bind([("data", (3, 6))], [("softmax_label", (3, 6))])
    module.init_params()
    module.init_optimizer()
    module.switch_bucket(3, [("data", (3, 3))], [("softmax_label", (3, 3))])
    assert list(module._buckets) == [6, 3]
    assert module._curr_module is module._buckets[3]
    assert module._curr_bucket_key == 3
    assert module._optimizer is module._curr_module._optimizer
    assert module._context == [sb.cpu()]


def test_parameters_from_dicts():
    first = sb.mod.BucketingModule(generate, 6)
    first.bind([("data", (3, 6))], [("softmax_label", (3, 6))])
    first.init_params(sb.init.One())
    arg, aux = first.get_params()
    symbols = {key: generate(key)[0] for key in (3, 6)}
    again = sb.mod.BucketingModule.load_dict(symbols, generate, 6, arg, aux)
    again.bind([("data", (3, 6))], [("softmax_label", (3, 6))], for_training=False)
    assert again.params_initialized
    assert again.symbol is symbols[6]
    again.switch_bucket(3, [("data", (3, 3))], [("softmax_label", (3, 3))])
    assert again.symbol is symbols[3]
    np.testing.assert_array_equal(
        again.get_params()[0]["embed_weight"].asnumpy(), arg["embed_weight"].asnumpy()
    )


def test_descriptions_from_shapes_and_types():
    descs = sb.io.DataDesc.get_list([("data", (2, 3))], [("data", "float16")])
    assert (descs[0].name, descs[0].shape, descs[0].dtype) == ("data", (2, 3), np.float16)
    assert sb.io.DataDesc.get_list({"data": (2,)}, None)[0].dtype == np.float32
    with pytest.raises(DataError, match="'data' has a shape and no dtype"):
        sb.io.DataDesc.get_list([("data", (2,))], [("label", "float32")])
