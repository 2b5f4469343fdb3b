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

from symbucket.compiler.passes.batch_products import batch_products
from symbucket.compiler.passes.bias_sums import form_gemm_sums
from symbucket.compiler.passes.common_subexpressions import merge_common_subexpressions
from symbucket.compiler.passes.dead_nodes import remove_dead_nodes
from symbucket.compiler.passes.expand import expand_own_nodes
from symbucket.compiler.passes.gate_gradients import join_gate_gradients
from symbucket.compiler.passes.gemm_layout import choose_gemm_layouts
from symbucket.compiler.passes.identities import remove_identities
from symbucket.compiler.passes.loss_chunks import chunk_losses
from symbucket.compiler.passes.lstm_kernels import use_lstm_kernels
from symbucket.compiler.passes.release_early import release_early
from symbucket.compiler.passes.reroll import reroll_steps
from symbucket.compiler.passes.softmax_rows import rewrite_softmax_rows
from symbucket.compiler.passes.stacking import simplify_stacking
from symbucket.compiler.passes.step_factors import take_out_factors
from symbucket.compiler.passes.sum_products import sum_products

Stage = Literal["forward", "training", "final"]


@dataclass(frozen=True)
class Pass:
    """One step of the pipeline; ``required`` ones cannot be switched off."""

    name: str
    stage: Stage
    run: Callable[[ir.Graph], int]
    required: bool = False


PIPELINE: tuple[Pass, ...] = (
    Pass("common-subexpressions", "forward", merge_common_subexpressions),
    Pass("gemm-sums", "forward", form_gemm_sums),
    Pass("common-subexpressions", "forward", merge_common_subexpressions),
    Pass("batch-products", "forward", batch_products),
    Pass("stacking", "forward", simplify_stacking),
    Pass("dead-nodes", "training", remove_dead_nodes, required=True),
    Pass("common-subexpressions", "training", merge_common_subexpressions),
    Pass("sum-products", "training", sum_products),
    Pass("stacking", "training", simplify_stacking),
    Pass("loss-chunks", "training", chunk_losses),
    Pass("softmax-rows", "training", rewrite_softmax_rows),
    Pass("gemm-layout", "training", choose_gemm_layouts),
    Pass("dead-nodes", "final", remove_dead_nodes, required=True),
    Pass("expand", "final", expand_own_nodes, required=True),
    Pass("common-subexpressions", "final", merge_common_subexpressions),
    Pass("identities", "final", remove_identities, required=True),
    Pass("dead-nodes", "final", remove_dead_nodes, required=True),
    Pass("release-early", "final", release_early),
    Pass("reroll", "final", reroll_steps),
    Pass("lstm-kernels", "final", use_lstm_kernels),
    Pass("gate-gradients", "final", join_gate_gradients),
    Pass("step-factors", "final", take_out_factors),
    Pass("dead-nodes", "final", remove_dead_nodes, required=True),
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
