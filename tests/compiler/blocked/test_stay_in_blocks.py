"""What lies between convolutions stays in blocks: equal numbers, fewer nodes that reorder."""

from dataclasses import replace

import numpy as np
import pytest

from symbucket import sym
from symbucket.compiler import CompileRequest, CompilerOptions, compile_request, compile_training
from symbucket.compiler.blocked import pays
from symbucket.compiler.target import CPU
from symbucket.context import Context
from symbucket.ir import BLOCKED_DOMAIN
from symbucket.runtime.channel_block import channel_block
from symbucket.runtime.target import target_of
from tests.compiler.blocked.by_numpy import evaluate
from tests.compiler.blocked.test_block_convolutions import assert_same, blocked_nodes, run
from tests.compiler.verify_graph import verify
from tests.symbol.onnx_models import draw, model, node

PLAIN = CompilerOptions(disable=["block-convolutions"])
LEAVES = CompilerOptions(disable=["stay-in-blocks"])
needs_blocks = pytest.mark.skipif(not channel_block(), reason="the processor has no such kernels")
POOLS = {
    "side-by-side": {"kernel": (2, 2), "stride": (2, 2)},
    "tall": {"kernel": (4, 1), "stride": (4, 1)},
    "overlapping": {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)},
    "ceil": {"kernel": (3, 2), "stride": (2, 2), "pooling_convention": "full"},
}


pytestmark = pytest.mark.usefixtures("always")


def convolution(x, name, **attributes):
    attributes = {"kernel": (3, 3), "pad": (1, 1), "num_filter": 16, **attributes}
    return sym.Convolution(x, name=name, **attributes)


def normed(x, name, **attributes):
    return sym.BatchNorm(x, name=name, **{"fix_gamma": False, **attributes})


def loss(x):
    # The gradient of a BatchNorm through x * x alone would be zero.
    return sym.MakeLoss(sym.sum(sym.tanh(x) * x + x * 0.5), name="loss")


def pooled(**pool):
    """BatchNorm, Relu and a pool between two convolutions."""
    x = normed(convolution(sym.Variable("data"), "a", no_bias=True), "n")
    x = sym.Pooling(sym.relu(x), pool_type="max", **pool)
    return loss(convolution(x, "b"))


def plain_pool(**pool):
    """A pool that follows the convolution and its bias."""
    x = sym.relu(convolution(sym.Variable("data"), "a"))
    x = sym.Pooling(x, pool_type="max", **(pool or POOLS["side-by-side"]))
    return loss(normed(convolution(x, "b"), "n", fix_gamma=True))


def residual():
    """A block of a residual network, and a mean over all places."""
    x = convolution(sym.Variable("data"), "a")
    y = sym.relu(normed(x, "n"))
    y = normed(convolution(y, "b"), "m", fix_gamma=True) * 0.5
    y = sym.relu(x + y)
    return loss(sym.Pooling(y, global_pool=True, kernel=(1, 1), pool_type="avg"))


def branches():
    """A value that is read in blocks and otherwise, and a factor for each channel."""
    x = sym.sigmoid(convolution(sym.Variable("data"), "a"))
    gate = sym.Reshape(sym.Variable("gate", shape=(16,)), shape=(1, 16, 1, 1))
    y = sym.broadcast_mul(sym.broadcast_sub(x, gate), gate)
    y = convolution(sym.broadcast_add(y, gate), "b")
    return loss(sym.transpose(y, axes=(0, 2, 3, 1)) + sym.transpose(x, axes=(0, 2, 3, 1)))


def thinned():
    """Every second element of a channel with a border: a factor each, of other places."""
    x = convolution(sym.Variable("data"), "a")
    border = {"kernel": (1, 1), "stride": (2, 2), "pad": (4, 3), "num_group": 16, "no_bias": True}
    gate = sym.Reshape(sym.Variable("gate", shape=(16,)), shape=(1, 16, 1, 1))
    y = sym.broadcast_mul(convolution(x, "b", **border), gate)
    return loss(x * 0.1 + convolution(y * 0.1, "c", **border))


NETWORKS = {
    **{f"pool-{name}": (lambda pool=pool: pooled(**pool)) for name, pool in POOLS.items()},
    "plain-pool": plain_pool,
    "residual": residual,
    "branches": branches,
    "thinned": thinned,
}


def step(net, target, options=CompilerOptions(), channels=16):  # noqa: B008 - it is immutable
    shapes = {"data": (2, channels, 8, 6)}
    wanted = net.list_arguments()
    return compile_training(net, shapes, wanted=wanted, options=options, target=target).step


