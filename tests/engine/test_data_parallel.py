"""A batch split over several contexts gives what one context gives."""

import logging

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.engine.batch_split import Join, find_join
from symbucket.errors import DataError, InvalidArgumentError, UnsupportedError
from tests.small_networks import VOCAB, language_model, numbers, sentence_batch, shapes

TWO = [sb.cpu(0), sb.cpu(1)]
THREE = [sb.cpu(i) for i in range(3)]


def _network(key):
    """A language model whose loss is not divided by a count."""
    x = sym.Embedding(sym.Variable("data"), input_dim=VOCAB, output_dim=4, name="embed")
    cell = sb.rnn.LSTMCell(5, prefix="lstm_")
    out, _ = cell.unroll(key, x, layout="NTC", merge_outputs=True)
    scores = sym.FullyConnected(sym.Reshape(out, shape=(-1, 5)), num_hidden=VOCAB, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    made = sym.SoftmaxOutput(scores, label, name="softmax", use_ignore=True, ignore_label=0)
    return made, ("data",), ("softmax_label",)


def _time_first(key):
    """The same over data and labels of layout TN."""
    x = sym.Embedding(sym.Variable("data"), input_dim=VOCAB, output_dim=4, name="embed")
    cell = sb.rnn.LSTMCell(5, prefix="lstm_")
    out, _ = cell.unroll(key, x, layout="TNC", merge_outputs=True)
    scores = sym.FullyConnected(sym.Reshape(out, shape=(-1, 5)), num_hidden=VOCAB, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    made = sym.SoftmaxOutput(scores, label, name="softmax", use_ignore=True, ignore_label=0)
    return made, ("data",), ("softmax_label",)


def _batch(seed, length, rows, layout):
    batch = sentence_batch(np.random.default_rng(seed), length, rows)
    if layout == "NT":
        return batch
    return sb.io.DataBatch(
        [batch.data[0].T],
        [batch.label[0].T],
        bucket_key=length,
        provide_data=[sb.io.DataDesc("data", (length, rows), layout="TN")],
        provide_label=[sb.io.DataDesc("softmax_label", (length, rows), layout="TN")],
    )


def _module(sym_gen, context, layout, rows, **more):
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=5, context=context, **more)
    first = _batch(0, 5, rows, layout)
    module.bind(first.provide_data, first.provide_label)
    sb.random.seed(3)
    module.init_params(sb.init.Uniform(0.2))
    module.init_optimizer(optimizer="adam", optimizer_params={"learning_rate": 0.05})
    return module


@pytest.mark.parametrize("layout", ["NT", "TN"])
@pytest.mark.parametrize(("context", "rows"), [(TWO, 4), (TWO, 5), (THREE, 7)])
def test_steps_on_several_keys_are_those_of_one_context(layout, context, rows):
    sym_gen = _network if layout == "NT" else _time_first
    one, many = (_module(sym_gen, c, layout, rows) for c in (None, context))
    for step in range(6):
        batch = _batch(step, (5, 3)[step % 2], rows, layout)
        for module in (one, many):
            module.forward_backward(batch)
        a, b = (m.get_outputs()[0].asnumpy() for m in (one, many))
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
        for name, grad in one.gradients().items():
            other = many.gradients()[name].asnumpy()
            # Adam's quotients make the last digits of small gradients large.
            np.testing.assert_allclose(other, grad.asnumpy(), rtol=1e-4, atol=5e-6, err_msg=name)
        one.update()
        many.update()
    for name, value in numbers(one).items():
        np.testing.assert_allclose(numbers(many)[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_contexts_with_memory_of_their_own_follow_by_copies(monkeypatch):
    from symbucket.engine.contexts import ContextGroup

    one = _module(_network, None, "NT", 4)
    monkeypatch.setattr(ContextGroup, "reads", lambda self, number, array: number == 0)
    monkeypatch.setattr(ContextGroup, "at_once", True)
    many = _module(_network, TWO, "NT", 4)
    for step in range(6):
        batch = _batch(step, (5, 3)[step % 2], 4, "NT")
        for module in (one, many):
            module.forward_backward(batch)
            module.update()
    parts = many.current_module.executor.parts
    assert parts[0].arg_dict["pred_weight"] is many.store.args["pred_weight"]
    assert parts[1].arg_dict["pred_weight"] is not many.store.args["pred_weight"]
    many.forward(batch, is_train=False)
    for name, value in numbers(one).items():
        np.testing.assert_allclose(numbers(many)[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
        copy = parts[1].arg_dict[name].asnumpy()
        assert (copy == numbers(many)[name]).all(), name


def test_fit_and_score_count_the_metric_of_the_whole_batch():
    found = []
    for context in (None, THREE):
        batches = [sentence_batch(np.random.default_rng(s), (5, 3)[s % 2], 6) for s in range(4)]
        module = _module(_network, context, "NT", 6)
        metric = sb.metric.Perplexity(0)
        source = _Batches(batches)
        module.fit(source, eval_metric=metric, num_epoch=2, optimizer="adam")
        in_graph = metric.get()[1]
        module.keep_outputs = True
        found.append([in_graph, *(v for _, v in module.score(source, ["ce", "acc"]))])
        found[-1].append(float(module.predict(_Batches(batches[:1])).asnumpy().sum()))
        assert all(np.isfinite(found[-1]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


@pytest.mark.parametrize("loads", [None, [1, 3]])
def test_feed_forward_over_arrays_learns_the_same(loads):
    generator = np.random.default_rng(0)
    data = generator.normal(size=(50, 3)).astype(np.float32)
    labels = (data.sum(1) > 0).astype(np.float32)
    net = sym.SoftmaxOutput(
        sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc"), name="softmax"
    )
    found = []
    for context, shares in ((sb.cpu(), None), (TWO, loads)):
        sb.random.seed(5)
        model = sb.model.FeedForward(
            net, context, 2, numpy_batch_size=8, initializer=sb.init.Uniform(0.5), learning_rate=0.5
        )
        model.fit(data, labels, eval_data=(data, labels), work_load_list=shares)
        found.append([a.asnumpy() for a in model.arg_params.values()])
        # 50 rows in batches of 8 would leave 2, which are too few to be shared one to three.
        found[-1] += [model.predict(data), model.score((data, labels), "ce")]
    for one, many in zip(*found):
        np.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-6)
    assert found[0][-2].shape == (50, 2)
    with pytest.raises(InvalidArgumentError, match=r"work_load_list=\[1\]"):
        model.fit(data, labels, work_load_list=[1])
    assert model.score((data, labels), "ce") == found[1][-1]


def test_feed_forward_over_buckets_learns_the_same():
    found = []
    for context in (sb.cpu(), THREE):
        batches = [sentence_batch(np.random.default_rng(s), (5, 3)[s % 2], 6) for s in range(4)]
        sb.random.seed(5)
        model = sb.model.FeedForward(_network, context, 2, learning_rate=0.1)
        model.fit(_Batches(batches), eval_metric=sb.metric.Perplexity(0))
        found.append([a.asnumpy() for a in model.arg_params.values()])
        found[-1].append(model.score(_Batches(batches), sb.metric.Perplexity(0)))
    for one, many in zip(*found):
        np.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-6)


class _Batches:
    def __init__(self, batches):
        self.batches = batches
        self.provide_data = batches[0].provide_data
        self.provide_label = batches[0].provide_label
        self.default_bucket_key = 5
        self.batch_size = len(batches[0].data[0])

    def reset(self):
        pass

    def __iter__(self):
        return iter(self.batches)


def test_head_gradients_input_gradients_and_grad_req_add():
    x = sym.FullyConnected(sym.Variable("data"), num_hidden=3, name="fc")
    net = sym.Group([sym.tanh(x), sym.square(x)])
    generator = np.random.default_rng(0)
    data = generator.normal(size=(5, 2)).astype(np.float32)
    heads = [generator.normal(size=(5, 3)).astype(np.float32) for _ in range(2)]
    found = []
    for context in (sb.cpu(), TWO):
        module = sb.mod.Module(net, label_names=None, context=context)
        module.bind([("data", (5, 2))], inputs_need_grad=True, grad_req="add")
        sb.random.seed(1)
        module.init_params(sb.init.Uniform(0.5))
        for _ in range(2):
            module.forward(sb.io.DataBatch([data]), is_train=True)
            module.backward(heads)
        grads = {n: g.asnumpy() for n, g in module.gradients().items()}
        found.append([*grads.values(), module.get_input_grads()[0].asnumpy()])
    for a, b in zip(*found):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    with pytest.raises(InvalidArgumentError, match="for outputs that are not losses"):
        module.backward(heads[:1])
    with pytest.raises(InvalidArgumentError, match=r"has shape \(4, 3\)"):
        module.backward([heads[0], heads[1][:4]])


def test_batch_norm_keeps_the_mean_of_each_contexts_statistics():
    net = sym.BatchNorm(sym.Variable("data"), name="bn", fix_gamma=False, momentum=0.5)
    net = sym.LinearRegressionOutput(net, sym.Variable("softmax_label"))
    generator = np.random.default_rng(0)
    data = generator.normal(2, 3, (6, 2)).astype(np.float32)
    module = sb.mod.Module(net, context=TWO)
    module.bind([("data", (6, 2))], [("softmax_label", (6, 2))])
    module.init_params()
    batch = sb.io.DataBatch([data], [np.zeros((6, 2), np.float32)])
    for _ in range(2):
        module.forward_backward(batch)
    aux = {n: a.asnumpy() for n, a in module.get_params()[1].items()}
    halves = [data[:3], data[3:]]
    mean = np.mean([h.mean(0) for h in halves], axis=0)
    var = np.mean([h.var(0) for h in halves], axis=0)
    np.testing.assert_allclose(aux["bn_moving_mean"], 0.75 * mean, rtol=1e-5)
    np.testing.assert_allclose(aux["bn_moving_var"], 0.25 + 0.75 * var, rtol=1e-5)
    expected = np.concatenate([(h - h.mean(0)) / np.sqrt(h.var(0) + 1e-3) for h in halves])
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), expected, rtol=1e-4, atol=1e-5)
    module.forward(batch, is_train=False)  # inference is by row: as on one context
    whole = (data - aux["bn_moving_mean"]) / np.sqrt(aux["bn_moving_var"] + 1e-3)
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), whole, rtol=1e-4, atol=1e-5)


def test_contexts_draw_different_dropout_masks():
    net = sym.Dropout(sym.Variable("data"), p=0.5)
    module = sb.mod.Module(net, label_names=None, context=TWO)
    module.bind([("data", (2, 200))])
    module.init_params()
    module.forward(sb.io.DataBatch([np.ones((2, 200), np.float32)]), is_train=True)
    first, second = module.get_outputs()[0].asnumpy() > 0
    assert 0.3 < (first == second).mean() < 0.7


def test_work_load_list_sets_the_shares():
    net = sym.square(sym.Variable("data"))
    module = sb.mod.Module(net, label_names=None, context=TWO, work_load_list=[1, 3])
    module.bind([("data", (8, 2))], for_training=False)
    assert [p.arg_dict["data"].shape[0] for p in module.executor.parts] == [2, 6]
    module.init_params()
    data = np.arange(16, dtype=np.float32).reshape(8, 2)
    module.forward(sb.io.DataBatch([data]))
    assert module.get_outputs()[0].asnumpy().tolist() == (data**2).tolist()
    with pytest.raises(InvalidArgumentError, match=r"work_load_list=\[1\]"):
        sb.mod.Module(net, label_names=None, context=TWO, work_load_list=[1])


def test_an_array_without_a_batch_axis_goes_to_every_context():
    net = sym.broadcast_mul(sym.Variable("data"), sym.Variable("scale"))
    module = sb.mod.Module(net, ("data", "scale"), None, context=TWO)
    module.bind(
        [("data", (4, 3)), sb.io.DataDesc("scale", (1, 3), layout="TC")], for_training=False
    )
    module.init_params()
    data = np.arange(12, dtype=np.float32).reshape(4, 3)
    scale = np.array([[1, 2, 3]], np.float32)
    module.forward(sb.io.DataBatch([data, scale]))
    assert module.get_outputs()[0].asnumpy().tolist() == (data * scale).tolist()


def test_parameters_are_shared_and_each_key_is_built_once_a_context():
    module = _module(_network, TWO, "NT", 4)
    for step in range(4):
        module.forward_backward(sentence_batch(np.random.default_rng(step), (5, 3)[step % 2], 4))
        module.update()
    assert {k: c["training"] for k, c in module.builds().items()} == {5: 2, 3: 2}
    for key in (5, 3):
        for part in module.module_of(key).executor.parts:
            for name, array in module.store.args.items():
                assert part.arg_dict[name] is array
    grads = [module.module_of(k).executor.parts[1].grad_dict["pred_weight"] for k in (5, 3)]
    assert grads[0] is grads[1]


def test_checkpoint_of_several_contexts_is_that_of_one(tmp_path):
    module = _module(_network, TWO, "NT", 4)
    module.forward_backward(sentence_batch(np.random.default_rng(0), 5, 4))
    module.update()
    module.save_checkpoint(str(tmp_path / "m"), 1, save_optimizer_states=True)
    again = sb.mod.BucketingModule.load(
        str(tmp_path / "m"), 1, _network, 5, load_optimizer_states=True
    )
    again.bind(*shapes(5, 4))
    again.init_optimizer(optimizer="adam", optimizer_params={"learning_rate": 0.05})
    batch = sentence_batch(np.random.default_rng(1), 5, 4)
    for each in (module, again):
        each.forward_backward(batch)
        each.update()
    for name, value in numbers(module).items():
        np.testing.assert_allclose(numbers(again)[name], value, rtol=1e-4, atol=1e-6)


# Errors -----------------------------------------------------------------------------------------


def test_a_batch_with_fewer_rows_than_contexts_is_refused():
    module = _module(_network, THREE, "NT", 3)
    before = numbers(module)
    with pytest.raises(DataError, match=r"a batch of 2 rows cannot be split over 3 contexts"):
        module.forward_backward(sentence_batch(np.random.default_rng(0), 5, 2))
    module.forward_backward(sentence_batch(np.random.default_rng(0), 5, 3))
    assert all((numbers(module)[n] == v).all() for n, v in before.items())


def test_arrays_that_disagree_on_the_batch_are_refused():
    net = sym.broadcast_mul(sym.Variable("data"), sym.Variable("scale"))
    module = sb.mod.Module(net, ("data", "scale"), None, context=TWO)
    with pytest.raises(DataError, match=r"scale \(1, 3\) \(batch axis 0\)"):
        module.bind([("data", (4, 3)), ("scale", (1, 3))], for_training=False)
    assert not module.binded


def test_an_output_without_rows_is_refused():
    net = sym.MakeLoss(sym.mean(sym.Variable("data")), name="loss")
    module = sb.mod.Module(net, label_names=None, context=TWO)
    with pytest.raises(UnsupportedError, match=r"output 'loss_output' has shape .* grow with the"):
        module.bind([("data", (4, 3))])


def test_states_are_split_and_put_together():
    net = sym.Variable("data") + sym.Variable("state")
    module = sb.mod.Module(net, label_names=None, state_names=["state"], context=TWO)
    module.bind([("data", (5, 2))], for_training=False)
    module.init_params()
    state = np.arange(10, dtype=np.float32).reshape(5, 2)
    module.set_states([state])
    module.forward(sb.io.DataBatch([np.ones((5, 2), np.float32)]))
    assert module.get_outputs()[0].asnumpy().tolist() == (state + 1).tolist()
    assert module.get_states()[0].asnumpy().tolist() == state.tolist()


def test_memory_is_planned_for_one_context():
    module = _module(_network, TWO, "NT", 4)
    for ask in (lambda: module.plan_memory([5]), module.default_module.plan_memory):
        with pytest.raises(UnsupportedError, match="plan_memory works with one context"):
            ask()


def test_losses_divided_by_a_count_are_said(caplog):
    module = sb.mod.BucketingModule(
        lambda key: (language_model(key), ("data",), ("softmax_label",)), 5, context=TWO
    )
    with caplog.at_level(logging.WARNING):
        module.bind(*shapes(5, 4))
    assert "softmax divide by a count over the batch; on 2 contexts" in caplog.text


def test_a_recurrent_module_takes_one_context():
    with pytest.raises(UnsupportedError, match="RecurrentModule runs on one context; Module, Bu"):
        sb.mod.RecurrentModule(_network, ["state"], context=TWO)


def test_contexts_are_contexts():
    with pytest.raises(InvalidArgumentError, match="context has 'gpu'"):
        sb.mod.Module(sym.Variable("data"), label_names=None, context=["gpu", sb.cpu()])


@pytest.mark.parametrize("time_first", [False, True])
def test_joins_take_apart_and_put_together(time_first):
    rows, steps, sizes = 5, 3, [2, 3]
    array = np.arange(steps * rows * 2).reshape(steps * rows, 2)
    join = find_join("x", (15, 2), [(6, 2), (9, 2)], sizes, time_first)
    parts = [join.part(array, i) for i in range(2)]
    assert (join.whole(parts) == array).all()
    cube = array.reshape(steps, rows, 2) if time_first else array.reshape(rows, steps, 2)
    first = cube[:, :2] if time_first else cube[:2]
    assert (parts[0] == first.reshape(-1, 2)).all()
    assert Join(-1, ()).part(array, 1) is array


@pytest.mark.parametrize(
    ("whole", "parts"),
    [((4, 2), [(4, 2), (4, 2)]), ((4, 4), [(2, 2), (2, 2)]), ((4, 3), [(3, 3), (2, 3)])],
)
def test_arrays_that_do_not_grow_with_the_batch_are_refused(whole, parts):
    with pytest.raises(UnsupportedError, match="One axis must grow with the batch"):
        find_join("the output 'x'", whole, parts, [2, 2], False)
