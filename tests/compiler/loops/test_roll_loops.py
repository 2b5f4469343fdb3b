"""Recurrent steps rolled up into a Scan, on small text: before and after."""

import pytest

from symbucket.compiler.loops.roll_loops import roll_loops
from symbucket.compiler.memory import plan_graph, recompute
from symbucket.ir import body_of, reads
from tests.compiler.rewrite.graph_text import changed, graph, lines
from tests.compiler.verify_graph import verify


def elman(steps, begin="h0", reads="last", extra=""):
    """``h' = Tanh(h r + x)`` over pieces of x, as text; ``reads`` says what is done with states."""
    parts = ", ".join(f"x{t}" for t in range(steps))
    text = [f"{parts} = Split<axis = 0, num_outputs = {steps}>(x)"]
    for t in range(steps):
        state = begin if t == 0 else f"h{t}"
        if t or begin != "0":
            text.append(f"z{t} = Gemm({state}, r, x{t})")
        text.append(f"h{t + 1} = Tanh({f'z{t}' if t or begin != '0' else 'x0'})")
    states = ", ".join(f"h{t + 1}" for t in range(steps))
    text += {
        "last": [f"y = Neg(h{steps})"],
        "all": [f"y = Concat<axis = 0>({states})"],
        "second": [f"y = Concat<axis = 0>({', '.join(f'h{t}' for t in range(2, steps + 1, 2))})"],
    }[reads]
    rows = {"last": 2, "all": 2 * steps, "second": steps // 2 * 2}[reads]
    return f"""(float[{2 * steps},3] x, float[2,3] h0, float[3,3] r) => (float[{rows},3] y) {{
        {chr(10).join(text)}
        {extra}
    }}"""


def rolled(text):
    """The pass over a graph of text; gives the number of Scans, the lines and the bodies' lines."""
    made = graph(text)
    verify(made)
    count = roll_loops(made)
    verify(made)
    return count, lines(made), [body_lines(node) for node in made if body_of(node) is not None]


def body_lines(scan):
    body = body_of(scan)
    names = {v: f"state{i}" for i, v in enumerate(body.inputs)}
    pieces = scan.attributes["num_scan_inputs"].value
    names |= {v: f"piece{i}" for i, v in enumerate(body.inputs[len(body.inputs) - pieces :])}
    text = []
    for node in body:
        operands = ", ".join("_" if v is None else names.get(v, v.name) for v in node.inputs)
        text.append(f"{node.outputs[0].name} = {node.op_type}({operands})")
    return [*text, "-> " + ", ".join(v.name for v in body.outputs)]


def without_bodies(text):
    """Lines of a graph; of a Scan only what it reads."""
    return [line.split(", body=")[0] for line in text]


def test_steps_become_a_scan():
    count, after, (body,) = rolled(elman(5))
    assert count == 1
    assert without_bodies(after) == [
        "%0 = Reshape(x, [5, 2, 3])",
        "%1 = Scan(h0, %0",
        "y = Neg(%1)",
        "-> y",
    ]
    assert body == ["z1 = Gemm(state0, r, piece0)", "h2 = Tanh(z1)", "-> h2"]


def test_all_states_are_the_stack_as_it_is():
    count, after, (body,) = rolled(elman(5, reads="all"))
    assert count == 1
    assert without_bodies(after) == [
        "%0 = Reshape(x, [5, 2, 3])",
        "%1, %2 = Scan(h0, %0",
        "%3 = Reshape(%2, [10, 3])",
        "-> %3",
    ]
    assert body[-2].endswith("= Identity(h2)")
    assert body[-1].startswith("-> h2, ")


def test_some_states_are_pieces_of_the_stack():
    _, after, _ = rolled(elman(5, reads="second"))
    assert after[-2].startswith("y = Concat(%")
    assert sum("Split" in line for line in after) == 1
    assert sum("Reshape" in line for line in after) == 3  # x, and the two states that are read


def test_a_first_step_from_zeros_joins_the_others():
    count, after, (body,) = rolled(elman(5, begin="0"))
    assert count == 1
    assert "%1 = Scan([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], %0" in without_bodies(after)
    assert body == ["z1 = Gemm(state0, r, piece0)", "h2 = Tanh(z1)", "-> h2"]


def test_a_first_step_that_does_something_else_stays_out():
    text = elman(5, begin="0").replace("h1 = Tanh(x0)", "h1 = Sigmoid(x0)")
    count, after, _ = rolled(text)
    assert count == 1
    assert "h1 = Sigmoid(x0)" in after
    assert sum("Slice" in line for line in after) == 1  # the pieces of the other four steps


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_stay(steps):
    count, after = changed(roll_loops, elman(steps))
    assert count == 0
    assert after == lines(graph(elman(steps)))


@pytest.mark.parametrize("steps", range(4, 10))
@pytest.mark.parametrize("reads", ["last", "all"])
@pytest.mark.parametrize("begin", ["h0", "0"])
def test_the_number_of_nodes_does_not_grow(steps, reads, begin):
    if begin == "0" and steps == 4:
        steps = 10  # three products are too few
    count, after, (body,) = rolled(elman(steps, begin, reads))
    assert count == 1
    assert len(after) <= 5
    assert len(body) <= 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("h3 = Tanh(z2)", "h3 = Sigmoid(z2)"),
        ("z2 = Gemm(h2, r, x2)", "z2 = Gemm<alpha = 0.5>(h2, r, x2)"),
        ("z2 = Gemm(h2, r, x2)", "z2 = Gemm(h1, r, x2)"),
        ("z2 = Gemm(h2, r, x2)", "z2 = Gemm(h2, r)"),
    ],
)
def test_steps_that_differ_stay(old, new):
    text = elman(5).replace(old, new)
    assert text != elman(5)
    count, after = changed(roll_loops, text)
    assert count == 0
    assert not any("Scan" in line for line in after)


