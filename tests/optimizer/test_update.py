"""The update graph: proof of safety in place, its repair, and the buffers it writes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from symbucket.compiler.update import (
    UpdateSpec,
    build_update,
    check_in_place,
    order_writes,
)
from symbucket.context import cpu
from symbucket.errors import InvalidArgumentError, ShapeError, SymbucketError
from symbucket.ir import Builder, new_graph
from symbucket.optimizer.update_session import UpdateGraph
from symbucket.runtime.ndarray import NDArray

SHAPE = (2, 3)
OPERATORS = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Neg": np.negative,
    "Tanh": np.tanh,
    "Abs": np.abs,
    "Identity": np.array,
}
BINARY = ("Add", "Sub", "Mul", "Max")


def _inputs(*names):
    graph = new_graph("test")
    g = Builder(graph)
    return graph, g, [g.input(n, SHAPE, ir.DataType.FLOAT) for n in names]


def _spec(states=(), shapes=(SHAPE,), scalars=((),)):
    return UpdateSpec(tuple(shapes), tuple(states), tuple(scalars), (0,) * len(shapes))


def _late_square_root(g):
    """n' = n + x and z' = z - sqrt(n): nothing makes the root wait, nor the sum."""
    n, z, x = (g.input(name, SHAPE, ir.DataType.FLOAT) for name in "nzx")
    return {n: g.op("Add", n, x), z: g.op("Sub", z, g.op("Mul", x, g.op("Sqrt", n)))}


def test_a_reader_that_is_an_ancestor_of_the_write_is_fine():
    graph, g, (w, m, x) = _inputs("w", "m", "x")
    mom = g.op("Sub", g.op("Mul", m, m), g.op("Mul", w, x))
    check_in_place(graph, {m: mom, w: g.op("Add", w, mom)})


def test_a_late_reader_is_refused_with_its_name():
    graph = new_graph("bad")
    pairs = _late_square_root(Builder(graph))
    with pytest.raises(SymbucketError, match=r"'bad' updates 'n' in place.*'Mul'.*before 'Add'"):
        check_in_place(graph, pairs)


def test_a_reader_after_the_write_is_refused():
    graph, g, (w, s, x) = _inputs("w", "s", "x")
    new = g.op("Sub", w, x)
    with pytest.raises(SymbucketError, match="in place"):
        check_in_place(graph, {w: new, s: g.op("Sub", new, w)})


@pytest.mark.parametrize("view", ["Identity", "Reshape", "Mul"])
def test_reading_through_what_the_runtime_may_make_a_view_is_seen(view):
    graph, g, (w, s, x) = _inputs("w", "s", "x")
    if view == "Reshape":
        seen = g.op("Reshape", g.op("Reshape", w, g.ints(6)), g.ints(*SHAPE))
    else:
        seen = g.op(view, w, *([g.const(1.0, like=w)] if view == "Mul" else []))
    # The view itself is made before the write, but its consumer is not.
    first = g.op("Sub", g.op("Add", w, seen), x)
    with pytest.raises(SymbucketError, match="Max"):
        check_in_place(graph, {w: first, s: g.op("Max", seen, x)})


def test_writing_early_through_a_view_is_seen():
    graph, g, (w, s, x) = _inputs("w", "s", "x")
    early = g.op("Sub", w, x)
    root = g.op("Max", w, x)
    # Were the Identity kept, root would run before it; removed, the Sub writes into w.
    late = g.op("Identity", early)
    with pytest.raises(SymbucketError, match="Max"):
        check_in_place(graph, {w: late, s: root})


def test_a_writer_that_mixes_elements_is_refused():
    graph = new_graph("mixing")
    g = Builder(graph)
    w = g.input("w", (3, 3), ir.DataType.FLOAT)
    with pytest.raises(SymbucketError, match="MatMul"):
        check_in_place(graph, {w: g.op("MatMul", w, w)})


def test_one_value_in_two_buffers_and_no_write_at_all_are_refused():
    graph, g, (w, s, x) = _inputs("w", "s", "x")
    new = g.op("Sub", w, x)
    with pytest.raises(SymbucketError, match="two buffers"):
        check_in_place(graph, {w: new, s: new})
    with pytest.raises(SymbucketError, match="no node writes 'x'"):
        check_in_place(graph, {w: x})


def test_order_writes_mends_the_late_reader_and_only_that():
    graph = new_graph("bad")
    g = Builder(graph)
    pairs = _late_square_root(g)
    before = dict(pairs)
    assert order_writes(g, pairs) == 1
    check_in_place(graph, pairs)
    n, z = pairs
    assert pairs[z] is before[z]
    assert pairs[n] is not before[n]
    assert order_writes(g, pairs) == 0


def test_order_writes_can_swap_two_buffers():
    graph, g, (a, b) = _inputs("a", "b")
    pairs = {a: g.op("Identity", b), b: g.op("Identity", a)}
    with pytest.raises(SymbucketError, match="in place"):
        check_in_place(graph, pairs)
    assert order_writes(g, pairs) == 4
    check_in_place(graph, pairs)


def _random_emit(seed, log=None):
    """An update made of random elementwise nodes, for the graph builder or (log) for numpy."""

    def emit(g, weight, grad, states, scalars):
        rng = np.random.default_rng(seed)
        values = [weight, grad, *states.values(), *scalars.values()]
        full = len(values) - len(scalars)
        for _ in range(rng.integers(4, 12)):
            op = list(OPERATORS)[rng.integers(len(OPERATORS))]
            a = values[rng.integers(full)]
            others = [values[rng.integers(len(values))]] if op in BINARY else []
            made = OPERATORS[op](a, *others) if log is not None else g.op(op, a, *others)
            values.insert(0, made)
            full += 1
        picks = rng.integers(full, size=1 + len(states))
        return values[picks[0]], {s: values[p] for s, p in zip(states, picks[1:])}

    return emit


@pytest.mark.parametrize("seed", range(60))
def test_random_updates_in_place_give_what_numpy_gives(seed):
    rng = np.random.default_rng(1000 + seed)
    shape = (300, 70)  # large enough for several threads
    names = ("a", "b", "c")
    emit = _random_emit(seed)
    try:
        graph = UpdateGraph(_spec(names, [shape], [("k",)]), emit, cpu(), "random")
    except InvalidArgumentError as error:
        assert "changes neither" in str(error)  # noqa: PT017  a draw that keeps all as it is
        return
    weight, grad, *states = (NDArray(rng.uniform(-1, 1, shape)) for _ in range(5))
    states = dict(zip(names, states))
    graph.bind([weight], [grad], [states])
    w, s = weight.asnumpy(), {n: a.asnumpy() for n, a in states.items()}
    for step in range(3):
        k = np.float32(0.5 + step)
        graph.run([{"k": float(k)}])
        w, s = _random_emit(seed, log=[])(None, w, grad.view(), s, {"k": np.full(1, k)})
        np.testing.assert_allclose(weight.view(), w, rtol=2e-5, atol=1e-6, err_msg=f"seed {seed}")
        for n in names:
            np.testing.assert_allclose(states[n].view(), s[n], rtol=2e-5, atol=1e-6)
        w, s = weight.asnumpy(), {n: a.asnumpy() for n, a in states.items()}


def test_the_model_is_standard_onnx_even_where_writes_were_ordered():
    def emit(g, weight, grad, states, scalars):
        n = g.op("Add", states["n"], grad)
        return g.op("Sub", weight, g.op("Mul", g.op("Sqrt", states["n"]), scalars["k"])), {"n": n}

    model = build_update(_spec(["n"], [SHAPE, (5,)], [("k", "unused")]), emit, "checked")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert {n.domain for n in proto.graph.node} == {""}
    assert [o.name for o in proto.graph.output] == [
        "weight/0/new",
        "n/0/new",
        "weight/1/new",
        "n/1/new",
    ]


def test_the_zero_that_orders_a_write_stays_zero_beside_nan():
    def emit(g, weight, grad, states, scalars):
        n = g.op("Add", states["n"], grad)
        return g.op("Sub", weight, g.op("Sqrt", states["n"])), {"n": n}

    graph = UpdateGraph(_spec(["n"]), emit, cpu(), "nan")
    weight, grad, n = NDArray.zeros(SHAPE), NDArray(np.ones(SHAPE)), NDArray(np.full(SHAPE, -1.0))
    graph.bind([weight], [grad], [{"n": n}])
    graph.run([{}])
    assert np.isnan(weight.view()).all()
    np.testing.assert_array_equal(n.view(), 0)


def test_addresses_stay_and_rebinding_moves_to_other_buffers():
    def emit(g, weight, grad, states, scalars):
        return g.op("Sub", weight, g.op("Mul", grad, scalars["lr"])), {}

    graph = UpdateGraph(_spec(scalars=[("lr",)]), emit, cpu(), "moves")
    grad = NDArray(np.ones(SHAPE))
    first, second = NDArray.zeros(SHAPE), NDArray.zeros(SHAPE)
    address = first.ortvalue.data_ptr()
    for weight in (first, second, second):
        graph.bind([weight], [grad], [{}])
        graph.run([{"lr": 0.5}])
    np.testing.assert_array_equal(first.view(), -0.5)
    np.testing.assert_array_equal(second.view(), -1.0)
    assert first.ortvalue.data_ptr() == address


def test_one_buffer_for_two_things_is_refused():
    def emit(g, weight, grad, states, scalars):
        return g.op("Sub", weight, grad), {}

    graph = UpdateGraph(_spec(shapes=[SHAPE, SHAPE]), emit, cpu(), "shared")
    a, b, x = (NDArray.zeros(SHAPE) for _ in range(3))
    with pytest.raises(InvalidArgumentError, match="one array stands for two things"):
        graph.bind([a, a], [x, x], [{}, {}])
    with pytest.raises(InvalidArgumentError, match="one array stands for two things"):
        graph.bind([a, b], [x, a], [{}, {}])
    graph.bind([a, b], [x, x], [{}, {}])


def test_emit_must_keep_shapes_name_its_states_and_change_something():
    def build(weight, states=None):
        def emit(g, w, grad, s, scalars):
            return weight(g, w, grad), s if states is None else states

        return build_update(_spec(["m"]), emit, "mine")

    with pytest.raises(ShapeError, match=r"mine: new weight has shape \(2, 1\)"):
        build(lambda g, w, x: g.reduce_sum(w, [1]))
    with pytest.raises(InvalidArgumentError, match=r"states \['v'\].*declares \['m'\]"):
        build(lambda g, w, x: w, {"v": None})
    with pytest.raises(InvalidArgumentError, match="changes neither"):
        build(lambda g, w, x: w)
    build(lambda g, w, x: x)


LARGE = (300, 2001)  # more than two pieces, and a last one that is shorter


def _adam_like(g, weight, grad, states, scalars):
    n = g.op("Add", g.op("Mul", states["n"], scalars["k"]), g.op("Mul", grad, grad))
    return g.op("Sub", weight, g.op("Div", grad, g.op("Sqrt", n))), {"n": n}


def test_large_parameters_are_updated_in_pieces_of_the_same_buffers():
    graph = UpdateGraph(_spec(["n"], [LARGE, SHAPE], [("k",)]), _adam_like, cpu(), "pieces")
    inputs = [v.name for v in graph.model.graph.inputs if v.name.startswith("weight")]
    assert len(inputs) == 3 + 1
    rng = np.random.default_rng(7)
    weights, grads, states = (
        [NDArray(rng.uniform(1, 2, shape)) for shape in (LARGE, SHAPE)] for _ in range(3)
    )
    given = [a.asnumpy() for a in (*weights, *grads, *states)]
    graph.bind(weights, grads, [{"n": n} for n in states])
    graph.run([{"k": 0.5}])
    for i, (weight, n) in enumerate(zip(weights, states)):
        w, g, old = given[i], given[2 + i], given[4 + i]
        new = old * np.float32(0.5) + g * g
        np.testing.assert_allclose(n.view(), new, rtol=1e-6)
        np.testing.assert_allclose(weight.view(), w - g / np.sqrt(new), rtol=1e-5, atol=1e-6)


def test_a_formula_that_looks_at_all_elements_keeps_its_parameter_whole():
    def emit(g, weight, grad, states, scalars):
        norm = g.op("Sqrt", g.reduce_sum(g.op("Mul", grad, grad), [0, 1], keepdims=True))
        return g.op("Sub", weight, g.op("Div", grad, norm)), {}

    graph = UpdateGraph(_spec(shapes=[LARGE]), emit, cpu(), "norm")
    assert [v.name for v in graph.model.graph.inputs] == ["weight/0", "grad/0"]
    weight, grad = NDArray.zeros(LARGE), NDArray(np.random.default_rng(8).uniform(1, 2, LARGE))
    graph.bind([weight], [grad], [{}])
    graph.run([{}])
    np.testing.assert_allclose(np.square(weight.view()).sum(), 1, rtol=1e-4)
