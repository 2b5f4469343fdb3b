"""Products with a tall transposed first operand are computed the other way round.

``a^T b`` with thousands of columns in a strides through memory; ``b^T a`` reads it row by row, and
its result, transposed, is the same. This is the weight gradient of an output layer, where it takes
two thirds of the time.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import only_user
from symbucket.compiler.rewrite.pattern import Const, Match, Op, replace_matches, variables
from symbucket.ir import Builder, dimensions_of, shape_of

MIN_TALL_COLUMNS = 2048  # of the transposed operand; with fewer the transpositions cost more

tall, other, whole = variables("tall", "other", "whole")
sizes = Const(name="sizes")
PRODUCT = Op("Gemm", tall, other, transA=1, transB=0, alpha=1)
COLUMN_SPLIT = Op("Split", whole, sizes, axis=lambda axis: axis in (1, -1))


@graph_pass("joint", requires=(Property.NO_DEAD_NODES,))
def choose_gemm_layout(graph: ir.Graph) -> int:
    """Turn every such product round; a Split of its columns becomes one of rows."""
    return replace_matches(graph, PRODUCT, _turn)


def _turn(g: Builder, match: Match) -> ir.Value | None:
    rows, columns = shape_of(match[PRODUCT])
    if rows < MIN_TALL_COLUMNS or rows <= 2 * columns:
        return None
    depth, _ = dimensions_of(match[other])
    flat = g.typed("Transpose", [columns, depth], match[other], perm=[1, 0])
    product = g.typed("Gemm", [columns, rows], flat, match[tall])
    user = only_user(match[PRODUCT])
    split = None if user is None else COLUMN_SPLIT.match_node(user)
    if user is None or split is None:
        return g.transpose(product, [1, 0])
    # Not before the Split: the tall operand lives until here.
    at_split = Builder(g.graph, anchor=user)
    with at_split.scoped(g.scope, g.phase):
        outputs = user.outputs
        parts = at_split.ops("Split", product, split[sizes], axis=0, outputs=len(outputs))
        for old, part in zip(outputs, parts):
            new = at_split.transpose(part, [1, 0])
            old.replace_all_uses_with(new, replace_graph_outputs=True)
    g.graph.remove(user, safe=True)
    return product
