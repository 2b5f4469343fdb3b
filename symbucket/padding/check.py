"""``check_padding``: does padding change what a network learns, and where does it get in?"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbucket import random
from symbucket.engine import Executor
from symbucket.errors import DataError, InvalidArgumentError, ParameterError, UnsupportedError
from symbucket.io import DataBatch, DataDesc
from symbucket.ops.noise import Dropout, RandomNormal, RandomUniform
from symbucket.ops.rnn import RNN
from symbucket.padding.align import Padding, error_of, find_lengths
from symbucket.padding.loss import loss_of
from symbucket.symbol import NameManager, Symbol
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.symbol import entry_name
from symbucket.types import Array

Pad = float | Mapping[str, float]

_HINTS = {
    "BatchNorm": "Its mean and variance count padded rows. Normalise over channels instead "
    "(LayerNorm), or let only rows that are no padding reach it.",
    "softmax": "Padding takes part in it: softmax(..., length, use_length=True).",
    "SequenceLast": "Give it the lengths: use_sequence_length=True.",
    "SequenceReverse": "Give it the lengths: use_sequence_length=True.",
    "mean": "It counts padding. Mask with SequenceMask, sum, and divide by the lengths.",
    "sum": "It adds padding. Mask with SequenceMask before.",
    "max": "Padding takes part in it. Mask with SequenceMask(value=-1e30) before.",
    "SoftmaxOutput": "Padded rows count in it: use_ignore=True, ignore_label=the label of padding, "
    'normalization="valid".',
}
_HINT = "Mask what it reads (SequenceMask, where), or read each row at its own length."


@dataclass(frozen=True)
class Difference:
    """A result that padding changes: ``kind`` is "loss", "output", "gradient" or "auxiliary".

    ``error`` is the largest difference, relative to the largest value of the shorter key.
    """

    kind: str
    name: str
    error: float

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} differs by {self.error:.2g} of its largest value"


@dataclass(frozen=True)
class PaddingReport:
    """What ``check_padding`` found; true where padding changes nothing.

    ``operator`` is the first operator whose valid values differ, as (name, kind); None where the
    results agree, or differ though all values of the forward pass agree.
    """

    key: Hashable
    longer_key: Hashable
    differences: tuple[Difference, ...]
    operator: tuple[str, str] | None
    explanation: str = ""

    @property
    def ok(self) -> bool:
        """Whether loss, outputs, gradients and auxiliary updates agree."""
        return not self.differences

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        keys = f"bucket key {self.key!r} and, padded further, {self.longer_key!r}"
        if self.ok:
            return f"Padding changes nothing: {keys} give the same results."
        shown = [f"  {d}" for d in self.differences[:8]]
        if len(self.differences) > 8:
            shown.append(f"  ... {len(self.differences)} in all")
        return "\n".join([f"Padding changes results: {keys} differ.", *shown, self.explanation])


def check_padding(
    sym_gen: Callable[[Any], Any],
    batch: DataBatch,
    longer: Any = None,
    arg_params: Mapping[str, Any] | None = None,
    aux_params: Mapping[str, Any] | None = None,
    pad: Pad = 0,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> PaddingReport:
    """Run a batch as it is and padded further, in training, and compare all results.

    Args:
        sym_gen: as for ``BucketingModule``.
        batch: a batch with its bucket key. Rows may differ in length.
        longer: a longer key, or the same rows as a batch of a longer key. By default every whole
            number in the key is made larger. Unless it is a batch, every axis of ``batch`` (but
            the batch axis) whose size is a number of the key is padded to that of ``longer``.
        arg_params, aux_params: as from ``module.get_params()``; by default random numbers.
        pad: what the arrays are padded with: a number, or one for each name (others get 0).
        tolerance: the largest difference to allow, relative to the largest value of an array.
        seed: of the random numbers; the library's own stay as they are.

    Compared are losses (a number for each), other outputs where they are no padding, gradients of
    all parameters, and auxiliary states after the step. Where something differs, the values of all
    operators are compared, in topological order; an operator agrees if one of its kind has the same
    values in the longer network, so steps may shift (as in a reversed sequence). What is padding
    inside ``batch`` is told from trailing ``pad`` in each row. Dropout is left out (p = 0).

    Raises:
        DataError: the batch has no key or shapes that do not tell how to pad it.
        ParameterError: parameters are missing or their shapes depend on the key.
        UnsupportedError: the network draws random numbers.
    """
    if not isinstance(batch, DataBatch) or batch.bucket_key is None:
        raise DataError(f"check_padding needs a DataBatch with a bucket_key, not {batch!r}")
    short = _read(sym_gen, batch)
    if isinstance(longer, DataBatch):
        if longer.bucket_key is None or longer.bucket_key == batch.bucket_key:
            raise DataError(
                f"check_padding: the longer batch has bucket_key {longer.bucket_key!r}, the batch "
                f"{batch.bucket_key!r}; the keys must differ"
            )
        long = _read(sym_gen, longer)
    else:
        longer = _longer_key(batch.bucket_key) if longer is None else longer
        long = _read(sym_gen, _padded(batch, short, longer, pad), longer)
    pairs = {
        (a, b)
        for name, array in short.arrays.items()
        for a, b in zip(array.shape, long.arrays[name].shape)
        if a != b
    }
    if not pairs or any(a > b for a, b in pairs):
        raise DataError(
            f"check_padding: the key {long.key!r} pads no axis of the batch of {short.key!r} "
            "(or shortens one)"
        )
    padding = find_lengths(short.arrays, short.batch_axes, sorted(pairs), pad)
    params, aux = _parameters(short, long, arg_params, aux_params, seed)
    first, second = (run.train(params, aux) for run in (short, long))
    _fill_heads(first, second, padding, seed)
    for run in (first, second):
        run.executor.backward(run.heads)
    differences = tuple(_differences(first, second, padding, tolerance))
    found, text = None, ""
    if differences:
        found, text = _blame(first, second, (params, aux), padding, tolerance, differences)
    return PaddingReport(short.key, long.key, differences, found, text)


# A network with its batch --------------------------------------------------------------------


@dataclass
class _Run:
    key: Any
    symbol: Symbol
    arrays: dict[str, Array]
    batch_axes: dict[str, int]
    descs: list[DataDesc]
    executor: Executor
    heads: list[Array | None]

    @property
    def params(self) -> list[str]:
        return [n for n in self.symbol.list_arguments() if n not in self.arrays]

    def bound(self, symbol: Symbol, params: Any, aux: Any, grad_req: Any) -> Executor:
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

    def train(self, params: Any, aux: Any) -> _Run:
        requests = {n: "write" if n in self.params else "null" for n in params}
        requests = {n: requests.get(n, "null") for n in self.symbol.list_arguments()}
        executor = self.bound(self.symbol, params, aux, requests)
        executor.forward(is_train=True)
        return replace(self, executor=executor)

    def values(self, entries: Sequence[Entry], params: Any, aux: Any) -> list[Array]:
        executor = self.bound(Symbol(entries), params, aux, "null")
        return [value.asnumpy() for value in executor.forward(is_train=True)]


def _read(sym_gen: Callable[[Any], Any], batch: DataBatch, key: Any = None) -> _Run:
    key = batch.bucket_key if key is None else key
    with NameManager():  # so that automatic names are the same for both keys
        made = sym_gen(key)
    symbol = made if isinstance(made, Symbol) else made[0] if isinstance(made, tuple) else None
    if not isinstance(symbol, Symbol):
        raise InvalidArgumentError(
            f"sym_gen({key!r}) must give a Symbol or (symbol, data_names, label_names), not "
            f"{made!r}"
        )
    arrays, axes, descs = {}, {}, []
    for kind, given, values in (
        ("data", batch.provide_data, batch.data),
        ("label", batch.provide_label, batch.label or []),
    ):
        if values and (given is None or len(given) != len(values)):
            raise DataError(
                f"check_padding: the batch of {key!r} must describe its {len(values)} {kind} "
                f"arrays (provide_{kind} of DataBatch)"
            )
        for desc, value in zip(given or [], values):
            if desc.name in symbol.list_arguments():
                arrays[desc.name] = np.asarray(value)
                axes[desc.name] = desc.batch_axis
                descs.append(desc)
    symbol = _without_dropout(symbol)
    return _Run(key, symbol, arrays, axes, descs, None, [])  # type: ignore[arg-type]


def _without_dropout(symbol: Symbol) -> Symbol:
    """The symbol with dropout of nothing: masks of two shapes are never the same."""
    new: dict[Node, Node] = {}
    for node in symbol.nodes():
        op = node.op
        if isinstance(op, (RandomUniform, RandomNormal)):
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


# Padding further -----------------------------------------------------------------------------


def _numbers(key: Any) -> list[int]:
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        return [int(key)]
    return [n for part in key for n in _numbers(part)] if isinstance(key, tuple) else []


def _longer_key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_longer_key, key))
    return key + key // 2 + 2 if _numbers(key) else key


def _padded(batch: DataBatch, short: _Run, longer: Any, pad: Pad) -> DataBatch:
    old, new = _numbers(short.key), _numbers(longer)
    sizes: dict[int, int] = {}
    clear = len(old) == len(new) and bool(old) and old != new
    for a, b in zip(old, new):
        clear &= a <= b and sizes.setdefault(a, b) == b
    if not clear:
        raise DataError(
            f"check_padding: how a batch of key {short.key!r} is padded to {longer!r} cannot "
            "be told from the keys. Give longer= a DataBatch: the same rows, padded further."
        )
    parts: list[list[Any]] = []
    for descs, values in (
        (batch.provide_data, batch.data),
        (batch.provide_label, batch.label or []),
    ):
        arrays, described = [], []
        for desc, value in zip(descs or [], values):
            array, axis = np.asarray(value), desc.batch_axis
            grown = [
                (0, 0 if i == axis else sizes.get(n, n) - n) for i, n in enumerate(array.shape)
            ]
            fill = pad.get(desc.name, 0) if isinstance(pad, Mapping) else pad
            array = np.pad(array, grown, constant_values=fill)
            arrays.append(array)
            described.append(desc.with_shape(array.shape))
        parts += [arrays, described]
    data, provide_data, label, provide_label = parts
    return DataBatch(
        data,
        label or None,
        bucket_key=longer,
        provide_data=provide_data,
        provide_label=provide_label or None,
    )


def _parameters(
    short: _Run, long: _Run, arg_params: Any, aux_params: Any, seed: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Values of parameters and auxiliary states; random ones where none are given."""
    rng = random.stream("check_padding", seed=seed)
    shapes = []
    for run in (short, long):
        args, _, aux = run.symbol.infer_shape(**{n: a.shape for n, a in run.arrays.items()})
        shapes.append(
            (
                dict(zip(run.symbol.list_arguments(), args)),
                dict(zip(run.symbol.list_auxiliary_states(), aux)),
            )
        )
    found: list[dict[str, Array]] = []
    for given, first, second in zip((arg_params, aux_params), *shapes):
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
            if given is None:
                # Nowhere zero: a bias of zero would hide what leaks from padding.
                low, high = (0.5, 1.5) if given is aux_params and first is shapes[0][1] else (-1, 1)
                scale = 1.0 if low > 0 else (3.0 / max(1, int(np.prod(shape[1:])))) ** 0.5
                values[name] = rng.uniform(low, high, shape).astype(np.float32) * np.float32(scale)
            elif name in given:
                values[name] = np.asarray(given[name])
            else:
                raise ParameterError(
                    f"check_padding: the network of bucket key {short.key!r} has a parameter "
                    f"{name!r} that is not given; leave arg_params and aux_params out for random "
                    "ones"
                )
        found.append(values)
    return found[0], found[1]


