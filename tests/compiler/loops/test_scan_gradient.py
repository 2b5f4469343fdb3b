"""The gradient of a Scan against finite differences, for all kinds of operands and directions."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from symbucket.compiler.autodiff.differentiate import differentiate
from symbucket.compiler.rewrite.expand_own_nodes import expand_own_nodes
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.errors import UnsupportedError
from symbucket.ir import (
    IR_VERSION,
    Builder,
    append_scan,
    body_of,
    new_body,
    new_graph,
    output_of_body,
)
from tests.compiler.verify_graph import verify

STEPS, ROWS, WIDTH = 5, 2, 3
DOUBLE = ir.DataType.DOUBLE
SHAPES = {
    "h": (ROWS, WIDTH),
    "c": (ROWS, WIDTH),
    "x": (STEPS, ROWS, WIDTH),
    "y": (STEPS, ROWS, WIDTH),
    "w": (WIDTH, WIDTH),
    "b": (WIDTH,),
    "m": (ROWS, WIDTH),
}


def tanh_step(g, h, c, x, y, w, b, m):
    z = g.op("Gemm", h, w, b)
    h2 = g.op("Tanh", g.op("Add", g.op("Add", z, x), g.op("Mul", m, y)))
    c2 = g.op("Add", g.op("Mul", c, g.op("Sigmoid", x)), h2)
    return h2, c2, g.op("Mul", h2, y)


def swapped_step(g, h, c, x, y, w, b, m):
    """Carried values change places, and one of them is the slice as it is."""
    return g.op("Mul", c, g.op("Gemm", x, w)), g.op("Add", h, y), g.op("Tanh", g.op("Mul", c, m))


def forgetful_step(g, h, c, x, y, w, b, m):
    """One carried value is not read by the next step, one invariant is summed as it is."""
    h2 = g.op("Tanh", g.op("Add", x, b))
    return h2, g.op("Add", g.op("Mul", c, y), m), g.op("Gemm", h2, w, transB=1)


CASES = {"tanh": tanh_step, "swapped": swapped_step, "forgetful": forgetful_step}


def loop(step, directions, stacked):
    """A graph of one Scan; returns the builder, its inputs and a scalar made of all outputs."""
    g = Builder(new_graph("test"))
    inputs = {name: g.input(name, shape, DOUBLE) for name, shape in SHAPES.items()}
    body = new_body(g.graph, "body")
    inner = {
        name: ir.Value(name=f"inner_{name}", shape=ir.Shape((ROWS, WIDTH)), type=inputs[name].type)
        for name in "hcxy"
    }
    body.inputs.extend(inner.values())
    with g.inside(body):
        results = step(g, *inner.values(), inputs["w"], inputs["b"], inputs["m"])
    for value in results:
        body.outputs.append(output_of_body(g, body, value))
    outs = append_scan(
        g, body, [inputs["h"], inputs["c"]], [inputs["x"], inputs["y"]], directions, [stacked]
    )
    parts = []
    for i, out in enumerate(outs):
        shape = out.shape.numpy()
        axes = list(range(len(shape)))
        weights = np.cos(np.arange(np.prod(shape)) + i).reshape(shape)
        weighted = g.op("Mul", out, g.const(weights, like=out))
        parts.append(g.reduce_sum(weighted, axes, keepdims=False))
    return g, inputs, g.op("Sum", *parts)


def run(g, outputs, arrays):
    g.graph.outputs.clear()
    for i, value in enumerate(outputs):
        value = g.op("Identity", value)
        value.name = f"result{i}"
        g.graph.outputs.append(value)
    verify(g.graph)
    remove_dead_nodes(g.graph)
    expand_own_nodes(g.graph)
    verify(g.graph)
    model = ir.serde.serialize_model(ir.Model(g.graph, ir_version=IR_VERSION))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = {one.name for one in session.get_inputs()}
    return session.run(None, {n: a for n, a in arrays.items() if n in names})


@pytest.mark.parametrize("stacked", [0, 1])
@pytest.mark.parametrize("directions", [(0, 0), (1, 1), (0, 1)])
@pytest.mark.parametrize("case", CASES)
def test_finite_differences(case, directions, stacked):
    rng = np.random.default_rng(3)
    arrays = {name: rng.normal(size=shape) * 0.5 for name, shape in SHAPES.items()}
    g, inputs, total = loop(CASES[case], directions, stacked)
    head = g.const(np.ones(()))
    gradients = differentiate(g, [total], {total: head}, list(inputs.values()))
    found = dict(zip(gradients, run(g, [total, *gradients.values()], arrays)[1:]))

    def value_at(changed):
        g, _, total = loop(CASES[case], directions, stacked)
        return float(run(g, [total], changed)[0])

    for name, value in inputs.items():
        if value not in found:
            continue
        place = tuple(int(rng.integers(d)) for d in SHAPES[name])
        step = np.zeros(SHAPES[name])
        step[place] = 1e-6
        up = value_at({**arrays, name: arrays[name] + step})
        down = value_at({**arrays, name: arrays[name] - step})
        assert found[value][place] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-8), name
    assert {n for n, v in inputs.items() if v in found} >= {"x", "y", "c", "m", "w"}


def test_the_gradient_of_a_weight_is_one_product_of_stacks():
    g, inputs, total = loop(tanh_step, (0, 0), 0)
    gradients = differentiate(g, [total], {total: g.const(np.ones(()))}, [inputs["w"]])
    product = gradients[inputs["w"]].producer()
    assert product.op_type == "Gemm"
    (reverse,) = (n for n in g.graph if body_of(n) is not None and n.name.startswith("grad/"))
    assert not any(n.op_type == "Gemm" and "transA" in n.attributes for n in body_of(reverse))


def test_other_axes_are_refused():
    g, inputs, total = loop(tanh_step, (0, 0), 0)
    (scan,) = (n for n in g.graph if body_of(n) is not None)
    scan.attributes["scan_input_axes"] = ir.AttrInt64s("scan_input_axes", [1, 1])
    with pytest.raises(UnsupportedError, match="needs scan_input_axes=0"):
        differentiate(g, [total], {total: g.const(np.ones(()))}, [inputs["w"]])