def test_a_step_that_waits_for_something_behind_another_step_stays():
    text = elman(6).replace("z3 = Gemm(h3, r, x3)", "s = Softmax(h2) z3 = Gemm(h3, r, s)")
    assert changed(roll_loops, text)[0] == 0


@pytest.mark.parametrize("step", [0, 5])
def test_the_first_or_last_step_may_be_another_one(step):
    text = elman(6).replace(f"h{step + 1} = Tanh(z{step})", f"h{step + 1} = Sigmoid(z{step})")
    count, after, (body,) = rolled(text)
    assert count == 1
    assert sum("Sigmoid" in line for line in after) == 1
    assert len(body) == 3


def test_pieces_in_reverse_are_read_backwards():
    text = elman(4)
    for t in range(2):
        text = text.replace(f", x{t})", ", swap)").replace(f", x{3 - t})", f", x{t})")
        text = text.replace(", swap)", f", x{3 - t})")
    _, after, _ = rolled(text)
    assert without_bodies(after)[:2] == ["%0 = Reshape(x, [4, 2, 3])", "%1 = Scan(h0, %0"]
    assert "scan_input_directions=(1,)" in after[1]


def test_pieces_in_no_order_are_put_into_one():
    text = elman(4).replace(", x1)", ", swap)").replace(", x2)", ", x1)").replace("swap", "x2")
    _, after, _ = rolled(text)
    assert any(line.startswith("%") and "Concat(" in line for line in after)


def test_operands_of_other_shapes_are_no_pieces_of_one_stack():
    """What is read as it is, in one row, and in one column."""
    parts = """(float[2,3] a, float[1,3] b, float[2,1] c, float[2,3] h0, float[3,3] r)
        => (float[2,3] h5) {
        z0 = Gemm(h0, r, a)  h1 = Tanh(z0)
        z1 = Gemm(h1, r, a)  h2 = Tanh(z1)
        z2 = Gemm(h2, r, b)  h3 = Tanh(z2)
        z3 = Gemm(h3, r, c)  h4 = Tanh(z3)
        z4 = Gemm(h4, r, a)  h5 = Tanh(z4)
    }"""
    assert changed(roll_loops, parts)[0] == 0


def test_steps_without_an_input_of_their_own_are_counted():
    """The number of steps is the length of what they read: there must be something."""
    text = """(float[2,3] h0, float[3,3] r) => (float[2,3] h4) {
        z0 = Gemm(h0, r)  h1 = Tanh(z0)
        z1 = Gemm(h1, r)  h2 = Tanh(z1)
        z2 = Gemm(h2, r)  h3 = Tanh(z2)
        z3 = Gemm(h3, r)  h4 = Tanh(z3)
    }"""
    count, after, (body,) = rolled(text)
    assert count == 1
    assert without_bodies(after) == ["%0 = Scan(h0, [[0.0], [0.0], [0.0], [0.0]]", "-> %0"]
    assert body == ["z1 = Gemm(state0, r)", "h2 = Tanh(z1)", "-> h2"]


