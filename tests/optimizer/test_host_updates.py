"""Optimizers that update one parameter at a time: MXNet's numbers, and optimizers of one's own."""

import json
from pathlib import Path

import numpy as np
import pytest

import symbucket as sb
from symbucket import optimizer
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.runtime import RowSparse
from tests.small_networks import numbers, regression, regression_data, same

ROWS = json.loads((Path(__file__).parent.parent / "data/optimizers_one_by_one.json").read_text())
NAMES = {0: "fc_weight", 1: "fc_bias"}
X, Y = regression_data()


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["name"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["updater", "update"])
def test_numbers_of_mxnet(row, by_hand):
    """Gradients are drawn as they were for MXNet 1.9.1."""
    made = optimizer.create(row["name"], param_idx2name=NAMES, **row["params"])
    rng = np.random.RandomState(3)
    weights = [sb.nd.array(rng.normal(size=shape)) for shape in ((2, 2), (3,))]
    states = [made.create_state_multi_precision(i, w) for i, w in enumerate(weights)]
    updater = optimizer.get_updater(made)
    for step in range(1, 7):
        for i, weight in enumerate(weights):
            grad = sb.nd.array(rng.normal(size=weight.shape))
            if by_hand:
                made.update_multi_precision(i, weight, grad, states[i])
            else:
                updater(i, grad, weight)
        if step in (3, 6):
            values = np.concatenate([w.asnumpy().ravel() for w in weights])
            np.testing.assert_allclose(values, row[f"after_{step}"], rtol=1e-5, atol=2e-6)


def test_adamw_is_that_of_pytorch():
    weight = sb.nd.array([1.0, -2.0, 3.0])
    updater = optimizer.get_updater(optimizer.create("adamw", learning_rate=0.1, wd=0.2))
    for t in range(4):
        updater(0, sb.nd.array([0.5 * (t + 1), -1.0, 0.25 * t]), weight)
    recorded = [0.545628, -1.456577, 2.527288]
    np.testing.assert_allclose(weight.asnumpy(), recorded, rtol=1e-5)


def test_sgld_adds_noise_of_the_learning_rate():
    made = optimizer.create("sgld", learning_rate=0.04, wd=0.5)
    weight = sb.nd.ones((4000,))
    made.update(0, weight, sb.nd.ones((4000,)), None)
    moved = weight.asnumpy() - (1 - 0.02 * 1.5)
    assert abs(moved.mean()) < 0.01
    assert moved.std() == pytest.approx(0.2, rel=0.05)
    again = sb.nd.ones((4000,))
    optimizer.create("sgld", learning_rate=0.04, wd=0.5).update(0, again, sb.nd.ones((4000,)), None)
    np.testing.assert_array_equal(weight.asnumpy(), again.asnumpy())


def test_lars_corrects_the_momentum_when_the_rate_changes():
    made = optimizer.create("lars", momentum=0.5, eta=0.1, learning_rate=1.0)
    made.table([])
    made.lr = 0.5
    made._update_count(0)
    ((row,), _) = made.table([0])
    assert row["momentum"] == 0.25
    made.lr = 2.0
    again = optimizer.create("lars", momentum=0.5, eta=0.1, learning_rate=2.0)
    again.set_counters(made.counters())
    assert again.table([0]) == made.table([0])
    assert made.table([0])[0][0]["momentum"] == 0.5


class Mine(optimizer.Optimizer):
    """Descent with momentum, as a user writes it."""

    def create_state(self, index, weight):
        return (sb.nd.zeros(weight.shape), None)

    def update(self, index, weight, grad, state):
        self._update_count(index)
        lr, wd = self._get_lr(index), self._get_wd(index)
        mom, _ = state
        mom[:] = 0.9 * mom - lr * (grad * self.rescale_grad + wd * weight)
        weight[:] += mom


def _fitted(made, epochs=2, **kwargs):
    sb.random.seed(5)
    module = sb.mod.Module(regression())
    data = sb.io.NDArrayIter(X, Y, 5)
    module.fit(data, eval_metric="mse", optimizer=made, num_epoch=epochs, **kwargs)
    return module


@pytest.mark.filterwarnings("ignore:The given optimizer has rescale_grad")
def test_an_optimizer_of_ones_own_trains_modules():
    parameters = {"learning_rate": 0.1, "rescale_grad": 0.2}
    own = _fitted(Mine(**parameters))
    built_in = _fitted("sgd", optimizer_params={"momentum": 0.9, **parameters})
    for name, values in numbers(built_in).items():
        np.testing.assert_allclose(numbers(own)[name], values, rtol=1e-5, atol=1e-6)
    assert isinstance(own.updater, optimizer.HostUpdater)
    assert own._optimizer.num_update == 4


