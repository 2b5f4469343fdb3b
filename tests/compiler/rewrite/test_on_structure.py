"""Common subexpressions and stacking, on small text: before and after."""

from symbucket.compiler.rewrite.expand_own_nodes import expand_own_nodes
from symbucket.compiler.rewrite.merge_common_subexpressions import merge_common_subexpressions
from symbucket.compiler.rewrite.simplify_stacking import simplify_stacking
from tests.compiler.rewrite.graph_text import changed

# merge-common-subexpressions ----------------------------------


def test_equal_nodes_are_one():
    count, after = changed(
        merge_common_subexpressions,
        """(float[2] x, float[2] y) => (float[2] z) {
            a = Add(x, y)
            b = Add(y, x)
            c = Tanh(a)
            d = Tanh(b)
            z = Mul(c, d)
        }""",
    )
    assert count == 2
    assert after == ["a = Add(x, y)", "c = Tanh(a)", "z = Mul(c, c)", "-> z"]


def test_order_attributes_and_outputs_tell_nodes_apart():
    count, after = changed(
        merge_common_subexpressions,
        """(float[2,2] x, float[2,2] y) => (float[2,2] p, float[2,2] q, float[2,2] o) {
            p = Sub(x, y)
            q = Sub(y, x)
            a = Gemm<transA = 1>(x, y)
            b = Gemm(x, y)
            c = Add(a, b)
            o = Sub(x, y)
        }""",
    )
    assert count == 0
    assert after[-1] == "-> p, q, o"


def test_random_nodes_are_never_equal():
    count, _ = changed(
        merge_common_subexpressions,
        """() => (float[2] y) {
            a = RandomUniform<shape = [2]>()
            b = RandomUniform<shape = [2]>()
            c = Dropout(a)
            d = Dropout(a)
            e = Add(a, b)
            y = Sum(c, d, e)
        }""",
    )
    assert count == 0


def test_losses_are_never_equal():
    count, _ = changed(
        merge_common_subexpressions,
        """(float[2] x, float[2] dx) => (float[2] y) {
            a = symbucket.LossOutput(x, x, dx)
            b = symbucket.LossOutput(x, x, dx)
            y = Add(a, b)
        }""",
    )
    assert count == 0


# stacking ----------------------------------------------------------------------------------------


def test_a_split_that_is_put_together_again():
    count, after = changed(
        simplify_stacking,
        """(float[6,2] x) => (float[6,2] y, float[6,2] z, float[4,2] u, float[2,6] v) {
            t = Tanh(x)
            a, b, c = Split<axis = 0, num_outputs = 3>(t)
            whole = Concat<axis = 0>(a, b, c)
            y = Neg(whole)
            z = Concat<axis = 0>(a, c, b)
            u = Concat<axis = 0>(a, b)
            v = Concat<axis = 1>(a, b, c)
        }""",
    )
    assert count == 1
    assert after == [
        "t = Tanh(x)",
        "a, b, c = Split(t, axis=0, num_outputs=3)",
        "y = Neg(t)",
        "z = Concat(a, c, b, axis=0)",
        "u = Concat(a, b, axis=0)",
        "v = Concat(a, b, c, axis=1)",
        "-> y, z, u, v",
    ]


def test_steps_stacked_row_upon_row_are_a_transposition():
    steps = """(float[2,3,4] x) => (float[6,4] y) <int64[2] shape = {2, 4}> {
        a, b, c = Split<axis = 1, num_outputs = 3>(x)
        p = Reshape(a, shape)
        q = Reshape(b, shape)
        r = Reshape(c, shape)
        y = Concat<axis = 0>(p, q, r)
    }"""
    count, after = changed(simplify_stacking, steps)
    assert count == 1
    assert after[-3:] == [
        "%0 = Transpose(x, perm=(1, 0, 2))",
        "%1 = Reshape(%0, [6, 4])",
        "-> %1",
    ]
    assert changed(simplify_stacking, steps.replace("(p, q, r)", "(p, r, q)"))[0] == 0


def test_steps_of_the_layout_tnc_are_rows_already():
    count, after = changed(
        simplify_stacking,
        """(float[3,2,4] x) => (float[6,4] y) <int64[2] shape = {2, 4}> {
            a, b, c = Split<axis = 0, num_outputs = 3>(x)
            p = Reshape(a, shape)
            q = Reshape(b, shape)
            r = Reshape(c, shape)
            y = Concat<axis = 0>(p, q, r)
        }""",
    )
    assert count == 1
    assert after[-2:] == ["%0 = Reshape(x, [6, 4])", "-> %0"]


def test_an_input_does_not_become_an_output():
    count, after = changed(
        simplify_stacking,
        """(float[6,2] x) => (float[6,2] y, float[6,2] t, float[6,2] z) {
            a, b = Split<axis = 0, num_outputs = 2>(x)
            y = Concat<axis = 0>(a, b)
            t = Tanh(x)
            c, d = Split<axis = 0, num_outputs = 2>(t)
            z = Concat<axis = 0>(c, d)
        }""",
    )
    assert count == 2
    assert "Identity = Identity(x)" in after
    assert after[-1] == "-> Identity, t, Identity_1"


# expand ------------------------------------------------------------------------------------------


def test_a_count_that_is_a_constant_becomes_no_output():
    _, after = changed(
        expand_own_nodes,
        """(float[4,3] x, float[4] label) => (float[1] s, float[1] n, float[1] t, float[1] m) {
            s, n = symbucket.LabelLoss
                <use_ignore = 0, ignore_label = 0.0, floor = 0.0, eps = 0.0>(x, label)
            y = Neg(x)
            t, m = symbucket.LabelLoss
                <use_ignore = 0, ignore_label = 0.0, floor = 0.0, eps = 0.0>(y, label)
        }""",
    )
    assert sum("Identity([4.0])" in line for line in after) == 2
