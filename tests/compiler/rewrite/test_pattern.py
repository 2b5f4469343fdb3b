"""The matcher: what fits, what does not and why, and rules applied to a graph."""

import onnx_ir as ir
import pytest

from symbucket.compiler.rewrite.pattern import (
    Const,
    Either,
    Op,
    Optional,
    Var,
    match_each,
    replace_matches,
    variables,
)
from symbucket.ir import Builder, attribute_of, input_of, new_graph, producer_of
from tests.compiler.rewrite.graph_text import graph, lines
from tests.compiler.verify_graph import verify

x, y, bias = variables("x", "y", "bias")


def values(text):
    """The values of a graph by name."""
    parsed = graph(text)
    named = {v.name: v for v in parsed.inputs}
    named.update({v.name: v for node in parsed for v in node.outputs})
    return named


GEMM = values(
    """(float[2,3] a, float[3,4] b, float[4] c)
    => (float[2,4] plain, float[2,4] biased, float[2,4] scaled, float[2,4] t) {
        plain = Gemm(a, b)
        biased = Gemm(a, b, c)
        scaled = Gemm<alpha = 2.0>(a, b)
        inner = Gemm(a, b)
        t = Tanh(inner)
    }"""
)


def test_variables_take_the_operands():
    product = Op("Gemm", x, y, Optional(bias), transA=0, alpha=1.0)
    match = product.match(GEMM["biased"])
    assert (match[x], match[y], match[bias]) == (GEMM["a"], GEMM["b"], GEMM["c"])
    assert match[product] is GEMM["biased"]
    assert match.node(product) is GEMM["biased"].producer()
    assert match.attribute(product, "beta") == 1.0  # ONNX's default
    absent = product.match(GEMM["plain"])
    assert absent.get(bias) is None
    assert bias not in absent


@pytest.mark.parametrize(
    ("pattern", "name", "reason"),
    [
        (Op("Gemm", x, y), "biased", "'biased' (Gemm) has more than 2 inputs"),
        (Op("Gemm", x, y, bias), "plain", "bias: an absent input is not"),
        (Op("Gemm", x, x), "plain", "x: 'b' is not 'a'"),
        (Op("Gemm", alpha=1.0), "scaled", "'scaled' (Gemm) has alpha=2.0"),
        (Op("Gemm", alpha=lambda a: a < 1), "plain", "'plain' (Gemm) has alpha=1.0"),
        (Op("Gemm", users=1), "plain", "'plain' (Gemm) has other users, or is an output"),
        (Op("Gemm", domain="symbucket"), "plain", "'plain' (Gemm) is of domain ''"),
        (Op("Tanh"), "plain", "'plain' (Gemm) is no result of Tanh"),
        (Op("Tanh"), "a", "'a' is no result of Tanh"),
        (Op("Tanh", Op("Exp")), "t", "'inner' (Gemm) is no result of Exp"),
        (Op("Gemm", x, Const()), "plain", "'b' is not the constant"),
        (Op("Gemm", Var("row", where=lambda v: v.shape[0] == 1), y), "plain", "row: 'a' does not"),
    ],
)
def test_why_not(pattern, name, reason):
    assert pattern.match(GEMM[name]) is None
    assert reason in pattern.why_not(GEMM[name])


def test_what_fits_has_no_reason():
    assert Op("Gemm", x, y).why_not(GEMM["plain"]) == ""
    assert Op("Tanh", Op("Gemm", users=1)).match(GEMM["t"])


STEP = values(
    """(float[2,3] c, float[2,3] i, float[2,3] f, float[2,3] o)
    => (float[2,3] h, float[2,3] straight) <float one = {1}, float[1] ones = {1}> {
        forget = Sigmoid(f)
        enter = Sigmoid(i)
        new = Tanh(o)
        p = Mul(enter, new)
        q = Mul(c, forget)
        h = Add(p, q)
        less = Sub(one, forget)
        straight = Mul(less, ones)
    }"""
)