@pytest.mark.filterwarnings("ignore:The given optimizer has rescale_grad")
def test_states_of_an_own_optimizer_are_saved(tmp_path):
    prefix = str(tmp_path / "net")
    first = _fitted(Mine(learning_rate=0.1), 1)
    first.save_checkpoint(prefix, 1, save_optimizer_states=True)
    data = sb.io.NDArrayIter(X, Y, 5)
    again = sb.mod.Module.load(prefix, 1, load_optimizer_states=True)
    for module in (first, again):
        module.fit(
            data, eval_metric="mse", optimizer=Mine(learning_rate=0.1), begin_epoch=1, num_epoch=2
        )
    assert same(numbers(first), numbers(again))
    states = first.updater.states()
    assert sorted(states) == ["mine/0/fc_bias", "mine/0/fc_weight"]
    wrong = {**states, "mine/0/fc_weight": np.zeros((1, 1), np.float32)}
    with pytest.raises(CheckpointError, match=r"the state of 'fc_weight' has .*\(1, 1\)"):
        first.updater.set_states(wrong, first.updater.counters())
    assert same(first.updater.states(), states)


def test_an_update_that_fails_changes_nothing():
    class Breaks(Mine):
        def update(self, index, weight, grad, state):
            super().update(index, weight, grad, state)
            if index == 1:
                raise ValueError("no")

    updater = optimizer.get_updater(Breaks(learning_rate=0.1))
    weights = [sb.nd.ones((2,)), sb.nd.ones((2,))]
    with pytest.raises(ValueError, match="no"):
        updater([0, 1], [sb.nd.ones((2,))] * 2, weights)
    for weight in weights:
        np.testing.assert_array_equal(weight.asnumpy(), 1)
    assert updater.optimizer.num_update == 0
    for values in updater.states().values():
        np.testing.assert_array_equal(values, 0)


def test_half_precision_weights_have_a_copy():
    made = optimizer.create("sgd", learning_rate=0.5, momentum=0.9, multi_precision=True)
    weight = sb.nd.array([1, 2], dtype="float16")
    state = made.create_state_multi_precision(0, weight)
    for _ in range(2):
        made.update_multi_precision(0, weight, sb.nd.array([1, 1], dtype="float16"), state)
    assert weight.dtype == np.float16
    np.testing.assert_allclose(weight.asnumpy(), [1 - 0.5 - 0.95, 2 - 0.5 - 0.95], rtol=1e-3)
    np.testing.assert_allclose(state[0].asnumpy(), [-0.45, 0.55], rtol=1e-6)


def test_wrong_arguments():
    with pytest.raises(InvalidArgumentError, match="warmup_strategy is 'cubic'; expected one of"):
        optimizer.create("lbsgd", warmup_strategy="cubic")
    with pytest.raises(InvalidArgumentError, match="ftml divides by the learning rate"):
        optimizer.create("ftml", learning_rate=0).scalars(1, 0, 0)


def test_a_large_layer_beside_a_plain_parameter_is_not_cut_in_pieces():
    """LARS divides by norms, but not for the bias."""
    names = {0: "fc_bias", 1: "fc_weight"}
    made = optimizer.create("lars", eta=0.1, learning_rate=1.0, param_idx2name=names)
    weights = [sb.nd.ones((4,)), sb.nd.ones((800, 800))]
    grads = [sb.nd.ones((4,)), sb.nd.array(np.arange(640000).reshape(800, 800) % 7)]
    optimizer.get_updater(made)([0, 1], grads, weights)
    g = grads[1].asnumpy().astype(np.float64)
    expected = 1 - 0.1 * 800 / np.sqrt((g * g).sum()) * g
    np.testing.assert_allclose(weights[1].asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_rows_reach_an_optimizer_of_ones_own_as_a_whole_gradient():
    class Mine(optimizer.SGD):  # plain descent, which the library would do by rows
        def update(self, index, weight, grad, state):
            weight[...] = weight.view() - 2 * grad.view()

    updater, weight = optimizer.get_updater(Mine()), sb.nd.ones((3, 2))
    rows = sb.nd.array([[1], [1]], dtype="int64")
    updater.update_rows(0, RowSparse(rows, sb.nd.array([[1, 2], [3, 4]])), weight)
    assert weight.asnumpy().tolist() == [[1, 1], [-7, -11], [1, 1]]


@pytest.mark.parametrize("name", ["lbsgd", "sgld", "dcasgd"])
def test_double_precision_stays(name):
    w, g = np.array([1 / 3, 2 / 3]), np.array([1 / 7, 1 / 3])
    results = []
    for gradient in (g, np.zeros(2)):
        sb.random.seed(0)  # of the noise of sgld
        weight = sb.nd.array(w, dtype="float64")
        made = optimizer.create(name, learning_rate=0.1)
        optimizer.get_updater(made)(0, sb.nd.array(gradient, dtype="float64"), weight)
        results.append(weight.asnumpy())
    rate = 0.05 if name == "sgld" else 0.1
    np.testing.assert_allclose(results[0] - results[1], -rate * g, rtol=1e-14)
