"""Memory plans of modules: what is promised before anything runs, and what it then takes."""

import json
import math
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

import symbucket as sb
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.engine import programs as engine_programs
from symbucket.errors import DataError, InvalidArgumentError, MemoryLimitError
from symbucket.runtime.channel_block import channel_block
from tests.small_networks import bound_regression, bucketing, generate, sentence_batch, shapes

KEYS = [3, 5, 6]
PERPLEXITY = {"eval_metric": sb.metric.Perplexity(ignore_label=0)}


def train(module, steps=4):
    """A few steps over all keys; gives the parameters."""
    rng = np.random.default_rng(2)
    for i in range(steps):
        module.forward(sentence_batch(rng, KEYS[i % 3]), is_train=True)
        module.backward()
        module.update()
    return {n: a.asnumpy() for n, a in module.get_params()[0].items()}


def test_a_plan_says_what_every_key_takes():
    module = bucketing(default=6)
    plan = module.plan_memory(KEYS)
    assert list(plan.plans) == KEYS
    assert plan.largest == 6
    assert plan.peak == max(p.peak for many in plan.plans.values() for p in many)
    parameters = sum(a.nbytes for a in module.store.args.values())
    assert plan.parameters == plan.gradients == parameters
    assert plan.states == 0
    assert plan.data == {k: 2 * 3 * k * 4 for k in KEYS}
    assert plan.outputs == {k: 3 * k * 10 * 4 for k in KEYS}
    summary = plan.summary()
    assert summary["total"] == sum(v for k, v in summary.items() if k != "total")
    assert json.loads(json.dumps(plan.as_dict()))["keys"]["5"]["models"][0]["nodes"] > 50
    assert plan.table().count("MB") >= len(summary)


def test_planning_changes_nothing():
    module = bucketing(default=6)
    before = module.get_params()[0]
    module.plan_memory(KEYS, optimizer="adam")
    assert module.bucket_keys == [6]
    assert not module.builds()[6]
    assert {n: a.asnumpy().tolist() for n, a in before.items()} == {
        n: a.asnumpy().tolist() for n, a in module.get_params()[0].items()
    }


def test_the_plan_is_that_of_the_models_that_run():
    module = bucketing(default=6)
    plan = module.plan_memory(KEYS)
    train(module)
    for key in KEYS:
        (executor,) = module.module_of(key).executors
        (programs,) = executor.programs.compiled
        (model,) = programs.models
        (planned,) = plan.plans[key]
        assert {t.name for t in model.inputs} == set(planned.inputs)
        assert {t.name for t in model.outputs} == set(planned.outputs)
        assert {t.name: t.dtype.itemsize * math.prod(t.shape) for t in model.outputs} == dict(
            planned.outputs
        )
    again = module.plan_memory(KEYS)
    assert again.summary() == plan.summary()


@pytest.mark.parametrize("rows", [2, 32])  # 32 are enough for shards
def test_the_plan_of_a_convolutional_network_is_that_of_its_executor(rows, monkeypatch):
    """It is compiled for the blocks of channels of this processor, and for shards."""
    compiled = []

    def compile_and_tell(*args):
        compiled.append(compile_training(*args).step)
        return compile_training(*args)

    monkeypatch.setattr(engine_programs, "compile_training", compile_and_tell)
    net = sb.sym.Variable("data")
    for i in range(2):
        net = sb.sym.Convolution(net, kernel=(3, 3), pad=(1, 1), num_filter=32, name=f"conv{i}")
        net = sb.sym.Activation(net, act_type="relu")
    net = sb.sym.Pooling(net, kernel=(2, 2), stride=(2, 2), pool_type="max")
    net = sb.sym.FullyConnected(sb.sym.Flatten(net), num_hidden=5, name="pred")
    module = sb.mod.Module(sb.sym.SoftmaxOutput(net, name="softmax"))
    module.bind([("data", (rows, 3, 16, 16))], [("softmax_label", (rows,))])
    module.init_params(sb.init.Xavier())
    plan = module.plan_memory()
    module.forward_backward(
        sb.io.DataBatch([sb.nd.ones((rows, 3, 16, 16))], [sb.nd.zeros((rows,))])
    )
    planned, run = compiled
    assert planned.model == run.model
    assert plan.plans["module"] == (run.plan,)
    assert bool(run.passes.get("block-convolutions")) == bool(channel_block()), run.passes
    (executor,) = module.executors
    assert plan.outputs["module"] == sum(a.nbytes for a in executor.buffers.arrays.values())


def test_the_order_of_keys_does_not_matter():
    module = bucketing(default=6)
    assert module.plan_memory(KEYS).summary() == module.plan_memory(KEYS[::-1]).summary()
    assert module.plan_memory([6]).arena == module.plan_memory(KEYS).arena


