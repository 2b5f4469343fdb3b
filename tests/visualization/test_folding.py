"""Which boxes fold into which groups, and what shows then."""

from __future__ import annotations

import random

import pytest

from symbucket.visualization.colours import parameter_colours
from symbucket.visualization.diagram import BACKWARD, FORWARD, PARAMETER, Box, Diagram, Edge
from symbucket.visualization.dot import make_drawing, to_dot
from symbucket.visualization.fold import BUDGET, fold
from symbucket.visualization.lines import SELF, all_lines, item_id, shown_lines
from symbucket.visualization.sources import networks_of
from symbucket.visualization.texts import group_texts
from symbucket.visualization.tree import PHASE, REPEAT, RUN, STEP, STEPS
from tests.visualization.viz_networks import language_model, perceptron

STEPS_IN_ALL = 7


def folded(graph, length=STEPS_IN_ALL):
    symbol, shapes = language_model(length)
    (network,) = networks_of(symbol, shapes, graph, unrolled=True).values()
    return fold(network)


@pytest.fixture(scope="module", params=["symbol", "forward", "training"])
def tree(request):
    return folded(request.param)


def steps_in(tree, group):
    """The steps of a part in order, those in runs too."""
    for i in group.groups:
        if tree.groups[i].kind == RUN:
            yield from steps_in(tree, tree.groups[i])
        else:
            yield i


def by_path(tree):
    return {" / ".join(tree.path(i)): i for i in range(len(tree.groups))}


def test_time_steps_of_a_layer_fold_into_one_box(tree):
    steps = [g for g in tree.groups if g.kind == STEPS and g.phase == FORWARD]
    assert len(steps) == 2  # layers
    for group in steps:
        assert group.members == STEPS_IN_ALL
        labels = [tree.groups[i].label for i in steps_in(tree, group)]
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
    run = "t2 \N{HORIZONTAL ELLIPSIS} t5"
    assert at["_plus3"] == ["lstm_l0", "t#", run, "t3"]
    assert at["expand_dims6"] == ["lstm_l1", "t#", "t6"]


