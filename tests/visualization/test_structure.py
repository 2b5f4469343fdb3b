"""What pictures make of loops, of attention, of equal blocks, and of nodes without names."""

from __future__ import annotations

import random

import networkx as nx
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.visualization.attention import attention_groups
from symbucket.visualization.colours import parameter_colours
from symbucket.visualization.diagram import BACKWARD, FORWARD, PARAMETER, Box, Diagram, Edge
from symbucket.visualization.dot import make_drawing, to_dot
from symbucket.visualization.fold import fold
from symbucket.visualization.lines import CARRIED, SELF, all_lines, shown_lines
from symbucket.visualization.sources import networks_of
from symbucket.visualization.texts import box_texts, group_texts
from symbucket.visualization.tree import LOOP, REPEAT, RUN, STEP, STEPS
from tests.visualization.viz_networks import language_model, residual, transformer

TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture(scope="module")
def loops():
    """A compiled training step in which a GRU is a Scan, forward and backward."""
    cell = sb.rnn.GRUCell(num_hidden=4, prefix="gru_")
    with sb.NameManager():
        steps, _ = cell.unroll(5, sym.Variable("data"), merge_outputs=True)
        scores = sym.FullyConnected(steps, num_hidden=3, name="pred")
        symbol = sym.SoftmaxOutput(scores, sym.Variable("label"), name="softmax")
    shapes = {"data": (2, 5, 3), "label": (2,)}
    names = symbol.list_arguments()
    programs = compile_training(
        symbol,
        dict(zip(names, symbol.infer_shape(**shapes)[0])),
        wanted=[n for n in names if n not in shapes],
        options=CompilerOptions(value_info=True),
    )
    assert programs.step is not None
    assert len(programs.step.loops) == 1
    return fold(networks_of(programs)["step"])


def test_the_body_of_a_compiled_loop_is_drawn(loops):
    groups = [i for i, g in enumerate(loops.groups) if g.kind == LOOP]
    assert sorted(loops.groups[i].phase for i in groups) == [BACKWARD, FORWARD]
    assert {group_texts(loops, i)[0] for i in groups} == {f"loop  {TIMES} 5"}
    (forward,) = [i for i in groups if loops.groups[i].phase == FORWARD]
    assert loops.path(forward)[0] == "gru"
    boxes = [loops.diagram.boxes[i] for i in loops.boxes_inside(forward)]
    assert not [box for box in loops.diagram.boxes if box.op == "Scan"]
    product = next(box for box in boxes if box.op == "Gemm")
    assert product.operations == 5 * 2 * 2 * 4 * 12  # in each step: 2 rows, 4 terms, 12 columns
    assert product.outputs[0].shape == (2, 12)


@pytest.mark.parametrize("graph", ["forward", "training"])
def test_a_compiled_symbol_shows_the_loops_of_the_compiler(graph):
    symbol, shapes = language_model(12)
    kinds = {}
    for unrolled in (False, True):
        (network,) = networks_of(symbol, shapes, graph, unrolled=unrolled).values()
        kinds[unrolled] = [group.kind for group in fold(network).groups]
    if graph == "training":  # for inference both layers are the operator LSTM
        assert kinds[False].count(LOOP) == 4
    assert STEPS not in kinds[False]
    assert STEPS in kinds[True]
    assert LOOP not in kinds[True]


def test_what_a_loop_hands_on_goes_back_to_what_reads_it(loops):
    boxes = loops.diagram.boxes
    carried = {(boxes[e.source].name, boxes[e.target].op) for e in loops.diagram.edges if e.carried}
    assert ("gru_t0_out/Add", "Gemm") in carried
    assert ("gru_t0_out/Add", "Mul") in carried
    lines = all_lines(loops)
    (forward,) = [i for i, g in enumerate(loops.groups) if g.kind == LOOP and g.phase == FORWARD]
    closed = [line.kind for line in lines if line.source == line.target == ~forward]
    assert closed == [SELF]
    inside = shown_lines(loops, lines, loops.full_view())
    assert CARRIED in {line.kind for line in inside}
    text = to_dot(
        make_drawing(loops, parameter_colours(loops.diagram.parameters)), loops.full_view()
    )
    assert "constraint=false, color=" in text


def test_what_a_loop_leaves_is_read_after_it(loops):
    boxes = loops.diagram.boxes
    number = next(i for i, box in enumerate(boxes) if box.name == "gru_t0__i2h/Identity")
    (after,) = [e for e in loops.diagram.edges if e.source == number]
    assert boxes[after.target].name == "concat0/Transpose"
    assert boxes[number].outputs[0].shape == (2, 4)  # of one step
    assert boxes[number].outputs[after.output].shape == (5, 2, 4)  # of all
    assert "loop" not in loops.path(loops.parents[after.target])[-1]