def test_every_order_of_operands_is_tried_until_the_whole_fits():
    """The first order binds ``cell`` to the wrong operand: the search must come back."""
    cell, f, i, g = variables("cell", "f", "i", "g")
    entering = Op("Mul", Op("Sigmoid", i), Op("Tanh", g), any_order=True)
    staying = Op("Mul", Op("Sigmoid", f), cell, any_order=True)
    match = Op("Add", staying, entering, any_order=True).match(STEP["h"])
    assert (match[cell], match[f], match[i], match[g]) == tuple(STEP[n] for n in "cfio")
    assert Op("Add", staying, entering).match(STEP["h"]) is None


def test_a_choice_is_taken_back_if_what_follows_does_not_fit():
    """Both operands of the inner product fit ``a``; only one of them is the outer operand."""
    named = values(
        """(float[2] a, float[2] b) => (float[2] y) {
            p = Mul(a, b)
            y = Sub(p, b)
        }"""
    )
    pattern = Op("Sub", Op("Mul", x, Var("other"), any_order=True), x)
    assert pattern.match(named["y"])[x] is named["b"]


def test_constants():
    assert Op("Sub", Const(1), x).match(STEP["less"])
    assert Op("Sub", Const(2), x).match(STEP["less"]) is None
    assert Op("Mul", x, Const([1])).match(STEP["straight"])
    assert Op("Mul", x, Const([1, 1])).match(STEP["straight"]) is None
    assert Op("Mul", x, Const(1)).match(STEP["straight"])


def test_alternatives():
    wave = Either(Op("Sigmoid", x), Op("Tanh", y))
    assert wave.match(STEP["forget"])[x] is STEP["f"]
    match = wave.match(STEP["new"])
    assert match[y] is STEP["o"]
    assert x not in match
    assert wave.match(STEP["p"]) is None
    assert [m.get(x) for m in match_each(wave, [STEP["forget"], STEP["new"]])] == [STEP["f"], None]
    assert match_each(wave, [STEP["forget"], STEP["p"]]) is None


def test_patterns_that_make_no_sense():
    with pytest.raises(ValueError, match="Sub is not commutative"):
        Op("Sub", x, y, any_order=True)
    with pytest.raises(ValueError, match="users=2"):
        Op("Sub", users=2)


INNER = Op("Neg", x, users=1)
DOUBLE = Op("Neg", INNER)


def test_replace_matches():
    parsed = graph(
        """(float[2] a) => (float[2] y, float[2] z) {
            p = Neg(a)
            q = Neg(p)
            y = Exp(q)
            r = Neg(a)
            z = Neg(r)
        }"""
    )
    assert replace_matches(parsed, DOUBLE, lambda g, match: match[x]) == 2
    verify(parsed)
    assert lines(parsed) == ["y = Exp(a)", "Identity = Identity(a)", "-> y, Identity"]


def test_a_replacement_may_decline():
    parsed = graph("(float[2] a) => (float[2] y) { p = Neg(a) y = Neg(p) }")
    assert replace_matches(parsed, DOUBLE, lambda g, match: None) == 0
    assert lines(parsed) == ["p = Neg(a)", "y = Neg(p)", "-> y"]


def test_new_nodes_are_named_after_the_old_one():
    g = Builder(new_graph("names"))
    a = g.input("a", (2,), ir.DataType.FLOAT)
    with g.scoped("layer"):
        g.graph.outputs.append(g.op("Neg", g.op("Neg", a)))
    assert replace_matches(g.graph, DOUBLE, lambda g, match: g.op("Abs", match[x])) == 1
    assert [node.name for node in g.graph] == ["layer/Abs"]


def test_questions_about_nodes():
    node = producer_of(GEMM["plain"])
    assert input_of(node, 1) is GEMM["b"]
    assert attribute_of(node, "transB") == 0
    assert attribute_of(node, "no such") is None
    with pytest.raises(ValueError, match="has no input 2"):
        input_of(node, 2)
    with pytest.raises(ValueError, match="'a' is computed by no node"):
        producer_of(GEMM["a"])
