"""The HTML page as a text: what is in it, and that it asks nobody for anything."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files

import pytest

import symbucket as sb
from symbucket.errors import UnsupportedError
from symbucket.visualization.diagram import DATA, PARAMETER, Box, Diagram, Value
from symbucket.visualization.dot import make_drawings, to_dot
from symbucket.visualization.draw import network_dot
from symbucket.visualization.extras import layout_script
from symbucket.visualization.fold import fold
from symbucket.visualization.page import page_data, to_page
from symbucket.visualization.sources import networks_of
from symbucket.visualization.totals import Totals, group_totals, totals
from tests.visualization.viz_networks import language_model

pytestmark = pytest.mark.usefixtures("needs_page")


class Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts by id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._inside = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._inside = dict(attrs).get("id")

    def handle_data(self, data):
        if self._inside:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data

    def handle_endtag(self, tag):
        if tag == "script":
            self._inside = None


def test_a_page_loads_nothing(tmp_path):
    symbol, shapes = language_model(5)
    text = sb.viz.draw(symbol, tmp_path / "a.html", shape=shapes, graph="training").read_text()
    page = Elements(text)
    assert not [t for t in page.tags if {"src", "href", "data"} & set(t[1])]
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert not re.search(r"https?:|\*", policy)
    template = files("symbucket.visualization").joinpath("assets/page.html").read_text()
    parts = set(re.findall(r"@[A-Z]+@", template))
    assert "@TITLE@" in parts
    assert not [part for part in parts if part in text]


@pytest.mark.parametrize(
    "module",
    [
        "class A{}export{B as Graph,A as Graphviz};\n//# sourceMappingURL=index.js.map\n",
        "class A{}export { A as Graphviz }",
    ],
)
def test_the_script_of_graphviz_runs_in_any_worker(tmp_path, monkeypatch, module):
    folder = tmp_path / "easydot"
    (folder / "assets").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "assets" / "index.js").write_text(module)
    monkeypatch.delitem(sys.modules, "easydot", raising=False)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert layout_script() == "class A{}const Graphviz=A;\n"
    (folder / "assets" / "index.js").write_text("export default 3")
    with pytest.raises(UnsupportedError, match="does not end in an export of `Graphviz`"):
        layout_script()
    (folder / "assets" / "index.js").unlink()
    with pytest.raises(UnsupportedError, match=r'easydot carries.*"symbucket\[view\]"'):
        layout_script()


def test_the_first_picture_is_in_the_page(tmp_path, monkeypatch):
    symbols = {key: language_model(key)[0] for key in (3, 6)}
    if shutil.which("dot") is not None:
        text = sb.viz.draw(symbols, tmp_path / "a.html").read_text()
        stage = text[text.index('<main id="stage">') : text.index("</main>")]
        assert stage.count("<svg") == 1
        tree = fold(next(iter(networks_of(symbols[3]).values())))
        assert stage.count('class="node"') == tree.shown(tree.default_view())
        assert "<?xml" not in stage
    monkeypatch.setenv("PATH", str(tmp_path))  # no dot: the page draws it by itself
    text = sb.viz.draw(symbols, tmp_path / "a.html").read_text()
    assert "<svg" not in text[text.index("<main") : text.index("</main>")]


def test_totals_are_of_shapes_and_dtypes_that_are_there():
    symbol, shapes = language_model(3)
    tree = fold(next(iter(networks_of(symbol, shapes).values())))
    operators = sum(1 for box in tree.diagram.boxes if box.op)
    whole = totals(tree, range(len(tree.diagram.boxes)))
    assert (whole.operators, whole.parameters, whole.nbytes) == (operators, 419, 4 * 419)
    rows = group_totals(tree)
    top = [box for box in tree.top.boxes if tree.diagram.boxes[box].op]
    assert sum(part.operators for _, _, part in rows) + len(top) == operators
    bare = fold(next(iter(networks_of(symbol).values())))
    assert totals(bare, range(len(bare.diagram.boxes))).parameters is None
    half = [
        Box("w", "", PARAMETER, "w", (Value("w", dtype, (3, 5)),), {}, "w")
        for dtype in ("float16", "strange")
    ]
    tree = fold(Diagram("half", tuple(half), ()))
    assert totals(tree, [0]) == Totals(0, 15, 30, 0)
    assert totals(tree, [0, 1]) == Totals(0, 30, None, 0)


def test_the_data_say_all_that_can_be_searched():
    symbol, shapes = language_model(5)
    networks = networks_of(symbol, shapes, "training", unrolled=True)
    (network,) = networks.values()
    page = Elements(to_page(make_drawings({"5": fold(network)}), "five"))
    data = json.loads(page.scripts["network-0"])
    assert [b["name"] for b in data["boxes"]] == [b.name for b in network.boxes]
    assert len(data["edges"]) == 3 * len(network.edges)
    step = next(b for b in data["boxes"] if b["name"] == "lstm_l1_t3_out/Mul")
    assert step["op"] == "Mul"
    assert step["outputs"] == [["lstm_l1_t3_out/Mul", "float32", "3\N{MULTIPLICATION SIGN}4"]]
    assert data["groups"][step["parent"]]["title"] == "t3"


NODE = """
const net = JSON.parse(require("fs").readFileSync(0, "utf8"));
const views = JSON.parse(process.argv[1]);
console.log(JSON.stringify(views.map((opened) => toDot(net, new Set(opened ?? net.open)))));
"""


@pytest.mark.parametrize("graph", ["symbol", "training"])
def test_the_page_shows_what_a_static_picture_shows(graph):
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    symbol, shapes = language_model(12)
    (network,) = networks_of(symbol, shapes, graph).values()
    tree = fold(network)
    (drawing,) = make_drawings({"12": tree}).values()
    draw = random.Random(7)
    groups = range(len(tree.groups))
    views = [sorted(i for i in groups if draw.random() < share) for share in (0, 0.5, 0.8, 1)]
    script = files("symbucket.visualization").joinpath("assets/net.js").read_text("utf-8") + NODE
    done = subprocess.run(
        [node, "-e", script, json.dumps([None, *views])],
        input=json.dumps(page_data(drawing)),
        capture_output=True,
        text=True,
        check=True,
    )
    first, *others = json.loads(done.stdout)
    assert first == to_dot(drawing, tree.default_view())
    assert first == network_dot(network)
    assert others == [to_dot(drawing, set(view)) for view in views]


def test_a_page_begins_with_as_many_boxes_as_wanted(tmp_path):
    symbol, shapes = language_model(5)
    for budget in (10, 80):
        path = sb.viz.draw(symbol, tmp_path / "a.html", shape=shapes, budget=budget)
        tree = fold(next(iter(networks_of(symbol, shapes).values())))
        opened = json.loads(Elements(path.read_text()).scripts["network-0"])["open"]
        assert opened == sorted(tree.default_view(budget))


def test_a_page_can_hold_all_keys():
    networks = {
        str(k): fold(next(iter(networks_of(language_model(k)[0]).values()))) for k in (3, 6)
    }
    page = Elements(to_page(make_drawings(networks), "keys"))
    names = [a["data-name"] for t, a in page.tags if a.get("type") == "application/json"]
    assert names == ["3", "6"]


def test_names_cannot_leave_their_place():
    name = '</script><script>alert("x")</script>\u2028@GRAPHVIZ@<!--'
    box = Box(name, "", DATA, name, (Value(name, "", (name,)),), {name: name}, name)
    page = Elements(to_page(make_drawings({name: fold(Diagram(name, (box,), ()))}), name))
    assert sum(tag == "script" for tag, _ in page.tags) == 3  # network, Graphviz, app
    assert json.loads(page.scripts["network-0"])["boxes"][0]["name"] == name
