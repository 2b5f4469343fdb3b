"""Passes that join products, on small text: before and after."""

from symbucket.compiler.rewrite.batch_gemms import batch_gemms
from symbucket.compiler.rewrite.choose_gemm_layout import choose_gemm_layout
from symbucket.compiler.rewrite.fuse_gemm_add import fuse_gemm_add
from symbucket.compiler.rewrite.sum_gemms import sum_gemms
from tests.compiler.rewrite.graph_text import changed

# fuse-gemm-add ----------------------------------


def test_the_deeper_product_takes_the_other_one():
    for operands in ("p, q", "q, p"):
        count, after = changed(
            fuse_gemm_add,
            """(float[2,3] x, float[2,4] h, float[5,3] w, float[5] a, float[5,4] r, float[5] b)
            => (float[2,5] y) {
                t = Tanh(h)
                p = Gemm<transB=1>(t, r, b)
                q = Gemm<transB=1>(x, w, a)
                sum = Add(OPERANDS)
                y = Tanh(sum)
            }""".replace("OPERANDS", operands),
        )
        assert count == 1
        assert after[-4:-1] == [
            "%0 = Gemm(x, w, Add, transB=1)",
            "%1 = Gemm(t, r, %0, transB=1)",
            "y = Tanh(%1)",
        ]
        assert after[1] in ("Add = Add(a, b)", "Add = Add(b, a)")


def test_one_bias_or_none_needs_no_addition():
    count, after = changed(
        fuse_gemm_add,
        """(float[2,3] x, float[2,4] h, float[3,5] w, float[4,5] r, float[5] b)
        => (float[2,5] y, float[2,5] z) {
            p = Gemm(x, w)
            q = Gemm(h, r, b)
            y = Add(p, q)
            s = Gemm(x, w)
            t = Gemm<alpha = 2.0>(h, r)
            z = Add(s, t)
        }""",
    )
    assert count == 2
    assert after == [
        "%0 = Gemm(x, w, b)",
        "%1 = Gemm(h, r, %0)",
        "%2 = Gemm(x, w)",
        "%3 = Gemm(h, r, %2, alpha=2.0)",
        "-> %1, %3",
    ]


def test_products_that_others_read_or_that_do_not_fit_stay():
    count, _ = changed(
        fuse_gemm_add,
        """(float[2,3] x, float[1,3] one, float[2,4] h, float[3,5] w, float[4,5] r, float[2,5] c)
        => (float[2,5] y, float[2,5] q, float[2,5] z, float[2,5] u, float[2,5] v) {
            p = Gemm(x, w)
            q = Gemm(h, r)
            y = Add(p, q)
            s = Gemm(x, w)
            z = Add(s, s)
            row = Gemm(one, w)
            t = Gemm(h, r)
            u = Add(row, t)
            matrix = Gemm(x, w, c)
            half = Gemm<beta = 0.5>(x, w, c)
            v = Add(matrix, half)
        }""",
    )
    assert count == 0


def test_the_recurrent_product_takes_the_other_one_wherever_it_is():
    """The start state lies less deep than the inputs, and still only the inputs can be stacked."""
    count, after = changed(
        fuse_gemm_add,
        """(float[2,3] x, float[2,3] y, float[2,3] h, float[3,3] w, float[3,3] r)
        => (float[2,3] k) {
            x0 = Neg(x)
            p0 = Gemm(h, r)
            q0 = Gemm(x0, w)
            s = Add(p0, q0)
            y0 = Neg(y)
            p1 = Gemm(s, r)
            q1 = Gemm(y0, w)
            k = Add(p1, q1)
        }""",
    )
    assert count == 2
    assert [line for line in after if "Gemm" in line] == [
        "%0 = Gemm(x0, w)",
        "%1 = Gemm(h, r, %0)",
        "%2 = Gemm(y0, w)",
        "%3 = Gemm(%1, r, %2)",
    ]


def test_a_product_with_zeros_adds_its_bias_only():
    count, after = changed(
        fuse_gemm_add,
        """(float[2,3] x, float[3,5] w, float[4,5] r, float[5] b) => (float[2,5] y)
        <int64[2] shape = {2, 4}> {
            zeros = ConstantOfShape(shape)
            p = Gemm(zeros, r, b)
            q = Gemm(x, w)
            y = Add(p, q)
        }""",
    )
    assert count == 1
    assert after == ["zeros = ConstantOfShape([2, 4])", "%0 = Gemm(x, w, b)", "-> %0"]


# batch-gemms ----------------------------------------------------------------------------------


def test_products_of_one_weight_are_stacked():
    count, after = changed(
        batch_gemms,
        """(float[2,3] x, float[4,3] y, float[5,3] w, float[5] b)
        => (float[2,5] p, float[4,5] q) {
            p = Gemm<transB = 1>(x, w, b)
            q = Gemm<transB = 1>(y, w, b)
        }""",
    )
    assert count == 2
    assert after == [
        "%0 = Concat(x, y, axis=0)",
        "%1 = Gemm(%0, w, b, transB=1)",
        "%2, %3 = Split(%1, [2, 4], axis=0)",
        "-> %2, %3",
    ]


