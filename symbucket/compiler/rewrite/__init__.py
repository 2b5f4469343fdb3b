"""Passes over the ONNX graph, one a file, and the order in which they run.

A pass is a function that takes a graph in topological order, changes it in place, leaves it in
topological order and says how many changes it made. Passes of the stage "forward" run before
differentiation, so that gradients profit; those of the stage "training" see forward and backward
nodes together; those of the stage "final" make every model ready.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from symbucket.compiler.loops.hoist_factors import hoist_factors
from symbucket.compiler.loops.roll_loops import roll_loops
from symbucket.compiler.loops.use_lstm_operator import use_lstm_operator
from symbucket.compiler.rewrite.batch_gemms import batch_gemms
from symbucket.compiler.rewrite.choose_gemm_layout import choose_gemm_layout
from symbucket.compiler.rewrite.chunk_output_layer import chunk_output_layer
from symbucket.compiler.rewrite.expand_own_nodes import expand_own_nodes
from symbucket.compiler.rewrite.fuse_gemm_add import fuse_gemm_add
from symbucket.compiler.rewrite.fuse_output_layer import fuse_output_layer
from symbucket.compiler.rewrite.join_gate_gradients import join_gate_gradients
from symbucket.compiler.rewrite.merge_common_subexpressions import merge_common_subexpressions
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.compiler.rewrite.remove_identities import remove_identities
from symbucket.compiler.rewrite.schedule_for_memory import schedule_for_memory
from symbucket.compiler.rewrite.simplify_stacking import simplify_stacking
from symbucket.compiler.rewrite.sum_gemms import sum_gemms

Stage = Literal["forward", "training", "final"]


@dataclass(frozen=True)
class Pass:
    """One step of the pipeline; ``required`` ones cannot be switched off."""

    name: str
    stage: Stage
    run: Callable[[ir.Graph], int]
    required: bool = False


PIPELINE: tuple[Pass, ...] = (
    Pass("merge-common-subexpressions", "forward", merge_common_subexpressions),
    Pass("fuse-gemm-add", "forward", fuse_gemm_add),
    Pass("merge-common-subexpressions", "forward", merge_common_subexpressions),
    Pass("batch-gemms", "forward", batch_gemms),
    Pass("simplify-stacking", "forward", simplify_stacking),
    Pass("remove-dead-nodes", "training", remove_dead_nodes, required=True),
    Pass("merge-common-subexpressions", "training", merge_common_subexpressions),
    Pass("sum-gemms", "training", sum_gemms),
    Pass("simplify-stacking", "training", simplify_stacking),
    Pass("chunk-output-layer", "training", chunk_output_layer),
    Pass("fuse-output-layer", "training", fuse_output_layer),
    Pass("choose-gemm-layout", "training", choose_gemm_layout),
    Pass("remove-dead-nodes", "final", remove_dead_nodes, required=True),
    Pass("expand-own-nodes", "final", expand_own_nodes, required=True),
    Pass("merge-common-subexpressions", "final", merge_common_subexpressions),
    Pass("remove-identities", "final", remove_identities, required=True),
    Pass("remove-dead-nodes", "final", remove_dead_nodes, required=True),
    Pass("schedule-for-memory", "final", schedule_for_memory),
    Pass("roll-loops", "final", roll_loops),
    Pass("use-lstm-operator", "final", use_lstm_operator),
    Pass("join-gate-gradients", "final", join_gate_gradients),
    Pass("hoist-factors", "final", hoist_factors),
    Pass("remove-dead-nodes", "final", remove_dead_nodes, required=True),
)


def pass_names() -> list[str]:
    """The names of the passes that can be switched off, in order."""
    return list(dict.fromkeys(p.name for p in PIPELINE if not p.required))


def run_passes(
    graph: ir.Graph,
    stage: Stage,
    disable: Collection[str] = (),
    after_each: Callable[[str, ir.Graph], None] | None = None,
) -> dict[str, int]:
    """Run the passes of a stage; gives the number of changes by pass name.

    ``after_each(name, graph)`` is called behind every pass; tests verify the graph there.
    """
    changes: dict[str, int] = {}
    for one in PIPELINE:
        if one.stage != stage or (one.name in disable and not one.required):
            continue
        changes[one.name] = changes.get(one.name, 0) + one.run(graph)
        if after_each is not None:
            after_each(one.name, graph)
    return changes


__all__ = ["PIPELINE", "Pass", "pass_names", "run_passes"]
