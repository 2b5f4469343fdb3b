"""The order of the compiler, what passes declare, and what a target leaves out."""

import inspect
from dataclasses import fields
from pathlib import Path

import onnx_ir as ir
import pytest

from symbucket import sym
from symbucket.compiler import (
    CompileRequest,
    CompilerOptions,
    compile_inference,
    pass_names,
    pipeline_order,
)
from symbucket.compiler.pipeline import PIPELINE, run_pipeline
from symbucket.compiler.rewrite.base import PASSES, PassContext, Property, graph_pass
from symbucket.compiler.target import PORTABLE, Target
from symbucket.errors import InvalidArgumentError
from symbucket.ir import Builder, new_graph
from tests.compiler.loops.rolled import scans_in
from tests.small_networks import language_model

ORDER = """
roll-loops
lower
noise
metrics
forward/merge-common-subexpressions
forward/pool-before-relu
forward/pool-before-scale
forward/fuse-gemm-add
forward/merge-common-subexpressions
forward/hoist-products
forward/merge-common-subexpressions
forward/batch-gemms
forward/simplify-stacking
differentiate
split
rows
joint/remove-dead-nodes
joint/merge-common-subexpressions
joint/join-equal-loops
joint/hoist-products
joint/sum-gemms
joint/simplify-stacking
joint/chunk-output-layer
joint/fuse-output-layer
joint/choose-gemm-layout
final/remove-dead-nodes
final/block-convolutions
final/stay-in-blocks
final/expand-own-nodes
final/cast-to-kernels
final/spell-out-functions
final/merge-common-subexpressions
final/remove-identities
final/remove-dead-nodes
final/schedule-for-memory
final/use-recurrent-operators
final/recompute-gates
final/join-gate-gradients
final/regroup-factors
final/hoist-products
final/transpose-loops
final/unroll-loops
final/flatten-branches
final/merge-reshapes
final/cast-by-bytes
final/remove-dead-nodes
shard-rows
plan
serialize
"""


def test_the_order_of_the_compiler():
    assert pipeline_order() == ORDER.split()


def test_passes_run_in_the_order_of_the_list():
    ran = []
    shapes = {"data": (2, 8), "softmax_label": (2, 8)}
    request = CompileRequest(language_model(8), shapes, training=True, gradients=["pred_weight"])
    run_pipeline(request, lambda name, _: ran.append(name))
    stages = {stage.name for stage in PIPELINE}
    expected = [name.partition("/")[2] for name in pipeline_order() if "/" in name]
    assert [name for name in ran if name not in stages] == expected
    assert [name for name in ran if name in stages] == ["forward", "joint", "final"]


@pytest.mark.parametrize("name", sorted(PASSES))
def test_a_pass_declares_itself(name):
    one = PASSES[name]
    assert one.name == one.function.__name__.replace("_", "-") == name
    assert Path(inspect.getfile(one.function)).stem == one.function.__name__
    assert inspect.getdoc(one.function)
    stages = [s.name for s in PIPELINE for listed in s.passes if listed is one]
    assert set(stages) == set(one.stages)
    assert set(one.options) <= {f.name for f in fields(CompilerOptions)}
    assert (one.name in pass_names()) != one.required
    assert one.takes_context or not one.options


def test_what_a_pass_requires_was_ensured_before():
    ensured = set()
    for stage in PIPELINE:
        for one in stage.passes:
            assert set(one.requires) <= ensured, one.name
            ensured.update(one.ensures)


def test_properties_name_the_nodes_that_violate_them():
    graph = new_graph("g")
    g = Builder(graph)
    x = g.input("x", (2,), ir.DataType.FLOAT)
    with g.scoped("live"):
        graph.outputs.append(g.op("Exp", x))
    with g.scoped("dead"):
        g.op("Neg", x)
    assert Property.NO_DEAD_NODES.violations(graph) == ["dead/Neg"]
    assert Property.STANDARD_ONNX.violations(graph) == []


def test_a_pass_that_reads_options_gets_the_context():
    def count_chunks(graph, context):
        return context.options.loss_chunks

    one = graph_pass("final", required=True, options=("loss_chunks",))(count_chunks)
    try:
        assert one(new_graph("g")) == 1
        assert one(new_graph("g"), PassContext(CompilerOptions(loss_chunks=5))) == 5
    finally:
        del PASSES[one.name]


def test_options_name_the_passes_that_exist():
    with pytest.raises(InvalidArgumentError, match="no optional pass 'stacking'; the passes are"):
        CompilerOptions(disable={"stacking"})
    with pytest.raises(InvalidArgumentError, match="no optional pass 'remove-dead-nodes'"):
        CompilerOptions(disable={"remove-dead-nodes"})


def test_a_target_without_scan_keeps_steps_unrolled():
    net, shapes = language_model(8), {"data": (2, 8), "softmax_label": (2, 8)}
    without_lstm = Target("without LSTM", ("LSTM",))
    assert without_lstm.supports_scan
    assert scans_in(compile_inference(net, shapes, target=without_lstm))
    assert not PORTABLE.supports_scan
    unrolled = compile_inference(net, shapes, target=PORTABLE)
    assert not scans_in(unrolled)
    assert "roll-loops" not in unrolled.passes
    disabled = CompilerOptions(disable={"roll-loops"})
    assert unrolled.model == compile_inference(net, shapes, options=disabled).model


def test_a_network_of_one_variable():
    """No node at all: an input that is an output goes through an Identity."""
    program = compile_inference(sym.Group([sym.Variable("x")]), {"x": (2,)})
    assert [p.name for p in program.outputs] == ["x.out"]
