"""Ports: what each input and output of a model is for, and what it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from symbucket.compiler.memory.plan import MemoryPlan
from symbucket.compiler.shards.sharding import Sharding
from symbucket.errors import NameConflictError
from symbucket.ir import Builder, dtype_of, shape_of


class Role(Enum):
    """Purpose of a port; the value is a description and the form of the tensor's name.

    Inputs have the roles ARGUMENT (data, labels and parameters), STATE, HEAD and NOISE (random
    numbers, drawn anew for each run); outputs OUTPUT, GRAD (or ROWS and VALUES, if the gradient is
    row-sparse), NEXT_STATE, METRIC_TOTAL and METRIC_COUNT. STASH leaves a forward model and enters
    its backward model. PARTIAL is no port of a model: what a shard of the batch adds to an output.
    """

    ARGUMENT = "argument", "{}"
    STATE = "auxiliary state", "{}"
    HEAD = "head gradient", "{}.head"
    OUTPUT = "output", "{}"
    METRIC_TOTAL = "total of a metric", "{}.total"
    METRIC_COUNT = "count of a metric", "{}.count"
    NEXT_STATE = "next value of an auxiliary state", "{}.new"
    GRAD = "gradient", "{}.grad"
    ROWS = "row numbers of a gradient", "{}.rows"
    VALUES = "rows of a gradient", "{}.values"
    STASH = "stash", "stash/{}"
    NOISE = "noise", "noise/{}"
    PARTIAL = "sum over a shard of the batch", "partial/{}"

    @property
    def description(self) -> str:
        """What the port is, in words."""
        return self.value[0]

    def tensor_name(self, of: str) -> str:
        """Return the name that a model's tensor of this role has."""
        return self.value[1].format(of)


class PortId(NamedTuple):
    """A role and the name of the variable, output, metric or value that the port belongs to."""

    role: Role
    of: str

    @property
    def name(self) -> str:
        """The name of the model's tensor."""
        return self.role.tensor_name(self.of)


@dataclass(frozen=True)
class Port:
    """An input or output of a model.

    Attributes:
        name: the tensor's name in the model.
        shape: its shape.
        dtype: its element type.
        role: what it is for.
        of: the variable, output, metric or (for a stash) value that it belongs to.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    role: Role
    of: str

    @staticmethod
    def of_value(
        port: PortId, value: ir.Value, whole_shapes: Mapping[str, tuple[int, ...]]
    ) -> Port:
        """Return the port for a value of a graph; ``whole_shapes`` may say another shape of it."""
        dtype = np.dtype(dtype_of(value).numpy())
        name = value.name or port.name
        return Port(name, whole_shapes.get(name, shape_of(value)), dtype, port.role, port.of)


@dataclass
class PortedGraph:
    """A graph on its way to a model: which of its values are inputs and outputs for what."""

    graph: ir.Graph
    inputs: dict[ir.Value, PortId]
    outputs: dict[PortId, ir.Value]
    changes: dict[str, int] = field(default_factory=dict)
    """How much each pass has changed, by name."""
    plan: MemoryPlan | None = None
    sharding: Sharding | None = None
    """If the graph is that of a shard, how the shards make the whole."""
    whole_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """The shapes of its ports in the whole batch, by name."""
    unsharded: str = ""
    """Why it is not that of a shard, if that was asked."""


def distinct_values(g: Builder, outputs: Mapping[PortId, ir.Value]) -> dict[PortId, ir.Value]:
    """Return outputs of which no two are one value and none is an input, by Identity nodes."""
    distinct: dict[PortId, ir.Value] = {}
    taken: set[ir.Value] = set()
    for port, value in outputs.items():
        if value.producer() is None or value in taken:
            value = g.op("Identity", value)
        distinct[port] = value
        taken.add(value)
    return distinct


def check_names(ports: PortedGraph) -> None:
    """Raise NameConflictError if two ports would have tensors of one name."""
    taken: dict[str, PortId] = {}
    for port in (*ports.inputs.values(), *ports.outputs):
        other = taken.setdefault(port.name, port)
        if other != port:
            raise name_conflict(other, port)


def name_conflict(first: PortId, second: PortId) -> NameConflictError:
    """Return the error for two ports whose tensors would have one name."""
    variable = next((p for p in (first, second) if p.role in (Role.ARGUMENT, Role.STATE)), None)
    if variable is None:
        return NameConflictError(
            f"The {first.role.description} of {first.of!r} and the {second.role.description} of "
            f"{second.of!r} would both be called {first.name!r} in the model. Rename one of them."
        )
    other = second if variable is first else first
    return NameConflictError(
        f"The variable {variable.of!r} has the name of a result of the training step: the "
        f"{other.role.description} of {other.of!r}. Give the variable another name."
    )
