"""The output layer, on small text: before and after."""

import pytest

from symbucket.compiler import CompilerOptions
from symbucket.compiler.rewrite.base import PassContext
from symbucket.compiler.rewrite.chunk_output_layer import chunk_output_layer
from symbucket.compiler.rewrite.fuse_output_layer import fuse_output_layer
from tests.compiler.rewrite.graph_text import changed

SOFTMAX = (
    "<axis = 1, grad_scale = 2.0, ignore_label = 0.0, use_ignore = {ignore}, "
    'normalization = "{norm}", divisor = 1.0, smooth_alpha = 0.0, out_grad = 0, any_label = 0>'
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


def test_chunks_add_up():
    rows = LAYER.replace("[4", "[16")
    context = PassContext(CompilerOptions(loss_chunks=2))
    count, after = changed(lambda g: chunk_output_layer(g, context), layer(text=rows))
    assert count == 1
    assert after == [
        "%0 = Cast(label, to=7)",
        "%1 = Slice(%0, [0], [8], [0])",
        "%2 = Slice(x, [0], [8], [0])",
        "%3 = Clip(%1, 0, 4)",
        "%4 = Reshape(%3, [-1, 1])",
        "%5 = Gemm(%2, w, b, transB=1)",
        "%6 = Softmax(%5, axis=1)",
        "%7 = GatherElements(%6, %4, axis=1)",
        "%8 = Sub(%7, 1.0)",
        "%9 = ScatterElements(%6, %4, %8, axis=1)",
        "%10 = Gemm(%9, w)",
        "%11 = Mul(%10, [2.0])",
        "%12 = ReduceSum(%9, [0], keepdims=0)",
        "%13 = Mul(%12, [2.0])",
        "%14 = Mul(%2, [2.0])",
        "%15 = Transpose(%14, perm=(1, 0))",
        "%16 = Gemm(%15, %9)",
        "%17 = Slice(%0, [8], [16], [0])",
        "%18 = Slice(x, [8], [16], [0])",
        "%19 = Clip(%17, 0, 4)",
        "%20 = Reshape(%19, [-1, 1])",
        "%21 = Gemm(%18, w, b, transB=1)",
        "%22 = Softmax(%21, axis=1)",
        "%23 = GatherElements(%22, %20, axis=1)",
        "%24 = Sub(%23, 1.0)",
        "%25 = ScatterElements(%22, %20, %24, axis=1)",
        "%26 = Gemm(%25, w)",
        "%27 = Mul(%26, [2.0])",
        "%28 = ReduceSum(%25, [0], keepdims=0)",
        "%29 = Mul(%28, [2.0])",
        "%30 = Add(%13, %29)",
        "%31 = Mul(%18, [2.0])",
        "%32 = Transpose(%31, perm=(1, 0))",
        "%33 = Gemm(%32, %25, %16)",
        "%34 = Transpose(%33, perm=(1, 0))",
        "%35 = Concat(%11, %27, axis=0)",
        "-> %35, %34, %30",
    ]
