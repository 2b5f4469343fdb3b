"""The memory plan of one model: every tensor with its place and its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx_ir as ir

from symbucket.compiler.memory.arena_model import ArenaModel, run_through
from symbucket.compiler.memory.live_ranges import Buffer, live_ranges, lower_bound, size_of
from symbucket.compiler.memory.offsets import place
from symbucket.ir import body_of, bounds


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor in the pool: ``size`` bytes at ``offset``, from node ``birth`` to node ``death``.

    ``kind``: "stash" (forward nodes write it, backward nodes read it) or "transient". What lies
    in an array of its own, outside the pool, is "output" or "gradient" and has no offset.
    ``name`` is that of the first value; values written over it have their names in ``also``.
    """

    name: str
    size: int
    birth: int
    death: int
    offset: int | None
    kind: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of one model, in bytes, if its nodes run in their order.

    ``inputs`` and ``outputs`` lie in arrays of their own; ``buffers`` are the activations, which
    share one pool. Sizes that depend on data count with their upper bounds. ``gradient_outputs``
    names the outputs that are gradients.

    ``arena``: bytes that the runtime touches of one large region; a little more than ``peak``. The
    runtime places requests one by one, as they come; the plan knows all of them.
    """

    nodes: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    buffers: tuple[Buffer, ...] = field(repr=False)
    gradient_outputs: tuple[str, ...] = ()
    arena: int = 0

    @cached_property
    def lower_bound(self) -> int:
        """The most activation bytes that are live at one time: no plan is below it."""
        return lower_bound(list(self.buffers))

    @cached_property
    def _placed(self) -> tuple[list[int], int]:
        return place(self.buffers)

    @property
    def peak(self) -> int:
        """Size of the pool in which every activation has its offset."""
        return self._placed[1]

    @property
    def gradients(self) -> int:
        """Bytes of the outputs that are gradients."""
        return sum(self.outputs[name] for name in self.gradient_outputs)

    @property
    def stash(self) -> int:
        """The most bytes at one time that wait for the backward part."""
        return lower_bound([b for b in self.buffers if b.stash])

    @property
    def transients(self) -> int:
        """The most bytes at one time that do not wait for the backward part."""
        return lower_bound([b for b in self.buffers if not b.stash])

    @property
    def total(self) -> int:
        """Bytes of inputs, outputs and activations, which ``memory_limit`` limits."""
        return self.arrays + self.arena

    @property
    def arrays(self) -> int:
        """Bytes of all inputs and outputs."""
        return sum(self.inputs.values()) + sum(self.outputs.values())

    def tensors(self) -> list[PlannedTensor]:
        """Return every tensor: those of the pool by birth, then outputs and gradients."""
        offsets = self._placed[0]
        tensors = [
            PlannedTensor(
                *(b.values[0], b.size, b.birth, b.death, at),
                "stash" if b.stash else "transient",
                tuple(b.values[1:]),
            )
            for b, at in zip(self.buffers, offsets)
        ]
        for name, size in self.outputs.items():
            kind = "gradient" if name in self.gradient_outputs else "output"
            tensors.append(PlannedTensor(name, size, 0, self.nodes - 1, None, kind))
        return tensors

    def summary(self) -> dict[str, int]:
        """Return the totals in bytes, by name."""
        return {
            "nodes": self.nodes,
            "inputs": sum(self.inputs.values()),
            "outputs": sum(self.outputs.values()) - self.gradients,
            "gradients": self.gradients,
            "stash": self.stash,
            "transients": self.transients,
            "lower_bound": self.lower_bound,
            "peak": self.peak,
            "arena": self.arena,
            "total": self.total,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the plan for ``json.dump``: the totals, and one record for each of "tensors"."""
        return {**self.summary(), "tensors": [vars(t) for t in self.tensors()]}

    def table(self, rows: int = 20) -> str:
        """Return the totals and the ``rows`` largest tensors as text."""
        lines = [f"{name:<12} {_amount(name, size):>12}" for name, size in self.summary().items()]
        lines += ["", f"{'MB':>10} {'first':>6} {'last':>6} {'offset':>12}  kind       tensor"]
        for t in sorted(self.tensors(), key=lambda t: -t.size)[:rows]:
            at = "-" if t.offset is None else str(t.offset)
            line = f"{t.size / 1e6:>10.3f} {t.birth:>6} {t.death:>6} {at:>12}  {t.kind:<9}  "
            lines.append(line + t.name)
        return "\n".join(lines)


def _amount(name: str, size: int) -> str:
    return str(size) if name == "nodes" else f"{size / 1e6:.3f} MB"


def plan_graph(graph: ir.Graph, gradient_outputs: Sequence[str] = ()) -> MemoryPlan:
    """Return the plan of a graph whose nodes stand in the order in which they will run.

    ``gradient_outputs`` names the outputs that are gradients. Raises
    ValueError if a value has neither a static shape nor a bound.
    """
    sizes = bounds(graph)
    buffers = tuple(live_ranges(graph))
    arena = ArenaModel()
    run_through(arena, buffers)
    return MemoryPlan(
        len(graph) + sum(len(body) for body in map(body_of, graph) if body is not None),
        {v.name or "": size_of(v, sizes) for v in graph.inputs},
        {v.name or "": size_of(v, sizes) for v in graph.outputs},
        buffers,
        tuple(gradient_outputs),
        arena.touched,
    )