def test_an_operator_over_time_tells_its_steps(tmp_path):
    module = sb.mod.BucketingModule(
        lambda key: (language_model(key)[0], ("data",), ("softmax_label",)), default_bucket_key=6
    )
    module.bind([("data", (3, 6))], [("softmax_label", (3, 6))], for_training=False)
    module.init_params()
    module.export(str(tmp_path / "bundle"))
    tree = fold(next(iter(networks_of(tmp_path / "bundle").values())))
    recurrent = [b for b in tree.diagram.boxes if b.op == "LSTM"]
    assert [b.steps for b in recurrent] == [6, 6]
    colours = parameter_colours(tree.diagram.parameters)
    assert f"<b>LSTM  {TIMES} 6</b>" in to_dot(make_drawing(tree, colours), tree.full_view())
    # Weights put into another order belong to the parameters: they are made before the data come.
    slices = [p for p, b in zip(tree.parents, tree.diagram.boxes) if b.op == "Slice"]
    assert slices
    assert all("parameters" in tree.path(p) for p in slices)


@pytest.mark.parametrize("graph", ["symbol", "forward", "training"])
def test_attention_is_named(graph):
    symbol, shapes = transformer()
    tree = fold(next(iter(networks_of(symbol, shapes, graph).values())))
    attention = attention_groups(tree)
    assert sorted(tree.path(i)[-2:] for i in attention) == [[f"layer{i}", "att"] for i in range(3)]
    first, second = group_texts(tree, min(attention), attention)
    assert first == "att"
    assert second.startswith("attention, ")
    # The softmax over classes at the end is none.
    assert all("softmax" not in tree.path(i) for i in attention)


def test_of_many_layers_the_first_one_is_the_example():
    symbol, shapes = transformer(layers=7)
    tree = fold(next(iter(networks_of(symbol, shapes, "training").values())))
    layers = {
        i
        for i in tree.default_view()
        if tree.groups[i].label.startswith("layer") and tree.groups[i].kind not in (REPEAT, RUN)
    }
    assert sorted((tree.groups[i].phase, tree.groups[i].label) for i in layers) == [
        (BACKWARD, "layer0"),
        (FORWARD, "layer0"),
    ]


@pytest.mark.parametrize("graph", ["symbol", "forward", "training"])
def test_sums_without_names_are_in_their_layer(graph):
    symbol, shapes = residual(layers=6)
    tree = fold(next(iter(networks_of(symbol, shapes, graph).values())))
    paths = {
        box.name.partition("/")[0]: tree.path(parent)
        for box, parent in zip(tree.diagram.boxes, tree.parents)
        if box.kind == FORWARD
    }
    for i in range(6):
        assert {f"layer{i}"} <= set(paths[f"_plus{2 * i}"]) & set(paths[f"_plus{2 * i + 1}"])
    assert not any("layer" in label for label in paths["broadcast_add0"])
    assert len({tree.groups[i].size for i in layers_of(tree)}) == 1  # so the layers are equal
    (repeat,) = (g for g in tree.groups if g.kind == REPEAT and g.phase == FORWARD and g.groups)
    assert repeat.label == "layer#"


def test_automatic_names_are_no_groups():
    a, b = sym.Variable("a"), sym.Variable("b")
    with sb.NameManager():
        x = sym.broadcast_mul(a, sym.broadcast_add(a, sym.broadcast_maximum(a, b)))
    tree = fold(next(iter(networks_of(x, {"a": (2, 3), "b": (1, 3)}).values())))
    assert [g.label for g in tree.groups] == []


def layers_of(tree):
    return [
        i
        for i, g in enumerate(tree.groups)
        if g.phase == FORWARD and g.label in {f"layer{n}" for n in range(6)}
    ]


def attend_in_steps(length):
    """A decoder that looks at a memory in each step, with nodes that have no names."""
    cell = sb.rnn.RNNCell(num_hidden=4, prefix="dec_")
    weight = sym.Variable("query_weight")
    with sb.NameManager():
        memory = sym.Variable("memory")
        state = sym.Variable("start")
        rows = []
        for _ in range(length):
            query = sym.FullyConnected(state, weight, num_hidden=4, no_bias=True)
            scores = sym.softmax(sym.batch_dot(memory, sym.expand_dims(query, axis=2)), axis=1)
            seen = sym.sum(sym.batch_dot(scores, memory, transpose_a=True), axis=1)
            output, (state,) = cell(seen, [state])
            rows.append(sym.expand_dims(sym.concat(output, seen, dim=1), axis=1))
        return sym.FullyConnected(sym.concat(*rows, dim=1), num_hidden=3, name="pred")