def test_what_prepares_an_input_joins_its_step():
    """And what comes of a state, where every step has it."""
    text = elman(4, reads="all")
    for t in range(4):
        text = text.replace(f"z{t} = Gemm(", f"p{t} = Exp(x{t}) z{t} = Gemm(")
        text = text.replace(f"r, x{t})", f"r, p{t})")
        text = text.replace("y = Concat", f"q{t} = Neg(h{t + 1}) y = Concat")
    text = text.replace("(h1, h2, h3, h4)", "(q0, q1, q2, q3)")
    _, after, (body,) = rolled(text)
    assert len(after) == 4
    assert [line.split(" = ")[1].split("(")[0] for line in body[:-1]] == [
        "Exp",
        "Gemm",
        "Tanh",
        "Neg",
    ]


def test_a_first_operand_that_is_a_constant_is_kept():
    """The first step adds a product with zero to a constant, the others to a Sigmoid."""
    text = """(float[8,3] x, float[2,3] h0, float[3,3] r) => (float[2,3] y)
        <float[2,3] zero = {0, 0, 0, 0, 0, 0}> {
        x1, x2, x3, x4 = Split<axis = 0, num_outputs = 4>(x)
        h1 = Tanh(zero)
        s1 = Sigmoid(x1)  z1 = Gemm(h1, r)  a1 = Add(z1, s1)  h2 = Tanh(a1)
        s2 = Sigmoid(x2)  z2 = Gemm(h2, r)  a2 = Add(z2, s2)  h3 = Tanh(a2)
        s3 = Sigmoid(x3)  z3 = Gemm(h3, r)  a3 = Add(z3, s3)  h4 = Tanh(a3)
        s4 = Sigmoid(x4)  z4 = Gemm(h4, r)  a4 = Add(z4, s4)  h5 = Tanh(a4)
        y = Neg(h5)
    }"""
    count, after, (body,) = rolled(text)
    assert count == 1
    assert not any("Sigmoid" in line for line in body)
    assert any("Sigmoid(x4)" in line for line in after)


def test_two_states_that_one_node_begins():
    """Both start from zero, so that their first steps are one node, which stays out."""
    text = ["x0, x1, x2, x3, x4, x5 = Split<axis = 0, num_outputs = 6>(x)", "h1 = Tanh(x0)"]
    for t in range(1, 6):
        k = f"k{t}" if t > 1 else "h1"
        text.append(f"m{t} = Mul(h{t}, {k}) a{t} = Gemm(m{t}, w, x{t}) h{t + 1} = Tanh(a{t})")
        text.append(f"s{t} = Add(h{t}, {k}) c{t} = Gemm(s{t}, q, x{t}) k{t + 1} = Tanh(c{t})")
    count, after, (body,) = rolled(
        f"""(float[12,3] x, float[3,3] w, float[3,3] q) => (float[2,3] h6, float[2,3] k6) {{
            {chr(10).join(text)}
        }}"""
    )
    assert count == 1
    assert after[1] == "h1 = Tanh(x0)"
    assert len(body) == 7


def test_a_step_of_very_many_nodes():
    """Whether a first step fits is asked operand by operand, but not without end."""
    text = ["x0, x1, x2, x3, x4 = Split<axis = 0, num_outputs = 5>(x)", "h1 = Tanh(x0)"]
    for t in range(1, 5):
        text.append(f"z{t} = Gemm(h{t}, r, x{t}) a{t}_0 = Tanh(z{t})")
        text += [f"a{t}_{i + 1} = Tanh(a{t}_{i})" for i in range(500)]
        text.append(f"h{t + 1} = Tanh(a{t}_500)")
    made = graph(
        f"""(float[10,3] x, float[3,3] r) => (float[2,3] h5) {{
            {chr(10).join(text).replace("h1 = Tanh(x0)", "")}
        }}""".replace("z1 = Gemm(h1, r, x1)", "z1 = Gemm(x0, r, x1)")
    )
    assert roll_loops(made) == 1
    verify(made)


# The states before the steps ----------------------------------------------------------------------

