"""Optimizers against MXNet's recorded numbers and against float64 formulas written anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from symbucket import optimizer
from symbucket.compiler.update import UpdateSpec, build_update
from symbucket.errors import (
    InvalidArgumentError,
    NameConflictError,
    ShapeError,
    UnsupportedError,
)
from symbucket.optimizer.base import _REGISTRY
from symbucket.runtime.ndarray import NDArray
from tests.optimizer.optimizer_training import NAMES, RULES, Formula, Training

DATA = Path(__file__).parent.parent / "data"
RECORDED = json.loads((DATA / "optimizers.json").read_text())


@pytest.mark.parametrize("row", RECORDED, ids=lambda r: f"{r['case']}-{r['name']}")
def test_recorded_numbers_of_mxnet(row):
    with np.load(DATA / "optimizers.npz") as data:
        weights, grads = data[f"opt/{row['case']}/w"], data[f"opt/{row['case']}/g"]
    updater = optimizer.get_updater(optimizer.create(row["name"], **row["params"]))
    weight, grad = NDArray(weights[0]), NDArray.zeros(grads[0].shape)
    for step, values in enumerate(grads):
        grad[...] = values
        updater(0, grad, weight)
        np.testing.assert_allclose(weight.view(), weights[step + 1], rtol=1e-5, atol=1e-6)
    assert updater.builds == 1


VARIANTS = [
    {"learning_rate": 0.05},
    {"learning_rate": 0.02, "wd": 0.03, "rescale_grad": 0.25},
    {"learning_rate": 0.03, "wd": 0.02, "clip_gradient": 0.2, "rescale_grad": -0.5},
]
CASES = [
    pytest.param(name, {**rule, **variant}, id=f"{name}-{i}{j}")
    for name, rules in RULES.items()
    for i, rule in enumerate(rules)
    for j, variant in enumerate(VARIANTS)
]


@pytest.mark.parametrize(("name", "params"), CASES)
def test_many_steps_of_one_graph_follow_the_formula(name, params):
    made = optimizer.create(name, param_idx2name=NAMES, **params)
    made.set_lr_mult({"fc_bias": 0.5})
    made.set_wd_mult({"embed_weight": 2.0})
    lr_mult, wd_mult = [1, 0.5, 1, 1], [1, 0, 1, 2]
    training = Training(made)
    formula = Formula(name, **params)
    expected = training.values()
    for step in range(1, 31):
        training.step()
        for i in range(4):
            lr, wd = params["learning_rate"] * lr_mult[i], params.get("wd", 0) * wd_mult[i]
            new = formula(i, step, expected[i], training.grads[i].view(), lr, wd)
            got = training.weights[i].view()
            if name == "signum":  # a sign may turn on the last digit; such steps are counted
                assert np.mean(abs(got - new) > 1e-4) < 0.01
            else:
                np.testing.assert_allclose(got, new, rtol=1e-4, atol=2e-5)
            expected[i] = training.weights[i].asnumpy()
    assert training.updater.builds == 1


@pytest.mark.parametrize(("name", "params"), CASES)
def test_every_graph_is_standard_onnx(name, params):
    made = optimizer.create(name, **params)
    row = tuple(made.scalars(1, 0.1, made.wd))
    spec = UpdateSpec(((4, 3), (5,)), tuple(made.state_values()), (row,), (0, 0))
    proto = ir.to_proto(build_update(spec, made.emit, name))
    onnx.checker.check_model(proto, full_check=True)
    assert {n.domain for n in proto.graph.node} == {""}


def test_the_plainest_update_has_two_nodes_and_no_useless_ones():
    def nodes(**params):
        made = optimizer.create("sgd", **params)
        row = tuple(made.scalars(1, 0.1, made.wd))
        spec = UpdateSpec(((4,),), tuple(made.state_values()), (row,), (0,))
        return [n.op_type for n in build_update(spec, made.emit, "sgd").graph]

    assert nodes(rescale_grad=1 / 32) == ["Mul", "Sub"]
    assert nodes(wd=0.1) == ["Split", "Mul", "Mul", "Sub"]
    assert nodes(momentum=0.9) == ["Split", "Mul", "Mul", "Sub", "Add"]


def test_only_ftrl_pays_for_the_order_of_its_writes():
    for name in RULES:
        made = optimizer.create(name)
        spec = UpdateSpec(
            ((4,),), tuple(made.state_values()), (tuple(made.scalars(1, 0.1, 0.0)),), (0,)
        )
        ordered = [n for n in build_update(spec, made.emit, name).graph if n.op_type == "Equal"]
        assert bool(ordered) == (name == "ftrl"), name


def test_buffers_are_written_in_place():
    training = Training(optimizer.create("adam"))
    addresses = [w.ortvalue.data_ptr() for w in training.weights]
    aliases = [w.view() for w in training.weights]
    before = training.values()
    training.step()
    assert [w.ortvalue.data_ptr() for w in training.weights] == addresses
    assert all((alias != old).any() for alias, old in zip(aliases, before))


# Changes between steps.


def test_learning_rates_vary_without_a_new_graph_and_all_else_is_never_stale():
    made = optimizer.create("sgd", learning_rate=0.1)
    updater, formula = optimizer.get_updater(made), Formula("sgd", 0.1)
    weight, grad = NDArray(np.linspace(-1, 1, 12)), NDArray(np.linspace(2, -1, 12))
    changes = [
        ({}, 1),
        ({"lr": 0.2}, 1),
        ({"rescale_grad": 0.5}, 1),
        ({"clip_gradient": 0.3}, 2),
        ({"clip_gradient": 0.1}, 2),
        ({"wd": 0.1}, 3),
        ({"wd": 0.2, "lr": 0.05}, 3),
        ({"clip_gradient": None, "wd": 0.0}, 3),  # the first graph is still there
        ({"momentum": 0.9}, 4),
        ({"momentum": 0.5}, 4),
    ]
    for change, builds in changes:
        for key, value in change.items():
            setattr(made, key, value)
            setattr(formula, key, value)
        if formula.p.get("momentum", 0) == 0:
            formula.state.clear()
        formula.p["momentum"] = made.momentum
        expected = formula(0, 1, weight.asnumpy(), grad.view(), made.lr, made.wd)
        updater(0, grad, weight)
        np.testing.assert_allclose(weight.view(), expected, rtol=1e-5, atol=1e-6, err_msg=change)
        assert updater.builds == builds, change


def test_centered_may_be_switched_on_later():
    made = optimizer.create("rmsprop")
    updater, weight = optimizer.get_updater(made), NDArray(np.ones(3))
    updater(0, NDArray(np.ones(3)), weight)
    made.centered = True
    updater(0, NDArray(np.ones(3)), weight)
    assert updater.builds == 2
    assert sorted(updater.states()) == ["rmsprop/delta/0", "rmsprop/g/0", "rmsprop/n/0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rescale_grad": 0}, "rescale_grad is 0"),
        ({"rescale_grad": float("nan")}, "rescale_grad must be a finite number, found nan"),
        ({"clip_gradient": 0.0}, "clip_gradient is 0"),
        ({"clip_gradient": "much"}, "clip_gradient must be a finite number, found 'much'"),
        ({"lr_scheduler": lambda n: float("inf")}, r"lr_scheduler\(1\) must be .*found inf"),
    ],
)
def test_senseless_values_are_refused_before_anything_changes(change, message):
    made = optimizer.create("nadam")
    updater, weight = optimizer.get_updater(made), NDArray(np.ones(3))
    for key, value in change.items():
        setattr(made, key, value)
    counters = made.counters()
    with pytest.raises(InvalidArgumentError, match=message):
        updater(0, NDArray(np.ones(3)), weight)
    assert made.counters() == counters
    np.testing.assert_array_equal(weight.view(), 1)
    if "lr_scheduler" not in change:
        with pytest.raises(InvalidArgumentError, match=message):
            optimizer.create("sgd", **change)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        *(
            (name, {"momentum": value}, "momentum must be a finite number >= -1 and < 1, found")
            for name in ("sgd", "nag", "signum", "dcasgd", "lars", "lbsgd")
            for value in (1, 2, -1.5)
        ),
        ("sgd", {"wd": -1}, "wd must be a finite number >= 0, found -1"),
        ("adamw", {"wd": -1e-4}, "wd must be a finite number >= 0"),
        ("adam", {"epsilon": -1e-8}, "epsilon must be a finite number >= 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(name, params, message):
    with pytest.raises(InvalidArgumentError, match=message):
        optimizer.create(name, **params)


def test_no_epsilon_is_told(caplog):
    optimizer.create("adam", epsilon=0)
    assert "optimizer adam: epsilon is 0, so a weight whose gradients are all 0" in caplog.text
    caplog.clear()
    optimizer.create("adam", epsilon=1e-12)
    assert not caplog.text


def test_a_negative_clip_means_none_as_in_mxnet():
    weight = NDArray(np.zeros(3))
    optimizer.get_updater(optimizer.create("sgd", learning_rate=1, clip_gradient=-1))(
        0, NDArray(np.full(3, 5.0)), weight
    )
    np.testing.assert_array_equal(weight.view(), -5)


def test_adamax_leaves_weights_without_a_gradient_alone():
    weight = NDArray(np.ones(4))
    grad = np.array([0, 0, 1, -1], np.float32)
    optimizer.get_updater(optimizer.create("adamax", learning_rate=0.5))(0, grad, weight)
    np.testing.assert_allclose(weight.view(), [1, 1, 0.5, 1.5], rtol=1e-6)


def test_ftrl_says_that_it_cannot_freeze_by_the_learning_rate():
    made = optimizer.create("ftrl", param_idx2name=NAMES)
    made.set_lr_mult({"fc_weight": 0})
    with pytest.raises(InvalidArgumentError, match=r"divides by the learning rate.*fixed_param"):
        optimizer.get_updater(made)(0, NDArray(np.ones(3)), NDArray(np.ones(3)))


# Making optimizers.


def test_create_takes_names_classes_instances_and_config_text():
    made = optimizer.create("AdaM", beta1=0.5)
    assert isinstance(made, optimizer.Adam)
    assert made.beta1 == 0.5
    assert optimizer.create(made) is made
    assert optimizer.create(optimizer.SGD, momentum=0.5).momentum == 0.5
    assert optimizer.create('["nag", {"momentum": 0.25}]').momentum == 0.25
    assert isinstance(optimizer.Optimizer.create_optimizer("ftrl"), optimizer.Ftrl)


def test_create_teaches():
    with pytest.raises(InvalidArgumentError, match=r"'adm'.*known are .*sgd.*mean 'adam'"):
        optimizer.create("adm")
    with pytest.raises(InvalidArgumentError, match=r"no argument 'momentun'.*'momentum'.*wd"):
        optimizer.create("sgd", momentun=0.9)
    with pytest.raises(InvalidArgumentError, match=r"no argument 'weight_decay'"):
        optimizer.create(optimizer.Adam, weight_decay=0.9)
    with pytest.raises(InvalidArgumentError, match="beta1 must be a finite number >= 0 and < 1"):
        optimizer.create("adam", beta1=1)
    with pytest.raises(InvalidArgumentError, match="no subclass"):
        optimizer.create(int)
    with pytest.raises(InvalidArgumentError, match="ready optimizer"):
        optimizer.create(optimizer.create("sgd"), momentum=0.9)


@pytest.fixture
def registered():
    """Registrations made in a test are gone after it."""
    before = dict(_REGISTRY._classes)
    yield
    _REGISTRY._classes.clear()
    _REGISTRY._classes.update(before)


@pytest.mark.usefixtures("registered")
def test_an_optimizer_of_the_users_own():
    @optimizer.register
    class Lookback(optimizer.Optimizer):
        """w -= lr * (grad + pull * (grad - last)); both states are read after they could change."""

        def __init__(self, pull=0.5, **kwargs):
            super().__init__(**kwargs)
            self.pull = pull

        def state_values(self):
            return {"last": 0.0, "steps": 1.0}

        def emit(self, g, weight, grad, states, scalars):
            grad = self.gradient(g, weight, grad, scalars)
            turn = g.op("Sub", grad, states["last"])
            grown = g.op("Add", states["steps"], g.const(1.0, like=weight))
            move = g.op("Add", grad, g.op("Mul", turn, g.const(self.pull, like=weight)))
            move = g.op("Div", g.op("Mul", move, scalars["lr"]), states["steps"])
            return g.op("Sub", weight, move), {"last": grad, "steps": grown}

    made = optimizer.create("lookback", learning_rate=0.1, rescale_grad=0.5, pull=0.25)
    training = Training(made)
    expected, last = training.values(), [0.0] * 4
    for step in range(1, 7):
        if step == 4:
            made.pull = 0.75
        training.step()
        for i, grad in enumerate(training.grads):
            grad = 0.5 * grad.view().astype(np.float64)
            expected[i] = expected[i] - 0.1 * (grad + made.pull * (grad - last[i])) / step
            last[i] = grad
            np.testing.assert_allclose(training.weights[i].view(), expected[i], 1e-4, 1e-5)
    assert training.updater.builds == 2
    with pytest.raises(InvalidArgumentError, match="no argument 'pul'"):
        optimizer.create("lookback", pul=1)


@pytest.mark.usefixtures("registered")
def test_a_broken_emit_changes_nothing():
    @optimizer.register
    class Broken(optimizer.Nadam):
        def emit(self, g, weight, grad, states, scalars):
            return g.reduce_sum(weight, [0]), states

    made = optimizer.create("broken")
    weight, counters = NDArray(np.ones((2, 2))), made.counters()
    with pytest.raises(ShapeError, match=r"optimizer broken: new weight has shape \(1, 2\)"):
        optimizer.get_updater(made)(0, NDArray(np.ones((2, 2))), weight)
    assert made.counters() == counters
    np.testing.assert_array_equal(weight.view(), 1)
    with pytest.raises(UnsupportedError, match=r"Optimizer has no step\("):
        optimizer.get_updater(optimizer.Optimizer())(0, np.ones(2, "f"), np.ones(2, "f"))


@pytest.mark.usefixtures("registered")
def test_names_stay_with_their_class():
    with pytest.raises(NameConflictError, match="'sgd' already belongs to"):
        optimizer.register(type("SGD", (optimizer.Optimizer,), {"__qualname__": "mine.SGD"}))


@pytest.mark.usefixtures("registered")
def test_an_optimizer_is_its_formula():
    @optimizer.register
    class HeavyBall(optimizer.Optimizer):
        """v = 0.9 v + g, w -= lr v."""

        def state_values(self):
            return {"v": 0.0}

        def step(self, w, g, s, k):
            v = s.v * 0.9 + g
            return w - v * k.lr, {"v": v}

    training = Training(optimizer.create("heavyball", learning_rate=0.1, rescale_grad=0.5))
    expected, velocity = training.values(), [0.0] * 4
    for _ in range(3):
        training.step()
        for i, grad in enumerate(training.grads):
            velocity[i] = 0.9 * velocity[i] + 0.5 * grad.view().astype(np.float64)
            expected[i] = expected[i] - 0.1 * velocity[i]
            np.testing.assert_allclose(training.weights[i].view(), expected[i], 1e-4, 1e-5)


@pytest.mark.usefixtures("registered")
def test_a_formula_that_reads_what_is_not_there_names_what_is():
    @optimizer.register
    class Misspelt(optimizer.Adam):
        def step(self, w, g, s, k):
            return w - s.maen * k.rate, {}

    updater = optimizer.get_updater(optimizer.create("misspelt"))
    with pytest.raises(AttributeError, match=r"no state 'maen', only mean, var\. Did you mean 'm"):
        updater(0, NDArray(np.ones(2)), NDArray(np.ones(2)))