def test_steps_have_the_same_nodes():
    tree = folded("symbol")
    boxes = tree.diagram.boxes
    for group in tree.groups:
        if group.kind == STEPS:
            steps = steps_in(tree, group)
            contents = [sorted(boxes[b].op for b in tree.groups[i].boxes) for i in steps]
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
    inside = [tree.diagram.boxes[i] for i in tree.groups[paths["lstm_l1 / parameters"]].boxes]
    # The sum of both biases, made before anything runs, is with them.
    assert [box.op for box in inside if box.op] == ["Add"]
    assert sorted(box.name for box in inside if not box.op) == [
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
    assert not any(tree.groups[i].kind == STEPS for i in view)
    assert all(i in view for i, g in enumerate(tree.groups) if g.kind == PHASE)


def test_longer_buckets_make_no_larger_pictures():
    short, long = folded("training", 6), folded("training", 12)
    assert len(long.diagram.boxes) > 1.7 * len(short.diagram.boxes)
    assert long.shown(long.default_view()) == short.shown(short.default_view())


def test_a_small_network_is_not_folded():
    (network,) = networks_of(perceptron(), {"data": (2, 5)}).values()
    tree = fold(network)
    assert tree.shown(tree.default_view()) == len(network.boxes)


def test_the_middle_of_many_steps_is_a_run():
    tree = folded("symbol")
    (steps, *_) = [i for i, g in enumerate(tree.groups) if g.kind == STEPS]
    around = {steps, tree.groups[steps].parent}
    t0, t1, run, last = tree.groups[steps].groups
    drawing = make_drawing(tree, parameter_colours(tree.diagram.parameters))
    text = to_dot(drawing, around)
    dots, times = "\N{HORIZONTAL ELLIPSIS}", "\N{MULTIPLICATION SIGN}"
    assert f"t2 {dots} t5  {times} 4" in text
    # Steps hand their states on: from step to run to step, and inside of the run.
    ends = {
        (line.source, line.target): line.kind for line in shown_lines(tree, drawing.lines, around)
    }
    assert ends[~t0, ~t1] == ends[~t1, ~run] == ends[~run, ~last] == "plain"
    assert ends[~run, ~run] == SELF
    assert (~steps, ~steps) not in ends
    assert (~steps, ~steps) in {(line.source, line.target) for line in drawing.lines}


@pytest.mark.parametrize("length", [5, 12, 70, 600])
def test_few_boxes_show_around_any_step(length):
    boxes = [Box(f"rnn_t{t}_out", "Op", FORWARD, f"rnn_t{t}_out") for t in range(length)]
    tree = fold(Diagram("n", tuple(boxes), tuple(Edge(t, t + 1) for t in range(length - 1))))
    for t in range(length):
        shown = tree.shown(set(tree.around(tree.parents[t])))
        assert shown <= 3 + 8 * 4, t
        assert tree.hidden_by(set(tree.around(tree.parents[t])))[tree.parents[t]] == -1
    (steps,) = [g for g in tree.groups if g.kind == STEPS]
    assert (steps.members, steps.size) == (length, length)
    assert [tree.groups[i].label for i in steps_in(tree, steps)] == [f"t{t}" for t in range(length)]


def test_any_view_shows_every_box_once_and_every_edge(tree):
    """Whatever is open: ids in the picture are those that boxes are shown as, edges join them."""
    draw = random.Random(5)
    count = len(tree.groups)
    drawing = make_drawing(tree, parameter_colours(tree.diagram.parameters))
    for _ in range(12):
        share = draw.random()
        opened = frozenset(i for i in range(count) if draw.random() < share)
        hiding = tree.hidden_by(opened)

        def shown_for(box, hiding=hiding):
            return (
                box
                if tree.parents[box] < 0 or hiding[tree.parents[box]] < 0
                else ~hiding[tree.parents[box]]
            )

        ids = {item_id(shown_for(b)) for b in range(len(tree.diagram.boxes))}
        text = to_dot(drawing, opened)
        nodes = [line.split(" ")[0] for line in text.splitlines() if ", label=<<b>" in line]
        assert sorted(nodes) == sorted(ids)
        assert len(nodes) == tree.shown(opened)
        edges = {(shown_for(e.source), shown_for(e.target)) for e in tree.diagram.edges}
        lines = {(x.source, x.target) for x in shown_lines(tree, drawing.lines, opened)}
        assert {e for e in edges if e[0] != e[1]} == {e for e in lines if e[0] != e[1]}


def test_a_line_has_the_values_of_all_its_edges():
    tree = folded("symbol")
    (target,) = [i for i, box in enumerate(tree.diagram.boxes) if box.name == "concat0"]
    (line,) = [
        line
        for line in all_lines(tree)
        if line.target == target and line.source < 0 and tree.groups[~line.source].kind == STEPS
    ]
    names = [tree.diagram.boxes[box].name for box, _ in line.values]
    assert sorted(names) == [f"expand_dims{t}" for t in range(STEPS_IN_ALL)]
    assert line.text == f"{STEPS_IN_ALL} of 3\N{MULTIPLICATION SIGN}1\N{MULTIPLICATION SIGN}4"


def test_repeated_blocks_of_any_name_fold():
    boxes = [Box("x", "", "data", "x")]
    for i in range(5):
        boxes += [Box(f"/enc/layer.{i}/{op}", op, FORWARD, f"/enc/layer.{i}") for op in "abc"]
    edges = [Edge(i, i + 1) for i in range(len(boxes) - 1)]
    tree = fold(Diagram("n", tuple(boxes), tuple(edges)))
    (group,) = [g for g in tree.groups if g.kind == REPEAT]
    first, run = (tree.groups[i] for i in group.groups)
    assert (first.label, run.kind, run.members, run.size) == ("layer.0", RUN, 4, 12)
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
