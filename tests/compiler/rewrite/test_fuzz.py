"""Random networks of shared weights: stacking and summing products must keep order and numbers."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompileRequest, CompilerOptions, compile_request, pass_names
from symbucket.runtime import NDArray, Session
from tests.compiler.verify_graph import verify

ROWS, WIDTH = 2, 3


def random_network(rng):
    """Layers, sums, cuts and joins of (2, 3) values, drawn from everything made before."""
    weights = [sym.Variable(f"w{i}") for i in range(3)]
    biases = [sym.Variable(f"b{i}") for i in range(2)]
    values = [sym.Variable("x"), sym.Variable("y"), sym.zeros(shape=(ROWS, WIDTH))]

    def pick():
        # Late values more often, so that chains get long.
        return values[-1 - min(int(rng.geometric(0.25)) - 1, len(values) - 1)]

    def layer(x):
        extra = [biases[rng.integers(2)]] if rng.random() < 0.5 else []
        weight = weights[rng.integers(3)]
        return sym.FullyConnected(x, weight, *extra, num_hidden=WIDTH, no_bias=not extra)

    for _ in range(int(rng.integers(6, 25))):
        kind = rng.choice(["layer", "sum", "tanh", "cut", "steps"], p=[0.35, 0.3, 0.15, 0.1, 0.1])
        if kind == "layer":
            values.append(layer(pick()))
        elif kind == "sum":
            values.append(layer(pick()) + layer(pick()))
        elif kind == "tanh":
            values.append(sym.tanh(pick()))
        elif kind == "cut":
            axis = int(rng.integers(2))
            whole = sym.tanh(sym.Concat(pick(), pick(), dim=axis))
            parts = sym.SliceChannel(whole, num_outputs=2, axis=axis)
            again = sym.Concat(parts[0], parts[1], dim=axis)
            first = sym.slice_axis(again, axis=axis, begin=0, end=(ROWS, WIDTH)[axis])
            values += [parts[1], first]
        else:
            steps = sym.stack(pick(), pick(), axis=1)
            parts = sym.SliceChannel(sym.tanh(steps), num_outputs=2, axis=1, squeeze_axis=True)
            joined = sym.Concat(parts[0], parts[1], dim=0)
            values += [
                parts[int(rng.integers(2))],
                sym.slice_axis(layer(joined), axis=0, begin=0, end=ROWS),
            ]
    # Everything that nobody has read must reach a loss; some inner values are outputs as well.
    heads = [sym.MakeLoss(sym.sum(v * float(rng.normal()))) for v in values[2:]]
    inner = [sym.BlockGrad(values[i]) for i in rng.integers(0, len(values), 2)]
    return sym.Group(heads + inner)


def training(net, shapes, names, options=None):
    options = options or CompilerOptions()
    return CompileRequest(
        net, shapes, training=True, name="training", gradients=names, options=options
    )


@pytest.mark.parametrize("seed", range(25))
def test_random_networks(seed):
    rng = np.random.default_rng(seed)
    net = random_network(rng)
    names = net.list_arguments()
    given = {n: (ROWS, WIDTH) for n in ("x", "y") if n in names}
    shapes = dict(zip(names, net.infer_shape(**given)[0]))
    arrays = {n: rng.normal(size=s).astype(np.float32) * 0.5 for n, s in shapes.items()}

    def run(disable):
        options = CompilerOptions(disable=disable)
        request = training(net, shapes, names, options)
        made = compile_request(request, lambda _, graph: _ordered(graph)).step
        session = Session(made.model, sb.cpu(), "fuzz")
        session.bind_inputs({t.name: NDArray(arrays[t.name]) for t in made.inputs})
        outputs = {t.name: NDArray.empty(t.shape, t.dtype) for t in made.outputs}
        session.bind_outputs(outputs)
        session.run()
        return {n: a.asnumpy() for n, a in outputs.items()}

    plain, found = run(pass_names()), run([])
    assert found.keys() == plain.keys()
    for name, array in plain.items():
        scale = max(1.0, np.abs(array).max(initial=0))
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-5 * scale, err_msg=name)


def _ordered(graph):
    """Every node behind the nodes that it reads; the last pass of a stage is looked at closely."""
    known = {*graph.inputs, *graph.initializers.values()}
    for node in graph:
        assert all(v in known for v in node.inputs if v is not None), node.name
        known.update(node.outputs)


def test_one_random_network_closely():
    net = random_network(np.random.default_rng(100))
    names = net.list_arguments()
    given = {n: (ROWS, WIDTH) for n in ("x", "y") if n in names}
    shapes = dict(zip(names, net.infer_shape(**given)[0]))
    request = training(net, shapes, names)
    made = compile_request(request, lambda _, graph: verify(graph)).step
    assert made.passes["batch-gemms"] > 0
