"""What the compiler computes of graphs by itself, computed once more by networkx.

The compiler walks a graph in its order and keeps a few dictionaries, which is fast. networkx is
general and slow, and shares no code with it.
"""

import sys

import networkx as nx
import numpy as np
import onnx_ir as ir
import pytest

from symbucket.compiler.memory import live_ranges, lower_bound
from symbucket.compiler.memory.live_ranges import round_up, size_of
from symbucket.compiler.memory.traits import overwrites_input, shares_buffer
from symbucket.compiler.rewrite.batch_gemms import batch_gemms
from symbucket.compiler.rewrite.graph_queries import chained_weights, depths, levels
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.compiler.rewrite.schedule_for_memory import schedule_for_memory
from symbucket.ir import Builder, new_graph
from tests.compiler.memory.test_plans import random_graph

SEEDS = range(20)


def node_graph(graph):
    """The nodes, an edge from each to those that read its results."""
    digraph = nx.DiGraph()
    for node in graph:
        digraph.add_node(node)
        for value in node.inputs:
            if value is not None and value.producer() is not None:
                digraph.add_edge(value.producer(), node)
    return digraph


def random_products(seed, length=40):
    """Products of a few weights, sums and activations."""
    rng = np.random.default_rng(seed)
    g = Builder(new_graph(f"products {seed}"))
    weights = [g.input(f"w{i}", (4, 4), ir.DataType.FLOAT) for i in range(4)]
    values = [g.input(f"x{i}", (int(rng.integers(1, 5)), 4), ir.DataType.FLOAT) for i in range(3)]
    for _ in range(length):
        x = values[int(rng.integers(max(0, len(values) - 6), len(values)))]
        kind = rng.integers(3)
        if kind == 0:
            values.append(g.op("Tanh", x))
        elif kind == 1:
            same = [v for v in values if v.shape == x.shape]
            values.append(g.op("Add", x, same[int(rng.integers(len(same)))]))
        else:
            values.append(g.op("Gemm", x, weights[int(rng.integers(4))]))
    g.graph.outputs.append(values[-1])
    return g.graph


def assert_topological(graph):
    """Every edge leads forwards, and networkx finds no cycle either."""
    digraph = node_graph(graph)
    place = {node: i for i, node in enumerate(graph)}
    assert nx.is_directed_acyclic_graph(digraph)
    assert all(place[a] < place[b] for a, b in digraph.edges)


def longest_path(digraph, to, weight):
    """The heaviest path that ends at a node; each node on it weighs ``weight(node)``."""
    part = digraph.subgraph({*nx.ancestors(digraph, to), to})
    weighted = nx.DiGraph()
    weighted.add_edges_from((a, b, {"weight": weight(b)}) for a, b in part.edges)
    weighted.add_edges_from(("start", node, {"weight": weight(node)}) for node in part)
    return nx.dag_longest_path_length(weighted)


# Orders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_passes_leave_a_topological_order(seed, monkeypatch):
    module = sys.modules["symbucket.compiler.rewrite.schedule_for_memory"]
    monkeypatch.setattr(module, "MIN_BYTES", 600)
    monkeypatch.setattr(module, "MAX_MOVED_NODES", 8)
    graph = random_graph(seed, 120)
    names = {node.name for node in graph}
    schedule_for_memory(graph)
    assert_topological(graph)
    assert {node.name for node in graph} == names
    products = random_products(seed)
    batch_gemms(products)
    assert_topological(products)


@pytest.mark.parametrize("seed", SEEDS)
def test_depths_are_longest_paths(seed):
    graph = random_products(seed)
    digraph = node_graph(graph)
    depth_of = depths(graph)
    for node in graph:
        assert depth_of[node.outputs[0]] == longest_path(digraph, node, lambda _: 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_levels_count_the_members_on_the_way(seed):
    graph = random_products(seed)
    digraph = node_graph(graph)
    members = [node for node in graph if node.op_type == "Gemm"][::2]
    level_of = levels(graph, members)
    assert set(level_of) == set(members)
    for node in members:
        assert level_of[node] == longest_path(digraph, node, lambda n: int(n in members)) - 1


@pytest.mark.parametrize("seed", SEEDS)
def test_chained_weights_meet_themselves_on_a_path(seed):
    graph = random_products(seed)
    digraph = node_graph(graph)
    products = [node for node in graph if node.op_type == "Gemm"]
    chained = {
        after.inputs[1]
        for after in products
        for before in products
        if before.inputs[1] is after.inputs[1] and before in nx.ancestors(digraph, after)
    }
    assert chained_weights(graph) == chained


@pytest.mark.parametrize("seed", SEEDS)
def test_dead_nodes_have_no_path_to_an_output(seed):
    graph = random_products(seed)
    digraph = node_graph(graph)
    last = graph.outputs[0].producer()
    alive = {last, *nx.ancestors(digraph, last)}
    assert remove_dead_nodes(graph) == len(digraph) - len(alive)
    assert set(graph) == alive


# Live ranges -------------------------------------------------------------------------------------


def aliases(graph):
    """The values of nodes, an edge between two that lie in one buffer."""
    place = {node: i for i, node in enumerate(graph)}
    outputs = set(graph.outputs)
    same = nx.Graph()

    def last_read(value):
        group = nx.node_connected_component(same, value)
        return max(place[user] for v in group for user, _ in v.uses())

    for node in graph:
        for i, value in enumerate(node.outputs):
            source = node.inputs[0]
            if value in outputs or (shares_buffer(node) and source not in same):
                continue  # an array outside, or a view of one
            same.add_node(value)
            if i or source not in same:
                continue
            reads_once = [v is source for v in node.inputs].count(True) == 1
            fits = source.shape == value.shape and source.dtype == value.dtype
            written_over = overwrites_input(node) and reads_once and fits
            if shares_buffer(node) or (written_over and last_read(source) == place[node]):
                same.add_edge(source, value)
    return same, place


@pytest.mark.parametrize("seed", SEEDS)
def test_live_ranges(seed):
    graph = random_graph(seed)
    same, place = aliases(graph)
    expected = set()
    for group in nx.connected_components(same):
        owner = min(group, key=lambda v: place[v.producer()])
        birth = place[owner.producer()]
        users = [place[user] for v in group for user, _ in v.uses()]
        size = round_up(size_of(owner, {}))
        expected.add((frozenset(v.name for v in group), size, birth, max([birth, *users])))
    buffers = live_ranges(graph)
    assert {(frozenset(b.values), b.size, b.birth, b.death) for b in buffers} == expected
    assert len(buffers) == len(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_lower_bound_is_the_heaviest_set_that_is_live_together(seed):
    """Live ranges are intervals: buffers that overlap pairwise are all live at one time."""
    buffers = live_ranges(random_graph(seed))
    interference = nx.Graph()
    for i, buffer in enumerate(buffers):
        interference.add_node(i, weight=buffer.size)
    interference.add_edges_from(
        (i, j)
        for i, a in enumerate(buffers)
        for j, b in enumerate(buffers[:i])
        if a.birth <= b.death and b.birth <= a.death
    )
    assert nx.is_chordal(interference)
    _, weight = nx.max_weight_clique(interference)
    assert lower_bound(buffers) == weight
