"""Drawings in files: their structure, colours and errors."""

from __future__ import annotations

import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree

import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.visualization.colours import parameter_colours
from symbucket.visualization.diagram import FORWARD, PARAMETER, Box, Diagram, Edge, Value
from symbucket.visualization.draw import network_dot
from symbucket.visualization.fold import fold
from symbucket.visualization.sources import networks_of
from tests.visualization.viz_networks import language_model, perceptron

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def needs_dot():
    pytest.importorskip("graphviz", reason="the extra view is not installed")
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's dot is not installed")


def test_an_svg_has_a_group_for_every_box_and_edge(tmp_path, needs_dot):
    symbol, shapes = language_model(8)
    path = sb.viz.draw(
        symbol, tmp_path / "net.svg", shape=shapes, graph="training", title="A & B", unrolled=True
    )
    network = next(iter(networks_of(symbol, shapes, "training", unrolled=True).values()))
    tree = fold(network)
    root = ElementTree.parse(path).getroot()
    kinds = [g.get("class") for g in root.iter(f"{SVG}g")]
    assert kinds.count("node") == tree.shown(tree.default_view()) < 60
    assert kinds.count("cluster") == len(tree.default_view())
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert "A & B" in texts
    assert any(t.startswith("t0 \N{HORIZONTAL ELLIPSIS} t7") for t in texts)
    assert "backward" in texts
    assert not [i for i in root.iter() if "href" in str(i.attrib)]


