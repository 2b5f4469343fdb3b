"""The gradients of gates, on small text: before and after."""

from symbucket.compiler.rewrite.join_gate_gradients import join_gate_gradients
from tests.compiler.rewrite.graph_text import changed

GATES = """(float[2,2] i, float[2,2] g, float[2,2] di, float[2,2] dg)
    => (float[2,4] z) <float one = {{1}}> {{
    mi = Sub(one, i)
    si = Mul(i, mi)
    zi = Mul(di, si)
    qg = Mul(g, g)
    sg = Sub(one, qg)
    zg = Mul(dg, {slope})
    z = Concat<axis = 1>(zi, zg)
}}"""


def test_slopes_of_all_gates_are_one_expression():
    count, after = changed(join_gate_gradients, GATES.format(slope="sg"))
    assert count == 1
    assert after[-7:] == [
        "%0 = Concat(i, g, axis=1)",
        "%1 = Mul(%0, %0)",
        "%2 = Concat(i, [[1.0, 1.0], [1.0, 1.0]], axis=1)",
        "%3 = Sub(%2, %1)",
        "%4 = Concat(di, dg, axis=1)",
        "%5 = Mul(%4, %3)",
        "-> %5",
    ]


def test_another_factor_is_left_alone():
    count, _ = changed(join_gate_gradients, GATES.format(slope="qg"))
    assert count == 0
