"""Ways of training: two updates, and one set of parameters for pictures of several sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

import symbucket as sb
from symbucket.compiler import CompilerOptions, pass_names
from symbucket.errors import ShapeError
from symbucket.types import Array, Shape
from tests.fuzz.networks import Network
from tests.fuzz.ways import (
    DEFAULTS,
    Results,
    Skip,
    _batch,
    _descs,
    _given,
    _outputs,
    _parts,
    check_dtypes,
    way,
)

WITHOUT = CompilerOptions(disable=pass_names())
OPTIMIZERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("sgd", {"learning_rate": 0.01}),
    ("sgd", {"learning_rate": 0.01, "momentum": 0.9, "wd": 1e-3}),
    ("sgd", {"learning_rate": 0.02, "clip_gradient": 0.5}),
    ("adam", {"learning_rate": 0.01, "epsilon": 1e-2}),
)
GROWTH = (0, 3, 1)
"""Elements that are added to each axis of pictures, for one key after the other."""


def _two_updates(network: Network, options: CompilerOptions) -> Results:
    """Outputs of the second step, and what two updates leave of parameters and states."""
    parts = _parts(network)
    return _train(network, [(parts.data, network.heads())] * 2, options)


way("two updates", "")(lambda network: _two_updates(network, DEFAULTS))


@way("two updates without passes", "two updates", same_step=True)
def _(network: Network) -> Results:
    return _two_updates(network, WITHOUT)


def _several_sizes(network: Network, options: CompilerOptions) -> Results:
    """The same for a key of each size."""
    name = next(iter(network.args))
    if len(network.args[name].shape) < 3:
        raise Skip("no pictures")
    return _train(network, [_grown(network, name, by) for by in GROWTH], options)


way("several sizes", "")(lambda network: _several_sizes(network, DEFAULTS))


@way("several sizes without passes", "several sizes", same_step=True)
def _(network: Network) -> Results:
    return _several_sizes(network, WITHOUT)


def _grown(network: Network, name: str, by: int) -> tuple[dict[str, Array], list[Array]]:
    """Data and head gradients with pictures that are larger along all of their axes."""
    parts = _parts(network)
    if name not in parts.data:
        raise Skip("no pictures as data")
    shapes: dict[str, Shape] = {n: a.shape for n, a in parts.params.items()}
    n, c, *size = parts.data[name].shape
    shapes[name] = (n, c, *(s + by for s in size))
    try:
        arguments, outputs, _ = network.symbol.complete_shapes(**shapes)
    except ShapeError:
        raise Skip("parameters are of one size of pictures") from None
    by_name = dict(zip(network.symbol.list_arguments(), arguments))
    data = {n: np.resize(a, by_name[n]) for n, a in parts.data.items()}
    rng = np.random.default_rng([network.seed, by])
    return data, [rng.uniform(-1.0, 1.0, shape) for shape in outputs]


def _train(
    network: Network,
    batches: list[tuple[dict[str, Array], list[Array]]],
    options: CompilerOptions,
) -> Results:
    """An update for each batch, of the key that its shapes are."""
    parts = _parts(network)
    if not set(parts.params) & set(network.wanted):
        raise Skip("no parameters")
    if any(network.args[n].dtype == np.float16 for n in parts.params):
        raise Skip("optimizers want float32")
    check_dtypes(network, parts)
    symbol = network.with_shapes([*parts.params, *network.aux]).symbol
    names = list(parts.data)
    sb.random.seed(network.seed)
    module = sb.mod.BucketingModule(
        lambda key: (symbol, names, []), default_bucket_key=_key(parts.data), options=options
    )
    module.bind(_descs(parts.data), None)
    args, aux = ({n: sb.nd.array(a, dtype=a.dtype) for n, a in d.items()} for d in _given(network))
    module.init_params(arg_params={n: args[n] for n in parts.params}, aux_params=aux)
    name, attributes = OPTIMIZERS[network.seed % len(OPTIMIZERS)]
    module.init_optimizer(optimizer=name, optimizer_params={"rescale_grad": 1.0, **attributes})
    results: Results = {}
    for number, (data, heads) in enumerate(batches):
        batch = _batch(data, _key(data))
        if all(op is not None and op.is_loss for op in _last_operators(network)):
            module.forward_backward(batch)
        else:
            module.forward(batch, is_train=True)
            module.backward([sb.nd.array(h) for h in heads])
        module.update()
        outputs = _outputs(module.get_outputs())
        results.update({f"step {number}: {n}": a for n, a in outputs.items()})
    trained, states = module.get_params()
    results.update({f"trained {n}": a.asnumpy() for n, a in trained.items()})
    results.update({f"next {n}": a.asnumpy() for n, a in states.items()})
    return results


def _last_operators(network: Network) -> list[Any]:
    return [node.op for node, _ in network.symbol.heads]


def _key(data: dict[str, Array]) -> tuple[Shape, ...]:
    return tuple(a.shape for a in data.values())