def test_nodes_without_names_are_in_the_step_that_they_serve():
    shapes = {"memory": (2, 7, 4), "start": (2, 4)}
    (diagram,) = networks_of(attend_in_steps(6), shapes).values()
    tree = fold(diagram)
    contents = [
        sorted(diagram.boxes[b].op for b in tree.boxes_inside(i))
        for i, g in enumerate(tree.groups)
        if g.kind == STEP
    ]
    assert len(contents) == 6
    assert all(c == contents[0] for c in contents)
    assert {"softmax", "batch_dot", "Concat"} <= set(contents[0])
    attention = attention_groups(tree)
    assert {tree.groups[i].kind for i in attention} == {STEP, RUN, STEPS}


def blocks(sizes):
    """A chain of blocks, each of as many nodes as ``sizes`` says."""
    boxes = []
    for i, size in enumerate(sizes):
        names = [f"net_b{i}_{'abcd'[n]}" for n in range(size)]
        boxes += [Box(name, "Op", FORWARD, name) for name in names]
    return Diagram("n", tuple(boxes), tuple(Edge(i, i + 1) for i in range(len(boxes) - 1)))


def test_only_equal_blocks_are_in_one_run():
    tree = fold(blocks([3, 3, 3, 3, 3, 3, 4, 3, 4]))
    (repeat,) = [g for g in tree.groups if g.kind == REPEAT]
    assert repeat.members == 9
    dots = "\N{HORIZONTAL ELLIPSIS}"
    labels = [tree.groups[i].label for i in repeat.groups]
    assert labels == ["b0", f"b1 {dots} b5", "b6", "b7", "b8"]
    (run,) = [i for i, g in enumerate(tree.groups) if g.kind == RUN]
    assert group_texts(tree, run) == (f"b1 {dots} b5  {TIMES} 5", "15 nodes")


def nameless(layers):
    with sb.NameManager():
        x = sym.Variable("data")
        for i in range(layers):
            x = sym.Activation(sym.FullyConnected(x, num_hidden=8), act_type="relu")
            if i % 3 == 2:
                x = x + sym.FullyConnected(x, num_hidden=8)
        return x


def test_a_long_network_without_names_is_cut_into_sections():
    (diagram,) = networks_of(nameless(300), {"data": (2, 8)}).values()
    tree = fold(diagram)
    opened = tree.default_view()
    assert tree.shown(opened) <= 32
    lines = all_lines(tree)
    draw = random.Random(3)
    for share in (0, 0.3, 0.6, 1):
        view = {i for i in range(len(tree.groups)) if draw.random() < share}
        shown = shown_lines(tree, lines, view)
        assert nx.is_directed_acyclic_graph(nx.DiGraph((x.source, x.target) for x in shown))
    box = next(i for i, b in enumerate(diagram.boxes) if b.name == "fullyconnected200")
    weight = next(i for i, b in enumerate(diagram.boxes) if b.name == "fullyconnected200_weight")
    assert tree.parents[box] in tree.around(tree.parents[weight])
    assert tree.shown(set(tree.around(tree.parents[box]))) < 100
    text = to_dot(make_drawing(tree, parameter_colours(diagram.parameters)), opened)
    assert "\N{HORIZONTAL ELLIPSIS}" in text


def test_what_is_made_of_parameters_only_is_with_them():
    boxes = [
        Box("x", "", "data", "x"),
        Box("fc_weight", "", PARAMETER, "fc_weight", param="fc_weight"),
        Box("fc_bias", "", PARAMETER, "fc_bias", param="fc_bias"),
        Box("fc/Transpose", "Transpose", FORWARD, "fc"),
        Box("fc/Cast", "Cast", FORWARD, "fc"),
        Box("fc/Gemm", "Gemm", FORWARD, "fc"),
        Box("fc/Relu", "Relu", FORWARD, "fc"),
    ]
    edges = [Edge(1, 3), Edge(3, 4), Edge(0, 5), Edge(4, 5), Edge(2, 5), Edge(5, 6)]
    tree = fold(Diagram("n", tuple(boxes), tuple(edges)))
    (group,) = [i for i, g in enumerate(tree.groups) if tree.of_parameters(i)]
    inside = {boxes[i].name for i in tree.boxes_inside(group)}
    assert inside == {"fc_weight", "fc_bias", "fc/Transpose", "fc/Cast"}
    assert group_texts(tree, group) == ("parameters", "2 arrays, 2 nodes")


def test_windows_are_on_the_boxes():
    x = sym.Convolution(sym.Variable("x"), num_filter=4, kernel=(7, 5), stride=(2, 2), name="conv")
    x = sym.Pooling(x, kernel=(3, 3), pool_type="max", name="pool")
    x = sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg", name="all")
    for graph in ("symbol", "forward"):
        tree = fold(next(iter(networks_of(x, {"x": (1, 3, 32, 32)}, graph).values())))
        texts = [box_texts(tree, i)[0] for i, b in enumerate(tree.diagram.boxes) if b.op]
        assert texts[0].split(" ", 1)[1] == f"7{TIMES}5 / 2"
        assert texts[1].split(" ", 1)[1] == f"3{TIMES}3"
        assert " " not in texts[2]