def test_sums_of_a_metric_take_less_than_outputs():
    module = bucketing(default=6)
    whole, sums = module.plan_memory(KEYS), module.plan_memory(KEYS, **PERPLEXITY)
    assert sums.outputs[6] < whole.outputs[6]
    # What cannot be computed in the graph is computed from the outputs.
    assert module.plan_memory([6], eval_metric="mse").outputs[6] == whole.outputs[6]


@pytest.mark.parametrize(("name", "states"), [("sgd", 0), ("adam", 2), ("adadelta", 2)])
def test_states_of_the_optimizer(name, states):
    module = bucketing(default=6)
    plan = module.plan_memory(KEYS, optimizer=name)
    assert plan.states == states * plan.parameters
    assert plan.update.nodes > 0
    assert bucketing(default=6, optimizer=name).plan_memory(KEYS).states == plan.states


def test_keys_that_are_no_numbers_need_shapes():
    def by_name(key):
        return generate(len(key))

    module = sb.mod.BucketingModule(by_name, default_bucket_key="abcdef")
    module.bind(*shapes(6))
    with pytest.raises(DataError, match=r"data is bound with .* Give shapes="):
        module.plan_memory(["abc"])
    plan = module.plan_memory(["abc", "abcdef"], shapes=lambda key: shapes(len(key)))
    numbers = bucketing(default=6).plan_memory([3, 6])
    assert [plan.data[k] for k in plan.plans] == [numbers.data[k] for k in numbers.plans]
    table = {"abc": shapes(3)}
    assert module.plan_memory(["abc"], shapes=table).data == {"abc": plan.data["abc"]}
    batch = sentence_batch(np.random.default_rng(0), 3, key="abc")
    assert module.plan_memory([batch]).summary() == module.plan_memory(["abc"], table).summary()


def test_a_module_of_one_network():
    module = bound_regression(rows=4)
    plan = module.plan_memory()
    assert plan.parameters == (3 * 2 + 2) * 4
    assert plan.data == {"module": 4 * (3 + 2) * 4}
    larger = module.plan_memory([("data", (8, 3))], [("softmax_label", (8, 2))])
    assert larger.data == {"module": 8 * (3 + 2) * 4}


def test_gradients_that_add_up_and_of_the_data_have_arrays_of_their_own():
    write = bucketing(default=6).plan_memory([6])
    add = bucketing(default=6, grad_req="add").plan_memory([6])
    assert add.data[6] == write.data[6] + write.gradients
    module = bound_regression(rows=4, inputs_need_grad=True)
    assert module.plan_memory().data == {"module": 4 * (3 + 2 + 3) * 4}


def test_inference_has_neither_gradients_nor_states():
    module = sb.mod.BucketingModule(generate, default_bucket_key=6)
    module.bind(*shapes(6), for_training=False)
    plan = module.plan_memory(KEYS, optimizer="adam")
    assert (plan.gradients, plan.states, plan.update) == (0, 0, None)
    assert plan.total < bucketing(default=6).plan_memory(KEYS).total


# The limit -----------------------------------------------------------------------------------


UNROLLED = CompilerOptions(disable={"roll-loops"})


def limited(limit, options=UNROLLED):
    module = sb.mod.BucketingModule(
        generate, default_bucket_key=6, options=replace(options, memory_limit=limit)
    )
    module.bind(*shapes(6))
    module.init_params(sb.init.Uniform(0.2))
    module.init_optimizer(optimizer_params={"learning_rate": 0.5})
    return module


def test_a_limit_makes_the_plan_smaller_and_changes_no_number():
    free = limited(None)
    needs = free.plan_memory(KEYS)
    need = max(p.total for many in needs.plans.values() for p in many)
    module = limited(need - 256)
    fitting = module.plan_memory(KEYS)
    assert max(p.total for many in fitting.plans.values() for p in many) <= need - 256
    module.set_params(*free.get_params())
    wanted, found = train(free), train(module)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_steps_stay_unrolled_where_only_that_fits():
    # Many activations and few classes: unrolled, the gradient gives them back step by step.
    def deep(steps):
        cell = sb.rnn.LSTMCell(32, prefix="lstm_")
        x = sb.sym.Variable("data")
        outputs, _ = cell.unroll(steps, x, merge_outputs=False)
        return sb.sym.LinearRegressionOutput(outputs[-1], sb.sym.Variable("label"), name="out")

    shapes = {"data": (4, 12, 8), "label": (4, 32)}
    network = deep(12)
    wanted = [n for n in network.list_arguments() if n not in shapes]

    def made(**options):
        chosen = CompilerOptions(**options)
        return compile_training(network, shapes, wanted=wanted, options=chosen).step

    rolled, unrolled = made(), made(disable={"roll-loops"})
    assert rolled.passes["roll-loops"] == 2
    assert unrolled.plan.total < rolled.plan.total
    fitting = made(memory_limit=unrolled.plan.total)
    assert fitting.plan.total == unrolled.plan.total
    assert "roll-loops" not in fitting.passes


