"""``sb.mon.Monitor``: statistics of outputs, arguments, gradients and auxiliary states."""

import logging

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import DivergenceError, InvalidArgumentError, StateError
from tests.small_networks import (
    bound_regression,
    generate,
    numbers,
    regression,
    regression_data,
    same,
)

X, Y = regression_data()


def _data(**kwargs):
    return sb.io.NDArrayIter(X[:8], Y[:8], 4, **kwargs)


class Recorder(sb.mon.Monitor):
    """Keeps what would be logged."""

    def toc_print(self):
        self.__dict__.setdefault("found", []).extend(self.toc())


def _fit(module, monitor, **kwargs):
    module.fit(
        _data(),
        eval_metric="mse",
        initializer=sb.init.Uniform(0.5),
        num_epoch=2,
        monitor=monitor,
        **kwargs,
    )
    return module


def test_statistics_are_those_of_the_arrays():
    module = bound_regression()
    monitor = sb.mon.Monitor(1)
    module.install_monitor(monitor)
    batch = _data().next()
    monitor.tic()
    module.forward_backward(batch)
    module.update()
    outputs = module.get_outputs()[0]  # of LinearRegressionOutput, which hands on its input
    arrays = {"fc_output": outputs, "out_output": outputs, "data": X[:4], "softmax_label": Y[:4]}
    arrays |= module.get_params()[0]  # after the update
    arrays |= {f"{name}_grad": array for name, array in module.gradients().items()}
    found = monitor.toc()
    assert [name for _, name, _ in found] == [
        "fc_output", "out_output", "data", "fc_weight", "fc_bias", "softmax_label",
        "fc_weight_grad", "fc_bias_grad",
    ]  # fmt: skip
    for step, name, text in found:
        assert step == 1
        wanted = np.sqrt((np.asarray(arrays[name], np.float64) ** 2).mean())
        assert float(text) == pytest.approx(wanted)


def test_fit_looks_at_every_interval_and_logs(caplog):
    with caplog.at_level(logging.INFO):
        _fit(sb.mod.Module(regression()), sb.mon.Monitor(3, pattern="fc_.*grad", sort=True))
    lines = [m for m in caplog.messages if m.startswith("Batch: ")]
    assert [line.split()[1:3] for line in lines] == [
        ["1", "fc_bias_grad"], ["1", "fc_weight_grad"],
        ["4", "fc_bias_grad"], ["4", "fc_weight_grad"],
    ]  # fmt: skip


def test_a_monitor_changes_no_number():
    modules = []
    for monitor in (None, Recorder(1)):
        sb.random.seed(3)
        modules.append(numbers(_fit(sb.mod.Module(regression()), monitor)))
    assert same(*modules)
    assert len(monitor.found) == 4 * 8


def test_auxiliary_states_and_statistics_of_ones_own():
    normed = sym.BatchNorm(sym.Variable("data"), name="norm")
    network = sym.LinearRegressionOutput(normed, sym.Variable("softmax_label"), name="out")
    monitor = Recorder(1, lambda x: [x, x.asnumpy().max(), x.size], pattern="norm_moving")
    module = sb.mod.Module(network)
    data = sb.io.NDArrayIter(X[:4], X[:4], 4)
    module.fit(data, eval_metric="mse", num_epoch=1, monitor=monitor)
    aux = module.get_params()[1]
    assert [name for _, name, _ in monitor.found] == list(aux)
    for _, name, text in monitor.found:
        whole, largest, size, end = text.split("\t")
        assert end == ""
        assert whole == str(aux[name].asnumpy())
        assert float(largest) == aux[name].asnumpy().max()
        assert size == "3"


def test_buckets_are_seen_as_they_come():
    sentences = [[1, 2, 3]] * 6 + [[1, 2, 3, 4, 5, 6]] * 6
    data = sb.io.BucketSentenceIter(sentences, 3, [3, 6], invalid_label=0, shuffle=False)
    monitor = Recorder(1, lambda x: np.array(x.shape), pattern="data|softmax_output|embed.*grad")
    module = sb.mod.BucketingModule(generate, 6)
    module.fit(data, eval_metric=sb.metric.Perplexity(0), num_epoch=1, monitor=monitor)
    # Gradients are whole, although sgd could do with some rows of the embedding's.
    assert monitor.found == [
        (step, name, shape)
        for step, length in enumerate([3, 3, 6, 6], 1)
        for name, shape in (
            ("softmax_output", f"[{3 * length:2d} 10]\t"),
            ("data", f"[3 {length}]\t"),
            ("embed_weight_grad", "[10  4]\t"),
        )
    ]


def test_parts_of_a_sequence():
    cell = sb.rnn.RNNCell(4, prefix="rnn_")
    begin = cell.begin_state(sym.Variable)

    def sym_gen(steps):
        cell.reset()
        outputs, states = cell.unroll(steps, sym.Variable("data"), begin, merge_outputs=True)
        loss = sym.MakeLoss(sym.square(outputs), name="loss")
        return sym.Group([loss, *states]), ["data"], []

    module = sb.mod.RecurrentModule(sym_gen, [s.name for s in begin], unroll=2)
    module.bind([sb.io.DataDesc("data", (3, 6, 2), layout="NTC")])
    module.init_params(sb.init.Uniform(0.5))
    monitor = sb.mon.Monitor(1, lambda x: x.size)
    module.install_monitor(monitor)
    monitor.tic()
    module.forward_backward(sb.io.DataBatch([np.ones((3, 6, 2))]))
    found = {name: int(text) for _, name, text in monitor.toc()}
    sizes = {"rnn_i2h_weight": 8, "rnn_h2h_weight": 16, "rnn_i2h_bias": 4, "rnn_h2h_bias": 4}
    assert found == {"loss_output": 72, **sizes, **{f"{n}_grad": s for n, s in sizes.items()}}


