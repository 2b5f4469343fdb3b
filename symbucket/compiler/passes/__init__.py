"""Passes over the ONNX graph, one a file, and the order in which they run.

A pass is a function that takes the graph, changes it in place and says how many changes it made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.compiler.passes.dead_nodes import remove_dead_nodes
from symbucket.compiler.passes.expand import expand_own_nodes
from symbucket.compiler.passes.identities import remove_identities

Pass = Callable[[ir.Graph], int]

DEFAULT: tuple[tuple[str, Pass], ...] = (
    ("dead-nodes", remove_dead_nodes),
    ("expand", expand_own_nodes),
    ("identities", remove_identities),
    ("dead-nodes", remove_dead_nodes),
)


def run_passes(
    graph: ir.Graph,
    passes: Sequence[tuple[str, Pass]] = DEFAULT,
    after_each: Callable[[str, ir.Graph], None] | None = None,
) -> dict[str, int]:
    """Run passes in order; gives the number of changes by pass name.

    ``after_each(name, graph)`` is called behind every pass; tests verify the graph there.
    """
    changes: dict[str, int] = {}
    for name, one in passes:
        changes[name] = changes.get(name, 0) + one(graph)
        if after_each is not None:
            after_each(name, graph)
    return changes


__all__ = [
    "DEFAULT",
    "Pass",
    "expand_own_nodes",
    "remove_dead_nodes",
    "remove_identities",
    "run_passes",
]
