"""Which boxes fold into which groups, and what shows then."""

from __future__ import annotations

import random

import pytest

from symbucket.visualization.colours import parameter_colours
from symbucket.visualization.diagram import BACKWARD, FORWARD, PARAMETER, Box, Diagram, Edge
from symbucket.visualization.dot import to_dot
from symbucket.visualization.fold import BUDGET, View, fold
from symbucket.visualization.scene import group_texts, make_scene, shown_id
from symbucket.visualization.sources import networks_of
from symbucket.visualization.tree import PHASE, REPEAT, STEP, STEPS
from tests.visualization.viz_networks import language_model, perceptron

STEPS_IN_ALL = 7


def folded(graph, length=STEPS_IN_ALL):
    symbol, shapes = language_model(length)
    (network,) = networks_of(symbol, shapes, graph).values()
    return fold(network)


@pytest.fixture(scope="module", params=["symbol", "forward", "training"])
def tree(request):
    return folded(request.param)


def by_path(tree):
    return {" / ".join(tree.path(i)): i for i in range(len(tree.groups))}


def test_time_steps_of_a_layer_fold_into_one_box(tree):
    steps = [g for g in tree.groups if g.kind == STEPS and g.phase == FORWARD]
    assert len(steps) == 2  # layers
    for group in steps:
        assert group.members == STEPS_IN_ALL
        labels = [tree.groups[i].label for i in group.groups]
        assert labels == [f"t{t}" for t in range(STEPS_IN_ALL)]
    texts = [group_texts(tree, i)[0] for i, g in enumerate(tree.groups) if g in steps]
    assert texts == ["t0 \N{HORIZONTAL ELLIPSIS} t6  \N{MULTIPLICATION SIGN} 7"] * 2


def test_nodes_with_automatic_names_are_in_the_step_that_reads_them():
    tree = folded("symbol")
    boxes = tree.diagram.boxes
    for box, parent in zip(boxes, tree.parents):
        if box.name.startswith(("_mul", "activation", "_plus", "expand_dims")):
            assert tree.groups[parent].kind == STEP, box.name
    # Cells make them in the order of steps, layer by layer.
    at = {b.name: tree.path(p) for b, p in zip(boxes, tree.parents)}
    assert at["_plus0"] == ["lstm_l0", "t#", "t0"]
    assert at["_plus3"] == ["lstm_l0", "t#", "t3"]
    assert at["expand_dims6"] == ["lstm_l1", "t#", "t6"]


def test_steps_have_the_same_nodes():
    tree = folded("symbol")
    boxes = tree.diagram.boxes
    for group in tree.groups:
        if group.kind == STEPS:
            contents = [sorted(boxes[b].op for b in tree.groups[i].boxes) for i in group.groups]
            assert all(c == contents[0] for c in contents)


def test_backward_nodes_are_where_their_forward_nodes_are():
    tree = folded("training")
    at = dict(zip((b.name for b in tree.diagram.boxes), tree.parents))
    (phase,) = [i for i, g in enumerate(tree.groups) if g.kind == PHASE]
    assert tree.groups[phase].label == BACKWARD
    seen = 0
    for name, parent in at.items():
        of = name.removeprefix("grad/").rpartition("/")[0]
        if name.startswith("grad/") and of in at and tree.groups[at[of]].kind == STEP:
            assert tree.path(parent) == ["backward", *tree.path(at[of])], name
            seen += 1
    assert seen > 100
    kinds = {b.kind for i, b in enumerate(tree.diagram.boxes) if phase in chain(tree, i) and b.op}
    assert kinds == {BACKWARD}


def chain(tree, box):
    found, at = [], tree.parents[box]
    while at >= 0:
        found.append(at)
        at = tree.groups[at].parent
    return found


def test_parameters_are_with_their_layer():
    tree = folded("forward")
    paths = by_path(tree)
    names = [tree.diagram.boxes[i].name for i in tree.groups[paths["lstm_l1 / parameters"]].boxes]
    assert sorted(names) == [
        f"lstm_l1_{p}" for p in ("h2h_bias", "h2h_weight", "i2h_bias", "i2h_weight")
    ]


def test_every_box_is_in_one_group(tree):
    inside = [b for g in [tree.top, *tree.groups] for b in g.boxes]
    assert sorted(inside) == list(range(len(tree.diagram.boxes)))
    for i, group in enumerate(tree.groups):
        assert group.size == len([b for b in inside if i in chain(tree, b)])
        assert group.parent < i


