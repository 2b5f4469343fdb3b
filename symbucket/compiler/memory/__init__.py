"""The memory planner: live intervals, offsets, and what the runtime's arena makes of them."""

from symbucket.compiler.memory.arena_model import Arena, run_through
from symbucket.compiler.memory.intervals import Buffer, live_intervals, lower_bound
from symbucket.compiler.memory.offsets import place
from symbucket.compiler.memory.plan import MemoryPlan, PlannedTensor, plan_graph
from symbucket.compiler.memory.pool_plan import PoolPlan
from symbucket.compiler.memory.recompute import recompute

__all__ = [
    "Arena",
    "Buffer",
    "MemoryPlan",
    "PlannedTensor",
    "PoolPlan",
    "live_intervals",
    "lower_bound",
    "place",
    "plan_graph",
    "recompute",
    "run_through",
]