def arrays_for(program):
    rng = np.random.default_rng(7)
    arrays = {p.name: rng.normal(size=p.shape).astype(np.float32) for p in program.inputs}
    return {k: abs(a) if k.endswith("var") else a for k, a in arrays.items()}


@needs_blocks
@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_stay_the_same(name):
    target, net = target_of(Context("cpu")), NETWORKS[name]()
    blocked, leaves, plain = (step(net, target, o) for o in (CompilerOptions(), LEAVES, PLAIN))
    assert blocked.passes["stay-in-blocks"]
    reorders = [
        sum(op.startswith("Reorder") for op in blocked_nodes(one)) for one in (blocked, leaves)
    ]
    # Positions of maxima, and gradients that are the same for all places, are not in blocks.
    assert reorders[0] < reorders[1] + (name in ("pool-overlapping", "pool-ceil", "residual"))
    arrays = arrays_for(plain)
    assert_same(run(blocked, arrays), run(plain, arrays), name)


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("name", ["pool-side-by-side", "residual", "branches"])
def test_blocks_of_either_size_by_their_definition(name, block):
    net = NETWORKS[name]()
    blocked, plain = step(net, replace(CPU, channel_block=block)), step(net, CPU)
    arrays = arrays_for(plain)
    assert_same(evaluate(blocked, arrays, block), run(plain, arrays), name)


@needs_blocks
@pytest.mark.parametrize("window", [(2, 2), (1, 2), (2, 1), (1, 3), (4, 1), (2, 3), (4, 3)])
def test_ties_go_to_the_first_maximum_in_blocks_too(window):
    net = plain_pool(kernel=window, stride=window)
    target = target_of(Context("cpu"))
    blocked, plain = (step(net, target, o) for o in (CompilerOptions(), PLAIN))
    assert blocked.passes["stay-in-blocks"]
    arrays = arrays_for(plain)
    rng = np.random.default_rng(1)
    # Few values, so that windows of the first convolution have equal elements above zero.
    arrays["data"] = rng.integers(0, 2, arrays["data"].shape).astype(np.float32)
    arrays["a_weight"] = np.round(arrays["a_weight"])
    assert_same(run(blocked, arrays), run(plain, arrays), "ties")


@needs_blocks
def test_infinite_elements_leave_their_neighbours_gradients_alone():
    x, hidden = convolution(sym.Variable("data"), "a"), sym.Variable("hidden", shape=(2, 16, 8, 6))
    x = sym.add_n(x, sym.sigmoid(x), hidden)
    x = sym.Pooling(x, pool_type="max", **POOLS["side-by-side"])
    net = loss(normed(convolution(x, "b"), "n"))
    target = target_of(Context("cpu"))
    blocked, plain = step(net, target), step(net, target, PLAIN)
    assert "MaxPool" in blocked_nodes(blocked)
    arrays = arrays_for(plain)
    arrays["hidden"][...] = 0.0
    arrays["hidden"][:, :, ::2, ::2] = -np.inf
    assert_same(run(blocked, arrays), run(plain, arrays), "infinite")


@needs_blocks
def test_a_comparison_as_integers_is_none_of_pictures():
    weights = draw(3, w=(16, 16, 3, 3), v=(16, 16, 3, 3), u=(16, 16, 3, 3))
    window = {"kernel_shape": [3, 3], "pads": [1] * 4}
    nodes = [
        node("Conv", "data w", "h", **window),
        node("Conv", "h v", "y", **window),
        node("Greater", "y zero", "above"),
        node("Cast", "above", "count", to=7),
        node("Add", "count one", "more"),
        node("Cast", "more", "factor", to=1),
        node("Mul", "h factor", "z"),
        node("Conv", "z u", "out", **window),
    ]
    constants = {"zero": np.float32(0), "one": np.int64(1)}
    file = model(nodes, [("data", (2, 16, 8, 6))], [("out", None)], weights | constants)
    net, target = loss(sym.from_onnx(file)), target_of(Context("cpu"))
    blocked, plain = step(net, target), step(net, target, PLAIN)
    assert "Conv" in blocked_nodes(blocked)
    arrays = {name: array * 0.1 for name, array in arrays_for(plain).items()}
    assert_same(run(blocked, arrays), run(plain, arrays), "integers")


