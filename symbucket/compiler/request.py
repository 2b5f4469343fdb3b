"""The request to the compiler: one hashable object with all that a compilation depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from symbucket.compiler.options import CompilerOptions
from symbucket.compiler.target import CPU, Target
from symbucket.metric import GraphMetric
from symbucket.symbol.brief import brief
from symbucket.symbol.symbol import Symbol


@dataclass(frozen=True, eq=False)
class CompileRequest:
    """One compilation: a symbol, its shapes, and which model of it is wanted.

    Requests are equal if their contents are: two symbols made by the same calls count as one. Where
    models are cached makes no difference.

    Attributes:
        symbol: the network.
        shapes: the shape of each variable, or enough of them to infer the others.
        dtypes: the element types of variables; float32 unless something says otherwise.
        training: compile a training step, not inference.
        name: the graph's name; it appears in error texts and profiles.
        gradients: the arguments to differentiate by, if training.
        fetch: the symbol outputs that the model returns; None for all of them.
        metrics: sums to compute in the graph and return.
        row_sparse: gradients that may come as ROWS and VALUES in place of GRAD.
        options: the user's options.
        target: what the model must run on.
        as_inference: the training step differentiates what inference computes: no Dropout, and the
            moving statistics of BatchNorm.
        batch_axes: arguments with the axis along which the batch's rows lie; what is not named
            there is the same for all rows. The step may be sharded if there are any.
    """

    symbol: Symbol
    shapes: Mapping[str, Sequence[int]]
    dtypes: Mapping[str, Any] = field(default_factory=dict)
    training: bool = False
    name: str = "inference"
    gradients: Collection[str] = ()
    fetch: Collection[str] | None = None
    metrics: Sequence[GraphMetric] = ()
    row_sparse: Collection[str] = frozenset()
    options: CompilerOptions = field(default_factory=CompilerOptions)
    target: Target = CPU
    as_inference: bool = False
    batch_axes: tuple[tuple[str, int], ...] = ()

    @property
    def trains(self) -> bool:
        """Whether operators are in training mode."""
        return self.training and not self.as_inference

    def __post_init__(self) -> None:
        for name, value in {
            "shapes": {n: _fixed(shape) for n, shape in self.shapes.items()},
            "dtypes": dict(self.dtypes),
            "gradients": tuple(self.gradients),
            "fetch": None if self.fetch is None else tuple(self.fetch),
            "metrics": tuple(self.metrics),
            "row_sparse": frozenset(self.row_sparse),
            "batch_axes": tuple(sorted(self.batch_axes)),
        }.items():
            object.__setattr__(self, name, value)

    def with_options(self, options: CompilerOptions) -> CompileRequest:
        """Return the same request with other options."""
        return dataclasses.replace(self, options=options)

    @cached_property
    def content(self) -> str:
        """Everything that the result depends on, as text; equal requests have equal texts."""
        return repr([(f.name, _plain(getattr(self, f.name))) for f in dataclasses.fields(self)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompileRequest) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)


def _fixed(shape: Any) -> Any:
    return tuple(shape) if isinstance(shape, list) else shape


def _plain(part: Any) -> Any:
    """Return something whose ``repr`` tells all contents, in an order that does not vary."""
    if isinstance(part, Symbol):
        return _symbol(part)
    if isinstance(part, Mapping):
        return sorted((str(k), _plain(v)) for k, v in part.items())
    if isinstance(part, CompilerOptions):
        names = (f.name for f in dataclasses.fields(part) if not f.name.startswith("cache_"))
        return [(name, _plain(getattr(part, name))) for name in names]
    if isinstance(part, Target):
        return [getattr(part, f.name) for f in dataclasses.fields(part)]
    if isinstance(part, np.dtype) or (isinstance(part, type) and issubclass(part, np.generic)):
        return np.dtype(part).str
    if isinstance(part, (set, frozenset)):
        return sorted(map(str, part))
    if isinstance(part, Collection) and not isinstance(part, (str, bytes)):
        return [_plain(item) for item in part]
    return part


def _symbol(symbol: Symbol) -> list[Any]:
    network = brief(symbol)
    nodes = network.nodes
    index = {node: i for i, node in enumerate(nodes)}

    def places(entries: Collection[tuple[Any, int]]) -> list[tuple[int, int]]:
        return [(index[node], output) for node, output in entries]

    records: dict[int, str] = {}  # many nodes share one
    content: list[Any] = [places(network.heads), sorted(network.counts.items())]
    for node in nodes:
        record = records.get(id(node.op))
        if record is None:
            op = node.op
            record = "" if op is None else repr((op.op_name, _attributes(op)))
            records[id(op)] = record
        content.append((record, node.name, sorted(node.attrs.items()), places(node.inputs)))
    return content


def _attributes(op: Any) -> list[Any]:
    return [getattr(op, f.name) for f in dataclasses.fields(op)]
