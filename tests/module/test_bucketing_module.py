"""``BucketingModule``: keys, switching, what all keys share."""

import dataclasses
import logging
from collections import Counter

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, StateError
from tests.small_networks import (
    bucketing,
    generate,
    language_model,
    numbers,
    same,
    sentence_batch,
    shapes,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class Key:
    length: int
    kind: str = "text"


@pytest.mark.parametrize(
    "make",
    [int, str, lambda n: (n, 2 * n), Key, lambda n: frozenset([n]), np.int64],
    ids=["int", "str", "tuple", "dataclass", "frozenset", "numpy"],
)
def test_any_hashable_object_is_a_key(make, rng):
    lengths = {make(n): n for n in (3, 6)}
    asked = []

    def by_key(key):
        asked.append(key)
        return generate(lengths[key])

    module = sb.mod.BucketingModule(by_key, default_bucket_key=make(6))
    module.bind(*shapes(6))
    module.init_params(sb.init.Uniform(0.2))
    module.init_optimizer()
    for n in (3, 6, 3):
        module.forward_backward(sentence_batch(rng, n, key=make(n)))
        module.update()
        assert module.bucket_key == make(n)
    assert asked == [make(6), make(3)]
    assert module.bucket_keys == [make(6), make(3)]
    assert module.builds() == {make(n): Counter(training=1) for n in (3, 6)}


def test_sym_gen_may_give_the_symbol_alone(rng):
    module = bucketing(sym_gen=language_model)
    other = bucketing()
    other.set_params(*module.get_params())
    for key in (3, 6):
        batch = sentence_batch(rng, key)
        for one in (module, other):
            one.forward_backward(batch)
            one.update()
    assert same(numbers(module), numbers(other))
    assert module.data_names == ["data"]


@pytest.mark.parametrize("made", [None, "net", (1, 2, 3), ("a", "b")])
def test_wrong_sym_gen(made):
    module = sb.mod.BucketingModule(lambda key: made, default_bucket_key=3)
    with pytest.raises(InvalidArgumentError, match=r"sym_gen\(3\) must give a Symbol or"):
        module.bind(*shapes(3))
    assert not module.binded


def test_wrong_arguments():
    with pytest.raises(InvalidArgumentError, match="needs default_bucket_key"):
        sb.mod.BucketingModule(generate)
    with pytest.raises(InvalidArgumentError, match="must be a function of the bucket key"):
        sb.mod.BucketingModule(language_model(3), default_bucket_key=3)


def test_descriptions_before_and_after_bind(rng):
    module = sb.mod.BucketingModule(generate, default_bucket_key=6)
    assert module.symbol.list_outputs() == module.output_names == ["softmax_output"]
    assert module.data_names == ["data"]
    assert module.default_bucket_key == 6
    for unbound in ("bucket_key", "data_shapes", "label_shapes", "output_shapes", "store"):
        with pytest.raises(StateError, match="call bind"):
            getattr(module, unbound)
    module.bind(*shapes(6))
    module.init_params()
    module.forward(sentence_batch(rng, 3), is_train=False)
    assert module.bucket_key == 3
    assert module.data_shapes == [("data", (3, 3))]
    assert module.label_shapes == [("softmax_label", (3, 3))]
    assert module.output_shapes == [("softmax_output", (9, 10))]


def test_the_order_of_calls(rng):
    module = sb.mod.BucketingModule(generate, default_bucket_key=6)
    batch = sentence_batch(rng, 3)
    for call in (
        lambda: module.forward(batch),
        lambda: module.switch_bucket(3, *shapes(3)),
        module.init_params,
        module.get_params,
    ):
        with pytest.raises(StateError, match="call bind"):
            call()
    module.bind(*shapes(6))
    for call in (lambda: module.forward(batch), lambda: module.prepare(batch)):
        with pytest.raises(StateError, match=r"call init_params\(\) first"):
            call()
    module.init_params()
    with pytest.raises(StateError, match=r"call init_optimizer\(\) first"):
        module.update()


def test_binding_twice_is_ignored_and_rebinding_keeps_the_parameters(rng, caplog):
    module = bucketing()
    module.forward_backward(sentence_batch(rng, 3))
    module.update()
    before = numbers(module)
    with caplog.at_level(logging.WARNING):
        module.bind(*shapes(6, rows=9))
    assert "Already bound" in caplog.text
    module.bind(*shapes(6, rows=9), force_rebind=True)
    assert module.bucket_keys == [6]
    assert module.data_shapes == [("data", (9, 6))]
    assert same(numbers(module), before)
    module.forward_backward(sentence_batch(rng, 3, rows=9))
    module.update()
    assert not same(numbers(module), before)


def test_switch_and_prepare(rng):
    module = bucketing()
    module.switch_bucket(3, *shapes(3))
    assert module.bucket_key == 3
    assert module.builds()[3] == Counter()  # bound, not compiled
    module.prepare(sentence_batch(rng, 4))
    assert module.bucket_key == 3
    assert module.bucket_keys == [6, 3, 4]
    module.switch_bucket(6, None)
    assert module.bucket_key == 6


def test_preparing_a_batch_leaves_outputs_and_gradients_of_the_current_one(rng):
    module = bucketing()
    module.forward(sentence_batch(rng, 6), is_train=True)
    outputs = module.get_outputs()[0].asnumpy()
    module.prepare(sentence_batch(rng, 3))
    np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), outputs)
    module.backward()
    module.update()