def test_a_pool_and_a_relu_compare_in_the_kernel_that_adds():
    nodes = step(pooled(**POOLS["side-by-side"]), replace(CPU, channel_block=16)).proto().graph.node
    assert not {n.op_type for n in nodes} & {"Equal", "Greater"}
    clipping = [n for n in nodes if any(a.name == "activation" for a in n.attribute)]
    # The maxima at three places of a window, of which the fourth gets the rest; above zero.
    assert len(clipping) == 4
    # BatchNorm multiplies after the pool, and its gradient adds to that of the pool in one pass.
    assert [n.op_type for n in nodes].count("MaxPool") == 1
    assert sum(len(n.input) == 4 for n in nodes if n.domain == BLOCKED_DOMAIN) == 4


def test_the_graph_between_passes():
    net = pooled(**POOLS["side-by-side"])
    request = CompileRequest(
        net,
        {"data": (2, 16, 8, 6)},
        training=True,
        gradients=net.list_arguments(),
        target=replace(CPU, channel_block=16),
    )
    compile_request(request, lambda _, graph: verify(graph))


def test_the_first_layers_are_convolved_in_blocks_where_they_stay(monkeypatch):
    for name in ("LEAST_WORK", "LEAST_WORK_OF_WEIGHTS"):
        monkeypatch.setattr(pays, name, 100)
    target = replace(CPU, channel_block=16)
    x = convolution(sym.Variable("data"), "a", no_bias=True)
    stays = sym.Pooling(normed(x, "n"), pool_type="max", **POOLS["side-by-side"])
    assert "Conv" in blocked_nodes(step(loss(stays), target, channels=3))
    assert "Conv" not in blocked_nodes(step(loss(sym.Flatten(x)), target, channels=3))


def test_many_places_are_summed_by_the_plain_kernel():
    net = pooled(**POOLS["side-by-side"])
    shapes = {"data": (1, 16, 66, 64)}
    target = replace(CPU, channel_block=16)
    nodes = blocked_nodes(compile_training(net, shapes, target=target).step)
    assert "GlobalAveragePool" not in nodes


def random_network(rng):
    """Convolutions with other layers between them, over values that branch and join again."""
    x, size, values = sym.Variable("data"), (8, 8), []
    for i in range(int(rng.integers(4, 10))):
        kind = rng.choice(["conv", "norm", "act", "pool", "join", "scale"])
        if kind == "conv":
            x = convolution(x, f"conv{i}", num_filter=16, no_bias=bool(rng.integers(2)))
        elif kind == "norm":
            x = normed(x, f"norm{i}", fix_gamma=bool(rng.integers(2)))
        elif kind == "act":
            x = rng.choice([sym.relu, sym.sigmoid, sym.tanh])(x * 0.5)
        elif kind == "pool" and size[0] > 2:
            stride = int(rng.integers(1, 3))
            pool_type = str(rng.choice(["max", "max", "avg"]))
            x = sym.Pooling(x, kernel=(2, 2), stride=(stride, stride), pool_type=pool_type)
            size = tuple((n - 2) // stride + 1 for n in size)
        elif kind == "join":
            same = [value for value, shape in values if shape == size]
            x = x + same[int(rng.integers(len(same)))] if same else x
        elif kind == "scale":
            column = sym.Reshape(sym.Variable(f"s{i}", shape=(16,)), shape=(1, 16, 1, 1))
            x = rng.choice([sym.broadcast_mul, sym.broadcast_add, sym.broadcast_sub])(x, column)
        values.append((x, size))
    return loss(convolution(x, "last"))


@needs_blocks
@pytest.mark.fuzz
@pytest.mark.slow
def test_random_networks(seed):
    rng, target, rewritten = np.random.default_rng(seed), target_of(Context("cpu")), 0
    for number in range(20):
        net = random_network(rng)
        # With the same convolutions: those of other kernels differ in the last digit, which some
        # of these networks make large.
        blocked, leaves = (step(net, target, o) for o in (CompilerOptions(), LEAVES))
        rewritten += blocked.passes["stay-in-blocks"]
        arrays = arrays_for(leaves)
        actual, expected = run(blocked, arrays), run(leaves, arrays)
        # Sums that cancel are as exact as what they sum.
        largest = max(1.0, *(float(np.abs(v).max()) for n, v in expected.items() if "grad" in n))
        for name, value in expected.items():
            note = f"seed {seed}, network {number}: {name}"
            np.testing.assert_allclose(
                actual[name], value, rtol=1e-4, atol=1e-4 * largest, err_msg=note
            )
    assert rewritten
