"""A recurrence scheduled step by step against the same network unrolled over the whole sequence."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    ShapeError,
    StateError,
    UnsupportedError,
)

VOCAB, EMBED, HIDDEN, ROWS = 7, 4, 5, 3
RNG = np.random.default_rng(5)
WORDS = RNG.integers(1, VOCAB, (ROWS, 24))
NEXT = RNG.integers(0, VOCAB, (ROWS, 24))


def network(cell=sb.rnn.LSTMCell, layers=2, time_major=False, dropout=0.0, **loss):
    """``sym_gen`` of a language model with its states, and their names."""
    cells = sb.rnn.SequentialRNNCell()
    for i in range(layers):
        cells.add(cell(HIDDEN, prefix=f"layer{i}_"))
        if dropout:
            cells.add(sb.rnn.DropoutCell(dropout))
    cells.reset()
    begin = cells.begin_state(sym.Variable)

    def sym_gen(steps):
        x = sym.Embedding(sym.Variable("data"), input_dim=VOCAB, output_dim=EMBED, name="embed")
        layout = "TNC" if time_major else "NTC"
        out, states = cells.unroll(steps, x, begin, layout, merge_outputs=True)
        rows = sym.Reshape(out, shape=(-1, HIDDEN))
        scores = sym.FullyConnected(rows, num_hidden=VOCAB, name="pred")
        label = sym.Reshape(sym.Variable("label"), shape=(-1,))
        options = {"use_ignore": True, "ignore_label": 0, **loss}
        loss_out = sym.SoftmaxOutput(scores, label, name="softmax", **options)
        return sym.Group([loss_out, *states]), ["data"], ["label"]

    return sym_gen, sym.Group(begin).list_arguments()


def batch(length=10, start=0, rows=ROWS, time_major=False):
    data, label = (a[:rows, start : start + length] for a in (WORDS, NEXT))
    if time_major:
        data, label = data.T, label.T
    return sb.io.DataBatch(
        [data],
        [label],
        bucket_key=length,
        provide_data=[("data", data.shape)],
        provide_label=[("label", label.shape)],
    )


PARAMS = {}


def started(module, rows=ROWS, length=10, time_major=False, **kwargs):
    """``module`` bound, with the same parameters whatever it is."""
    shape = (length, rows) if time_major else (rows, length)
    module.bind([("data", shape)], [("label", shape)], **kwargs)
    sb.random.seed(1)
    module.init_params(sb.init.Normal(0.4))
    return module


def scheduled(unroll, carry_states=False, time_major=False, rows=ROWS, bind=None, **options):
    sym_gen, states = network(time_major=time_major, **options)
    layout = "TNC" if time_major else "NTC"
    module = sb.mod.RecurrentModule(sym_gen, states, unroll, layout, carry_states)
    return started(module, rows, time_major=time_major, **(bind or {}))


def unrolled(length, time_major=False, **options):
    sym_gen, states = network(time_major=time_major, **options)

    def losses(steps):
        symbol, data, label = sym_gen(steps)
        return symbol[: len(symbol) - len(states)], data, label

    def whole(steps):  # begins with zeros, as a scheduled one does
        symbol, data, label = losses(steps)
        return symbol, data + states, label

    module = sb.mod.Module(*whole(length))
    shapes = [(n, (ROWS, HIDDEN)) for n in states]
    shape = (length, ROWS) if time_major else (ROWS, length)
    module.bind([("data", shape), *shapes], [("label", shape)], inputs_need_grad=False)
    sb.random.seed(1)
    module.init_params(sb.init.Normal(0.4))
    return module, shapes


def reference(length, time_major=False, start=0, states=None, **options):
    """Outputs and gradients of one network over all steps."""
    module, shapes = unrolled(length, time_major, **options)
    given = states or [np.zeros(s, np.float32) for _, s in shapes]
    one = batch(length, start, time_major=time_major)
    module.forward(
        sb.io.DataBatch(
            [*one.data, *given],
            one.label,
            provide_data=[*one.provide_data, *shapes],
            provide_label=one.provide_label,
        ),
        is_train=True,
    )
    module.backward()
    grads = {n: a.asnumpy() for n, a in module.gradients().items()}
    return module.get_outputs()[0].asnumpy(), grads


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert np.abs(values).max() > 1e-3, name
        np.testing.assert_allclose(np.asarray(found[name]), values, 1e-4, 1e-5, err_msg=name)


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


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unroll", [0, -1, 1.5, True, None])
def test_unroll_must_be_a_count(unroll):
    sym_gen, states = network()
    with pytest.raises(InvalidArgumentError, match=r"unroll is .*; expected an integer"):
        sb.mod.RecurrentModule(sym_gen, states, unroll)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_names": []}, "state_names=.* must list the arguments"),
        ({"state_names": "h"}, "state_names='h' must list the arguments"),
        ({"layout": "CNT"}, 'layout=\'CNT\' must be "NTC" or "TNC"'),
    ],
)
def test_options_that_make_no_sense(options, message):
    sym_gen, states = network()
    with pytest.raises(InvalidArgumentError, match=message):
        sb.mod.RecurrentModule(sym_gen, **{"state_names": states, **options})


@pytest.mark.parametrize("kind", ["valid", "batch"])
def test_a_loss_that_is_no_sum_over_steps(kind):
    with pytest.raises(InvalidArgumentError, match=f"'softmax' has normalization='{kind}'.*unroll"):
        scheduled(2, normalization=kind)


def broken(change):
    sym_gen, states = network(layers=1)
    module = sb.mod.RecurrentModule(lambda steps: change(*sym_gen(steps)), states, 2)
    started(module)
    module.forward_backward(batch())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s, d, n: s, InvalidArgumentError, r"sym_gen\(2\) must give \(symbol, data_names"),
        (lambda s, d, n: (s[:2], d, n), InvalidArgumentError, "has 2 outputs .* for 2 states"),
        (
            lambda s, d, n: (sym.Group([s[1], s[0], s[2]]), d, n),
            ShapeError,
            "the output 'softmax_output' that becomes the next one has",
        ),
        (
            lambda s, d, n: (sym.Group([s[0], s[1] * 2, s[1], s[2]]), d, n),
            InvalidArgumentError,
            "is no loss. Outputs before the states must be losses",
        ),
        (
            lambda s, d, n: (sym.Group([s[0], *map(sym.BlockGrad, s[1:])]), d, n),
            UnsupportedError,
            "no output of the network needs a head gradient",
        ),
    ],
)  # fmt: skip
def test_a_network_that_is_no_recurrence(change, error, message):
    with pytest.raises(error, match=message):
        broken(change)


def test_calls_in_the_wrong_order():
    sym_gen, states = network()
    module = sb.mod.RecurrentModule(sym_gen, states)
    with pytest.raises(StateError, match="call bind"):
        module.forward(batch())
    started(module)
    with pytest.raises(StateError, match="call forward first"):
        module.get_outputs()
    with pytest.raises(StateError, match="RecurrentModule: backward needs forward"):
        module.backward()
    module.forward(batch(), is_train=False)
    with pytest.raises(StateError, match="backward needs forward"):
        module.backward()
    module.forward(batch(), is_train=True)
    with pytest.raises(UnsupportedError, match="takes no out_grads"):
        module.backward(np.ones(3))


def test_a_bad_batch_changes_nothing():
    module = scheduled(3, carry_states=True)
    module.forward(batch(8), is_train=True)
    before, states = module.get_outputs()[0].asnumpy(), [s.asnumpy() for s in module.get_states()]
    words = WORDS[:, :6]
    for data, label, error, message in [
        (words, NEXT[:, :5], ShapeError, r"data \(3, 6\), label \(3, 5\)"),
        (words, None, DataError, "no label 'label'"),
        (words + 90, NEXT[:, :6], DataError, "data.* is 9., but 'embed' reads it"),
        (words[:2], NEXT[:2, :6], ShapeError, "reset_states"),
        (words[:, :0], NEXT[:, :0], ShapeError, "no time steps"),
    ]:
        one = sb.io.DataBatch([data], None if label is None else [label])
        with pytest.raises(error, match=message):
            module.forward(one, is_train=True)
    np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), before)
    for found, wanted in zip(module.get_states(), states):
        np.testing.assert_array_equal(found.asnumpy(), wanted)
    module.backward()


def test_set_states_is_checked():
    module = scheduled(2)
    with pytest.raises(InvalidArgumentError, match="1 arrays for 4 states"):
        module.set_states([np.zeros((ROWS, HIDDEN))])
    with pytest.raises(InvalidArgumentError, match="reset_states"):
        module.set_states(value=0)


def test_an_output_whose_shape_does_not_grow_with_time():
    sym_gen, states = network(layers=1)

    def odd(steps):
        symbol, data, label = sym_gen(steps)
        square = sym.BlockGrad(sym.zeros(shape=(steps, steps)))
        return sym.Group([square, *symbol]), data, label

    module = started(sb.mod.RecurrentModule(odd, states, 2))
    module.forward(batch(4), is_train=True)
    with pytest.raises(UnsupportedError, match="exactly one axis may grow"):
        module.get_outputs()
