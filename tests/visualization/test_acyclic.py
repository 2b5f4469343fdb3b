"""A diagram without cycles is drawn without cycles, whatever is folded; time loops excepted."""

from __future__ import annotations

from functools import cache

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from symbucket.visualization.acyclic import has_cycles
from symbucket.visualization.diagram import FORWARD, Box, Diagram, Edge
from symbucket.visualization.fold import Folded, fold
from symbucket.visualization.lines import all_lines, shown_lines
from symbucket.visualization.paths import box_paths
from symbucket.visualization.sources import networks_of
from symbucket.visualization.tree import REPEAT, STEP, build_tree
from tests.visualization.viz_networks import language_model, transformer

ENCODER = ("enc", "enc_q", "dec", "dec_q", "dec_k_x", "layer0", "layer1", "reshape", "_mulscalar")
TIMED = ("lstm_t0", "lstm_t1_x", "lstm_t2", "gru_t0", "gru_t1", "gru_t2_y", "lstm_stacked")


@st.composite
def diagrams(draw, stems):
    """A random acyclic diagram with names that fold."""
    count = draw(st.integers(2, 24))
    scopes = [
        f"{draw(st.sampled_from(stems))}{draw(st.sampled_from(['', 0, 1]))}" for _ in range(count)
    ]
    boxes = tuple(
        Box(f"{scope}_n{i}", "Op", FORWARD, f"{scope}_n{i}") for i, scope in enumerate(scopes)
    )
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = draw(st.lists(pairs, max_size=3 * count))
    return Diagram("random", boxes, tuple(Edge(min(e), max(e)) for e in edges if e[0] != e[1]))


def views(folded: Folded, draw):
    yield folded.default_view()
    yield folded.full_view()
    for _ in range(4):
        yield frozenset(i for i in range(len(folded.groups)) if draw(st.booleans()))


def drawn(folded: Folded, lines, opened) -> nx.DiGraph:
    shown = shown_lines(folded, lines, opened)
    return nx.DiGraph((line.source, line.target) for line in shown)


def step_of(folded: Folded, box: int) -> str:
    """The time step in which a box is, or "" outside of all."""
    around = folded.around(folded.parents[box])
    return next((folded.groups[i].label for i in around if folded.groups[i].kind == STEP), "")


@given(diagrams(ENCODER), st.data())
@settings(max_examples=200, deadline=None)
def test_random_networks(diagram, data):
    folded = fold(diagram)
    lines = all_lines(folded)
    for view in views(folded, data.draw):
        assert nx.is_directed_acyclic_graph(drawn(folded, lines, view))


@given(diagrams(ENCODER + TIMED), st.data())
@settings(max_examples=200, deadline=None)
def test_cycles_of_unrolled_networks_run_through_time_steps(diagram, data):
    folded = fold(diagram)
    for view in views(folded, data.draw):
        hiding = folded.hidden_by(view)
        graph = nx.DiGraph()
        for edge in diagram.edges:
            ends = [
                (box if parent < 0 or hiding[parent] < 0 else ~hiding[parent], step_of(folded, box))
                for box in (edge.source, edge.target)
                for parent in [folded.parents[box]]
            ]
            if ends[0] != ends[1]:
                graph.add_edge(*ends)
        for cycle in nx.strongly_connected_components(graph):
            items = {item for item, _ in cycle}
            assert (
                len(items) == 1
                or all(step for _, step in cycle)
                or all(item >= 0 for item, step in cycle if not step)
            )


@cache
def folded_transformer(graph):
    symbol, shapes = transformer()
    (diagram,) = networks_of(symbol, shapes, graph).values()
    folded = fold(diagram)
    return folded, all_lines(folded)


@given(st.sampled_from(["symbol", "forward", "training"]), st.data())
@settings(max_examples=20, deadline=None)
def test_a_transformer(graph, data):
    folded, lines = folded_transformer(graph)
    labels = [group.label for group in folded.groups]
    assert all(labels.count(f"layer{i}") >= 1 for i in range(3))
    # Automatic names are in the layers that they serve, not in groups of their own.
    assert not [g for g in folded.groups if g.kind == REPEAT and g.label in ("Reshape", "mean")]
    for view in views(folded, data.draw):
        assert nx.is_directed_acyclic_graph(drawn(folded, lines, view))


def test_an_lstm_needs_nothing_dissolved():
    for graph in ("symbol", "forward", "training"):
        symbol, shapes = language_model(5)
        (diagram,) = networks_of(symbol, shapes, graph).values()
        assert not has_cycles(build_tree(diagram, box_paths(diagram)), diagram)
