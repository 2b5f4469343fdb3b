"""CheckpointManager by itself: what stays, what is found, what is refused."""

import os

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import CheckpointError, InvalidArgumentError, StateError, UnsupportedError
from symbucket.module.training import checkpoint_manager
from tests.small_networks import bound_regression, numbers, regression_data, same

X, Y = regression_data()


def data():
    return sb.io.NDArrayIter(X, Y, 4, shuffle=True, seed=3)


def step(module, iterator):
    batch = next(iterator)
    module.forward_backward(batch)
    module.update()


def test_a_loop_of_ones_own_goes_on_where_it_was(tmp_path):
    module, iterator = bound_regression(optimizer="adam"), data()
    manager = sb.CheckpointManager(tmp_path / "not" / "there" / "yet")
    assert manager.latest() is None
    assert manager.restore(module, iterator) is None
    metric = sb.metric.create("mse")
    for _ in range(2):
        step(module, iterator)
        module.update_metric(metric, iterator.getlabel())
    written = manager.save(module, iterator, metric, epoch=0, batch=2)
    assert manager.paths() == [written.path]
    step(module, iterator)

    again, other, metric_again = bound_regression(optimizer="adam"), data(), sb.metric.create("mse")
    checkpoint = manager.restore(again, other, metric_again)
    assert (checkpoint.epoch, checkpoint.batch, checkpoint.updates) == (0, 2, 2)
    assert metric_again.get() == metric.get()
    step(again, other)
    assert same(numbers(again), numbers(module))
    assert same(again.updater.states(), module.updater.states())


def test_the_newest_and_the_best_stay(tmp_path):
    module = bound_regression(optimizer="sgd")
    manager = sb.CheckpointManager(tmp_path, keep=2, keep_best="val-mse")
    assert manager.best() is None
    for value in (3.0, 1.0, 2.0, float("nan"), 5.0):
        manager.save(module, scores={"val-mse": value})
    manager.save(module)  # in the middle of an epoch
    names = [f"checkpoint-{n:08d}.safetensors" for n in (6, 5, 2)]
    assert [os.path.basename(path) for path in manager.paths()] == names
    assert manager.best().scores == {"val-mse": 1.0}
    assert sb.CheckpointManager(tmp_path, keep_best="val-mse").best().path == manager.best().path
    assert sb.CheckpointManager(tmp_path, keep_best="val-mse", mode="max").best().scores == {
        "val-mse": 5.0
    }
    assert sb.CheckpointManager(tmp_path, keep_best="val-accuracy").mode == "max"
    with pytest.raises(InvalidArgumentError, match="needs keep_best"):
        sb.CheckpointManager(tmp_path).best()


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    module = bound_regression(optimizer="adam")
    manager = sb.CheckpointManager(tmp_path)
    older, newer = manager.save(module).path, manager.save(module).path
    content = bytearray((tmp_path / os.path.basename(newer)).read_bytes())
    content[-1] ^= 1
    (tmp_path / os.path.basename(newer)).write_bytes(content)
    assert manager.latest().path == older
    assert "passed over a checkpoint" in caplog.text
    assert "its checksum is not that of its content" in caplog.text
    os.truncate(older, 100)
    with pytest.raises(CheckpointError, match=r"all 2 checkpoints in .* are damaged"):
        manager.latest()


def _net(act="tanh", hidden=2, dtype=None):
    x = sb.sym.Variable("data", dtype=dtype)
    x = sb.sym.Activation(sb.sym.FullyConnected(x, num_hidden=hidden, name="fc"), act_type=act)
    return sb.sym.LinearRegressionOutput(x, sb.sym.Variable("softmax_label"), name="out")


