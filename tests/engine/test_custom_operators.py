"""Operators in Python: networks are cut there, and values and gradients stay the same."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.engine.cut import PythonCall, Segment, cut
from symbucket.errors import InvalidArgumentError, ShapeError, UnsupportedError
from tests.small_networks import numbers


class Softmax(sb.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        x = in_data[0].asnumpy()
        y = np.exp(x - x.max(axis=1, keepdims=True))
        self.assign(out_data[0], req[0], sb.nd.array(y / y.sum(axis=1, keepdims=True)))

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        y = out_data[0].asnumpy()
        y[np.arange(len(y)), in_data[1].asnumpy().astype(int)] -= 1
        self.assign(in_grad[0], req[0], sb.nd.array(y))


@sb.operator.register("test_softmax")
class SoftmaxProp(sb.operator.CustomOpProp):
    def __init__(self):
        super().__init__(need_top_grad=False)

    def list_arguments(self):
        return ["data", "label"]

    def infer_shape(self, in_shape):
        return [in_shape[0], (in_shape[0][0],)], [in_shape[0]], []

    def create_operator(self, ctx, shapes, dtypes):
        return Softmax()


class Scale(sb.operator.CustomOp):
    """``factor * data``; counts its calls in an auxiliary state."""

    def __init__(self, factor):
        self.factor = factor

    def forward(self, is_train, req, in_data, out_data, aux):
        self.assign(out_data[0], req[0], in_data[0] * self.factor)
        aux[0][:] = aux[0].asnumpy() + 1

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        self.assign(in_grad[0], req[0], out_grad[0] * self.factor)


@sb.operator.register("test_scale")
class ScaleProp(sb.operator.CustomOpProp):
    def __init__(self, factor="1.0"):
        super().__init__()
        assert isinstance(factor, str)
        self.factor = float(factor)

    def list_auxiliary_states(self):
        return ["calls"]

    def infer_shape(self, in_shape):
        return in_shape, [in_shape[0]], [(1,)]

    def create_operator(self, ctx, shapes, dtypes):
        return Scale(self.factor)


def _custom(data, factor, name):
    return sym.Custom(data, op_type="test_scale", factor=factor, name=name)


def _plain(data, factor, name):
    return data * factor


def _network(scale, dropout=0.0):
    """Weights before, between and after scales; one is used twice, and one scale is read twice."""
    weight = sym.Variable("w")
    x = sym.FullyConnected(sym.Variable("data"), weight, no_bias=True, num_hidden=3, name="fc1")
    first = scale(sym.Activation(x, act_type="tanh"), 0.5, "s1")
    y = sym.FullyConnected(first, weight, no_bias=True, num_hidden=3, name="fc2")
    second = scale(sym.BatchNorm(y, fix_gamma=False, name="bn"), 2.0, "s2")
    if dropout:
        second = sym.Dropout(second, p=dropout)
    return sym.FullyConnected(first + second, num_hidden=2, name="fc3")


def _run(network, grad_req="write", steps=1):
    executor = network.simple_bind(sb.cpu(), grad_req, data=(4, 3))
    rng = np.random.default_rng(3)
    for name in sorted(executor.arg_dict):
        executor.arg_dict[name][:] = rng.normal(size=executor.arg_dict[name].shape)
    for _ in range(steps):
        output = executor.forward(is_train=True)[0].asnumpy()
        executor.backward([rng.normal(size=output.shape)])
    return executor, output


@pytest.mark.parametrize(("grad_req", "steps"), [("write", 2), ("add", 2)])
def test_a_cut_network_has_the_values_and_gradients_of_one(grad_req, steps):
    cut_one, output = _run(_network(_custom), grad_req, steps)
    whole, expected = _run(_network(_plain), grad_req, steps)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    for name, grad in whole.grad_dict.items():
        np.testing.assert_allclose(
            cut_one.grad_dict[name].asnumpy(), grad.asnumpy(), rtol=1e-4, atol=1e-6, err_msg=name
        )
    for name, state in whole.aux_dict.items():
        np.testing.assert_allclose(
            cut_one.aux_dict[name].asnumpy(), state.asnumpy(), rtol=1e-5, atol=1e-6
        )
    assert cut_one.aux_dict["s1_calls"].asnumpy() == [steps]


@pytest.mark.parametrize("grad_req", ["write", "add"])
def test_head_gradients_of_outputs_that_are_variables_and_of_inner_values(grad_req):
    a, b = sym.Variable("a"), sym.Variable("b")
    product = sym.Custom(a * b, op_type="test_scale", factor=2.0)
    network = sym.Group([product * b, a, product, a, sym.Variable("c")])
    executor = network.simple_bind(sb.cpu(), grad_req, a=(1,), b=(1,), c=(1,))
    for array, value in zip(executor.arg_arrays, (3, 5, 7)):
        array[:] = value
    heads = [sb.nd.array([value]) for value in (1, 10, 100, 1000, 10000)]
    for _ in range(2):
        executor.forward(is_train=True)
        executor.backward(heads)
    # y = 2 a b: the heads give b + 100 for it, and y for b.
    expected = np.array([2 * 5 * 105 + 1010, 2 * 3 * 105 + 30, 10000.0])
    slopes = [grad.asscalar() for grad in executor.grad_arrays]
    np.testing.assert_allclose(slopes, expected * (2 if grad_req == "add" else 1))
    executor.forward(is_train=True)
    with pytest.raises(InvalidArgumentError, match="variables: c"):
        executor.backward(heads[:4])
    with pytest.raises(InvalidArgumentError, match="needs the head gradient of custom"):
        executor.backward([heads[0], heads[1], None, heads[3], heads[4]])


def test_where_a_network_is_cut():
    steps = cut(_network(_custom))
    assert [type(step) for step in steps] == [Segment, PythonCall, Segment, PythonCall, Segment]
    assert [step.node.name for step in steps if isinstance(step, PythonCall)] == ["s1", "s2"]
    assert steps[2].symbol.list_arguments() == ["cut/s1_output", "w", "bn_gamma", "bn_beta"]
    assert steps[4].symbol.list_outputs() == ["fc3_output"]


def test_plain_forward_and_its_gradients():
    network = _custom(sym.Variable("x") * sym.Variable("y"), 3.0, "s")
    executor = network.simple_bind(sb.cpu(), x=(2,), y=(2,))
    executor.arg_dict["x"][:] = [1, 2]
    executor.arg_dict["y"][:] = [5, 7]
    assert executor.outputs[0].shape == (2,)
    np.testing.assert_array_equal(executor.forward()[0].asnumpy(), [15, 42])
    executor.backward([np.array([1, 10])])
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), [15, 210])
    with pytest.raises(InvalidArgumentError, match="needs the head gradient of s_output"):
        executor.backward()
    with pytest.raises(ShapeError, match=r"head gradient of s_output has shape \(3,\)"):
        executor.backward([np.ones(3)])


def test_dropout_between_python_operators_draws_anew_in_each_step():
    executor, first = _run(_network(_custom, dropout=0.5))
    second = executor.forward(is_train=True)[0].asnumpy()
    assert not np.allclose(first, second)


def test_inner_outputs_of_segments_and_python_operators_are_seen():
    executor, _ = _run(_network(_custom))
    seen = []
    executor.set_monitor_callback(lambda name, array: seen.append(name))
    executor.forward()
    assert seen.index("s1_output") < seen.index("fc2_output") < seen.index("s2_output")


def _classifier(loss):
    hidden = sym.FullyConnected(sym.Variable("data"), num_hidden=8, name="fc1")
    hidden = sym.Activation(hidden, act_type="relu")
    return loss(sym.FullyConnected(hidden, num_hidden=3, name="fc2"))


def _custom_loss(scores):
    label = sym.Variable("softmax_label")
    return sym.Custom(data=scores, label=label, op_type="test_softmax", name="softmax")


def _builtin_loss(scores):
    return sym.SoftmaxOutput(scores, name="softmax")


@pytest.mark.parametrize("contexts", [1, 2])
def test_a_loss_in_python_trains_as_the_operator_does(contexts):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)), rng.integers(3, size=24)
    results = []
    for loss in (_custom_loss, _builtin_loss):
        sb.random.seed(7)
        module = sb.mod.Module(_classifier(loss), context=[sb.cpu(i) for i in range(contexts)])
        data = sb.io.NDArrayIter(x, y, 8)
        module.fit(data, num_epoch=3, initializer=sb.init.Xavier())
        results.append((numbers(module), module.score(data, "acc"), module.predict(data).asnumpy()))
    for name, values in results[0][0].items():
        np.testing.assert_allclose(values, results[1][0][name], rtol=1e-4, atol=1e-6)
    assert results[0][1] == results[1][1]
    np.testing.assert_allclose(results[0][2], results[1][2], rtol=1e-4)


def test_buckets_share_parameters_around_python_operators():
    def sym_gen(length):
        embed = sym.Embedding(sym.Variable("data"), input_dim=5, output_dim=3, name="embed")
        mean = _custom(sym.mean(embed, axis=1), 2.0, "scale")
        return (
            _custom_loss(sym.FullyConnected(mean, num_hidden=3, name="fc")),
            ["data"],
            ["softmax_label"],
        )

    module = sb.mod.BucketingModule(sym_gen, 4)
    module.bind([("data", (2, 4))], [("softmax_label", (2,))])
    module.init_params(sb.init.Xavier())
    module.init_optimizer(optimizer_params={"learning_rate": 0.5})
    before = numbers(module)
    for length in (4, 2, 4):
        batch = sb.io.DataBatch(
            [np.ones((2, length))],
            [np.array([0, 2])],
            bucket_key=length,
            provide_data=[("data", (2, length))],
            provide_label=[("softmax_label", (2,))],
        )
        module.forward_backward(batch)
        module.update()
        assert module.get_outputs()[0].shape == (2, 3)
    assert not np.allclose(numbers(module)["embed_weight"], before["embed_weight"])
    assert module.get_params()[1]["scale_calls"].asnumpy() == [3]


def test_symbol_files_keep_name_and_arguments(tmp_path):
    network = _network(_custom)
    path = str(tmp_path / "net.json")
    network.save(path)
    again = sym.load(path)
    assert again.attr_dict()["s1"] == {"op_type": "test_scale", "factor": "0.5"}
    assert '"s1_calls"' in again.tojson()
    assert again.list_auxiliary_states() == network.list_auxiliary_states()
    _, output = _run(again)
    np.testing.assert_allclose(output, _run(network)[1])


def test_models_refuse_python_operators_by_name(tmp_path):
    module = sb.mod.Module(_classifier(_custom_loss))
    module.bind([("data", (4, 4))], [("softmax_label", (4,))])
    module.init_params()
    for action in (
        lambda: module.export(tmp_path / "bundle"),
        module.plan_memory,
    ):
        with pytest.raises(UnsupportedError, match=r"'softmax' .*'test_softmax' runs Python code"):
            action()


def test_errors():
    with pytest.raises(InvalidArgumentError, match=r"no operator 'test_softmx' .*'test_softmax'"):
        sym.Custom(sym.Variable("x"), op_type="test_softmx")
    with pytest.raises(InvalidArgumentError, match="op_type is missing"):
        sym.Custom(sym.Variable("x"))
    with pytest.raises(InvalidArgumentError, match="no subclass of CustomOpProp"):
        sb.operator.register("x")(int)

    @sb.operator.register("test_wrong")
    class Wrong(sb.operator.CustomOpProp):
        def infer_shape(self, in_shape):
            return in_shape, [], []

    with pytest.raises(ShapeError, match=r"lists of \[1, 0, 0\] entries; there are 1 arguments"):
        sym.Custom(sym.Variable("x"), op_type="test_wrong").infer_shape(x=(2,))


class Square(sb.operator.NumpyOp):
    def forward(self, in_data, out_data):
        out_data[0][:] = in_data[0] ** 2

    def backward(self, out_grad, in_data, out_data, in_grad):
        in_grad[0][:] = 2 * in_data[0] * out_grad[0]


class Halve(sb.operator.NDArrayOp):
    def forward(self, in_data, out_data):
        out_data[0][:] = in_data[0] / 2

    def backward(self, out_grad, in_data, out_data, in_grad):
        in_grad[0][:] = out_grad[0] / 2


def test_the_older_forms():
    network = Halve()(data=Square()(data=sym.Variable("x") + 1, name="square"), name="halve")
    assert network.list_outputs() == ["halve_output"]
    executor = network.simple_bind(sb.cpu(), x=(2,))
    executor.arg_dict["x"][:] = [1, 2]
    np.testing.assert_array_equal(executor.forward(is_train=True)[0].asnumpy(), [2, 4.5])
    executor.backward([np.ones(2)])
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), [2, 3])
