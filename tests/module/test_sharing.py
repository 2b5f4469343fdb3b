"""Modules that share parameters or an optimizer."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, ParameterError
from tests.small_networks import (
    bound_regression,
    numbers,
    regression,
    regression_batch,
    regression_data,
)

X, Y = regression_data()


def test_modules_that_share_parameters():
    trained = bound_regression()
    watcher = sb.mod.Module(regression())
    watcher.bind(
        [("data", (10, 3))], [("softmax_label", (10, 2))], for_training=False, shared_module=trained
    )
    whole = sb.io.DataBatch([X], [Y])
    watcher.forward(whole)
    for _ in range(3):
        trained.forward_backward(regression_batch())
        trained.update()
        params = numbers(trained)
        watcher.forward(whole)
        np.testing.assert_allclose(
            watcher.get_outputs()[0].asnumpy(),
            X @ params["fc_weight"].T + params["fc_bias"],
            rtol=1e-5,
            atol=1e-6,
        )


def test_a_module_that_trains_parameters_shared_by_an_inference_module():
    owner = bound_regression(for_training=False)
    trainer = sb.mod.Module(regression())
    trainer.bind([("data", (4, 3))], [("softmax_label", (4, 2))], shared_module=owner)
    trainer.init_optimizer()
    before = numbers(owner)
    trainer.forward_backward(regression_batch())
    trainer.update()
    after = numbers(owner)
    assert all(not np.array_equal(after[n], before[n]) for n in before)


def test_a_fixed_parameter_stays_fixed_where_a_sharing_module_trains_it():
    fixed = bound_regression(module=sb.mod.Module(regression(), fixed_param_names=["fc_weight"]))
    other = sb.mod.Module(regression())
    other.bind([("data", (4, 3))], [("softmax_label", (4, 2))], shared_module=fixed)
    other.forward_backward(regression_batch())
    before = numbers(fixed)
    fixed.forward_backward(regression_batch())
    fixed.update()
    assert np.array_equal(numbers(fixed)["fc_weight"], before["fc_weight"])


def test_sharing_refuses_other_shapes_and_names():
    trained = bound_regression()
    with pytest.raises(ParameterError, match=r"'fc_weight' has shape \(2, 3\) for module and"):
        sb.mod.Module(regression(), name="wide").bind(
            [("data", (4, 5))], [("softmax_label", (4, 2))], shared_module=trained
        )
    with pytest.raises(ParameterError, match="wide has a parameter 'gc_weight'"):
        sb.mod.Module(regression(name="gc"), name="wide").bind(
            [("data", (4, 3))], [("softmax_label", (4, 2))], shared_module=trained
        )


def test_a_borrowed_optimizer_is_one_optimizer():
    trained = bound_regression(optimizer="adam")
    other = sb.mod.Module(regression())
    other.bind([("data", (3, 3))], [("softmax_label", (3, 2))], shared_module=trained)
    assert other.optimizer_initialized
    assert other.updater is trained.updater
    for module, rows in ((trained, slice(4)), (other, slice(3))):
        module.forward_backward(regression_batch(rows))
        module.update()
    assert trained.updater.optimizer.num_update == 2


def test_an_optimizer_for_other_parameters_is_not_borrowed():
    lender = bound_regression(optimizer="adam")
    twin, other = (sb.mod.Module(regression(name=name)) for name in ("fc", "gc"))
    for module in (twin, other):
        module.bind([("data", (4, 3))], [("softmax_label", (4, 2))])
        module.init_params()
    same = [*lender.store.grads] == [*twin.store.grads]
    assert same
    twin.borrow_optimizer(lender)
    assert twin.updater is lender.updater
    with pytest.raises(InvalidArgumentError, match=r"differ in one: \('gc_weight', .* here"):
        other.borrow_optimizer(lender)
    with pytest.raises(InvalidArgumentError, match="None is no module with an optimizer"):
        twin.borrow_optimizer(None)
