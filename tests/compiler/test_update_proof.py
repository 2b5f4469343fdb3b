"""A second opinion, by networkx, on the proof that optimizers may update in place."""

from __future__ import annotations

from typing import Any

import networkx as nx
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket.compiler import update
from symbucket.compiler.update import SCALARS
from symbucket.ir import Builder, info, new_graph, to_networkx
from symbucket.optimizer import update_session

OPTIMIZERS = "sgd nag adam adagrad adadelta rmsprop adamax nadam ftrl signum".split()


def late_readers(model: ir.Model) -> dict[str, set[str]]:
    """Input that is updated in place -> nodes that may read it after the new value is written."""
    graph = to_networkx(model)
    late = {}
    for writer, output in graph.graph["outputs"]:
        old = next(value.name for value in model.graph.outputs if value.producer().name == writer)
        old = old.removesuffix("/new")
        assert output == 0
        # Buffers are passed on by nodes that may be views, but not by an output of the graph.
        shared = nx.MultiDiGraph(graph)
        outputs = {node for node, _ in graph.graph["outputs"]}
        shared.remove_edges_from(
            [(node, user) for node, user in shared.edges() if not may_be_view(graph, node, outputs)]
        )
        shared.add_edges_from((old, user) for user in graph.successors(old))
        safe = nx.ancestors(graph, writer)
        if not may_be_view(graph, writer, set()):
            safe.add(writer)
        late[old] = nx.descendants(shared, old) - safe
    return late


def may_be_view(graph: Any, node: str, outputs: set[str]) -> bool:
    attributes = graph.nodes[node]
    if attributes["kind"] != "node" or node in outputs:
        return False
    variable = [s for s, _ in graph.in_edges(node) if graph.nodes[s]["kind"] != "constant"]
    return len(variable) <= 1 or not info(attributes["op"], attributes["domain"]).elementwise


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_updates_safely(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[ir.Model] = []

    def record(*args: Any) -> ir.Model:
        models.append(update.build_update(*args))
        return models[-1]

    monkeypatch.setattr(update_session, "build_update", record)
    optimizer = sb.optimizer.create(name, wd=0.1, clip_gradient=1.0)
    sb.optimizer.get_updater(optimizer)(0, sb.nd.ones((2, 3)), sb.nd.ones((2, 3)))
    (model,) = models
    late = late_readers(model)
    inputs = {value.name for value in model.graph.inputs} - {SCALARS, "grad/0"}
    assert set(late) == inputs
    assert not any(late.values())


def test_a_graph_that_is_not_safe_is_found() -> None:
    graph = new_graph("bad")
    g = Builder(graph)
    n, x = (g.input(name, (2, 3), ir.DataType.FLOAT) for name in "nx")
    new = g.op("Add", n, x)
    graph.outputs.append(new)
    g.op("Tanh", n)
    new.name = "n/new"
    assert late_readers(ir.Model(graph, ir_version=10)) == {"n": {"Tanh"}}
