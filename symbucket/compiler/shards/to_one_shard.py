"""Give a graph the shapes of one shard, after the proof that it works row by row."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.compiler.shards.labels import digit_of
from symbucket.compiler.shards.prove import Proof
from symbucket.compiler.shards.rules.base import Changes
from symbucket.compiler.shards.whole import WholeCopies
from symbucket.errors import ShapeError, SymbucketError
from symbucket.ir import Builder, dtype_of, graphs_of, runner, shape_of
from symbucket.ir.shapes import infer_node


class ShardMismatchError(SymbucketError):
    """The shapes of a shard are not what the proof says: a rule is wrong."""


def to_one_shard(proof: Proof) -> dict[ir.Value, ir.Value]:
    """Rewrite the graph of a proof; return its new inputs by those that they have whole.

    Outputs must be the graph's outputs. Raises ShardMismatchError if shapes do not follow from the
    shapes of inputs; the graph is useless then.
    """
    graph = proof.graph
    copies = WholeCopies(graph, proof.labels)
    for node in proof.whole:
        copies.use(node)
    for value, label in proof.labels.items():
        if label.is_rows:
            shape = shape_of(value)
            digit = digit_of(shape, label.outer, proof.parts)
            value.shape = ir.Shape(digit.shard(shape, proof.parts))
    for node, changes in proof.changes.items():
        _apply(proof, node, changes)
    remove_dead_nodes(graph)
    _check(graph)
    return copies.inputs


def _apply(proof: Proof, node: ir.Node, changes: Changes) -> None:
    anchor = node
    while anchor.graph is not proof.graph:
        anchor = runner(anchor)
    g = Builder(proof.graph, anchor=anchor)
    with g.beside(node):
        for i, shape in changes.fits.items():
            value = node.inputs[i]
            assert value is not None
            fill = ir.tensor([proof.label(value).fill], dtype_of(value))
            node.replace_input_with(i, g.op("ConstantOfShape", g.ints(*shape), value=fill))
        for i, numbers in changes.numbers.items():
            node.replace_input_with(i, g.ints(*numbers))


def _check(graph: ir.Graph) -> None:
    """Compare all shapes with what the operators' shape rules make of those of their inputs."""
    for node in graph:
        bodies = graphs_of(node)
        for body in bodies:
            _check(body)
        if bodies or any(v.shape is None or not v.shape.is_static() for v in node.outputs):
            continue
        try:
            types = infer_node(node)
        except ShapeError as error:
            raise ShardMismatchError(str(error)) from error
        for value, (shape, _) in zip(node.outputs, types):
            if shape_of(value) != tuple(shape):
                raise ShardMismatchError(
                    f"{value.name!r} of a shard has the shape {tuple(shape)}, not {value.shape}"
                )
