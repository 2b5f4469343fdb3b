"""The memory plan of many keys: one pool for all of them, and everything outside it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from symbucket.checks import listing
from symbucket.compiler.memory.plan import MemoryPlan
from symbucket.html_tables import html_line, html_table
from symbucket.tables import format_table

# Measured with onnxruntime-training 1.19.2 and onnxruntime 1.31.1 on Linux.
COMPILER_BYTES = 14_000_000  # that compiling leaves in the process: code, caches, an untidy heap
SESSION_BYTES = 350_000  # of a session without nodes
NODE_BYTES = 3_800  # of a session for each node: the runtime's graph, kernel and binding


@dataclass(frozen=True)
class PoolPlan:
    """Memory of training on these keys, in bytes, in whatever order they come.

    ``plans``: the models of each key; only one runs at a time, so the pool is the largest one's.
    ``parameters``, ``gradients`` and ``states`` (of the optimizer) exist once; ``data`` (arrays
    of data, labels and states of the network) and ``outputs`` once for each key. ``update`` is the
    optimizer's model. ``room``: how much larger than needed the arena's region is; what is never
    touched of it costs nothing but the arena's bookkeeping. ``loops`` names the recurrences of each
    key that run as loops, and ``unrolled`` has the reasons of those that do not.
    """

    plans: Mapping[Hashable, tuple[MemoryPlan, ...]]
    parameters: int
    gradients: int
    states: int
    data: Mapping[Hashable, int]
    outputs: Mapping[Hashable, int]
    update: MemoryPlan | None = None
    room: float = 1.0
    loops: Mapping[Hashable, tuple[str, ...]] = field(default_factory=dict)
    unrolled: Mapping[Hashable, tuple[str, ...]] = field(default_factory=dict)

    @property
    def models(self) -> list[MemoryPlan]:
        """The plans of all models, the optimizer's among them, the largest first."""
        plans = [p for many in self.plans.values() for p in many]
        plans += [] if self.update is None else [self.update]
        return sorted(plans, key=lambda p: -p.arena)

    @property
    def peak(self) -> int:
        """Size of the planned pool: the largest key's peak."""
        return max((p.peak for p in self.models), default=0)

    @property
    def lower_bound(self) -> int:
        """The most activation bytes that live at one time in any key."""
        return max((p.lower_bound for p in self.models), default=0)

    @property
    def arena(self) -> int:
        """Bytes that the runtime touches of its arena, in whatever order the keys come.

        The arena is one region, and everything in it is freed at the end of a step: a step
        finds it as the previous one did, so the largest key alone decides.
        """
        return max((p.arena for p in self.models), default=0)

    @property
    def largest(self) -> Hashable:
        """The key that decides the size of the pool; None if there are no keys."""
        return max(self.plans, key=self._need, default=None)

    def _need(self, key: Hashable) -> int:
        return max((p.arena for p in self.plans[key]), default=0)

    @property
    def sessions(self) -> int:
        """Estimate of what the runtime keeps for the sessions themselves."""
        return sum(SESSION_BYTES + NODE_BYTES * p.nodes for p in self.models)

    @property
    def bookkeeping(self) -> int:
        """Bytes that the arena records about its region: 8 for each piece of 256."""
        return int(self.arena * self.room) // 32

    @property
    def compiler(self) -> int:
        """Estimate of what compiling leaves in the process."""
        return COMPILER_BYTES if self.plans else 0

    @property
    def total(self) -> int:
        """The sum of all: how much the process grows."""
        beside = sum(self.data.values()) + sum(self.outputs.values())
        fixed = self.parameters + self.gradients + self.states
        return fixed + beside + self.arena + self.bookkeeping + self.sessions + self.compiler

    def summary(self) -> dict[str, int]:
        """Return the totals in bytes, by name."""
        return {
            "parameters": self.parameters,
            "gradients": self.gradients,
            "optimizer states": self.states,
            "data": sum(self.data.values()),
            "outputs": sum(self.outputs.values()),
            "activations": self.arena,
            "bookkeeping": self.bookkeeping,
            "sessions": self.sessions,
            "compiler": self.compiler,
            "total": self.total,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the plan for ``json.dump``; bucket keys appear as their ``repr``."""
        keys = {
            repr(key): {
                "data": self.data[key],
                "outputs": self.outputs[key],
                "loops": list(self.loops.get(key, ())),
                "unrolled": list(self.unrolled.get(key, ())),
                "models": [p.as_dict() for p in many],
            }
            for key, many in self.plans.items()
        }
        return {**self.summary(), "peak": self.peak, "largest": repr(self.largest), "keys": keys}

    def __repr__(self) -> str:
        keys = ", ".join(map(repr, self.plans))
        return f"<PoolPlan of keys {keys}: {self.total / 1e6:.1f} MB, largest {self.largest!r}>"

    def _repr_html_(self) -> str:
        sizes = [(name, f"{size / 1e6:.1f}") for name, size in self.summary().items()]
        return "".join(
            [
                html_table(self._rows(), caption="MB of each bucket key"),
                html_table([("all keys together", "MB"), *sizes], total=True),
                *map(html_line, self._loop_lines()),
            ]
        )

    def table(self) -> str:
        """Return one line for each key, the totals, and the loops of each key, as text."""
        lines = [format_table(self._rows()), "(MB)", ""]
        lines += [f"{name:<17} {size / 1e6:>9.1f} MB" for name, size in self.summary().items()]
        return "\n".join([*lines, *self._loop_lines()])

    def _rows(self) -> list[tuple[str, ...]]:
        head = ("key", "nodes", "stash", "transients", "least", "planned", "arena", "outputs")
        rows: list[tuple[str, ...]] = [head]
        for key, many in self.plans.items():
            large = max(many, key=lambda p: p.arena)
            sizes = (large.stash, large.transients, large.lower_bound, large.peak, large.arena)
            cells = [f"{s / 1e6:.1f}" for s in (*sizes, self.outputs[key])]
            rows.append((repr(key), str(sum(p.nodes for p in many)), *cells))
        return rows

    def _loop_lines(self) -> list[str]:
        """Return what runs as a loop, and why other steps do not, for the keys that have steps."""
        lines = []
        for key in self.plans:
            loops, unrolled = self.loops.get(key, ()), self.unrolled.get(key, ())
            if loops or unrolled:
                lines.append(f"{key!r}: {listing(loops) if loops else 'none'}")
                lines += [f"    unrolled: {reason}" for reason in unrolled]
        return ["", "loops", *lines] if lines else []
