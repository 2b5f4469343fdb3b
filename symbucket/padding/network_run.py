"""A network of one bucket key with a batch, bound and run by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.engine import Executor
from symbucket.errors import DataError, InvalidArgumentError, ParameterError, UnsupportedError
from symbucket.io import DataBatch, DataDesc
from symbucket.ops.noise import Dropout, RandomNormal, RandomUniform
from symbucket.ops.rnn import RNN
from symbucket.symbol import NameManager, Symbol
from symbucket.symbol.node import Entry, Node
from symbucket.types import Array


@dataclass
class NetworkRun:
    """The network of ``key`` with the arrays of its batch; after ``train``, with its executor."""

    key: Any
    symbol: Symbol
    arrays: dict[str, Array]
    batch_axes: dict[str, int]
    descs: list[DataDesc]
    executor: Executor
    heads: list[Array | None]

    @property
    def params(self) -> list[str]:
        """The names of the arguments that the batch does not give."""
        return [n for n in self.symbol.list_arguments() if n not in self.arrays]

    def bound(self, symbol: Symbol, params: Any, aux: Any, grad_req: Any) -> Executor:
        """Bind ``symbol``, a part of the network, to the batch and these parameters."""
        names = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
        executor = symbol.simple_bind(
            grad_req=grad_req,
            type_dict={d.name: d.dtype for d in self.descs if d.name in names},
            **{n: a.shape for n, a in self.arrays.items() if n in names},
        )
        assert isinstance(executor, Executor)
        executor.name = f"check_padding, bucket key {self.key!r}"
        executor.copy_params_from(params, aux, allow_extra_params=True)
        executor.feed({n: a for n, a in self.arrays.items() if n in names})
        return executor

    def train(self, params: Any, aux: Any) -> NetworkRun:
        """Return this run with an executor that has done the forward half of a training step."""
        requests = {n: "write" if n in self.params else "null" for n in params}
        requests = {n: requests.get(n, "null") for n in self.symbol.list_arguments()}
        executor = self.bound(self.symbol, params, aux, requests)
        executor.forward(is_train=True)
        return replace(self, executor=executor)

    def values(self, entries: Sequence[Entry], params: Any, aux: Any) -> list[Array]:
        """Return the values of inner outputs in training mode."""
        executor = self.bound(Symbol(entries), params, aux, "null")
        return [value.asnumpy() for value in executor.forward(is_train=True)]


def read_network(sym_gen: Callable[[Any], Any], batch: DataBatch, key: Any = None) -> NetworkRun:
    """Generate the network of ``key`` (by default the batch's), without dropout.

    Raises DataError if the batch does not describe its arrays, UnsupportedError if the network
    draws random numbers.
    """
    key = batch.bucket_key if key is None else key
    with NameManager():  # so that automatic names are the same for both keys
        generated = sym_gen(key)
    symbol = generated[0] if isinstance(generated, tuple) else generated
    if not isinstance(symbol, Symbol):
        raise InvalidArgumentError(
            f"sym_gen({key!r}) must return a Symbol or (symbol, data_names, label_names), "
            f"not {generated!r}"
        )
    arrays, axes, descs = {}, {}, []
    for kind, described, values in (
        ("data", batch.provide_data, batch.data),
        ("label", batch.provide_label, batch.label or []),
    ):
        if values and (described is None or len(described) != len(values)):
            raise DataError(
                f"check_padding: the batch of {key!r} must describe its {len(values)} {kind} "
                f"arrays (provide_{kind} of DataBatch)"
            )
        for desc, value in zip(described or [], values):
            if desc.name in symbol.list_arguments():
                arrays[desc.name] = np.asarray(value)
                axes[desc.name] = desc.batch_axis
                descs.append(desc)
    symbol = _without_dropout(symbol)
    return NetworkRun(key, symbol, arrays, axes, descs, None, [])  # type: ignore[arg-type]


def _without_dropout(symbol: Symbol) -> Symbol:
    """Return the symbol with every dropout rate 0: masks of two shapes are never the same."""
    new: dict[Node, Node] = {}
    for node in symbol.nodes():
        op = node.op
        in_loop = op is not None and op.holds_graphs and op.draws(training=True) > 0
        if in_loop or isinstance(op, (RandomUniform, RandomNormal)):
            assert op is not None
            raise UnsupportedError(
                f"check_padding: {node.name!r} draws random numbers ({op.op_name}), which differ "
                "from run to run; check the network without it"
            )
        if isinstance(op, (Dropout, RNN)) and op.p:
            op = replace(op, p=0.0)
        inputs = tuple((new[child], i) for child, i in node.inputs)
        same = op is node.op and all(a[0] is b[0] for a, b in zip(inputs, node.inputs))
        new[node] = node if same else Node(op, node.name, inputs, node.attrs)
    return Symbol([(new[node], i) for node, i in symbol.heads])


def draw_parameters(
    short: NetworkRun, long: NetworkRun, arg_params: Any, aux_params: Any, seed: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return values of parameters and of auxiliary states: the given ones, else random numbers."""
    rng = seeding.stream("check_padding", seed=seed)
    shapes = []
    for run in (short, long):
        args, _, aux = run.symbol.complete_shapes(**{n: a.shape for n, a in run.arrays.items()})
        shapes.append(
            (
                dict(zip(run.symbol.list_arguments(), args)),
                dict(zip(run.symbol.list_auxiliary_states(), aux)),
            )
        )
    drawn: list[dict[str, Array]] = []
    for user_values, first, second in zip((arg_params, aux_params), *shapes):
        values: dict[str, Array] = {}
        for name, shape in {**second, **first}.items():
            if name in short.arrays or name in long.arrays:
                continue
            if name in second and second[name] != shape:
                raise ParameterError(
                    f"parameter {name!r} has shape {shape} for bucket key {short.key!r} and "
                    f"{second[name]} for {long.key!r}; a shared parameter must not depend on the "
                    "key"
                )
            if user_values is None:
                # Nowhere zero: a bias of zero would hide what leaks from padding.
                low, high = (0.5, 1.5) if first is shapes[0][1] else (-1, 1)
                scale = 1.0 if low > 0 else (3.0 / max(1, int(np.prod(shape[1:])))) ** 0.5
                values[name] = rng.uniform(low, high, shape).astype(np.float32) * np.float32(scale)
            elif name in user_values:
                values[name] = np.asarray(user_values[name])
            else:
                raise ParameterError(
                    f"check_padding: the network of bucket key {short.key!r} has a parameter "
                    f"{name!r} that is not given; leave arg_params and aux_params out for random "
                    "ones"
                )
        drawn.append(values)
    return drawn[0], drawn[1]
