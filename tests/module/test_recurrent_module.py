"""A recurrence scheduled step by step against the same network unrolled over the whole sequence."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from tests.module.recurrent_networks import (
    RNG,
    ROWS,
    VOCAB,
    assert_close,
    batch,
    network,
    reference,
    scheduled,
)


@pytest.mark.parametrize("unroll", [1, 2, 3, 4, 10, 16])
def test_outputs_and_gradients_are_those_of_the_full_unroll(unroll):
    outputs, grads = reference(10)
    module = scheduled(unroll)
    module.forward(batch(), is_train=True)
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), outputs, rtol=1e-4, atol=1e-6)
    module.backward()
    assert_close(module.gradients(), grads)
    module.forward_backward(batch())  # frames, sums and stashes begin anew
    assert_close(module.gradients(), grads)
    assert [e.builds for e in module.executors] == [{"training": 1}] * (
        1 + (10 % unroll > 0 < 10 // unroll)
    )


def test_time_first():
    outputs, grads = reference(7, time_major=True)
    module = scheduled(3, time_major=True)
    module.forward_backward(batch(7, time_major=True))
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), outputs, rtol=1e-4, atol=1e-6)
    assert_close(module.gradients(), grads)


@pytest.mark.parametrize("cell", [sb.rnn.GRUCell, sb.rnn.RNNCell])
def test_other_cells(cell):
    _, grads = reference(6, cell=cell)
    module = scheduled(2, cell=cell)
    module.forward_backward(batch(6))
    assert_close(module.gradients(), grads)


def test_any_length_with_one_more_network_for_each_rest():
    module = scheduled(4)
    for length in (2, 8, 5, 3, 9, 12):
        _, grads = reference(length)
        module.forward_backward(batch(length))
        assert_close(module.gradients(), grads)
    steps = [e.inputs["data"][0][1] for e in module.executors]
    assert sorted(steps) == [1, 2, 3, 4]


def test_gradients_are_added_where_asked():
    _, first = reference(5)
    _, second = reference(8)
    module = scheduled(2, bind={"grad_req": "add"})
    module.forward_backward(batch(5))
    module.forward_backward(batch(8))
    assert_close(module.gradients(), {n: first[n] + second[n] for n in first})


def test_carried_states_are_truncated_backpropagation_through_time():
    module = scheduled(3, carry_states=True)
    module.forward_backward(batch(8))
    states = [s.asnumpy() for s in module.get_states()]
    assert len(states) == 4
    outputs, grads = reference(8, start=8, states=states)
    module.forward_backward(batch(8, start=8))
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), outputs, rtol=1e-4, atol=1e-6)
    assert_close(module.gradients(), grads)  # nothing flows into the batch before
    module.reset_states()
    module.forward_backward(batch(8, start=8))
    assert_close(module.gradients(), reference(8, start=8)[1])
    module.set_states(states)
    module.forward(batch(8, start=8), is_train=False)
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), outputs, rtol=1e-4, atol=1e-6)


def test_without_carrying_every_batch_begins_with_zeros():
    module = scheduled(3)
    module.forward(batch(8), is_train=True)
    before = module.get_outputs()[0].asnumpy()
    module.forward(batch(8), is_train=True)
    np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), before)


def test_dropout_uses_the_mask_of_each_step_on_the_way_back():
    """The loss is linear in ``scale``, so the gradient must be the dropped sum itself."""

    def sym_gen(steps):
        state, losses = sym.Variable("state"), []
        scale = sym.Variable("scale", shape=(1, 8), init="one")
        xs = sym.split(sym.Variable("data"), num_outputs=steps, axis=1, squeeze_axis=True)
        for x in xs if steps > 1 else [xs[0]]:
            dropped = sym.Dropout(sym.broadcast_mul(x, scale), p=0.5)
            losses.append(sym.sum(dropped, axis=1, keepdims=True))
            state = state + dropped
        return sym.Group([sym.MakeLoss(sym.concat(*losses, dim=1)), state]), ["data"], []

    module = sb.mod.RecurrentModule(sym_gen, ["state"], 2)
    module.bind([("data", (4, 6, 8))])
    module.init_params()
    data = RNG.normal(size=(4, 6, 8)).astype(np.float32)
    module.forward_backward(sb.io.DataBatch([data]))
    (loss,) = module.get_outputs()
    assert loss.shape == (4, 6)
    total = float(module.gradients()["scale"].asnumpy().sum())
    assert total == pytest.approx(float(loss.asnumpy().sum()), rel=1e-4)
    sums = module.get_states()[0].asnumpy()
    np.testing.assert_allclose(
        sums.sum(0), module.gradients()["scale"].asnumpy()[0], rtol=1e-4, atol=1e-5
    )


def test_fit_and_score_and_predict():
    words = np.tile(np.arange(1, 7), 40)[: 24 * 8 + 1]
    data, label = words[:-1].reshape(24, 8), words[1:].reshape(24, 8)
    train = sb.io.NDArrayIter({"data": data}, {"label": label}, batch_size=6)
    sym_gen, states = network(layers=1)
    module = sb.mod.RecurrentModule(sym_gen, states, 3)
    metric = sb.metric.Perplexity(0)
    module.fit(
        train,
        eval_metric=metric,
        initializer=sb.init.Xavier(),
        optimizer="adam",
        optimizer_params={"learning_rate": 0.05, "rescale_grad": 1 / 48},
        num_epoch=15,
    )
    ((_, value),) = module.score(train, sb.metric.Perplexity(0))
    assert value < 1.2
    predicted = module.predict(train)
    assert predicted.shape == (24 * 8, VOCAB)
    assert (predicted.asnumpy().argmax(1) == label.ravel()).mean() > 0.95


def test_a_resumed_run_goes_on_with_another_unroll(tmp_path):
    def steps(module, *starts):
        module.init_optimizer(optimizer="adam", optimizer_params={"learning_rate": 0.1})
        for start in starts:
            module.forward_backward(batch(6, start))
            module.update()
        return {n: a.asnumpy() for n, a in module.get_params()[0].items()}

    prefix = str(tmp_path / "run")
    first = scheduled(2)
    steps(first, 0, 6)
    first.save_checkpoint(prefix, 3, save_optimizer_states=True)
    sym_gen, states = network()
    resumed = sb.mod.RecurrentModule(sym_gen, states, 4)
    resumed.resume_from(prefix, 3, load_optimizer_states=True)
    resumed.bind([("data", (ROWS, 6))], [("label", (ROWS, 6))])
    assert_close(steps(resumed, 12, 18), steps(scheduled(2), 0, 6, 12, 18))


def test_auxiliary_states_see_every_piece():
    def sym_gen(steps):
        x = sym.Reshape(sym.Variable("data"), shape=(-1, 4))
        normal = sym.BatchNorm(x, fix_gamma=False, name="bn", momentum=0.5)
        parts = sym.split(
            sym.Reshape(normal, shape=(-1, steps, 4)), num_outputs=steps, axis=1, squeeze_axis=True
        )
        state = sym.Variable("state")
        for i in range(steps):
            state = sym.tanh(state + parts[i])
        return sym.Group([sym.MakeLoss(sym.sum(state, axis=1)), state]), ["data"], []

    module = sb.mod.RecurrentModule(sym_gen, ["state"], 2)
    data = RNG.normal(2.0, size=(3, 4, 4)).astype(np.float32)
    module.bind([("data", data.shape)])
    module.init_params(sb.init.One())
    module.forward(sb.io.DataBatch([data]), is_train=True)
    mean = np.zeros(4)
    for piece in (data[:, :2], data[:, 2:]):
        mean = 0.5 * mean + 0.5 * piece.reshape(-1, 4).mean(0)
    np.testing.assert_allclose(module.auxiliary()["bn_moving_mean"].asnumpy(), mean, rtol=1e-5)
    (loss,) = module.get_outputs()  # no time in it: the sum over pieces
    assert loss.shape == (3,)