def test_a_limit_that_is_too_small_names_the_key():
    module = limited(5_000)
    message = r"bucket key 5 training needs [\d,]+ bytes .* memory_limit is 5,000"
    with pytest.raises(MemoryLimitError, match=message):
        module.plan_memory([5])
    before = {n: a.asnumpy() for n, a in module.get_params()[0].items()}
    with pytest.raises(MemoryLimitError, match=message):
        module.forward(sentence_batch(np.random.default_rng(0), 5), is_train=True)
    for name, array in module.get_params()[0].items():
        np.testing.assert_array_equal(array.asnumpy(), before[name])


def test_options_must_make_sense():
    with pytest.raises(InvalidArgumentError, match="memory_limit=-5"):
        limited(-5)


# The promise ---------------------------------------------------------------------------------

PROCESS = """
import gc, json, random, sys, os
sys.modules["torch"] = None
import numpy as np
import symbucket as sb
from symbucket.compiler import CompilerOptions
HIDDEN, VOCAB, ROWS, KEYS = 200, 10000, 32, [8, 16, 24]

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))

def generate(length):
    x = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=VOCAB, output_dim=HIDDEN, name="embed")
    stack = sb.rnn.SequentialRNNCell()
    for i in range(2):
        stack.add(sb.rnn.LSTMCell(HIDDEN, prefix=f"l{i}_"))
    out, _ = stack.unroll(length, x, layout="NTC", merge_outputs=True)
    scores = sb.sym.FullyConnected(
        sb.sym.Reshape(out, shape=(-1, HIDDEN)), num_hidden=VOCAB, name="pred")
    label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
    net = sb.sym.SoftmaxOutput(
        scores, label, name="softmax", use_ignore=True, ignore_label=0, normalization="valid")
    return net, ("data",), ("softmax_label",)

def batch(key, rng):
    data, label = (rng.integers(1, VOCAB, (ROWS, key)).astype("float32") for _ in range(2))
    if rng.random() < 0.5:  # else all rows count: that is what the plan holds for
        for row in label:
            row[rng.integers(1, key + 1):] = 0
    return sb.io.DataBatch([data], [label], bucket_key=key,
                           provide_data=[("data", data.shape)],
                           provide_label=[("softmax_label", label.shape)])

x = sb.sym.Variable("x")
sb.sym.sum(x * 2).simple_bind(sb.cpu(), x=(2,)).forward()
gc.collect()
before = resident()
module = sb.mod.BucketingModule(generate, 24, options=CompilerOptions(memory_limit=LIMIT))
module.bind([("data", (ROWS, 24))], [("softmax_label", (ROWS, 24))])
module.init_params(sb.init.Uniform(0.1))
module.init_optimizer(optimizer_params={"learning_rate": 0.1})
metric = sb.metric.Perplexity(ignore_label=0)
plan = module.plan_memory(KEYS, eval_metric=metric)
rng = np.random.default_rng(1)
order = {"ascending": KEYS, "descending": KEYS[::-1], "random": [16, 8, 24]}[ORDER]

class Batches(sb.io.DataIter):
    def __init__(self, keys):
        super().__init__(ROWS)
        self.default_bucket_key = 24
        self.provide_data = [sb.io.DataDesc("data", (ROWS, 24))]
        self.provide_label = [sb.io.DataDesc("softmax_label", (ROWS, 24))]
        self.keys, self.left = keys, iter(keys)
    def reset(self):
        self.left = iter(self.keys)
    def next(self):
        return batch(next(self.left), rng)

module.fit(Batches(order * 4), eval_metric=metric, num_epoch=2,
           batch_end_callback=None, optimizer_params={"learning_rate": 0.1})
gc.collect()
print(json.dumps([plan.total, resident() - before, plan.arena]))
"""


def measured(order, limit=None):
    code = PROCESS.replace("ORDER", repr(order)).replace("LIMIT", repr(limit))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_the_process_grows_by_what_was_promised(order):
    promised, grown, _ = measured(order)
    assert grown <= 1.05 * promised, f"{grown} bytes, promised {promised}"
    assert promised <= 1.15 * grown, f"{grown} bytes, promised {promised}"


@LINUX
@pytest.mark.slow
def test_a_limit_is_kept_by_the_process_too():
    _, free, arena = measured("descending")
    promised, grown, less = measured("descending", 70_000_000)
    assert less < arena - 5_000_000
    assert grown < free
    assert grown <= 1.05 * promised
    assert promised <= 1.15 * grown
