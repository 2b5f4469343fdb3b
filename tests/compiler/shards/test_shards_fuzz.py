"""Random networks, most of which work row by row: shards compute the same, or there are none."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from tests.compiler.shards.run_shards import compare, compile_both, draw, run_shards, run_whole

BATCH, STEPS, WIDTH = 8, 5, 6

KEEPING = (
    lambda x, w: sym.tanh(x),
    lambda x, w: sym.softmax(x, axis=2),
    lambda x, w: sym.transpose(
        sym.softmax(sym.transpose(x, axes=(2, 0, 1)), axis=2), axes=(1, 2, 0)
    ),
    lambda x, w: sym.broadcast_sub(x, sym.mean(x, axis=1, keepdims=True)),
    lambda x, w: sym.broadcast_mul(x, sym.max(x, axis=2, keepdims=True)),
    lambda x, w: sym.FullyConnected(x, w, num_hidden=WIDTH, no_bias=True, flatten=False),
    lambda x, w: sym.reverse(x, axis=1),
    lambda x, w: sym.Reshape(
        sym.sigmoid(sym.Reshape(x, shape=(-1, WIDTH))), shape=(-1, STEPS, WIDTH)
    ),
    lambda x, w: sym.Concat(
        sym.slice_axis(x, axis=1, begin=2, end=STEPS),
        sym.slice_axis(x, axis=1, begin=0, end=2),
        dim=1,
    ),
    lambda x, w: sym.batch_dot(sym.batch_dot(x, x, transpose_b=True), x),
    lambda x, w: sym.swapaxes(sym.swapaxes(x, dim1=0, dim2=1) * 2.0, dim1=0, dim2=1),
    lambda x, w: sym.where(x > 0.1, x, x * 0.5),
    lambda x, w: sym.clip(sym.broadcast_add(x, sym.sum(x, axis=(1, 2), keepdims=True)), -2.0, 2.0),
    lambda x, w: sym.sort(x, axis=1),
    lambda x, w: (
        sym.Reshape(
            sym.Concat(*[sym.Reshape(x, shape=(-1, WIDTH))] * 2, dim=0),
            shape=(-1, 2 * STEPS, WIDTH),
        )
        .slice_axis(axis=1, begin=0, end=STEPS)
        .slice_axis(axis=0, begin=0, end=BATCH)
    ),
)
MIXING = (
    lambda x, w: sym.softmax(x, axis=0),
    lambda x, w: sym.broadcast_sub(x, sym.mean(x, axis=0, keepdims=True)),
    lambda x, w: sym.reverse(x, axis=0),
    lambda x, w: sym.Reshape(
        sym.transpose(sym.Reshape(x, shape=(5, 8, 6)), axes=(1, 0, 2)), shape=(8, 5, 6)
    ),
    lambda x, w: sym.broadcast_mul(x, sym.Reshape(sym.sum(x), shape=(1, 1, 1))),
)


def network(rng):
    x = sym.Variable("data")
    weights = [sym.Variable(f"w{i}", shape=(WIDTH, WIDTH)) for i in range(2)]
    values = [x]
    for i in range(int(rng.integers(2, 7))):
        choices = MIXING if rng.random() < 0.05 else KEEPING
        value = values[-1 - int(rng.integers(min(2, len(values))))]
        if rng.random() < 0.3:
            cell = sb.rnn.GRUCell(WIDTH, prefix=f"cell{i}_")
            made, _ = cell.unroll(STEPS, value, merge_outputs=True)
        else:
            made = choices[int(rng.integers(len(choices)))](value, weights[int(rng.integers(2))])
        values.append(made + values[int(rng.integers(len(values)))] if rng.random() < 0.4 else made)
    last = sym.FullyConnected(sym.Reshape(values[-1], shape=(-1, WIDTH)), num_hidden=7, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    kind = ["null", "batch", "valid"][int(rng.integers(3))]
    ignore = {"use_ignore": True, "ignore_label": 0} if rng.random() < 0.5 else {}
    return sym.SoftmaxOutput(last, label, name="softmax", normalization=kind, **ignore)


def agree(seed):
    """Whether the network of a seed runs in shards; it computes the same then."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    net = network(rng)
    shapes = {"data": (BATCH, STEPS, WIDTH), "softmax_label": (BATCH, STEPS)}
    axes = {"data": 0, "softmax_label": 0}
    wanted = [name for name in net.list_arguments() if name != "softmax_label"]
    whole, shard = compile_both(net, shapes, axes, wanted=wanted, parts=int(rng.choice([2, 2, 3])))
    if shard.sharding is None:
        print(shard.unsharded)
        return False
    feed = draw(whole, rng)
    compare(run_whole(whole, feed), run_shards(shard, feed))
    return True


def test_random_networks():
    assert sum(map(agree, range(5))) >= 2


@pytest.mark.fuzz
@pytest.mark.slow
def test_many_random_networks(seed):
    assert sum(map(agree, range(seed + 100, seed + 150))) >= 25
