"""The whole order of the compiler, from symbol to serialized models, in one list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.blocked.block_convolutions import block_convolutions
from symbucket.compiler.blocked.stay_in_blocks import stay_in_blocks
from symbucket.compiler.compilation import (
    Compilation,
    add_gradients,
    add_metrics,
    bind_noise,
    lower_symbol,
    plan_memory,
    roll_loops,
    serialize,
    shard_rows,
    split_at_heads,
    take_rows,
)
from symbucket.compiler.loops.hoist_products import hoist_products
from symbucket.compiler.loops.join_equal_loops import join_equal_loops
from symbucket.compiler.loops.recompute_gates import recompute_gates
from symbucket.compiler.loops.regroup_factors import regroup_factors
from symbucket.compiler.loops.transpose_loops import transpose_loops
from symbucket.compiler.loops.unroll_loops import unroll_loops
from symbucket.compiler.loops.use_recurrent_operators import use_recurrent_operators
from symbucket.compiler.options import OPTIONAL_PASSES
from symbucket.compiler.ports import PortedGraph
from symbucket.compiler.request import CompileRequest
from symbucket.compiler.rewrite.base import Pass, PassContext
from symbucket.compiler.rewrite.batch_gemms import batch_gemms
from symbucket.compiler.rewrite.cast_by_bytes import cast_by_bytes
from symbucket.compiler.rewrite.cast_to_kernels import cast_to_kernels
from symbucket.compiler.rewrite.choose_gemm_layout import choose_gemm_layout
from symbucket.compiler.rewrite.chunk_output_layer import chunk_output_layer
from symbucket.compiler.rewrite.expand_own_nodes import expand_own_nodes
from symbucket.compiler.rewrite.flatten_branches import flatten_branches
from symbucket.compiler.rewrite.fuse_gemm_add import fuse_gemm_add
from symbucket.compiler.rewrite.fuse_output_layer import fuse_output_layer
from symbucket.compiler.rewrite.join_gate_gradients import join_gate_gradients
from symbucket.compiler.rewrite.merge_common_subexpressions import merge_common_subexpressions
from symbucket.compiler.rewrite.merge_reshapes import merge_reshapes
from symbucket.compiler.rewrite.pool_before_relu import pool_before_relu
from symbucket.compiler.rewrite.pool_before_scale import pool_before_scale
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.compiler.rewrite.remove_identities import remove_identities
from symbucket.compiler.rewrite.schedule_for_memory import schedule_for_memory
from symbucket.compiler.rewrite.simplify_stacking import simplify_stacking
from symbucket.compiler.rewrite.spell_out_functions import spell_out_functions
from symbucket.compiler.rewrite.sum_gemms import sum_gemms

AfterEach = Callable[[str, ir.Graph], None]
"""Called with the name of a pass and the graph that it leaves."""


@dataclass(frozen=True)
class Stage:
    """One stage: a step that changes the compilation, or passes over each of its graphs."""

    name: str
    step: Callable[[Compilation], None] | None = None
    passes: tuple[Pass, ...] = ()
    optional: bool = False
    """Whether ``CompilerOptions.disable`` may name the step."""


PIPELINE: tuple[Stage, ...] = (
    # Equal steps of the symbol -> loops over one step.
    Stage("roll-loops", roll_loops, optional=True),
    # Symbol -> forward graph in ONNX and symbucket's own domain.
    Stage("lower", lower_symbol),
    # Random numbers become inputs, if whoever runs the model draws them.
    Stage("noise", bind_noise),
    # Sums over the batch that a step returns in place of its outputs.
    Stage("metrics", add_metrics),
    # The forward graph alone, so that gradients profit.
    Stage(
        "forward",
        passes=(
            merge_common_subexpressions,
            pool_before_relu,
            pool_before_scale,
            fuse_gemm_add,
            merge_common_subexpressions,
            hoist_products,
            merge_common_subexpressions,
            batch_gemms,
            simplify_stacking,
        ),
    ),
    # Training only: the backward graph, node by node in reverse.
    Stage("differentiate", add_gradients),
    # Training only: two graphs if head gradients come from outside; else rows of gradients.
    Stage("split", split_at_heads),
    Stage("rows", take_rows),
    # Forward and backward nodes together.
    Stage(
        "joint",
        passes=(
            remove_dead_nodes,
            merge_common_subexpressions,
            join_equal_loops,
            hoist_products,
            sum_gemms,
            simplify_stacking,
            chunk_output_layer,
            fuse_output_layer,
            choose_gemm_layout,
        ),
    ),
    # Standard ONNX, in the order in which it will run.
    Stage(
        "final",
        passes=(
            remove_dead_nodes,
            block_convolutions,
            stay_in_blocks,
            expand_own_nodes,
            cast_to_kernels,
            spell_out_functions,
            merge_common_subexpressions,
            remove_identities,
            remove_dead_nodes,
            schedule_for_memory,
            use_recurrent_operators,
            recompute_gates,
            join_gate_gradients,
            regroup_factors,
            hoist_products,
            transpose_loops,
            unroll_loops,
            flatten_branches,
            merge_reshapes,
            cast_by_bytes,
            remove_dead_nodes,
        ),
    ),
    # The shapes of a part of the batch's rows, where parts may run at the same time.
    Stage("shard-rows", shard_rows, optional=True),
    # Live ranges and offsets; activations computed twice if the memory limit asks for it.
    Stage("plan", plan_memory),
    Stage("serialize", serialize),
)


OPTIONAL_PASSES.update(stage.name for stage in PIPELINE if stage.optional)


def pipeline_order() -> list[str]:
    """Return the names of all stages and passes in order, a pass as ``stage/pass``."""
    order = []
    for stage in PIPELINE:
        order += [f"{stage.name}/{one.name}" for one in stage.passes] or [stage.name]
    return order


def pass_names() -> list[str]:
    """Return the names that ``CompilerOptions.disable`` may contain, in order."""
    names: list[str] = []
    for stage in PIPELINE:
        names += [stage.name] if stage.optional else []
        names += [one.name for one in stage.passes if not one.required]
    return list(dict.fromkeys(names))


def run_pipeline(request: CompileRequest, after_each: AfterEach | None = None) -> Compilation:
    """Run every stage for one request; its ``programs`` are ready afterwards.

    ``after_each(name, graph)`` is called before each stage of passes with the stage's name, and
    after each pass with the pass' name; tests verify the graph there.
    """
    c = Compilation(request)
    context = PassContext(request.options, request.target)
    for stage in PIPELINE:
        if stage.step is not None:
            if not (stage.optional and stage.name in request.options.disable):
                stage.step(c)
        else:
            for ported in c.graphs:
                _run_passes(stage, ported, context, after_each)
    return c


def _run_passes(
    stage: Stage, ported: PortedGraph, context: PassContext, after_each: AfterEach | None
) -> None:
    """Run the passes of a stage over a graph, with its outputs in place meanwhile."""
    graph = ported.graph
    graph.outputs.extend(ported.outputs.values())
    if after_each is not None:
        after_each(stage.name, graph)
    for one in stage.passes:
        if one.runs(context):
            ported.changes[one.name] = ported.changes.get(one.name, 0) + one(graph, context)
            if after_each is not None:
                after_each(one.name, graph)
    ported.outputs = dict(zip(ported.outputs, graph.outputs))
    graph.outputs.clear()
