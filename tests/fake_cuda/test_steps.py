"""Training and serving on contexts for CUDA run to their end, with no more copies than they need.

The device computes nothing, so numbers mean nothing. Host code that reads or writes memory of the
device ends the process.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.runtime.arena import arena_of
from tests.small_networks import bucketing, language_model, sentence_batch

RNG = np.random.default_rng(0)


@contextmanager
def counting(device):
    """What the device does in the block."""
    names = [name for name, _ in device._fields_]
    before = {name: getattr(device, name) for name in names}
    done = SimpleNamespace()
    yield done
    for name in names:
        setattr(done, name, getattr(device, name) - before[name])


def classifier(features):
    scores = sym.FullyConnected(features, num_hidden=2, name="fc")
    return sym.SoftmaxOutput(scores, name="softmax")


def rows():
    return sb.io.NDArrayIter(RNG.normal(size=(8, 3)).astype(np.float32), np.arange(8) % 2, 4)


def started(network, context=None, **optimizer):
    module = sb.mod.Module(network, context=context or sb.gpu(0))
    batches = rows()
    module.bind(batches.provide_data, batches.provide_label)
    module.init_params()
    module.init_optimizer(**optimizer)
    return module, next(batches)


def test_arrays_keep_what_is_written_to_them(device):
    x = sb.nd.array(np.arange(6.0).reshape(2, 3), ctx=sb.gpu(0))
    np.testing.assert_array_equal(x.asnumpy(), np.arange(6.0).reshape(2, 3))
    x[1] = 7
    part = x[0]
    part[1:] = [8, 9]
    np.testing.assert_array_equal(x.asnumpy(), [[0, 8, 9], [7, 7, 7]])
    x[...] = [1, 2, 3]  # broadcast
    np.testing.assert_array_equal(x.copyto(sb.cpu()).asnumpy(), [[1, 2, 3]] * 2)


def test_a_write_to_a_whole_array_reads_nothing(device):
    x = sb.nd.zeros((2, 3), ctx=sb.gpu(0))
    with counting(device) as done:
        x[...] = np.ones((2, 3), np.int32)
    assert (done.to_device, done.to_host) == (1, 0)


def test_a_step_copies_the_batch_and_nothing_else(device, models):
    module, batch = started(classifier(sym.Variable("data")), optimizer="adam")
    for _ in range(2):
        with counting(device) as step:
            module.forward_backward(batch)
        with counting(device) as update:
            module.update()
    assert (step.to_device, step.to_host) == (2, 0)
    assert (update.to_device, update.to_host) == (2, 0)  # learning rate and weight decay
    assert step.kernels > 0
    assert update.kernels > 0


def test_the_arena_makes_room_on_the_device(device, models):
    arena = arena_of(sb.gpu(0))
    module, batch = started(classifier(sym.Variable("data")))
    assert arena.shared
    arena.expect(arena.needed + (1 << 20))
    assert arena.reserved > 1 << 20
    arena.release()
    assert arena.reserved == 0
    module.forward_backward(batch)


@pytest.mark.parametrize("training", [False, True])
def test_waits_do_not_depend_on_the_steps_of_a_loop(device, models, training):
    waits = []
    for steps in (5, 40):
        network = language_model(steps)
        module = sb.mod.Module(network, context=sb.gpu(0))
        batch = sentence_batch(RNG, steps)
        module.bind(batch.provide_data, batch.provide_label)
        module.init_params(sb.init.Uniform(0.1))
        for _ in range(2):
            with counting(device) as step:
                module.forward(batch, is_train=training)
        waits.append(step.waits)
    assert "Scan" in models.op_types
    assert waits[0] == waits[1]


def test_auxiliary_states_stay_on_the_device(device, models):
    module, batch = started(classifier(sym.BatchNorm(sym.Variable("data"), name="bn")))
    for _ in range(2):
        module.forward(batch, is_train=True)
        with counting(device) as backward:
            module.backward()
    assert (backward.to_host, backward.to_device, backward.on_device) == (0, 0, 2)
    assert "module states" in [model.name for model in models.models]


def test_a_condition_that_backward_needs(device, models):
    x = sym.Variable("x")
    chosen = sym.contrib.cond(sym.sum(x) > 0, lambda: x * 2, lambda: sym.log1p(x))
    bound = sym.tanh(chosen).simple_bind(sb.gpu(0), x=(3,))
    bound.forward(is_train=True, x=np.ones(3))
    bound.backward([np.ones(3)])
    assert bound.grad_dict["x"].asnumpy().shape == (3,)


def test_gradients_that_are_added(device, models):
    bound = sym.tanh(sym.Variable("x")).simple_bind(sb.gpu(0), "add", x=(3,))
    for _ in range(2):
        bound.forward(is_train=True)
        bound.backward([np.ones(3)])
    assert bound.grad_dict["x"].asnumpy().shape == (3,)


@pytest.mark.parametrize("contexts", [[sb.gpu(0), sb.gpu(1)], [sb.cpu(), sb.gpu(0)]], ids=str)
def test_several_contexts(device, models, contexts):
    network = classifier(sym.BatchNorm(sym.Variable("data"), name="bn"))
    module, batch = started(network, contexts, optimizer="adam")
    for _ in range(2):
        module.forward_backward(batch)
        module.update()
    assert module.get_outputs()[0].asnumpy().shape == (4, 2)


def test_fit_checkpoint_and_bundle(device, models, monkeypatch, tmp_path):
    monkeypatch.setattr("symbucket.engine.contexts.cpu", sb.gpu)
    with sb.gpu(0):  # new arrays lie there
        module = bucketing(optimizer="adam", rows=2)
        batch = sentence_batch(RNG, 6, rows=2)
        module.forward_backward(batch)
        module.update()
        module.save_checkpoint(str(tmp_path / "run"), 1, save_optimizer_states=True)
        module.export(tmp_path / "bundle", [6])
        arrays = sb.nd.load(str(tmp_path / "run-0001.params"))
    names = {f"arg:{n}" for n in module.get_params()[0]}
    assert set(arrays) == names
    assert (tmp_path / "bundle").is_dir()


def test_fit_with_dropout_and_metrics(device, models):
    network = classifier(sym.Dropout(sym.Variable("data"), p=0.3))
    module = sb.mod.Module(network, context=sb.gpu(0))
    module.fit(rows(), num_epoch=2, eval_metric=["acc", "ce"], optimizer="sgd")
    assert module.predict(rows()).asnumpy().shape == (8, 2)
