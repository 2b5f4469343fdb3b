"""The memory of all shards of a step together."""

from __future__ import annotations

from dataclasses import replace

from symbucket.compiler.memory.plan import MemoryPlan
from symbucket.compiler.shards.sharding import Sharding


def of_all_shards(plan: MemoryPlan, sharding: Sharding) -> MemoryPlan:
    """Return the plan of the shards from that of one: each has activations of its own."""
    parts = sharding.parts

    def whole(name: str, size: int) -> int:
        return size * parts if sharding.pieces[name].kind == "rows" else size

    return replace(
        plan,
        inputs={name: whole(name, size) for name, size in plan.inputs.items()},
        outputs={name: whole(name, size) for name, size in plan.outputs.items()},
        buffers=tuple(replace(buffer, size=buffer.size * parts) for buffer in plan.buffers),
        arena=plan.arena * parts,
    )