def test_gradients_add_up_over_keys(rng):
    module = bucketing(grad_req="add")
    batches = [sentence_batch(rng, key) for key in (3, 6, 3)]
    wanted: dict[str, np.ndarray] = {}
    single = bucketing()
    single.set_params(*module.get_params())
    for batch in batches:
        module.forward_backward(batch)
        single.forward_backward(batch)
        for name, grad in single.gradients().items():
            wanted[name] = wanted.get(name, 0) + grad.asnumpy()
    for name, grad in module.gradients().items():
        np.testing.assert_allclose(grad.asnumpy(), wanted[name], rtol=1e-4, atol=1e-6)
    before = numbers(module)
    module.update()
    rate = 0.5 / 3  # learning rate / batch size
    for name, array in numbers(module).items():
        np.testing.assert_allclose(array, before[name] - rate * wanted[name], rtol=1e-4, atol=1e-6)


def test_input_gradients_of_each_key(rng):
    def floats(length):
        x = sym.Reshape(sym.Variable("data"), shape=(-1, 2))
        return sym.MakeLoss(sym.FullyConnected(x, num_hidden=1, name="fc")), ("data",), None

    module = sb.mod.BucketingModule(floats, default_bucket_key=4)
    module.bind([("data", (3, 4, 2))], inputs_need_grad=True)
    module.init_params(sb.init.Uniform(1.0))
    weight = numbers(module)["fc_weight"]
    for key in (2, 4):
        shape = (3, key, 2)
        batch = sb.io.DataBatch(
            [rng.normal(size=shape)], bucket_key=key, provide_data=[("data", shape)]
        )
        module.forward_backward(batch)
        (grad,) = module.get_input_grads()
        np.testing.assert_allclose(grad.asnumpy(), np.broadcast_to(weight, shape), rtol=1e-6)


def test_fixed_parameters_and_smaller_batches(rng):
    module = sb.mod.BucketingModule(
        generate, default_bucket_key=6, fixed_param_names=["embed_weight"]
    )
    module.bind(*shapes(6))
    module.init_params(sb.init.Uniform(0.2))
    module.init_optimizer()
    before = numbers(module)
    for key, rows in ((3, 3), (6, 2), (3, 1)):
        module.forward_backward(sentence_batch(rng, key, rows=rows))
        module.update()
        assert module.get_outputs()[0].shape == (key * rows, 10)
    after = numbers(module)
    assert [n for n in before if np.array_equal(before[n], after[n])] == ["embed_weight"]
    assert module.builds() == {6: Counter(training=1), 3: Counter(training=2)}