# Comparing -----------------------------------------------------------------------------------


def _fill_heads(first: _Run, second: _Run, padding: Padding, seed: int) -> None:
    """The same random head gradients for both, none for losses, zero for padding."""
    rng = random.stream("check_padding heads", seed=seed)
    for (node, _), short, long in zip(
        first.symbol.heads, first.executor.outputs, second.executor.outputs
    ):
        if node.op is not None and node.op.is_loss and not getattr(node.op, "out_grad", False):
            first.heads.append(None)
            second.heads.append(None)
            continue
        found = padding.best(short.asnumpy(), long.asnumpy())
        head, other = np.zeros(short.shape, np.float32), np.zeros(long.shape, np.float32)
        if found is not None:
            head = np.where(found.valid, rng.uniform(-1, 1, short.shape), 0).astype(np.float32)
            other[found.index] = head
        first.heads.append(head)
        second.heads.append(other)


def _differences(first: _Run, second: _Run, padding: Padding, tolerance: float) -> list[Difference]:
    found = []

    def compare(kind: str, name: str, error: float) -> None:
        if not error <= tolerance:
            found.append(Difference(kind, name, error))

    names = first.symbol.list_outputs()
    if names != second.symbol.list_outputs():
        raise DataError(
            f"check_padding: the outputs of {first.key!r} are {', '.join(names)}, those of "
            f"{second.key!r} {', '.join(second.symbol.list_outputs())}; they must have one meaning"
        )
    for i, head in enumerate(first.symbol.heads):
        losses = [_loss(run, i) for run in (first, second)]
        if losses[0] is not None and losses[1] is not None:
            compare("loss", head[0].name, error_of(*map(np.float64, losses)))
            continue
        values = [run.executor.outputs[i].asnumpy() for run in (first, second)]
        aligned = padding.best(*values)
        # Axes that follow no axis of the data: there is nothing that could be compared.
        if aligned is not None:
            compare("output", names[i], aligned.error)
    for name, grad in first.executor.grad_dict.items():
        other = second.executor.grad_dict.get(name)
        if other is not None:
            compare("gradient", name, error_of(grad.asnumpy(), other.asnumpy()))
    for name, state in first.executor.aux_dict.items():
        if name in second.executor.aux_dict:
            new = second.executor.aux_dict[name].asnumpy()
            compare("auxiliary", name, error_of(state.asnumpy(), new))
    return found