GRADIENT = """
    e0, e1, e2, e3, e4 = Split<axis = 0, num_outputs = 5>(dy)
    d4 = Mul(h5, e4)
    g4 = Gemm<transB = 1>(d4, r)  s3 = Add(e3, g4)  d3 = Mul(h4, s3)
    g3 = Gemm<transB = 1>(d3, r)  s2 = Add(e2, g3)  d2 = Mul(h3, s2)
    g2 = Gemm<transB = 1>(d2, r)  s1 = Add(e1, g2)  d1 = Mul(h2, s1)
    g1 = Gemm<transB = 1>(d1, r)  s0 = Add(e0, g1)  d0 = Mul(h1, s0)
    right = Concat<axis = 0>(d0, d1, d2, d3, d4)
    left = Concat<axis = 0>(BEGIN, h1, h2, h3, h4)
    dr = Gemm<transA = 1>(left, right)
"""


def with_gradient(begin):
    text = elman(5, begin="h0", extra=GRADIENT.replace("BEGIN", begin))
    text = text.replace("float[2,3] h0,", "float[2,3] h0, float[10,3] dy,")
    return text.replace("y) {", "y, float[3,3] dr) {")


def test_the_gradient_of_the_weight_reads_the_states_before_the_steps():
    count, after, bodies = rolled(with_gradient("h0"))
    assert count == 2
    assert not any("Concat" in line for line in after)
    before = [line for line in bodies[0] if line.endswith("= Identity(state0)")]
    assert len(before) == 1
    assert bodies[0][-1].endswith(before[0].split(" = ")[0])


def test_only_the_sequence_that_starts_as_the_steps_do_is_that_of_the_states_before():
    text = with_gradient("other").replace("float[2,3] h0,", "float[2,3] h0, float[2,3] other,")
    _, after, bodies = rolled(text)
    assert any("Concat(other, " in line for line in after)
    assert not any("Identity(state0)" in line for line in bodies[0])


def test_stacks_that_nobody_reads_are_dropped():
    """The states are read as they are before the steps only."""
    text = elman(
        5,
        reads="last",
        extra="left = Concat<axis = 0>(h0, h1, h2, h3, h4)\nw = Gemm<transA = 1>(left, x)",
    )
    text = text.replace("y) {", "y, float[3,3] w) {")
    _, after, (body,) = rolled(text)
    scan = next(line for line in after if " = Scan(" in line)
    assert scan.split(" = ")[0].count(",") == 1  # the last state, and the states before the steps
    assert len(body) == 4


def test_pieces_seen_in_another_shape_are_no_rows_of_the_stack():
    """Both operands are the states of all steps, each turned into (3, 2)."""
    views = "\n".join(f"v{t} = Reshape(h{t + 1}, form)" for t in range(5))
    views += "\nleft = Concat<axis = 0>(v0, v1, v2, v3, v4)\nw = Gemm<transA = 1>(left, left)"
    text = elman(5, extra=views)
    text = text.replace("y) {", "y, float[2,2] w) <int64[2] form = {3, 2}> {")
    count, after, _ = rolled(text)
    assert count == 1
    assert after[-4:-2] == ["%9 = Reshape(%2, [5, 3, 2])", "%10 = Reshape(%9, [15, 2])"]
    assert after[-2] == "w = Gemm(%10, %10, transA=1)"


# Around the pass ----------------------------------------------------------------------------------


def test_what_a_body_reads_can_be_computed_again():
    """The peak lies before the steps, whose body reads b."""
    steps = "\n".join(
        f"p{t} = Gemm({f's{t}' if t else 'm'}, r, b) s{t + 1} = Tanh(p{t})" for t in range(4)
    )
    made = graph(
        f"""(float[2,64] x, float[64,64] r) => (float[2,64] y) {{
            a = Transpose<perm = [0, 1]>(x)
            b = Tanh(a)
            big = Concat<axis = 0>(b, b, b, b, b, b, b, b)
            k = ReduceMean<keepdims = 1>(big)
            m = Mul(a, k)
            {steps}
            y = Add(s4, a)
        }}"""
    )
    assert roll_loops(made) == 1
    (scan,) = [node for node in made if body_of(node) is not None]
    need = plan_graph(made).lower_bound
    assert recompute(made, need - 256) == 1
    verify(made)
    again = list(made)[list(made).index(scan) - 1]
    assert (again.op_type, again.inputs[0].name) == ("Tanh", "a")
    assert again.outputs[0] in set(reads(scan))
    assert plan_graph(made).lower_bound < need
