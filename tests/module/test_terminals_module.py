"""Terminals: one symbol that holds the networks of all keys."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError

RNG = np.random.default_rng(2)


def group(lengths=(2, 3, 5)):
    weight, cell = sym.Variable("embed_weight"), sb.rnn.GRUCell(4, prefix="gru_")
    scores, bias = sym.Variable("pred_weight"), sym.Variable("pred_bias")
    parts = []
    for length in lengths:
        x = sym.Embedding(sym.Variable(f"data{length}"), weight, input_dim=6, output_dim=3)
        out, _ = cell.unroll(length, x, merge_outputs=False)
        out = sym.FullyConnected(out[-1], scores, bias, num_hidden=3)
        parts.append(sym.SoftmaxOutput(out, sym.Variable(f"label{length}"), name=f"end{length}"))
    return sym.Group(parts)


TERMINALS = {n: f"end{n}_output" for n in (2, 3, 5)}


def batch(length, key=None, rows=4):
    data, label = RNG.integers(0, 6, (rows, length)), RNG.integers(0, 3, rows)
    return sb.io.DataBatch(
        [data],
        [label],
        bucket_key=length if key is None else key,
        provide_data=[(f"data{length}", data.shape)],
        provide_label=[(f"label{length}", label.shape)],
    )


def started(module, length=5):
    first = batch(length)
    module.bind(first.provide_data, first.provide_label)
    sb.random.seed(3)
    module.init_params(sb.init.Normal(0.5))
    module.init_optimizer(optimizer_params={"learning_rate": 0.5})
    return module


def test_a_step_runs_the_subgraph_of_its_terminal_only():
    whole = group()
    module = started(sb.mod.BucketingModule.from_terminals(whole, TERMINALS))
    assert module.default_bucket_key == 5
    module.forward_backward(batch(3))
    assert module.bucket_keys == [5, 3]
    assert {k: dict(b) for k, b in module.builds().items()} == {5: {}, 3: {"training": 1}}
    symbol = module.symbol
    assert symbol.list_outputs() == ["end3_output"]
    assert not {"data5", "data2", "label5", "label2"} & set(symbol.list_arguments())
    assert len(symbol.nodes()) < len(whole.nodes()) / 2
    assert set(module.current_module.executor.arg_dict) == set(symbol.list_arguments())


def test_training_is_that_of_a_network_for_each_key():
    whole = group()
    module = started(sb.mod.BucketingModule.from_terminals(whole, TERMINALS))
    other = started(sb.mod.BucketingModule(lambda key: group((key,)), 5))
    for length in (2, 5, 3, 2):
        one = batch(length)
        for each in (module, other):
            each.forward_backward(one)
            each.update()
    left, right = module.get_params()[0], other.get_params()[0]
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_allclose(
            left[name].asnumpy(), right[name].asnumpy(), rtol=1e-5, atol=1e-6
        )


def test_memory_is_that_of_the_largest_terminal():
    module = started(sb.mod.BucketingModule.from_terminals(group((2, 3, 20)), {
        n: f"end{n}_output" for n in (2, 3, 20)
    }), 20)  # fmt: skip

    def shapes(n):
        return [(f"data{n}", (4, n))], [(f"label{n}", (4,))]

    alone = {n: module.plan_memory([n], shapes).peak for n in (2, 3, 20)}
    assert alone[2] < alone[3] < alone[20]
    assert module.plan_memory([2, 3, 20], shapes).peak == alone[20]


def test_names_of_outputs_are_keys_where_none_are_given():
    module = sb.mod.BucketingModule.from_terminals(group())
    assert module.default_bucket_key == "end5_output"
    started(module)
    module.forward(batch(2, "end2_output"), is_train=False)
    assert module.bucket_key == "end2_output"
    assert module.get_outputs()[0].shape == (4, 3)


def test_a_terminal_of_several_outputs_and_numbers():
    whole = group()
    both = sym.Group([*whole, whole[0] * 2])
    made = sb.mod.Terminals(both, {"a": [0, 3], "b": 1, "c": "end5_output"})
    assert made.keys == ["a", "b", "c"]
    assert len(made("a")) == 2
    assert made("b").list_outputs() == ["end3_output"]
    assert made.default_bucket_key == "c"


def test_inputs_may_be_said_once_for_all_batches():
    inputs = {n: ([f"data{n}"], [f"label{n}"]) for n in TERMINALS}
    module = sb.mod.BucketingModule.from_terminals(group(), TERMINALS, 3, inputs)
    assert module.default_bucket_key == 3
    assert module.data_names == ["data3"]
    started(module, 3)
    module.forward_backward(batch(2))
    assert module.data_names == ["data2"]


@pytest.mark.parametrize(
    ("terminals", "message"),
    [
        ({2: "end7_output"}, "key 2: no output named 'end7_output'; the outputs are: end2_output"),
        ({2: 9}, "key 2: output 9 of a symbol with 3 outputs"),
        ({2: []}, "the key 2 has no terminal"),
        ({2: 0, 3: "end2_output"}, "'end2_output' is the terminal of 2 and of 3"),
        ({}, "must map every key to the name of an output"),
        (["end2_output"], "must map every key to the name of an output"),
    ],
)
def test_terminals_that_are_none(terminals, message):
    with pytest.raises(InvalidArgumentError, match=message):
        sb.mod.BucketingModule.from_terminals(group(), terminals)


def test_other_mistakes():
    with pytest.raises(InvalidArgumentError, match="the group must be a Symbol"):
        sb.mod.Terminals([group()])
    twice = group()[0]
    with pytest.raises(InvalidArgumentError, match="two outputs of the group have one name"):
        sb.mod.Terminals(sym.Group([twice, twice]))
    with pytest.raises(InvalidArgumentError, match="inputs= names 9, but the keys with a terminal"):
        sb.mod.Terminals(group(), TERMINALS, {9: (["data"], [])})


def test_a_batch_must_fit_its_terminal():
    module = started(sb.mod.BucketingModule.from_terminals(group(), TERMINALS))
    with pytest.raises(InvalidArgumentError, match=r"no terminal for the key 4; .* are 2, 3, 5"):
        module.forward(batch(4))
    with pytest.raises(InvalidArgumentError, match="bucket key 2: data_names has 'data3'"):
        module.forward(batch(3, key=2))
    assert module.bucket_key == 5
