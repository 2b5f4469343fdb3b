"""SequentialModule, PythonLossModule, and modules of one's own on BaseModule."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, ParameterError, StateError, UnsupportedError
from tests.small_networks import numbers, regression, regression_data

X, Y = regression_data()


def _hidden():
    hidden = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="fc1")
    return sb.mod.Module(sym.Activation(hidden, act_type="tanh", name="act"), label_names=[])


def _head():
    scores = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc2")
    return sym.LinearRegressionOutput(scores, sym.Variable("softmax_label"), name="out")


def _whole():
    hidden = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="fc1")
    hidden = sym.Activation(hidden, act_type="tanh", name="act")
    scores = sym.FullyConnected(hidden, num_hidden=2, name="fc2")
    return sb.mod.Module(sym.LinearRegressionOutput(scores, sym.Variable("softmax_label")))


def _trained(module):
    start = {
        "fc1_weight": np.linspace(-1, 1, 12).reshape(4, 3),
        "fc1_bias": np.zeros(4),
        "fc2_weight": np.linspace(-1, 1, 8).reshape(2, 4),
        "fc2_bias": np.zeros(2),
    }
    data = sb.io.NDArrayIter(X[:12], Y[:12], 4)
    module.fit(
        data,
        eval_metric="mse",
        num_epoch=2,
        arg_params=start,
        optimizer_params={"learning_rate": 0.1},
    )
    return numbers(module), dict(module.score(data, "mse"))["mse"]


def _same(one, other):
    for (_, a), (_, b) in zip(sorted(one[0].items()), sorted(other[0].items())):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert one[1] == pytest.approx(other[1], rel=1e-5)


def test_a_chain_trains_as_one_network():
    chain = sb.mod.SequentialModule()
    chain.add(_hidden()).add(sb.mod.Module(_head()), take_labels=True, auto_wiring=True)
    _same(_trained(chain), _trained(_whole()))
    assert chain.data_names == ["data"]
    assert chain.output_names == ["out_output"]
    assert chain.output_shapes[0][1] == (4, 2)
    assert chain.predict(sb.io.NDArrayIter(X[:12], batch_size=4)).shape == (10, 2)


def test_a_loss_in_python():
    scores = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc2")
    chain = sb.mod.SequentialModule()
    chain.add(_hidden())
    chain.add(sb.mod.Module(scores, label_names=[]), auto_wiring=True)
    loss = sb.mod.PythonLossModule(grad_func=lambda s, y: (s.asnumpy() - y.asnumpy()) / 2)
    chain.add(loss, take_labels=True, auto_wiring=True)
    _same(_trained(chain), _trained(_whole()))


def test_inputs_of_a_chain_have_gradients():
    chain = sb.mod.SequentialModule()
    chain.add(_hidden()).add(sb.mod.Module(_head()), take_labels=True, auto_wiring=True)
    whole = _whole()
    for module in (chain, whole):
        module.bind([("data", (4, 3))], [("softmax_label", (4, 2))], inputs_need_grad=True)
        module.init_params(sb.init.One())
        module.forward_backward(sb.io.DataBatch([X[:4]], [Y[:4]]))
    grads = [module.get_input_grads()[0].asnumpy() for module in (chain, whole)]
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=5e-6)


class Mirror(sb.mod.BaseModule):
    """A module as scripts write it: it holds another one, and says itself what it is."""

    def __init__(self, symbol):
        super().__init__()
        self._symbol = symbol
        self._inner = None

    data_names = property(lambda self: ["data"])
    output_names = property(lambda self: self._symbol.list_outputs())
    data_shapes = property(lambda self: self._inner.data_shapes)
    label_shapes = property(lambda self: self._inner.label_shapes)
    output_shapes = property(lambda self: self._inner.output_shapes)

    def bind(self, data_shapes, label_shapes=None, for_training=True, **kwargs):
        self._inner = sb.mod.Module(self._symbol)
        self._inner.bind(data_shapes, label_shapes, for_training)
        self.for_training = for_training
        self.binded = True

    def init_params(self, *args, **kwargs):
        self._inner.init_params(*args, **kwargs)
        self.params_initialized = True

    def get_params(self):
        return self._inner.get_params()

    def init_optimizer(self, *args, **kwargs):
        self._inner.init_optimizer(*args, **kwargs)
        self.optimizer_initialized = True

    def forward(self, data_batch, is_train=None):
        assert data_batch.mark == "mine"
        self._inner.forward(data_batch, is_train)

    def backward(self, out_grads=None):
        self._inner.backward(out_grads)

    def update(self):
        self._inner.update()

    def get_outputs(self, merge_multi_context=True):
        return self._inner.get_outputs(merge_multi_context)

    def update_metric(self, eval_metric, labels, pre_sliced=False):
        self._inner.update_metric(eval_metric, labels)


class Marked(sb.io.NDArrayIter):
    """Batches with an attribute that only their own module knows."""

    def next(self):
        batch = super().next()
        batch.mark = "mine"
        return batch


def test_a_module_of_ones_own_gets_the_loops():
    data = Marked(X[:10], Y[:10], 4)
    own, whole = Mirror(regression()), sb.mod.Module(regression())
    results = []
    epochs = []
    for module in (own, whole):
        sb.random.seed(1)
        epochs.clear()
        module.fit(
            data,
            data,
            eval_metric="mse",
            num_epoch=2,
            batch_end_callback=lambda param: epochs.append(param.locals["data_batch"].mark),
            epoch_end_callback=lambda *args: epochs.append(args[1].list_outputs()),
        )
        assert epochs[0] == "mine"
        assert epochs[-1] == ["out_output"]
        predicted = module.predict(data).asnumpy()
        assert predicted.shape == (10, 2)
        results.append((numbers(module), float(np.square(predicted).sum())))
    _same(*results)


def test_errors_of_chains():
    with pytest.raises(InvalidArgumentError, match="there is no take_lables; it takes take_labels"):
        sb.mod.SequentialModule().add(_hidden(), take_lables=True)
    with pytest.raises(InvalidArgumentError, match="3 is no module"):
        sb.mod.SequentialModule().add(3)
    with pytest.raises(InvalidArgumentError, match="no module was added"):
        sb.mod.SequentialModule().bind([("data", (4, 3))])
    twice = sb.mod.SequentialModule().add(_hidden())
    hidden = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="fc1")
    twice.add(sb.mod.Module(hidden, label_names=[]), auto_wiring=True)
    twice.bind([("data", (4, 4))])
    with pytest.raises(ParameterError, match="modules 0 and 1 both have a parameter 'fc1_weight'"):
        twice.init_params()
    with pytest.raises(StateError, match="init_params"):
        twice.forward(sb.io.DataBatch([np.ones((4, 4))]))
    with pytest.raises(UnsupportedError, match="Empty defines no bind"):
        type("Empty", (sb.mod.BaseModule,), {})().bind([])
    loss = sb.mod.PythonLossModule()
    with pytest.raises(InvalidArgumentError, match=r"describe \['x'\], the module has data_names"):
        loss.bind([("x", (4, 3))])
    loss.bind([("data", (4, 3))], [("softmax_label", (4, 3))])
    loss.forward(sb.io.DataBatch([X[:4]], [X[:4]]), is_train=True)
    with pytest.raises(UnsupportedError, match="grad_func"):
        loss.backward()


def _prepared_chain():
    chain = sb.mod.SequentialModule()
    chain.add(_hidden()).add(sb.mod.Module(_head()), take_labels=True, auto_wiring=True)
    chain.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
    return chain


def test_names_that_no_module_of_a_chain_has(caplog):
    chain = _prepared_chain()
    chain.init_params()
    ones = {name: np.ones(a.shape) for name, a in chain.get_params()[0].items()}
    with pytest.raises(ParameterError, match="have fc3_bias, which no module of the chain has"):
        chain.set_params({"fc1_bias": np.ones(4), "fc3_bias": np.ones(2)}, allow_missing=True)
    assert not np.any(chain.get_params()[0]["fc1_bias"])
    chain.set_params({**ones, "fc3_bias": np.ones(2)}, allow_extra=True)
    assert not caplog.text
    chain.set_params({**ones, "fc3_bias": np.ones(2)}, {"mean": np.ones(2)})
    assert "fc3_bias, mean given, which no module of the chain has" in caplog.text
    chain.set_params({}, force_init=False)
    assert "already initialized" in caplog.text


def test_a_chain_is_filled_anew_after_an_attempt_that_failed():
    chain = _prepared_chain()
    with pytest.raises(ParameterError, match="lack"):
        chain.init_params(arg_params={"fc1_weight": np.ones((4, 3)), "fc1_bias": np.ones(4)})
    zeros = {"fc1_weight": np.zeros((4, 3)), "fc1_bias": np.zeros(4)}
    zeros |= {"fc2_weight": np.zeros((2, 4)), "fc2_bias": np.zeros(2)}
    chain.init_params(arg_params=zeros)
    assert not any(np.any(a) for a in chain.get_params()[0].values())


def _values(chain):
    return {name: a.asnumpy() for name, a in chain.get_params()[0].items()}


def _ones(chain, **others):
    return {**{name: np.ones_like(a) for name, a in _values(chain).items()}, **others}


BAD = [
    ({"fc2_bias": np.ones(5)}, "'fc2_bias' has shape"),  # of the last module
    ({"fc2_bias": np.array(["a", "b"])}, "'fc2_bias' is float32"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_values_of_one_module_change_no_other(bad, message):
    chain = _prepared_chain()
    first, last = chain._modules
    arrays = {"fc1_weight": np.ones((4, 3)), "fc1_bias": np.ones(4), "fc2_weight": np.ones((2, 4))}
    with pytest.raises(ParameterError, match=message):
        chain.init_params(arg_params={**arrays, **bad})
    assert not any(module.params_initialized for module in (first, last, chain))
    sb.random.seed(3)
    chain.init_params(sb.init.Normal(1.0))
    before = _values(chain)
    for call in (chain.set_params, lambda p: chain.init_params(None, p, force_init=True)):
        with pytest.raises(ParameterError, match=message):
            call(_ones(chain, **bad))
        assert all(np.array_equal(before[name], a) for name, a in _values(chain).items())
    lacking = _ones(chain)
    del lacking["fc2_weight"]
    with pytest.raises(ParameterError, match="lack fc2_weight"):
        chain.set_params(lacking)
    assert all(np.array_equal(before[name], a) for name, a in _values(chain).items())


def test_an_initializer_that_fails_draws_the_same_numbers_again():
    class Failing(sb.init.Normal):
        def _init_weight(self, name, array):
            super()._init_weight(name, array)
            assert name != "fc2_weight", "no more"

    drawn = []
    for failing in (True, False):
        chain = _prepared_chain()
        sb.random.seed(3)
        if failing:
            with pytest.raises(AssertionError, match="no more"):
                chain.init_params(Failing(1.0))
            assert not any(module.params_initialized for module in chain._modules)
        chain.init_params(sb.init.Normal(1.0))
        drawn.append(_values(chain))
    assert all(np.array_equal(drawn[0][name], a) for name, a in drawn[1].items())


def test_unknown_names_are_refused_before_the_first_values():
    chain = _prepared_chain()
    with pytest.raises(ParameterError, match="have fc3_bias, which no module of the chain has"):
        chain.set_params({"fc3_bias": np.ones(2)}, allow_missing=True)
    assert not any(module.params_initialized for module in chain._modules)


class Plain(Mirror):
    """A module of one's own that writes what it is given at once."""

    def forward(self, data_batch, is_train=None):
        self._inner.forward(data_batch, is_train)


def test_a_module_of_ones_own_gets_its_values_back():
    hidden = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="fc0")
    chain = sb.mod.SequentialModule().add(Plain(hidden))
    chain.add(Plain(_head()), take_labels=True, auto_wiring=True)
    chain.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
    chain.init_params(sb.init.Normal(1.0))
    before = _values(chain)
    with pytest.raises(ParameterError, match="'fc2_bias' has shape"):
        chain.set_params(_ones(chain, fc2_bias=np.ones(7)))
    assert all(np.array_equal(before[name], a) for name, a in _values(chain).items())
    chain.set_params(_ones(chain))
    assert all((a == 1).all() for a in _values(chain).values())
