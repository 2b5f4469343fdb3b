"""foreach, while_loop and cond: against the same steps written one by one, and MXNet's numbers.

Long, because the three constructs share the same comparison.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_training
from symbucket.errors import InvalidArgumentError, ShapeError, UnsupportedError
from symbucket.types import Array
from tests.ops.op_harness import Runner

STEPS = 5
V = functools.cache(sym.Variable)  # one of each name


def _arrays(symbol: sb.Symbol, seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    inferred, _, _ = symbol.infer_shape(**shapes)
    names = symbol.list_arguments()
    return {n: rng.uniform(-1, 1, s).astype(np.float32) for n, s in zip(names, inferred)}


def _run(symbol: sb.Symbol, arrays: dict[str, Array], loops: bool = True) -> list[Array]:
    """Outputs, then gradients of all arguments by name, for fixed head gradients."""
    names = symbol.list_arguments()
    arrays = {n: arrays[n] for n in names}
    options = CompilerOptions(disable=() if loops else ("roll-loops",))
    shapes = {n: a.shape for n, a in arrays.items()}
    programs = compile_training(symbol, shapes, {}, names, options=options)
    assert programs.forward is not None
    assert programs.backward is not None
    results = Runner(programs.forward.model).run(arrays)
    rng = np.random.default_rng(7)
    heads = {
        f"{n}.head": rng.uniform(-1, 1, results[n].shape).astype(np.float32)
        for n in symbol.list_outputs()
    }
    back = Runner(programs.backward.model).run({**arrays, **results, **heads})
    outputs = [results[n] for n in symbol.list_outputs()]
    return [*outputs, *(back[f"{n}.grad"] for n in sorted(names))]


def _agree(first: sb.Symbol, second: sb.Symbol, **shapes: tuple[int, ...]) -> None:
    """Two symbols of the same outputs and arguments have the same numbers, in every form."""
    arrays = _arrays(first, **shapes)
    expected = _run(second, arrays)
    for loops in (True, False):
        for a, b in zip(_run(first, arrays, loops), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def _by_hand(body: Any, data: Any, states: Any, steps: int = STEPS) -> tuple[list[Any], Any]:
    outputs = []
    for t in range(steps):
        cut = [sym.reshape(sym.slice_axis(d, axis=0, begin=t, end=t + 1), (-3, -2)) for d in data]
        output, states = body(cut, states)
        outputs.append(output)
    return outputs, states


def _stacked(outputs: list[sb.Symbol]) -> sb.Symbol:
    return sym.stack(*outputs, axis=0)


# foreach -----------------------------------------------------------------------------------------


def _two_states(data: Any, states: Any) -> Any:
    (x, y), (a, b) = data, states
    new = sym.tanh(x * sym.exp(V("w")) + a * V("w"))
    return new * y, [new, b + x * a]


def test_foreach_is_its_steps() -> None:
    data, states = [V("x"), V("y")], [V("a"), V("b")]
    outputs, after = sym.contrib.foreach(_two_states, data, states)
    hand, hand_after = _by_hand(_two_states, data, states)
    loop = sym.Group([outputs, *after])
    written = sym.Group([_stacked(hand), *hand_after])
    assert loop.list_arguments() == ["x", "y", "a", "b", "w"]
    shapes = {"x": (STEPS, 2, 3), "y": (STEPS, 2, 3), "a": (2, 3), "b": (2, 3), "w": (2, 3)}
    _agree(loop, written, **shapes)


def test_numbers_and_names_of_mxnet() -> None:
    x, w, s = V("x"), V("w"), V("s")
    with sb.NameManager():
        outer = sym.exp(w)

        def body(d: Any, st: Any) -> Any:
            h = sym.tanh(d * outer + st[0] * w)
            return [h, h * 2], [h]

        outputs, states = sym.contrib.foreach(body, x, [s])
    loop = sym.Group([*outputs, *states])
    assert loop.list_arguments() == ["x", "s", "w"]
    assert loop.list_outputs() == [f"_foreach0_output{i}" for i in range(3)]
    data = np.arange(6, dtype=np.float32).reshape(3, 2) / 6 - np.float32(0.4)
    values = loop.eval(x=data, w=np.float32([0.3, -0.7]), s=np.float32([0.2, 0.5]))
    expected = [[-0.4462, -0.43486], [-0.22018, 0.33997], [0.28573, -0.02279]]
    np.testing.assert_allclose(values[0].asnumpy(), expected, atol=1e-5)
    np.testing.assert_allclose(values[2].asnumpy(), expected[-1], atol=1e-5)


def test_forms_of_lists() -> None:
    def body(data: Any, states: Any) -> Any:
        first, (second,) = data
        return [[first], second], {"tuple": (states,)}["tuple"][0]

    outputs, states = sym.contrib.foreach(body, (V("x"), [V("y")]), V("s"))
    assert isinstance(outputs[0], list)
    assert isinstance(outputs[1], sb.Symbol)
    assert isinstance(states, sb.Symbol)
    net = sym.Group([outputs[0][0], outputs[1], states])
    arrays = {"x": np.ones((2, 3)), "y": np.zeros((2, 1)), "s": np.full((4,), 7.0)}
    values = net.eval(**{n: a.astype(np.float32) for n, a in arrays.items()})
    for value, name in zip(values, "xys"):
        np.testing.assert_array_equal(value.asnumpy(), arrays[name])


def test_cells_and_shapes_of_weights() -> None:
    cell = sb.rnn.LSTMCell(3, "l_")
    outputs, states = sym.contrib.foreach(cell, V("x"), [V("h"), V("c")])
    loop = sym.Group([outputs, *states])
    unrolled, after = sb.rnn.LSTMCell(3, "l_").unroll(
        STEPS, V("x"), [V("h"), V("c")], layout="TNC", merge_outputs=True
    )
    _agree(loop, sym.Group([unrolled, *after]), x=(STEPS, 2, 4), h=(2, 3), c=(2, 3))


def test_loops_in_loops() -> None:
    def inner(data: Any, state: Any) -> Any:
        new = state + data * V("w")
        return new, new

    def outer(data: Any, state: Any) -> Any:
        def step(row: Any, total: Any) -> Any:
            new = total + row * V("w") * data
            return new, new

        rows, total = sym.contrib.foreach(step, V("y"), state)
        return sym.sum(rows, axis=0) + data, total

    def by_hand(data: Any, state: Any) -> Any:
        total, sums = state, data[0]
        for t in range(3):
            row = sym.reshape(sym.slice_axis(V("y"), axis=0, begin=t, end=t + 1), (-3, -2))
            total = total + row * V("w") * data[0]
            sums = sums + total
        return sums, total

    loop = sym.Group(list(sym.contrib.foreach(outer, V("x"), V("s"))))
    hand, after = _by_hand(by_hand, [V("x")], V("s"))
    shapes = {"x": (STEPS, 2), "y": (3, 2), "s": (2,), "w": (2,)}
    loop = sym.Group([loop[0], loop[1]])
    _agree(loop, sym.Group([_stacked(hand), after]), **shapes)


def test_one_loop_whatever_the_steps() -> None:
    def nodes(steps: int) -> list[str]:
        loop = sym.Group(list(sym.contrib.foreach(lambda d, s: (d * s, d + s), V("x"), V("s"))))
        programs = compile_training(loop, {"x": (steps, 4), "s": (4,)}, {}, ["x", "s"])
        assert programs.backward is not None
        return [node.op_type for node in programs.backward.proto().graph.node]

    assert nodes(10) == nodes(1000)
    assert nodes(10).count("Scan") == 1


def test_operators_with_states_may_stand_outside() -> None:
    normal = sym.BatchNorm(V("x"), name="bn")
    summed, _ = sym.contrib.foreach(
        lambda d, s: (sym.broadcast_add(d, sym.sum(normal)), s), V("x"), V("s")
    )
    assert summed.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    bound = summed.simple_bind(sb.cpu(), x=(3, 2), s=(1,))
    bound.copy_params_from({}, {"bn_moving_var": np.ones(2)}, allow_extra_params=True)
    bound.forward(is_train=False, x=np.ones((3, 2), np.float32))
    assert bound.outputs[0].shape == (3, 2)


@pytest.mark.parametrize("loops", [True, False])
def test_dropout_draws_anew_in_every_step(loops: bool) -> None:
    outputs, _ = sym.contrib.foreach(lambda d, s: (sym.Dropout(d, p=0.5), s), V("x"), V("s"))
    arrays = {"x": np.ones((STEPS, 200), np.float32), "s": np.ones(1, np.float32)}
    options = CompilerOptions(disable=() if loops else ("roll-loops",))
    bound = outputs.simple_bind(sb.cpu(), "null", **{n: a.shape for n, a in arrays.items()})
    bound.programs._options = options
    bound.feed(arrays)
    (train,) = (v.asnumpy().copy() for v in bound.forward(is_train=True))
    assert set(np.unique(train)) == {0.0, 2.0}
    assert len({row.tobytes() for row in train}) == STEPS
    (again,) = (v.asnumpy() for v in bound.forward(is_train=True))
    assert not np.array_equal(train, again)
    (evaluated,) = bound.forward(is_train=False)
    np.testing.assert_array_equal(evaluated.asnumpy(), arrays["x"])


# while_loop --------------------------------------------------------------------------------------


def _doubling(limit: float, most: int) -> tuple[Any, Any]:
    def func(i: Any, a: Any) -> Any:
        return [sym.sin(a * V("w"))], [i + 1, a * 2 + V("w")]

    return sym.contrib.while_loop(lambda i, a: sym.sum(a) < limit, func, [V("i"), V("a")], most)


@pytest.mark.parametrize("most", [3, 9])
def test_while_loop_is_its_steps(most: int) -> None:
    (outputs,), after = _doubling(1e9 if most == 3 else 30.0, most)
    loop = sym.Group([outputs, *after])
    i, a, hand = V("i"), V("a"), []
    for _ in range(3):
        hand.append(sym.sin(a * V("w")))
        i, a = i + 1, a * 2 + V("w")
    hand += [sym.zeros_like(V("a"))] * (most - 3)
    arrays = {
        "i": np.zeros(1, np.float32),
        "a": np.array([2.0, 2.5], np.float32),
        "w": np.array([0.5, -0.5], np.float32),
    }
    expected = _run(sym.Group([_stacked(hand), i, a]), arrays)
    for loops in (True, False):
        for got, value in zip(_run(loop, arrays, loops), expected, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6)


def test_steps_that_are_not_taken_are_not_computed() -> None:
    """The root of what is left would be NaN after the end, and its slope infinite at the end."""

    def func(x: Any) -> Any:
        return sym.sqrt(x), x - 1

    outputs, after = sym.contrib.while_loop(lambda x: x > 0.5, func, V("x"), 6)
    loop = sym.Group([outputs, after])
    values = _run(loop, {"x": np.array([3.0], np.float32)})
    np.testing.assert_allclose(values[0].ravel(), [3**0.5, 2**0.5, 1, 0, 0, 0], rtol=1e-6)
    assert values[1] == 0.0
    assert np.isfinite(values[2]).all()


def test_a_loop_variable_and_the_symbol_that_it_began_as() -> None:
    a = V("a")
    _, after = sym.contrib.while_loop(lambda x: x < 10, lambda x: ([], x + a), a, 20)
    (value,) = after.eval(a=np.array([3.0], np.float32))
    assert value.asnumpy() == 12.0
    _, (x, y) = sym.contrib.while_loop(
        lambda x, y: x < 10, lambda x, y: ([], [x + y, y + 1]), [a, a], 20
    )
    values = sym.Group([x, y]).eval(a=np.array([3.0], np.float32))
    assert [float(v.asnumpy()[0]) for v in values] == [10.0, 5.0]


# cond --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 2.0])
def test_cond_is_the_branch(p: float) -> None:
    w, s = V("w"), V("s")
    shared = sym.exp(s)
    branches = {2.0: lambda: [w * 2 * shared, s], 0.0: lambda: [sym.sin(w) + shared, w]}
    chosen = sym.contrib.cond(V("p") > 1, branches[2.0], branches[0.0])
    net = sym.Group([*chosen, sym.sum(V("p"))])
    written = sym.Group([*branches[p](), sym.sum(V("p"))])
    arrays = _arrays(net, w=(2, 3), s=(2, 3), p=(1,))
    arrays["p"] = np.array([p], np.float32)
    names = net.list_arguments()
    written = sym.Group([*written, sym.BlockGrad(w + s)])
    net = sym.Group([*net, sym.BlockGrad(w + s)])
    assert sorted(written.list_arguments()) == sorted(names)
    for a, b in zip(_run_any(net, arrays), _run_any(written, arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def _run_any(symbol: sb.Symbol, arrays: dict[str, Array]) -> list[Array]:
    bound = symbol.simple_bind(sb.cpu(), "write", **{n: a.shape for n, a in arrays.items()})
    bound.feed(arrays)
    outputs = [v.asnumpy().copy() for v in bound.forward(is_train=True)]
    bound.backward([sb.nd.array(np.full(v.shape, 0.5)) for v in outputs])
    return [*outputs, *(bound.grad_dict[n].asnumpy() for n in sorted(arrays))]


def test_the_other_branch_makes_no_nan() -> None:
    x = V("x")
    net = sym.contrib.cond(x > 0, lambda: sym.sqrt(x), lambda: x * 3)
    for value, output, slope in ((-1.0, -3.0, 3.0), (4.0, 2.0, 0.25)):
        results = _run_any(net, {"x": np.array([value], np.float32)})
        np.testing.assert_allclose(np.concatenate(results), [output, slope * 0.5], rtol=1e-6)


def test_unrolled_steps_with_branches_are_a_loop() -> None:
    state, outputs = V("s"), []
    for t in range(6):
        row = sym.reshape(sym.slice_axis(V("x"), axis=0, begin=t, end=t + 1), (-3, -2))
        hidden = sym.FullyConnected(
            sym.Concat(row, state, dim=1), V("w_weight"), V("w_bias"), num_hidden=3, name=f"f{t}"
        )
        choice = sym.sum(hidden) > 0
        state = sym.contrib.cond(choice, lambda h=hidden: sym.tanh(h), lambda h=hidden: h * 0.5)
        outputs.append(state)
    net = sym.stack(*outputs, axis=0, name="all")
    arrays = _arrays(net, x=(6, 2, 3), s=(2, 3))
    programs = compile_training(net, {n: a.shape for n, a in arrays.items()}, {}, list(arrays))
    assert programs.forward is not None
    kinds = [node.op_type for node in programs.forward.proto().graph.node]
    assert kinds.count("Scan") == 1
    assert "If" not in kinds  # it is in the loop
    for a, b in zip(_run(net, arrays), _run(net, arrays, loops=False), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_cond_in_cond_in_foreach_has_the_slopes_of_its_values() -> None:
    def body(d: Any, s: Any) -> Any:
        w = V("w")
        inner = sym.contrib.cond(sym.sum(s) > 0, lambda: s * w, lambda: s * s)
        new = sym.contrib.cond(sym.sum(d) > 0, lambda: d * inner + w, lambda: sym.sin(inner) + d)
        return new, new

    loop = sym.Group(list(sym.contrib.foreach(body, V("x"), V("s"))))
    arrays = _arrays(loop, seed=3, x=(STEPS, 2), s=(2,), w=(2,))
    sb.test_utils.check_numeric_gradient(loop, arrays, numeric_eps=1e-3, rtol=2e-2, atol=2e-3)


# Files -------------------------------------------------------------------------------------------


def test_files_keep_loops_and_branches() -> None:
    (outputs,), after = _doubling(30.0, 9)
    chosen = sym.contrib.cond(V("p") > 1, lambda: V("w") * 2, lambda: sym.exp(V("w")))
    stacked, last = sym.contrib.foreach(lambda d, s: (d + s, d * s), V("x"), V("s"))
    net = sym.Group([outputs, *after, chosen, stacked, last])
    again = sym.load_json(net.tojson())
    assert again.tojson() == net.tojson()
    assert again.list_arguments() == net.list_arguments()
    arrays = _arrays(net, x=(3, 2), s=(2,), w=(2,), a=(2,), i=(1,), p=(1,))
    for a, b in zip(net.eval(**arrays), again.eval(**arrays), strict=True):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())


def test_a_file_of_mxnet() -> None:
    # As MXNet 1.9.1 writes foreach(lambda d, s: (d + s * w, d * s), x, s); its body lists the
    # inputs in another order.
    def variable(name: str) -> dict[str, Any]:
        return {"op": "null", "name": name, "inputs": []}

    def node(op: str, name: str, *inputs: int) -> dict[str, Any]:
        return {"op": op, "name": name, "inputs": [[i, 0, 0] for i in inputs]}

    body = {
        "nodes": [
            variable("s-0"),
            variable("w"),
            node("elemwise_mul", "m0", 0, 1),
            variable("x-0"),
            node("elemwise_add", "p0", 3, 2),
            node("elemwise_mul", "m1", 3, 0),
        ],
        "arg_nodes": [0, 1, 3],
        "heads": [[4, 0, 0], [5, 0, 0]],
    }
    loop = node("_foreach", "_foreach0", 0, 1, 2)
    loop["attrs"] = {
        "in_data_locs": "[2]",
        "in_state_locs": "[0]",
        "num_args": "4",
        "num_out_data": "1",
        "num_outputs": "2",
        "remain_locs": "[1]",
    }
    loop["subgraphs"] = [body]
    text = {
        "nodes": [variable("x"), variable("s"), variable("w"), loop],
        "arg_nodes": [0, 1, 2],
        "heads": [[3, 0, 0], [3, 1, 0]],
        "attrs": {"mxnet_version": ["int", 10901]},
    }
    net = sym.load_json(json.dumps(text))
    x, s, w = np.float32([[1, 2], [3, 4]]), np.float32([5, 6]), np.float32([7, 8])
    stacked, last = (v.asnumpy() for v in net.eval(x=x, s=s, w=w))
    np.testing.assert_array_equal(stacked, [x[0] + s * w, x[1] + x[0] * s * w])
    np.testing.assert_array_equal(last, x[0] * x[1] * s)
    loop["attrs"]["in_data_locs"] = "[0]"
    with pytest.raises(InvalidArgumentError, match="not the inputs of the body"):
        sym.load_json(json.dumps(text))
    loop["op"] = "exp"
    with pytest.raises(InvalidArgumentError, match="exp is no operator that has subgraphs"):
        sym.load_json(json.dumps(text))


def test_what_files_cannot_say_is_refused() -> None:
    outputs, _ = sym.contrib.foreach(lambda d, s: (s * 2, s), V("x"), V("s"))
    with pytest.raises(UnsupportedError, match="does not use argument 0 of in_data_locs"):
        outputs.tojson()


# Modules, exports --------------------------------------------------------------------------------


def _tagger(steps: int) -> tuple[sb.Symbol, tuple[str], tuple[str]]:
    embed = sym.Embedding(V("data"), input_dim=6, output_dim=4, name="embed")
    cell = sb.rnn.GRUCell(5, "gru_")
    rows, _ = sym.contrib.foreach(cell, sym.swapaxes(embed, dim1=0, dim2=1), cell.begin_state())
    scores = sym.FullyConnected(sym.reshape(rows, (-1, 5)), num_hidden=6, name="pred")
    label = sym.reshape(sym.transpose(V("softmax_label")), (-1,))
    return sym.SoftmaxOutput(scores, label, name="softmax"), ("data",), ("softmax_label",)


def test_trains_and_is_exported() -> None:
    rng = np.random.default_rng(0)
    sentences = [list(rng.integers(1, 6, n)) for n in (4, 6) * 12]
    data = sb.io.BucketSentenceIter(sentences, 4, [4, 6], invalid_label=0, seed=0)
    module = sb.mod.BucketingModule(_tagger, data.default_bucket_key)
    module.fit(data, eval_metric=sb.metric.Perplexity(None), num_epoch=2)
    data.reset()
    batch = next(data)
    module.forward(batch, is_train=False)
    assert module.get_outputs()[0].shape == (4 * batch.bucket_key, 6)


def _choosing(key: int) -> tuple[sb.Symbol, tuple[str], tuple[()]]:
    def step(data: Any, state: Any) -> Any:
        new = sym.contrib.cond(sym.sum(data) > 0, lambda: state + data, lambda: state - data)
        return data, new

    steps = sym.swapaxes(V("data"), dim1=0, dim2=1)
    _, state = sym.contrib.foreach(step, steps, sym.zeros((0, 3)))
    _, (_, state) = sym.contrib.while_loop(
        lambda i, s: i < 3,
        lambda i, s: ([], [i + 1, sym.sqrt(s * s) * 0.5]),
        [sym.zeros((1,)), state],
        max_iterations=5,
    )
    return sym.FullyConnected(state, num_hidden=2, name="fc"), ("data",), ()


def test_bundles_hold_loops_and_branches(tmp_path: Any) -> None:
    module = sb.mod.BucketingModule(_choosing, 6)
    module.bind([("data", (1, 6, 3))], None, for_training=False)
    module.init_params(sb.init.Uniform(0.5))
    module.export(str(tmp_path / "bundle"))
    data = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    batch = sb.io.DataBatch(
        [data[None]], bucket_key=6, provide_data=[sb.io.DataDesc("data", (1, 6, 3))]
    )
    module.forward(batch, is_train=False)
    (answer,) = sb.Bundle(str(tmp_path / "bundle")).run([{"data": data}])
    expected = module.get_outputs()[0].asnumpy()[0]
    np.testing.assert_allclose(np.ravel(answer["fc_output"]), expected, rtol=1e-5)


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: sym.contrib.foreach(3, V("x"), V("s")), InvalidArgumentError, "needs a function"),
        (lambda: sym.contrib.foreach(lambda d, s: d, V("x"), V("s")), InvalidArgumentError,
         "must return"),
        (lambda: sym.contrib.foreach(lambda d, s: (d, 3), V("x"), V("s")), InvalidArgumentError,
         "returns as states must be a Symbol or a"),
        (lambda: sym.contrib.foreach(lambda d, s: (d, [s]), V("x"), V("s")), InvalidArgumentError,
         r"new states must come as one nested list: a Symbol, not \[a Symbol\]"),
        (lambda: sym.contrib.foreach(lambda d, s: (d, s), [], V("s")), InvalidArgumentError,
         "use while_loop"),
        (lambda: sym.contrib.while_loop(lambda x: x, lambda x: ([], x), V("x")),
         InvalidArgumentError, "max_iterations must be given"),
        (lambda: sym.contrib.while_loop(lambda x: 1, lambda x: ([], x), V("x"), 3),
         InvalidArgumentError, "cond must return a Symbol"),
        (lambda: sym.contrib.cond(True, lambda: V("x"), lambda: V("x")), InvalidArgumentError,
         "pred must be a Symbol"),
        (lambda: sym.contrib.cond(V("p"), lambda: V("x"), lambda: [V("x")]), InvalidArgumentError,
         "else_func"),
        (lambda: sym.contrib.foreach(
            lambda d, s: (sym.BatchNorm(d, name="bn"), s), V("x"), V("s")),
         UnsupportedError, "auxiliary states .bn_moving"),
    ],
)  # fmt: skip
def test_mistakes_of_users(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_states_that_change_their_shape() -> None:
    _, state = sym.contrib.foreach(lambda d, s: (d, sym.sum(s, axis=0)), V("x"), V("s"))
    with pytest.raises(ShapeError):
        state.eval(x=np.ones((3, 2), np.float32), s=np.ones((2, 2), np.float32))
    chosen = sym.contrib.cond(V("p"), lambda: V("x"), lambda: sym.sum(V("x"), axis=0))
    with pytest.raises(ShapeError):
        chosen.eval(p=np.ones(1, np.float32), x=np.ones((2, 2), np.float32))


def test_dropout_in_a_branch_is_refused_in_training() -> None:
    net = sym.contrib.cond(V("p"), lambda: sym.Dropout(V("x")), lambda: V("x"))
    bound = net.simple_bind(sb.cpu(), "null", p=(1,), x=(2,))
    bound.forward(is_train=False)
    with pytest.raises(UnsupportedError, match="draw them outside"):
        bound.forward(is_train=True)