def _loss(run: _Run, i: int) -> float | None:
    node, _ = run.symbol.heads[i]
    if node.op is None:
        return None
    label = None
    if "label" in node.op.arguments():
        entry = node.inputs[node.op.arguments().index("label")]
        params = {n: a.asnumpy() for n, a in run.executor.arg_dict.items() if n not in run.arrays}
        (label,) = run.values([entry], params, None)
    return loss_of(node.op, run.executor.outputs[i].asnumpy(), label)


def _blame(
    first: _Run,
    second: _Run,
    params: tuple[Any, Any],
    padding: Padding,
    tolerance: float,
    differences: Sequence[Difference],
) -> tuple[tuple[str, str] | None, str]:
    """The first operator whose valid values differ, and what to say of it."""
    nodes = [[n for n in run.symbol.nodes() if n.op is not None] for run in (first, second)]
    values: list[dict[Node, list[Array]]] = []
    for run, own in zip((first, second), nodes):
        entries = [(n, i) for n in own for i in range(n.num_outputs)]
        flat = iter(run.values(entries, *params))
        values.append({n: [next(flat) for _ in range(n.num_outputs)] for n in own})
    kinds: dict[str, list[Node]] = {}
    for node in nodes[1]:
        assert node.op is not None
        kinds.setdefault(node.op.op_name, []).append(node)
    for node in nodes[0]:
        assert node.op is not None
        kind = node.op.op_name
        others = sorted(kinds.get(kind, []), key=lambda n: n.name != node.name)
        least: tuple[float, Node] | None = None
        for other in others:
            errors = []
            for value, candidate in zip(values[0][node], values[1][other]):
                aligned = padding.best(value, candidate)
                errors.append(None if aligned is None else aligned.error)
            known = [e for e in errors if e is not None]
            if len(known) < len(errors) or not known:
                continue
            if least is None or other.name == node.name:
                least = max(known), other
            if max(known) <= tolerance:
                least = 0.0, other
                break
        if least is not None and not least[0] <= tolerance:
            return (node.name, kind), _explained(node, least[1], (first.key, second.key), least[0])
    for difference in differences:
        if difference.kind == "loss":
            (node,) = {n for n, _ in first.symbol.heads if n.name == difference.name}
            assert node.op is not None
            kind = node.op.op_name
            text = (
                f"All values of the forward pass agree where they are no padding; {node.name!r} "
                f"({kind}) makes a loss of padding too. {_HINTS.get(kind, _HINT)}"
            )
            return (node.name, kind), text
    return None, (
        "All values of the forward pass agree where they are no padding: padding gets gradients. "
        "Look for an output or a loss that is not masked."
    )


def _explained(node: Node, other: Node, keys: tuple[Any, Any], error: float) -> str:
    assert node.op is not None
    reads = [", ".join(repr(entry_name(e)) for e in n.inputs[:4]) for n in (node, other)]
    text = (
        f"The first operator whose valid values differ is {node.name!r} ({node.op.op_name}), by "
        f"{error:.2g} of its largest value. "
    )
    if reads[0] != reads[1]:
        text += f"It reads {reads[0]} for key {keys[0]!r} and {reads[1]} for key {keys[1]!r}. "
    return text + _HINTS.get(node.op.op_name, _HINT)