def test_at_first_a_picture_is_small_and_steps_are_folded(tree):
    view = tree.default_view()
    assert tree.shown(view) <= BUDGET
    assert not any(tree.groups[i].kind == STEPS for i in view.opened)
    assert all(i in view.opened for i, g in enumerate(tree.groups) if g.kind == PHASE)


def test_longer_buckets_make_no_larger_pictures():
    short, long = folded("training", 6), folded("training", 12)
    assert len(long.diagram.boxes) > 1.7 * len(short.diagram.boxes)
    assert long.shown(long.default_view()) == short.shown(short.default_view())


def test_a_small_network_is_not_folded():
    (network,) = networks_of(perceptron(), {"data": (2, 5)}).values()
    tree = fold(network)
    assert tree.shown(tree.default_view()) == len(network.boxes)


def test_picked_steps_show_and_the_others_are_in_runs():
    tree = folded("symbol")
    steps = next(i for i, g in enumerate(tree.groups) if g.kind == STEPS)
    around = frozenset([steps, tree.groups[steps].parent])
    members = tree.groups[steps].groups
    hidden = tree.representatives(View(around, frozenset([members[3]])))
    first, last = f"r{members[0]}", f"r{members[4]}"
    assert [hidden[i] for i in members] == [first] * 3 + [f"g{members[3]}"] + [last] * 3
    scene = make_scene(tree, View(around, frozenset([members[3]])))
    text = to_dot(scene, parameter_colours(tree.diagram.parameters))
    dots, times = "\N{HORIZONTAL ELLIPSIS}", "\N{MULTIPLICATION SIGN}"
    assert f"t0 {dots} t2  {times} 3" in text
    assert f"t4 {dots} t6  {times} 3" in text
    # Steps hand their states on: from run to step to run, and inside of the runs.
    ends = {(line.source, line.target): line.kind for line in scene.lines}
    assert ends[first, f"g{members[3]}"] == "plain"
    assert ends[f"g{members[3]}", last] == "plain"
    assert ends[first, first] == ends[last, last] == "loop"


def test_any_view_shows_every_box_once_and_every_edge(tree):
    """Whatever is open: ids in the picture are those that boxes are shown as, edges join them."""
    draw = random.Random(5)
    count = len(tree.groups)
    for _ in range(12):
        share = draw.random()
        opened = frozenset(i for i in range(count) if draw.random() < share)
        picked = frozenset(i for i in range(count) if tree.in_steps(i) and draw.random() < share)
        view = View(opened, picked)
        scene = make_scene(tree, view)
        ids = {shown_id(tree, scene.hidden, b) for b in range(len(tree.diagram.boxes))}
        text = to_dot(scene, parameter_colours(tree.diagram.parameters))
        nodes = [line.split(" ")[0] for line in text.splitlines() if ", label=<<b>" in line]
        assert sorted(nodes) == sorted(ids)
        assert len(nodes) == tree.shown(view)
        wanted = {
            (shown_id(tree, scene.hidden, e.source), shown_id(tree, scene.hidden, e.target))
            for e in tree.diagram.edges
        }
        lines = {(line.source, line.target) for line in scene.lines}
        assert {e for e in wanted if e[0] != e[1]} == {e for e in lines if e[0] != e[1]}


def test_repeated_blocks_of_any_name_fold():
    boxes = [Box("x", "", "data", "x")]
    for i in range(5):
        boxes += [Box(f"/enc/layer.{i}/{op}", op, FORWARD, f"/enc/layer.{i}") for op in "abc"]
    edges = [Edge(i, i + 1) for i in range(len(boxes) - 1)]
    tree = fold(Diagram("n", tuple(boxes), tuple(edges)))
    (group,) = [g for g in tree.groups if g.kind == REPEAT]
    assert (group.members, group.size) == (5, 15)
    assert (
        group_texts(tree, tree.groups.index(group))[0] == "enc/layer.*  \N{MULTIPLICATION SIGN} 5"
    )


def test_parameters_do_not_fold_by_number():
    boxes = [Box(f"w{i}", "", PARAMETER, f"w{i}", param=f"w{i}") for i in range(6)]
    boxes.append(Box("sum", "Sum", FORWARD, "sum"))
    tree = fold(Diagram("n", tuple(boxes), tuple(Edge(i, 6) for i in range(6))))
    assert [(g.label, g.kind, g.members) for g in tree.groups] == [("sum_parameters", "scope", 6)]


@pytest.mark.parametrize("graph", ["symbol", "training"])
def test_a_network_of_one_step_has_no_time_to_fold(graph):
    # Several layers with one step each must not be taken for the steps of one layer.
    tree = folded(graph, length=1)
    assert not [group for group in tree.groups if group.kind == STEPS]
    assert tree.top.size == len(tree.diagram.boxes)
