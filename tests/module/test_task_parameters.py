"""Keys that differ in their parameters: a step touches what its own network has, nothing else."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import ParameterError
from tests.small_networks import numbers

ALL = "all"
COMMON = {"tied_weight"}
OWN = {task: {f"{task}_fc_weight", f"{task}_fc_bias"} for task in ("a", "b")}


def _network(task, tied=None):
    tied = sym.Variable("tied_weight") if tied is None else tied
    x = sym.FullyConnected(sym.Variable(f"{task}_data"), tied, num_hidden=4, no_bias=True)
    width = {"a": 2, "b": 3}[task]
    y = sym.FullyConnected(sym.tanh(x), num_hidden=width, name=f"{task}_fc")
    return sym.LinearRegressionOutput(y, sym.Variable(f"{task}_label"), name=f"{task}_out")


def _sym_gen(key):
    if key == ALL:
        tied = sym.Variable("tied_weight")
        names = [[f"{t}_{kind}" for t in "ab"] for kind in ("data", "label")]
        return sym.Group([_network("a", tied), _network("b", tied)]), *names
    return _network(key[0]), [f"{key[0]}_data"], [f"{key[0]}_label"]


def _shapes(task, rows=2):
    width = {"a": 2, "b": 3}[task]
    return [(f"{task}_data", (rows, 5))], [(f"{task}_label", (rows, width))]


def _batch(task, rng):
    data, label = _shapes(task)
    return sb.io.DataBatch(
        [rng.normal(size=data[0][1])],
        [rng.normal(size=label[0][1])],
        bucket_key=(task, 5),
        provide_data=data,
        provide_label=label,
    )


def _module(optimizer="sgd", sym_gen=_sym_gen, **params):
    sb.random.seed(1)
    module = sb.mod.BucketingModule(sym_gen, ALL)
    data, labels = ([*a, *b] for a, b in zip(_shapes("a"), _shapes("b")))
    module.bind(data, labels)
    module.init_params(sb.init.Uniform(0.5))
    params = {"learning_rate": 0.1, "rescale_grad": 1.0, "wd": 0.1, **params}
    module.init_optimizer(optimizer=optimizer, optimizer_params=params)
    return module


def _step(module, batch):
    module.forward_backward(batch)
    module.update()


@pytest.mark.parametrize(
    ("optimizer", "params"), [("sgd", {"momentum": 0.9}), ("adam", {}), ("ftrl", {})]
)
def test_a_step_on_one_task_leaves_the_other_as_it_is(optimizer, params):
    rng = np.random.default_rng(0)
    module = _module(optimizer, **params)
    for task in "abab":  # both have momentum (or means) by now
        _step(module, _batch(task, rng))
    for task, other in ("ab", "ba", "ab"):
        before, states = numbers(module), module.updater.states()
        counts = module.updater.counters()["index_update_count"]
        _step(module, _batch(task, rng))
        after = numbers(module)
        changed = {n for n in before if not np.array_equal(before[n], after[n])}
        assert changed == COMMON | OWN[task]
        new = module.updater.states()
        for name in OWN[other]:
            kept = [key for key in states if key.endswith(f"/{name}")]
            assert kept
            assert all(np.array_equal(states[key], new[key]) for key in kept)
        told = module.updater.counters()["index_update_count"]
        assert {n for n in counts if told[n] != counts[n]} == COMMON | OWN[task]


def test_alternating_tasks_train_as_two_modules_that_share_by_hand():
    """Momentum and decay, written down once more with a velocity for each parameter."""
    rng = np.random.default_rng(0)
    module = _module(momentum=0.9)
    expected = {n: v.astype(np.float64) for n, v in numbers(module).items()}
    velocity = {n: np.zeros_like(v) for n, v in expected.items()}
    for task in "aabbaba":
        batch = _batch(task, rng)
        module.forward_backward(batch)
        grads = {n: g.asnumpy().astype(np.float64) for n, g in module.gradients().items()}
        assert set(grads) == COMMON | OWN[task]
        x, y = batch.data[0], batch.label[0]
        hidden = np.tanh(x @ expected["tied_weight"].T)
        weight = expected[f"{task}_fc_weight"]
        slope = (hidden @ weight.T + expected[f"{task}_fc_bias"] - y) / y.shape[1]
        by_hand = {
            f"{task}_fc_weight": slope.T @ hidden,
            f"{task}_fc_bias": slope.sum(axis=0),
            "tied_weight": ((slope @ weight) * (1 - hidden**2)).T @ x,
        }
        module.update()
        for name, grad in by_hand.items():
            np.testing.assert_allclose(grads[name], grad, rtol=1e-4, atol=1e-5)
            decay = 0.0 if name.endswith("_bias") else 0.1
            velocity[name] = 0.9 * velocity[name] - 0.1 * (grad + decay * expected[name])
            expected[name] = expected[name] + velocity[name]
    found = numbers(module)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_default_key_is_never_compiled():
    rng = np.random.default_rng(0)
    module = _module()
    for task in "ab":
        _step(module, _batch(task, rng))
    builds = module.builds()
    assert not builds[ALL]
    assert builds["a", 5]["training"] == builds["b", 5]["training"] == 1


def test_checkpoint_has_the_parameters_and_states_of_all_tasks(tmp_path):
    rng = np.random.default_rng(0)
    module = _module(momentum=0.9)
    batches = [_batch(task, rng) for task in "abbaab"]
    for batch in batches[:3]:
        _step(module, batch)
    module.save_checkpoint(str(tmp_path / "tasks"), 1, save_optimizer_states=True)
    for batch in batches[3:]:
        _step(module, batch)
    again = sb.mod.BucketingModule.load(
        str(tmp_path / "tasks"), 1, _sym_gen, ALL, load_optimizer_states=True
    )
    data, labels = ([*a, *b] for a, b in zip(_shapes("a"), _shapes("b")))
    again.bind(data, labels)
    again.init_optimizer(
        optimizer_params={"learning_rate": 0.1, "rescale_grad": 1.0, "wd": 0.1, "momentum": 0.9}
    )
    for batch in batches[3:]:
        _step(again, batch)
    wanted, found = numbers(module), numbers(again)
    assert set(found) == COMMON | OWN["a"] | OWN["b"]
    assert all(np.array_equal(wanted[n], found[n]) for n in wanted)


def test_a_parameter_that_no_task_told_of_is_still_refused():
    def sym_gen(key):
        if key != ("a", 5):
            return _sym_gen(key)
        y = sym.FullyConnected(sym.Variable("a_data"), num_hidden=2, name="a_fx")
        out = sym.LinearRegressionOutput(y, sym.Variable("a_label"), name="a_out")
        return out, ["a_data"], ["a_label"]

    module = _module(sym_gen=sym_gen)
    before = numbers(module)
    with pytest.raises(ParameterError, match=r"'a_fx_weight'.*sym\.Group of one network of each"):
        module.forward(_batch("a", np.random.default_rng(0)))
    assert before.keys() == numbers(module).keys()
