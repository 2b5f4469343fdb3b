"""A diagram without cycles is drawn without cycles, whatever is folded; time loops excepted."""

from __future__ import annotations

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

import symbucket as sb
from symbucket import sym
from symbucket.visualization.acyclic import has_cycles
from symbucket.visualization.diagram import FORWARD, Box, Diagram, Edge
from symbucket.visualization.fold import Folded, View, fold
from symbucket.visualization.paths import box_paths
from symbucket.visualization.scene import make_scene, shown_id
from symbucket.visualization.sources import networks_of
from symbucket.visualization.tree import REPEAT, build_tree
from tests.visualization.viz_networks import language_model

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
        chosen = [i for i in range(len(folded.groups)) if draw(st.booleans())]
        yield View(frozenset(chosen), frozenset(i for i in chosen if folded.in_steps(i)))


def drawn(folded: Folded, view: View) -> nx.DiGraph:
    return nx.DiGraph((line.source, line.target) for line in make_scene(folded, view).lines)


def step_of(folded: Folded, box: int) -> str:
    """The time step in which a box is, or "" outside of all."""
    group = folded.parents[box]
    while group >= 0 and not folded.in_steps(group):
        group = folded.groups[group].parent
    return "" if group < 0 else folded.groups[group].label


@given(diagrams(ENCODER), st.data())
@settings(max_examples=200, deadline=None)
def test_random_networks(diagram, data):
    folded = fold(diagram)
    for view in views(folded, data.draw):
        assert nx.is_directed_acyclic_graph(drawn(folded, view))


@given(diagrams(ENCODER + TIMED), st.data())
@settings(max_examples=200, deadline=None)
def test_cycles_of_unrolled_networks_run_through_time_steps(diagram, data):
    folded = fold(diagram)
    for view in views(folded, data.draw):
        hidden = folded.representatives(view)
        graph = nx.DiGraph()
        for edge in diagram.edges:
            ends = [
                (shown_id(folded, hidden, box), step_of(folded, box))
                for box in (edge.source, edge.target)
            ]
            if ends[0] != ends[1]:
                graph.add_edge(*ends)
        for cycle in nx.strongly_connected_components(graph):
            items = {item for item, _ in cycle}
            assert (
                len(items) == 1
                or all(step for _, step in cycle)
                or all(item[0] == "b" for item, step in cycle if not step)
            )


def transformer(layers=3, batch=2, length=4, width=8, heads=2):
    def attention(x, name):
        def split_heads(part):
            y = sym.FullyConnected(x, num_hidden=width, flatten=False, name=name + part)
            y = sym.Reshape(y, shape=(batch, length, heads, width // heads))
            y = sym.transpose(y, axes=(0, 2, 1, 3))
            return sym.Reshape(y, shape=(batch * heads, length, width // heads))

        scores = sym.batch_dot(split_heads("q"), split_heads("k"), transpose_b=True) * 0.5
        y = sym.batch_dot(sym.softmax(scores), split_heads("v"))
        y = sym.transpose(sym.Reshape(y, shape=(batch, heads, length, -1)), axes=(0, 2, 1, 3))
        y = sym.Reshape(y, shape=(batch, length, width))
        return sym.FullyConnected(y, num_hidden=width, flatten=False, name=name + "o")

    def norm(x, name):
        centred = sym.broadcast_sub(x, sym.mean(x, axis=-1, keepdims=True))
        variance = sym.mean(sym.square(centred), axis=-1, keepdims=True)
        scale = sym.Variable(name + "gamma", shape=(1, 1, width))
        return sym.broadcast_mul(sym.broadcast_div(centred, sym.sqrt(variance + 1e-5)), scale)

    with sb.NameManager():
        x = sym.Embedding(sym.Variable("data"), input_dim=9, output_dim=width, name="embed")
        for i in range(layers):
            x = norm(x + attention(x, f"layer{i}_att_"), f"layer{i}_norm1_")
            y = sym.FullyConnected(x, num_hidden=16, flatten=False, name=f"layer{i}_up")
            y = sym.Activation(y, act_type="relu", name=f"layer{i}_relu")
            y = sym.FullyConnected(y, num_hidden=width, flatten=False, name=f"layer{i}_down")
            x = norm(x + y, f"layer{i}_norm2_")
        rows = sym.Reshape(x, shape=(-1, width))
        scores = sym.FullyConnected(rows, num_hidden=9, name="pred")
        label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
        symbol = sym.SoftmaxOutput(scores, label, name="softmax")
    return symbol, {"data": (batch, length), "softmax_label": (batch, length)}


@given(st.sampled_from(["symbol", "forward", "training"]), st.data())
@settings(max_examples=20, deadline=None)
def test_a_transformer(graph, data):
    symbol, shapes = transformer()
    (diagram,) = networks_of(symbol, shapes, graph).values()
    folded = fold(diagram)
    labels = [group.label for group in folded.groups]
    assert all(labels.count(f"layer{i}") >= 1 for i in range(3))
    # Automatic names are in the layers that they serve, not in groups of their own.
    assert not [g for g in folded.groups if g.kind == REPEAT and g.label in ("Reshape", "mean")]
    for view in views(folded, data.draw):
        assert nx.is_directed_acyclic_graph(drawn(folded, view))


def test_an_lstm_needs_nothing_dissolved():
    for graph in ("symbol", "forward", "training"):
        symbol, shapes = language_model(5)
        (diagram,) = networks_of(symbol, shapes, graph).values()
        assert not has_cycles(build_tree(diagram, box_paths(diagram)), diagram)
