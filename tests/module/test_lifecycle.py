"""The state of modules: derived from what ``bind`` built, and changed by what succeeded only."""

import gc
import weakref

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import CheckpointError, DataError, ShapeError
from tests.small_networks import bucketing, generate, sentence_batch, shapes


def test_an_abstract_module_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        sb.mod.BaseModule()


def test_a_module_names_its_state_before_and_after_each_step():
    module = sb.mod.BucketingModule(generate, default_bucket_key=6)

    def state():
        return module.binded, module.params_initialized, module.optimizer_initialized

    assert state() == (False, False, False)
    module.bind(*shapes(6))
    assert state() == (True, False, False)
    module.init_params()
    assert state() == (True, True, False)
    module.init_optimizer()
    assert state() == (True, True, True)
    for name in ("binded", "params_initialized", "optimizer_initialized"):
        with pytest.raises(AttributeError):
            setattr(module, name, False)


def test_a_module_bound_to_another_one_has_its_parameters_from_the_moment_they_are_filled():
    first = sb.mod.Module(generate(6)[0])
    first.bind(*shapes(6))
    second = sb.mod.Module(generate(6)[0])
    second.bind(*shapes(6), shared_module=first)
    assert not second.params_initialized
    first.init_params()
    assert second.params_initialized


def test_a_failed_rebind_leaves_the_module_as_it_was():
    module = bucketing(default=6)
    rng = np.random.default_rng(0)
    module.forward(sentence_batch(rng, 6), is_train=True)
    with pytest.raises((ShapeError, DataError)):
        module.bind([("other", (3, 6))], force_rebind=True)
    module.backward()
    module.update()
    assert module.for_training


def test_a_checkpoint_that_does_not_fit_binds_nothing(tmp_path):
    bucketing(default=6).save_checkpoint(str(tmp_path / "lm"), 1)
    data = sym.Variable("data")
    net = sym.SoftmaxOutput(sym.FullyConnected(data, num_hidden=3, name="pred"), name="softmax")
    module = sb.mod.Module(net)
    module.resume_from(str(tmp_path / "lm"), 1)
    with pytest.raises(CheckpointError, match="does not fit the network"):
        module.bind([("data", (2, 4))])
    assert not module.binded


def test_a_module_and_its_executors_are_freed_together():
    module = bucketing(default=6)
    module.forward(sentence_batch(np.random.default_rng(0), 5), is_train=True)
    alive = [weakref.ref(module), weakref.ref(module.current_module.executor)]
    del module
    gc.collect()
    assert [ref() for ref in alive] == [None, None]