def _bound(net, optimizer="sgd"):
    module = sb.mod.Module(net)
    module.bind([("data", (4, 3))], [("softmax_label", (4, net.infer_shape(data=(4, 3))[1][0][1]))])
    module.init_params(sb.init.One())
    if optimizer:
        module.init_optimizer(optimizer=optimizer)
    return module


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: _bound(_net("relu")), "is that of another network: its parameters have the same"),
        (lambda: _bound(_net(hidden=3)), r"'fc_bias' is float32 \(2,\) in it, float32 \(3,\)"),
        (lambda: _bound(_net(), "adam"), "with the optimizer SGD, here is Adam"),
        (lambda: _bound(_net(), None), "with the optimizer SGD, here is none"),
        (lambda: bound_regression(optimizer="sgd"), "is that of another network"),
    ],
)
def test_other_networks_and_optimizers_are_refused(tmp_path, other, message):
    manager = sb.CheckpointManager(tmp_path)
    manager.save(_bound(_net()), data())
    module, iterator = other(), data()
    next(iterator)
    before, state = numbers(module), iterator.state()
    with pytest.raises(CheckpointError, match=message):
        manager.restore(module, iterator)
    assert same(numbers(module), before)
    assert iterator.state() == state


def test_versions_that_differ_are_said(tmp_path, monkeypatch, caplog):
    manager = sb.CheckpointManager(tmp_path)
    module = bound_regression(optimizer="sgd")
    manager.save(module)
    monkeypatch.setattr("symbucket.module.training.state.thread_count", lambda: 77)
    manager.restore(module)
    assert "numbers may differ in their last bits: threads" in caplog.text


def test_gradients_that_add_up_are_kept(tmp_path):
    def bound():
        module = sb.mod.Module(_net())
        module.bind([("data", (4, 3))], [("softmax_label", (4, 2))], grad_req="add")
        module.init_params(sb.init.One())
        module.init_optimizer()
        return module

    module, manager = bound(), sb.CheckpointManager(tmp_path)
    batch = sb.io.DataBatch([X[:4]], [Y[:4]])
    module.forward_backward(batch)
    manager.save(module)
    again = bound()
    manager.restore(again)
    for each in (module, again):
        each.forward_backward(batch)
        each.update()
    assert same(numbers(again), numbers(module))


def test_states_of_bucket_keys_wait_for_their_key(tmp_path):
    def sym_gen(key):
        state = sb.sym.Variable("state")
        x = sb.sym.FullyConnected(sb.sym.Variable("data") + state, num_hidden=2, name="fc")
        return sb.sym.MakeLoss(x, name="out"), ["data"], []

    def bound():
        module = sb.mod.BucketingModule(sym_gen, 4, state_names=["state"])
        module.bind([("data", (1, 4))])
        module.init_params(sb.init.One())
        return module

    module = bound()
    module.set_states(value=2.0)
    manager = sb.CheckpointManager(tmp_path)
    manager.save(module)
    again = bound()
    manager.restore(again)
    again.forward(
        sb.io.DataBatch([np.zeros((1, 4))], bucket_key=4, provide_data=[("data", (1, 4))])
    )
    assert again.get_outputs()[0].asnumpy().tolist() == [[8, 8]]


def test_what_cannot_be_saved(tmp_path):
    manager = sb.CheckpointManager(tmp_path)
    with pytest.raises(StateError, match="bind"):
        manager.save(sb.mod.Module(_net()))
    with pytest.raises(UnsupportedError, match="FeedForward has no parameters of its own"):
        manager.save(sb.model.FeedForward(_net()))
    with pytest.raises(UnsupportedError, match=r"DataIter does not define state\(\)"):
        manager.save(bound_regression(optimizer="sgd"), sb.io.DataIter())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 0}, "keep is 0; expected an integer of 1 or more"),
        ({"keep_best": "perplexity"}, "expected val-NAME or train-NAME"),
        ({"every_batches": 0}, "every_batches is 0"),
        ({"every_minutes": -1}, "every_minutes is -1"),
        ({"mode": "best"}, "mode is 'best'; expected one of 'min', 'max'"),
    ],
)
def test_arguments(tmp_path, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        sb.CheckpointManager(tmp_path, **arguments)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot make the folder"):
        sb.CheckpointManager(tmp_path / "file" / "run")


def test_checkpoints_by_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint_manager.time, "monotonic", lambda: now[0])
    schedule = checkpoint_manager.Schedule(sb.CheckpointManager(tmp_path, every_minutes=2))
    assert not schedule.count()
    now[0] = 120
    assert schedule.count()
    assert schedule.count()  # until one is written
    schedule.begin_anew()
    assert not schedule.count()