def test_a_known_key_needs_no_shapes(rng):
    module = bucketing()
    full = sentence_batch(rng, 6)
    module.forward(full, is_train=False)
    wanted = module.get_outputs()[0].asnumpy()
    module.forward(sb.io.DataBatch(full.data, full.label, bucket_key=6), is_train=False)
    np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), wanted)
    module.forward(sb.io.DataBatch(full.data, bucket_key=6), is_train=False)
    np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), wanted)


def test_later_keys_may_leave_parameters_out(rng):
    """The short key skips the second layer; its step must not touch that layer's parameters."""

    def growing(length):
        y = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="a")
        if length > 3:
            y = sym.FullyConnected(y, num_hidden=2, name="b")
        return sym.MakeLoss(sym.square(y)), ("data",), None

    module = sb.mod.BucketingModule(growing, default_bucket_key=4)
    module.bind([("data", (3, 2))])
    module.init_params(sb.init.Uniform(1.0))
    module.init_optimizer(optimizer_params={"momentum": 0.9, "wd": 0.1})
    desc = [("data", (3, 2))]
    for key, changed in ((4, 4), (3, 2), (4, 4)):
        before = numbers(module)
        module.forward_backward(
            sb.io.DataBatch([rng.normal(size=(3, 2))], bucket_key=key, provide_data=desc)
        )
        module.update()
        after = numbers(module)
        assert sum(not np.array_equal(before[n], after[n]) for n in after) == changed


def test_states_of_a_key(rng):
    def with_state(length):
        y = sym.Variable("data") + sym.Variable("memory")
        return sym.BlockGrad(y), ("data",), None

    module = sb.mod.BucketingModule(with_state, default_bucket_key=4, state_names=["memory"])
    module.bind([("data", (3, 4))], for_training=False)
    module.init_params()
    batch = sb.io.DataBatch([np.ones((3, 4))], bucket_key=4)
    module.set_states(value=1)
    module.forward(batch)
    module.set_states(states=module.get_outputs())
    module.forward(batch)
    assert (module.get_outputs()[0].asnumpy() == 3).all()
    assert (module.get_states()[0].asnumpy() == 2).all()


def test_states_go_over_to_the_next_key():
    """As in MXNet, where one array of that name and shape serves all keys."""

    def with_state(length):
        memory = sym.Variable("memory", shape=(3, 1))
        more = sym.Variable("more", shape=(3, length))
        y = sym.broadcast_add(sym.Variable("data"), memory) + more
        return sym.BlockGrad(y), ("data",), None

    module = sb.mod.BucketingModule(with_state, 4, state_names=["memory", "more"])
    module.bind([("data", (3, 4))], for_training=False)
    module.init_params()
    module.set_states(value=2)

    def result(key):
        batch = sb.io.DataBatch(
            [np.ones((3, key))], bucket_key=key, provide_data=[("data", (3, key))]
        )
        module.forward(batch)
        return module.get_outputs()[0].asnumpy()

    assert (result(4) == 5).all()
    assert (result(2) == 3).all()  # "more" has another shape here
    assert [s.asnumpy().max() for s in module.get_states()] == [2, 0]
    module.set_states(value=5)
    assert (result(2) == 11).all()
    assert (result(4) == 8).all()
    module.switch_bucket(2, None)
    assert [s.asnumpy().max() for s in module.get_states()] == [5, 5]


def test_metrics(rng):
    module = bucketing()
    metric = sb.metric.Perplexity(0)
    batch = sentence_batch(rng, 3)
    module.forward(batch, is_train=False)
    module.update_metric(metric, batch.label)
    prob = module.get_outputs()[0].asnumpy()
    flat = batch.label[0].reshape(-1)
    wanted = np.exp(-np.log(prob[np.arange(9), flat]).mean())
    np.testing.assert_allclose(metric.get()[1], wanted, rtol=1e-5)


