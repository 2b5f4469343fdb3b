"""What notebooks show of objects: HTML with every text escaped, and one line in plain text."""

from __future__ import annotations

import html.parser
import re

import pytest

import symbucket as sb
from symbucket import hooks
from symbucket.html_tables import html_table
from symbucket.io.bucket_table import BucketRow, BucketTable
from symbucket.padding.check import PaddingReport
from symbucket.padding.compare import Difference
from symbucket.visualization.draw import inline_svg

HOSTILE = "<script>alert('1')</script>"


class Tags(html.parser.HTMLParser):
    """Checks that tags are closed in order, and collects them and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def shown(thing) -> Tags:
    tags = Tags(thing._repr_html_())
    assert "script" not in tags.tags
    return tags


def network(length, name="softmax"):
    data = sb.sym.Variable("data")
    vectors = sb.sym.Embedding(data, input_dim=11, output_dim=4, name="embed")
    total = sb.sym.sum(vectors, axis=1)
    scores = sb.sym.FullyConnected(total, num_hidden=3, name="scores")
    return sb.sym.SoftmaxOutput(scores, name=name), ["data"], [f"{name}_label"]


@pytest.fixture(scope="module")
def module():
    module = sb.mod.BucketingModule(network, default_bucket_key=6)
    module.bind([("data", (2, 6))], [("softmax_label", (2,))])
    module.init_params()
    module.init_optimizer(optimizer="adam")
    return module


def test_a_module_says_what_it_is_bound_to(module):
    assert repr(sb.mod.BucketingModule(network, 6)) == "<BucketingModule: not bound>"
    assert repr(module) == (
        "<BucketingModule: bound for training; keys 6; data (2, 6) at key 6; "
        "3 parameters of 59 numbers; Adam>"
    )
    tags = shown(module)
    assert tags.tags.count("table") == 2
    assert "embed_weight(11, 4)44" in tags.text
    assert "total59" in tags.text
    assert "not bound" in shown(sb.mod.Module(network(3)[0])).text


def test_modules_of_ones_own_have_a_line_too():
    assert repr(sb.mod.SequentialModule()) == "<SequentialModule: not bound>"


def test_a_symbol_is_a_picture_or_a_table(monkeypatch):
    symbol = sb.sym.exp(sb.sym.Variable(HOSTILE), name=HOSTILE)
    picture = inline_svg(symbol)
    if picture is not None:
        assert symbol._repr_html_() == picture
        assert picture.startswith("<svg")
        assert "<script" not in picture
    monkeypatch.setattr(hooks, "inline_svg", lambda _: None)
    tags = shown(symbol)
    assert f"{HOSTILE}exp{HOSTILE}" in tags.text


def test_a_large_symbol_is_a_table():
    symbol = sb.sym.exp(sb.sym.Variable("x"))
    assert inline_svg(symbol, most_nodes=1) is None


def test_buckets():
    train = sb.io.BucketSentenceIter([[1, 2]] * 5 + [[1] * 4] * 4, 2, buckets=[3, 5])
    rows = train.bucket_table()
    assert isinstance(rows, list)
    assert rows[0][:3] == (3, 5, 2)
    assert str(rows) == sb.io.format_bucket_table(list(rows))
    assert shown(rows).tags.count("tr") == 4
    table = BucketTable([BucketRow((HOSTILE, 2), 1, 1, 0.5)])
    assert "alert(" in shown(table).text
    plan = sb.io.plan_buckets([2, 3, 3, 7, 8, 9], 2, batch=2)
    assert re.match(r"2 buckets, \d batches, padding [\d.]+%", shown(plan).text)


def test_memory_plans(module):
    plan = module.plan_memory([6, 4], lambda key: ([("data", (2, key))], [("softmax_label", (2,))]))
    assert re.fullmatch(r"<PoolPlan of keys 6, 4: [\d.]+ MB, largest 6>", repr(plan))
    tags = shown(plan)
    assert tags.tags.count("table") == 2
    assert f"total{plan.total / 1e6:.1f}" in tags.text


def test_a_bundle(module, tmp_path):
    module.export(tmp_path / "b")
    bundle = sb.Bundle(tmp_path / "b")
    assert repr(bundle) == f"<Bundle of {str(tmp_path / 'b')!r}: keys 6>"
    bundle.run([[1, 2, 3]])
    assert "62data (2, 6)softmax_output (2, 3)1" in shown(bundle).text


def test_arrays_and_reports():
    assert "[[1. 2.]]NDArray 1 x 2, float32, cpu(0)" in shown(sb.nd.array([[1.0, 2.0]])).text
    assert len(sb.nd.zeros((1000, 1000))._repr_html_()) < 2000
    good = PaddingReport(4, 8, (), None)
    assert "changes nothing" in shown(good).text
    bad = PaddingReport(4, 8, (Difference("gradient", HOSTILE, 0.5),), None, HOSTILE)
    tags = shown(bad)
    assert f"gradient{HOSTILE}0.5" in tags.text
    assert tags.text.endswith(HOSTILE)


def test_long_tables_are_cut():
    rows = [("n",), *((str(i),) for i in range(100)), ("total",)]
    tags = Tags(html_table(rows, total=True, most=10))
    assert tags.tags.count("tr") == 12
    assert "... 91 more ..." in tags.text
    assert all(text in tags.text for text in ("0", "99", "total"))