@pytest.mark.parametrize(("form", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_other_formats(tmp_path, needs_dot, form, begins):
    path = sb.viz.draw(perceptron(), tmp_path / f"net.{form}")
    assert path.read_bytes().startswith(begins)


def test_a_parameter_has_one_colour_in_all_buckets(tmp_path):
    found = []
    for length in (4, 9):
        symbol, shapes = language_model(length)
        path = sb.viz.draw(symbol, tmp_path / "n.dot", shape=shapes, graph="training", budget=400)
        text = path.read_text()
        lines = re.findall(
            r'\nb\d+ .*<b>(\w+_(?:weight|bias))(\.grad)?</b>.*fillcolor="(#\w+)"', text
        )
        found.append({name + end: colour for name, end, colour in lines})
    short, long = found
    assert short == long
    weights = {n for n in short if not n.endswith(".grad")}
    assert len(weights) >= 9
    assert len({short[n] for n in weights}) == len(weights)  # and another one than the others
    assert all(short[n] == short[f"{n}.grad"] for n in weights)


def test_many_parameters_keep_colours_apart():
    colours = parameter_colours([f"p{i}" for i in range(24)])
    assert len({fill for fill, _ in colours.values()}) == 24


def test_forward_and_backward_differ_in_colour(tmp_path):
    symbol, shapes = language_model(4)
    path = sb.viz.draw(symbol, tmp_path / "n.dot", shape=shapes, graph="training", budget=400)
    text = path.read_text()
    forward = re.search(r'<b>Gather</b>.*fillcolor="(#\w+)"', text)
    backward = re.search(r'<b>Split</b>.*grad.*fillcolor="(#\w+)"', text)
    assert forward
    assert backward
    assert forward[1] != backward[1]


def test_names_are_only_text():
    name = '</b>"]; evil [label="<script>alert(1)</script>\\\x07'
    box = Box(name, "Add", FORWARD, name)
    text = network_dot(Diagram(name, (box,), ()), title=name)
    assert "<script" not in text
    assert "\x07" not in text
    if shutil.which("dot") and "graphviz" in sys.modules:
        from symbucket.visualization.draw import render

        root = ElementTree.fromstring(render(text, "svg"))
        assert sum(g.get("class") == "node" for g in root.iter(f"{SVG}g")) == 1


def test_unknown_formats_and_several_networks(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"'gif' is unknown; expected .*html"):
        sb.viz.draw(perceptron(), tmp_path / "net.gif")
    several = {3: language_model(3)[0], 4: language_model(4)[0]}
    with pytest.raises(InvalidArgumentError, match="shows one network, and here are 2: 3, 4"):
        sb.viz.draw(several, tmp_path / "net.svg")
    with pytest.raises(InvalidArgumentError, match="cannot write"):
        sb.viz.draw(perceptron(), tmp_path / "missing" / "net.dot")
    assert not list(tmp_path.iterdir())


def test_a_picture_that_nobody_could_read(tmp_path):
    symbol, _ = language_model(50)
    with pytest.raises(InvalidArgumentError, match=r"would have \d+ boxes; 600 are the most"):
        sb.viz.draw(symbol, tmp_path / "net.dot", folded=False)
    sb.viz.draw(language_model(3)[0], tmp_path / "net.dot", folded=False)
    assert "lstm_l1_t2_slice" in (tmp_path / "net.dot").read_text()


def test_without_dot_the_error_says_what_to_do(needs_page, tmp_path, monkeypatch):
    pytest.importorskip("graphviz", reason="the extra view is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match=r"`dot` of Graphviz.*apt-get.*\.html page"):
        sb.viz.draw(perceptron(), tmp_path / "net.svg")
    assert not (tmp_path / "net.svg").exists()
    assert "const Graphviz=" in sb.viz.draw(perceptron(), tmp_path / "net.html").read_text()


def test_sizes_with_strange_names_do_not_break_the_text():
    value = Value("v", "", ('a"]\\', "b\n<", 3))
    boxes = [
        Box("v", "", PARAMETER, "v", (value,), {}, "v"),
        Box("a", "Add", FORWARD, "a", (value,)),
        Box("b", "Add", FORWARD, "b"),
    ]
    text = network_dot(Diagram("n", tuple(boxes), (Edge(0, 1), Edge(1, 2))))
    weight, plain = re.findall(r" -> .*", text)
    assert 'tooltip="a&quot;]\\\\\N{MULTIPLICATION SIGN}b?&lt;\N{MULTIPLICATION SIGN}3"' in weight
    assert "b?&lt;\N{MULTIPLICATION SIGN}3&#160;>" in plain


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(UnsupportedError, match=r'needs graphviz.*pip install "symbucket\[view\]"'):
        sb.viz.draw(perceptron(), tmp_path / "net.svg")


def test_plot_network_takes_what_mxnet_takes(tmp_path, needs_dot):
    made = sb.viz.plot_network(
        perceptron(),
        title="mlp",
        save_format="svg",
        shape={"data": (2, 5)},
        node_attrs={"fontsize": "13"},
    )
    assert "fc0_weight" not in made.source
    assert '"13"' in made.source
    assert "fc0_weight" in sb.viz.plot_network(perceptron(), hide_weights=False).source
    assert made.render(directory=str(tmp_path)).endswith("mlp.gv.svg")
    assert "FullyConnected" in (tmp_path / "mlp.gv.svg").read_text()
    with pytest.raises(InvalidArgumentError, match="a Symbol, not a str"):
        sb.viz.plot_network("net")
    with pytest.raises(InvalidArgumentError, match="node_attrs"):
        sb.viz.plot_network(perceptron(), node_attrs={"a=b": "1"})


def test_netron_opens_a_file(tmp_path, monkeypatch):
    opened = []

    class Netron:
        start = staticmethod(opened.append)

    monkeypatch.setitem(sys.modules, "netron", Netron)
    with pytest.raises(InvalidArgumentError, match="there is no file"):
        sb.viz.open_in_netron(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").touch()
    sb.viz.open_in_netron(tmp_path / "a.onnx")
    assert opened == [str(tmp_path / "a.onnx")]
    monkeypatch.setitem(sys.modules, "netron", None)
    with pytest.raises(UnsupportedError, match="pip install netron"):
        sb.viz.open_in_netron(tmp_path / "a.onnx")