def test_sharing_and_borrowing_between_bucketing_modules(rng):
    owner = bucketing(optimizer="adam", rate=0.05)
    other = sb.mod.BucketingModule(generate, default_bucket_key=4)
    other.bind(*shapes(4), shared_module=owner)
    assert other.optimizer_initialized
    assert other.updater is owner.updater
    batch = sentence_batch(rng, 3)
    owner.forward(batch, is_train=False)
    before = owner.get_outputs()[0].asnumpy()
    other.forward_backward(batch)
    other.update()
    assert same(numbers(owner), numbers(other))
    owner.forward(batch, is_train=False)
    other.forward(batch, is_train=False)
    after = owner.get_outputs()[0].asnumpy()
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(other.get_outputs()[0].asnumpy(), after)


def test_borrow_optimizer_after_bind(rng):
    owner = bucketing(optimizer="adam", rate=0.05)
    other = sb.mod.BucketingModule(generate, default_bucket_key=6)
    other.bind(*shapes(6))
    other.init_params(sb.init.Uniform(0.1))
    other.switch_bucket(3, *shapes(3))
    other.borrow_optimizer(owner)
    for module in (owner, other):
        module.forward_backward(sentence_batch(rng, 3))
        module.update()
    assert owner.updater.optimizer.num_update == 2
    assert not same(numbers(owner), numbers(other))


def test_initialising_again(rng):
    module = bucketing()
    before = numbers(module)
    module.init_params(sb.init.One())
    assert same(numbers(module), before)
    module.init_params(sb.init.One(), force_init=True)
    assert (numbers(module)["pred_weight"] == 1).all()
    module.init_optimizer(optimizer="adam", force_init=True)
    module.switch_bucket(3, *shapes(3))
    assert module.current_module.updater is module.updater
    assert type(module.updater.optimizer).__name__ == "Adam"


def penalty(key):
    weight = sym.Variable("weight", shape=(2, 3), init=sb.init.One())
    return sym.MakeLoss(sym.sum(sym.square(weight) * key)), [], None


def test_networks_without_inputs():
    module = sb.mod.BucketingModule(penalty, default_bucket_key=3)
    module.bind([], None)
    module.init_params()
    module.init_optimizer(optimizer_params={"learning_rate": 0.1})
    module.switch_bucket(2, [], None)
    for key, before in ((2, 1.0), (3, 0.6), (4, 0.24)):
        module.forward_backward(sb.io.DataBatch([], bucket_key=key, provide_data=[]))
        loss = module.get_outputs()[0].asnumpy()
        np.testing.assert_allclose(loss, [6 * key * before**2], rtol=1e-6)
        module.update()
        weight = module.get_params()[0]["weight"].asnumpy()
        np.testing.assert_allclose(weight, np.full((2, 3), before * (1 - 0.2 * key)), rtol=1e-5)
    assert module.bucket_keys == [3, 2, 4]
    plan = module.plan_memory([2, 5], lambda key: ([], None))
    assert set(plan.as_dict()["keys"]) == {"2", "5"}


class Keys:
    provide_data = provide_label = ()

    def __iter__(self):
        return iter([sb.io.DataBatch([], bucket_key=key, provide_data=[]) for key in (3, 2)])

    def reset(self):
        pass


def test_fit_of_networks_without_inputs():
    module = sb.mod.BucketingModule(penalty, default_bucket_key=3)
    module.fit(Keys(), eval_metric="loss", num_epoch=2, optimizer_params={"learning_rate": 0.1})
    weight = module.get_params()[0]["weight"].asnumpy()
    np.testing.assert_allclose(weight, np.full((2, 3), (0.4 * 0.6) ** 2), rtol=1e-5)
    ((_, loss),) = module.score(Keys(), "loss")
    np.testing.assert_allclose(loss, 6 * weight[0, 0] ** 2 * 2.5, rtol=1e-5)
