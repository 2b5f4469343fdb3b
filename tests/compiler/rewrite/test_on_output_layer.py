"""The output layer, on small text: before and after."""

import pytest

from symbucket.compiler.rewrite.fuse_output_layer import fuse_output_layer
from tests.compiler.rewrite.graph_text import changed

SOFTMAX = (
    "<axis = 1, grad_scale = 2.0, ignore_label = 0.0, use_ignore = {ignore}, "
    'normalization = "{norm}", divisor = 1.0, smooth_alpha = 0.0, out_grad = 0>'
)
LAYER = """(float[4,3] x, float[4] label, float[5,3] w, float[5] b)
=> (float[4,3] dx, float[5,3] dw, float[5] db) <int64[1] rows = {0}> {
    z = Gemm<transB = 1>(x, w, b)
    p = symbucket.SoftmaxOutput SOFTMAX (z, label)
    d = symbucket.SoftmaxOutputGrad SOFTMAX (p, label)
    dx = Gemm(d, w)
    dw = Gemm<transA = 1>(d, x)
    db = ReduceSum<keepdims = 0>(d, rows)
}"""


def layer(ignore=0, norm="null", text=LAYER):
    """The layer with these settings."""
    return text.replace("SOFTMAX", SOFTMAX.format(ignore=ignore, norm=norm))


def test_the_difference_is_made_inside_the_probabilities():
    count, after = changed(fuse_output_layer, layer())
    assert count == 1
    assert after == [
        "%0 = Cast(label, to=7)",
        "%1 = Clip(%0, 0, 4)",
        "%2 = Reshape(%1, [-1, 1])",
        "%3 = Gemm(x, w, b, transB=1)",
        "%4 = Softmax(%3, axis=1)",
        "%5 = GatherElements(%4, %2, axis=1)",
        "%6 = Sub(%5, 1.0)",
        "%7 = ScatterElements(%4, %2, %6, axis=1)",
        "%8 = Mul(x, [2.0])",
        "%9 = Gemm(%7, %8, transA=1)",
        "%10 = Gemm(%7, w)",
        "%11 = Mul(%10, [2.0])",
        "%12 = ReduceSum(%7, [0], keepdims=0)",
        "%13 = Mul(%12, [2.0])",
        "-> %11, %9, %13",
    ]


def test_ignored_rows_are_dropped_before_the_product():
    count, after = changed(fuse_output_layer, layer(ignore=1, norm="valid"))
    assert count == 1
    keep = next(i for i, line in enumerate(after) if "NonZero" in line)
    assert after[keep : keep + 7] == [
        "%8 = NonZero(%7)",
        "%9 = Reshape(%8, [-1])",
        "%10 = Gather(%0, %9, axis=0)",
        "%11 = Gather(x, %9, axis=0)",
        "%12 = Clip(%10, 0, 4)",
        "%13 = Reshape(%12, [-1, 1])",
        "%14 = Gemm(%11, w, b, transB=1)",
    ]
    assert any(" = ScatterND(const[4, 3], " in line for line in after)


def test_rows_stay_where_somebody_reads_the_probabilities():
    read = LAYER.replace("(float[4,3] dx,", "(float[4,5] p, float[4,3] dx,")
    count, after = changed(fuse_output_layer, layer(ignore=1, text=read))
    assert count == 1
    assert not any("NonZero" in line for line in after)
    probabilities = next(line.split(" = ")[0] for line in after if " = Softmax(" in line)
    assert after[-1].startswith(f"-> {probabilities}, ")


def test_a_bias_of_many_rows_is_one_more_column():
    many = LAYER.replace("[4", "[40")
    count, after = changed(fuse_output_layer, layer(text=many))
    assert count == 1
    gemm = next(line for line in after if "Gemm" in line)
    assert gemm.endswith("transB=1)")
    assert gemm.count(",") == 2  # no bias
    assert any("Concat(w," in line for line in after)
    assert any("Split(" in line and "[3, 1, 12]" in line for line in after)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("smooth_alpha = 0.0", "smooth_alpha = 0.1"),
        ("out_grad = 0", "out_grad = 1"),
        ("Gemm<transB = 1>(x, w, b)", "Gemm<transB = 1, alpha = 2.0>(x, w, b)"),
        ("(float[4,3] dx,", "(float[4,5] z, float[4,3] dx,"),
        ("(float[4,3] dx,", "(float[4,5] d, float[4,3] dx,"),
        ("dx = Gemm(d, w)", "dx = Gemm<alpha = 2.0>(d, w)"),
        ("dx = Gemm(d, w)", "e = Neg(d)\n dx = Gemm(e, w)"),
    ],
)
def test_other_forms_stay(old, new):
    text = layer()
    assert old in text
    count, _ = changed(fuse_output_layer, text.replace(old, new))
    assert count == 0
