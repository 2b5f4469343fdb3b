"""Nodes with a graph of their own (Scan), whose body reads values of the graph around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from symbucket.ir.notes import graph_notes, phase_of, set_phase


def body_of(node: ir.Node) -> ir.Graph | None:
    """The graph that a node runs."""
    if node.op_type != "Scan" or node.domain:
        return None
    body: ir.Graph = node.attributes["body"].value
    return body


def states_of(scan: ir.Node) -> int:
    """How many states a Scan has; the pieces of its other inputs come behind them in its body."""
    body = body_of(scan)
    assert body is not None
    count: int = scan.attributes["num_scan_inputs"].value
    return len(body.inputs) - count


def replace_scan(
    scan: ir.Node, inputs: Sequence[ir.Value | None], kept: Sequence[int], **changed: ir.Attr
) -> None:
    """Put a Scan with the same body in the place of ``scan``.

    ``kept`` are the numbers of the outputs that it still has, ``changed`` its new attributes.
    """
    graph = scan.graph
    assert isinstance(graph, ir.Graph)
    given = {**dict(scan.attributes.items()), **changed}
    new = ir.Node("", "Scan", inputs, list(given.values()), num_outputs=len(kept), name=scan.name)
    for out, i in zip(new.outputs, kept):
        old = scan.outputs[i]
        out.name, out.shape, out.type = old.name, old.shape, old.type
        old.replace_all_uses_with(out, replace_graph_outputs=True)
    graph.insert_before(scan, new)
    graph.remove(scan, safe=True)
    set_phase(new, phase_of(scan))
    own_body(new)


def own_body(node: ir.Node) -> None:
    """Let the nodes of a body know the node that runs it."""
    body = body_of(node)
    if body is not None:
        graph_notes(body).enclosing_node = node


def reads(node: ir.Node) -> Sequence[ir.Value | None]:
    """The values that a node reads, those that its body reads from outside among them.

    None stands for an input that is left out, as in ``node.inputs``.
    """
    body = body_of(node)
    if body is None:
        return node.inputs
    own = set(body.inputs)
    for inner in body:
        own.update(inner.outputs)
    outside = [v for inner in body for v in inner.inputs if v is not None and v not in own]
    return [*node.inputs, *outside]


def runner(node: ir.Node) -> ir.Node:
    """The node that runs a node: the owner of the body that it stands in, else itself."""
    graph = node.graph
    owner = graph_notes(graph).enclosing_node if isinstance(graph, ir.Graph) else None
    return node if owner is None else owner


def readers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a value; for a node in a body the one that runs it."""
    for user, _ in value.uses():
        yield runner(user)