def test_an_executor_is_looked_at_too():
    a = sym.Variable("a")
    executor = (a * a).simple_bind(sb.cpu(), a=(2,))
    monitor = sb.mon.Monitor(2, lambda x: x, pattern="a")
    monitor.install(executor)
    monitor.install(executor)
    executor.arg_dict["a"][:] = [2, 3]
    monitor.tic()
    executor.forward(is_train=True)
    executor.backward([np.ones(2)])
    assert monitor.toc() == [(1, "a", "[2. 3.]\t"), (1, "a_grad", "[4. 6.]\t")]
    monitor.tic()
    assert monitor.toc() == []  # not its turn


def test_parameters_can_be_seen_before_there_is_an_output():
    module = bound_regression()
    monitor = sb.mon.Monitor(1, pattern="fc_bias$")
    module.install_monitor(monitor)
    monitor.tic()
    assert [name for _, name, _ in monitor.toc()] == ["fc_bias"]


def test_the_batch_that_diverges_is_told():
    module = sb.mod.Module(regression())
    data = sb.io.NDArrayIter(np.full((4, 3), np.inf), Y[:4], 4)
    monitor = Recorder(1, pattern="out_output")
    with pytest.raises(DivergenceError):
        module.fit(data, eval_metric="mse", num_epoch=1, monitor=monitor)
    ((step, name, text),) = monitor.found
    assert (step, name) == (1, "out_output")
    assert not np.isfinite(float(text))


def test_feedforward_hands_it_on():
    monitor = Recorder(1, pattern="fc_weight")
    model = sb.model.FeedForward(regression(), num_epoch=1, numpy_batch_size=5)
    model.fit(sb.io.NDArrayIter(X, Y, 5), eval_metric="mse", monitor=monitor)
    assert len(monitor.found) == 2 * 2


def _dropped():
    """fc -> Dropout -> a loss, and the names of what inner operators put out."""
    hidden = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="fc")
    dropped = sym.Dropout(sym.Activation(hidden, act_type="relu", name="act"), p=0.5, name="drop")
    return sym.LinearRegressionOutput(dropped, sym.Variable("label"), name="out")


def test_inner_outputs_are_those_of_the_run_itself():
    executor = _dropped().simple_bind(sb.cpu(), data=(4, 3), label=(4, 4))
    for array in executor.arg_dict.values():
        array[:] = np.random.default_rng(0).normal(size=array.shape)
    seen = {}
    executor.set_monitor_callback(lambda name, array: seen.setdefault(name, array.asnumpy()))
    output = executor.forward(is_train=True)[0].asnumpy()
    assert list(seen) == ["fc_output", "act_output", "drop_output", "out_output"]
    x, w, b = (executor.arg_dict[n].asnumpy() for n in ("data", "fc_weight", "fc_bias"))
    np.testing.assert_allclose(seen["fc_output"], x @ w.T + b, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(seen["drop_output"], output)  # with the mask of the run
    assert (output == 0).any()
    executor.backward()
    mask = output != 0
    slope = ((output - executor.arg_dict["label"].asnumpy()) * 2 * mask / 4).sum(0)
    grad = executor.grad_dict["fc_bias"].asnumpy()
    np.testing.assert_allclose(grad, slope, rtol=1e-5, atol=1e-6)
    seen.clear()
    executor.set_monitor_callback(lambda name, array: seen.setdefault(name, 0), monitor_all=True)
    executor.forward()
    assert {"data", "fc_weight", "fc_data", "act_data", "fc_output"} <= set(seen)
    executor.set_monitor_callback(None)
    seen.clear()
    executor.forward()
    assert not seen


def test_patterns_of_inner_outputs_are_seen_on_every_context():
    module = sb.mod.Module(_dropped(), label_names=["label"], context=[sb.cpu(0), sb.cpu(1)])
    monitor = Recorder(1, lambda x: np.array(x.shape), pattern="act_output")
    data = sb.io.NDArrayIter(X[:8], np.ones((8, 4)), 4, label_name="label")
    module.fit(data, eval_metric="mse", num_epoch=1, monitor=monitor)
    assert monitor.found == [(step, "act_output", "[2 4]\t") for step in (1, 1, 2, 2)]


@pytest.mark.parametrize("interval", [0, -1, 1.5, True, "1"])
def test_intervals_are_whole(interval):
    with pytest.raises(InvalidArgumentError, match=r"interval .*expected an integer of 1 or more"):
        sb.mon.Monitor(interval)


def test_errors():
    with pytest.raises(InvalidArgumentError, match=r"pattern is '\*', which is no regular expr"):
        sb.mon.Monitor(1, pattern="*")
    with pytest.raises(InvalidArgumentError, match="stat_func is 3; expected a function"):
        sb.mon.Monitor(1, 3)
    with pytest.raises(InvalidArgumentError, match="3 is neither an Executor nor a module"):
        sb.mon.Monitor(1).install(3)
    module = sb.mod.Module(regression())
    with pytest.raises(StateError, match="bind"):
        module.install_monitor(sb.mon.Monitor(1))
    with pytest.raises(InvalidArgumentError, match=r"monitor is 3; expected a symbucket\.mon"):
        _fit(module, 3)
    assert not module.binded
    with pytest.raises(InvalidArgumentError, match="stat_func gave None for 'fc_output'"):
        _fit(module, sb.mon.Monitor(1, lambda x: None))
