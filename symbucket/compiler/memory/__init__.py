"""The memory planner: live ranges, offsets, and a model of the runtime's arena."""

from symbucket.compiler.memory.arena_model import ArenaModel, run_through
from symbucket.compiler.memory.live_ranges import Buffer, live_ranges, lower_bound
from symbucket.compiler.memory.offsets import place
from symbucket.compiler.memory.plan import MemoryPlan, PlannedTensor, plan_graph
from symbucket.compiler.memory.pool_plan import PoolPlan
from symbucket.compiler.memory.recompute import recompute

__all__ = [
    "ArenaModel",
    "Buffer",
    "MemoryPlan",
    "PlannedTensor",
    "PoolPlan",
    "live_ranges",
    "lower_bound",
    "place",
    "plan_graph",
    "recompute",
    "run_through",
]
