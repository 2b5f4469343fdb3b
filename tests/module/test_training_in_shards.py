"""Random recurrent networks, trained in shards and whole: numbers are equal, or nothing is cut."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions
from symbucket.compiler.shards import shard_rows
from symbucket.io import DataBatch, DataDesc
from symbucket.runtime.threads import threads

CLASSES, STEPS = 5, 3

CELLS = {
    "lstm": lambda n, prefix: sb.rnn.LSTMCell(n, prefix=prefix),
    "gru": lambda n, prefix: sb.rnn.GRUCell(n, prefix=prefix),
    "residual": lambda n, prefix: sb.rnn.ResidualCell(sb.rnn.RNNCell(n, prefix=prefix)),
    "zoneout": lambda n, prefix: sb.rnn.ZoneoutCell(sb.rnn.GRUCell(n, prefix=prefix), 0.3, 0.2),
    "both ways": lambda n, prefix: sb.rnn.BidirectionalCell(
        sb.rnn.LSTMCell(n // 2, prefix=f"{prefix}f_"), sb.rnn.RNNCell(n // 2, prefix=f"{prefix}b_")
    ),
}

# Each takes and returns (rows, length, width); those from "halves of the rows" on may mix the rows.
LAYERS = {
    "dropout": lambda x, n: sym.Dropout(x, p=0.3),
    "noise": lambda x, n: x * sym.random.uniform(shape=n),
    "softmax over the length": lambda x, n: sym.softmax(x, axis=1),
    "sorted along the length": lambda x, n: sym.sort(x, axis=1),
    "attention": lambda x, n: sym.batch_dot(sym.batch_dot(x, x, transpose_b=True), x),
    "largest": lambda x, n: sym.broadcast_add(x, sym.max(x, axis=2, keepdims=True)),
    "steps first": lambda x, n: sym.swapaxes(
        sym.tanh(sym.swapaxes(x, dim1=0, dim2=1)), dim1=0, dim2=1
    ),
    "halves of the rows": lambda x, n: sym.Concat(
        *[part * (i + 1) for i, part in enumerate(sym.SliceChannel(x, num_outputs=2, axis=0))],
        dim=0,
    ),
    "two batches": lambda x, n: sym.slice_axis(
        sym.Concat(x, sym.tanh(x), dim=0), axis=0, begin=n[0], end=2 * n[0]
    ),
    "moments": lambda x, n: sym.BatchNorm(x, axis=2, fix_gamma=False),
    "layer norm over the rows": lambda x, n: sym.LayerNorm(x, axis=0),
    "mean of the batch": lambda x, n: sym.broadcast_mul(x, sym.mean(x, axis=0, keepdims=True)),
    "row numbers": lambda x, n: sym.broadcast_add(
        x, sym.Reshape(sym.arange(0, n[0]), shape=(n[0], 1, 1))
    ),
    "running sum of rows": lambda x, n: sym.cumsum(x, axis=0),
    "rows as steps": lambda x, n: sym.Reshape(sym.swapaxes(x, dim1=0, dim2=1), shape=n),
    "rows reversed": lambda x, n: sym.reverse(x, axis=0),
}


def random_network(rng, shape):
    """Layers and one or two losses; sizes coincide often."""
    label = sym.Variable("softmax_label")
    x, names = sym.Variable("data"), []
    for place in range(3):
        if place == 1 or rng.random() < 0.3:
            name = str(rng.choice(list(CELLS)))
            x, _ = CELLS[name](shape[2], f"c{place}_").unroll(shape[1], x, merge_outputs=True)
        else:
            # What leaves the rows alone is likelier: one layer that mixes them decides everything.
            chances = np.where(np.arange(len(LAYERS)) < 7, 9.0, 1.0)
            name = str(rng.choice(list(LAYERS), p=chances / chances.sum()))
            x = LAYERS[name](x, shape)
        names.append(name)
    scores = sym.FullyConnected(x, num_hidden=CLASSES, flatten=False, name="pred")
    net = sym.SoftmaxOutput(
        sym.Reshape(scores, shape=(-1, CLASSES)),
        sym.Reshape(label, shape=(-1,)),
        use_ignore=bool(rng.random() < 0.5),
        ignore_label=0,
        normalization=str(rng.choice(["null", "null", "batch", "valid"])),
        name="softmax",
    )
    if rng.random() < 0.3:
        net = sym.Group([net, sym.MakeLoss(sym.sum(sym.square(x), axis=(1, 2)), name="size")])
    return net, names


def train(net, shape, options):
    """All numbers of a few steps, and into how many parts they were cut."""
    sb.random.seed(11)
    rng = np.random.default_rng(1)
    data, label = DataDesc("data", shape), DataDesc("softmax_label", shape[:2])
    module = sb.mod.Module(net, options=options)
    module.bind([data], [label], inputs_need_grad=True)
    module.init_params(sb.init.Uniform(0.4))
    module.init_optimizer(optimizer_params={"learning_rate": 0.05})
    numbers = []
    for _ in range(STEPS):
        arrays = rng.normal(size=shape), rng.integers(0, CLASSES, shape[:2])
        module.forward(DataBatch([arrays[0]], [arrays[1]]), is_train=True)
        module.backward()
        numbers += [array.asnumpy() for array in module.get_outputs()]
        numbers += [array.asnumpy() for array in module.get_input_grads()]
        module.update()
    numbers += [array.asnumpy() for values in module.get_params() for array in values.values()]
    (executor,) = module._binding.pool.executors(module._binding.network)
    (programs,) = executor.programs.compiled
    return numbers, programs.step.sharding is not None


@pytest.mark.slow
def test_fuzz(monkeypatch):
    monkeypatch.setattr(shard_rows, "pays", lambda *_: True)
    monkeypatch.setattr(shard_rows, "LEAST_ROWS", 4)
    count = 0
    with threads(2):
        for seed in range(40):
            rng = np.random.default_rng(seed)
            shape = tuple(int(rng.choice(sizes)) for sizes in ([8, 12], [3, 8], [4, 8]))
            net, names = random_network(rng, shape)
            case = f"seed {seed}: {names} over {shape}"
            print(case)
            whole, _ = train(net, shape, CompilerOptions(disable={"shard-rows"}))
            shards, cut = train(net, shape, CompilerOptions())
            count += cut
            for expected, array in zip(whole, shards):
                scale = np.abs(expected).max(initial=1e-3)
                np.testing.assert_allclose(
                    array / scale, expected / scale, rtol=0, atol=2e-4, err_msg=case
                )
    assert count > 5