def test_only_products_that_do_not_wait_for_each_other_are_stacked():
    """Two chains of two products each: the first of both, then the second of both."""
    count, after = changed(
        batch_gemms,
        """(float[2,3] x, float[2,3] y, float[3,3] w) => (float[2,3] c, float[2,3] d) {
            a = Gemm(x, w)
            c = Gemm(a, w)
            b = Gemm(y, w)
            s = Tanh(b)
            d = Gemm(s, w)
        }""",
    )
    assert count == 4
    assert after == [
        "%0 = Concat(x, y, axis=0)",
        "%1 = Gemm(%0, w)",
        "%2, %3 = Split(%1, [2, 2], axis=0)",
        "s = Tanh(%3)",
        "%4 = Concat(%2, s, axis=0)",
        "%5 = Gemm(%4, w)",
        "%6, %7 = Split(%5, [2, 2], axis=0)",
        "-> %6, %7",
    ]


def test_stacking_one_weight_makes_no_circle_through_another():
    """x goes through v, then w; y through w, then v: only one of the pairs can be stacked."""
    count, after = changed(
        batch_gemms,
        """(float[2,3] x, float[2,3] y, float[3,3] v, float[3,3] w)
        => (float[2,3] xvw, float[2,3] ywv) {
            xv = Gemm(x, v)
            yw = Gemm(y, w)
            xvw = Gemm(xv, w)
            ywv = Gemm(yw, v)
        }""",
    )
    assert count == 2
    assert sum(line.count("Gemm(") for line in after) == 3


def test_other_biases_factors_and_a_transposed_left_side_stay():
    count, _ = changed(
        batch_gemms,
        """(float[3,3] x, float[3,3] y, float[3,3] w, float[3] b, float[3,3] c)
        => (float[3,3] p, float[3,3] q, float[3,3] r, float[3,3] s, float[3,3] t, float[3,3] u,
            float[3,3] v) {
            p = Gemm(x, w)
            q = Gemm(y, w, b)
            r = Gemm<alpha = 2.0>(y, w)
            s = Gemm<transA = 1>(y, w)
            t = Gemm<transB = 1>(y, w)
            u = Gemm(x, w, c)
            v = Gemm(y, w, c)
        }""",
    )
    assert count == 0


# sum-gemms ------------------------------------------------------------------------------------


def test_sums_of_products_and_of_row_sums():
    count, after = changed(
        sum_gemms,
        """(float[2,3] a, float[4,3] c, float[2,5] b, float[4,5] d, float[3,5] e)
        => (float[3,5] y, float[3] z) <int64[1] i = {0}> {
            p = Gemm<transA = 1>(a, b)
            q = Gemm<transA = 1>(c, d)
            y = Sum(p, e, q)
            s = ReduceSum<keepdims = 0>(a, i)
            t = ReduceSum<keepdims = 0>(c, i)
            z = Sum(s, t)
        }""",
    )
    assert count == 4
    assert after == [
        "%0 = Concat(a, c, axis=0)",
        "%1 = Concat(b, d, axis=0)",
        "%2 = Gemm(%0, %1, transA=1)",
        "%3 = Sum(%2, e)",
        "%4 = Concat(a, c, axis=0)",
        "%5 = ReduceSum(%4, [0], keepdims=0)",
        "-> %3, %5",
    ]


def test_a_product_with_zeros_is_left_out_of_the_sum():
    """The state before the first step is zero, and so is its part of the weight's gradient."""
    count, after = changed(
        sum_gemms,
        """(float[1,3] a, float[1,3] c, float[1,2] b, float[1,2] d, float[1,2] f) => (float[3,2] y)
        <float[1,3] none = {0, 0, 0}> {
            p = Gemm<transA = 1>(a, b)
            q = Gemm<transA = 1>(c, d)
            o = Gemm<transA = 1>(none, f)
            y = Sum(p, q, o)
        }""",
    )
    assert count == 3
    assert after == [
        "%0 = Concat(a, c, axis=0)",
        "%1 = Concat(b, d, axis=0)",
        "%2 = Gemm(%0, %1, transA=1)",
        "-> %2",
    ]


def test_terms_that_others_read_and_sums_that_broadcast_stay():
    count, _ = changed(
        sum_gemms,
        """(float[2,3] a, float[2,1] b, float[2,3] c) => (float[3,1] p, float[3,1] y, float[3,3] z)
        {
            p = Gemm<transA = 1>(a, b)
            q = Gemm<transA = 1>(c, b)
            y = Sum(p, q)
            column = Gemm<transA = 1>(a, b)
            matrix = Gemm<transA = 1>(a, c)
            z = Sum(column, matrix)
        }""",
    )
    assert count == 0


# choose-gemm-layout ----------------------------------


def test_tall_products_are_turned_round():
    count, after = changed(
        choose_gemm_layout,
        """(float[6,4096] a, float[6,8] b, float[6,100] c)
        => (float[4096,8] y, float[4096,5] u, float[4096,3] v, float[100,8] z)
        <int64[2] sizes = {5, 3}> {
            y = Gemm<transA = 1>(a, b)
            w = Gemm<transA = 1>(a, b)
            u, v = Split<axis = 1>(w, sizes)
            z = Gemm<transA = 1>(c, b)
        }""",
    )
    assert count == 2
    assert after == [
        "%0 = Transpose(b, perm=(1, 0))",
        "%1 = Gemm(%0, a)",
        "%2 = Transpose(%1, perm=(1, 0))",
        "%3 = Transpose(b, perm=(1, 0))",
        "%4 = Gemm(%3, a)",
        "%5, %6 = Split(%4, [5, 3], axis=0)",
        "%7 = Transpose(%5, perm=(1, 0))",
        "%8 = Transpose(%6, perm=(1, 0))",
        "z = Gemm(c, b, transA=1)",
        "-> %2, %7, %8, z",
    ]
