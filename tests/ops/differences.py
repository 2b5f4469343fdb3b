"""Check an operator against a reimplementation in numpy: values, and gradients by differences.

The differences are taken of the reimplementation in float64, so they are exact to many digits and
the tolerance is that of float32 arithmetic in the operator itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

import symbucket as sb
from symbucket.compiler.autodiff.differentiate import differentiate
from symbucket.ir import IR_VERSION, Builder, new_graph, shape_of
from symbucket.runtime.backend import ort

Reference = Callable[..., Any]


def draw(seed: int, *shapes: Sequence[int]) -> list[np.ndarray]:
    """Normal numbers, float32, one array a shape."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=s).astype(np.float32) for s in shapes]


def apply(op: str, inputs: Mapping[str, np.ndarray], **attributes: Any) -> sb.Symbol:
    """The operator over Variables named like its inputs."""
    given = {name: sb.sym.Variable(name) for name in inputs}
    return getattr(sb.sym, op)(**given, name="x", **attributes)


def bound(
    symbol: sb.Symbol, inputs: Mapping[str, np.ndarray], wanted: Sequence[str] = ()
) -> sb.Executor:
    """An executor over copies of the inputs."""
    states = symbol.list_auxiliary_states()
    args = {n: a.copy() for n, a in inputs.items() if n not in states}
    grads = {n: np.zeros_like(args[n]) for n in wanted}
    return symbol.bind(None, args, grads, "write", {n: inputs[n].copy() for n in states})


def run(
    symbol: sb.Symbol, inputs: Mapping[str, np.ndarray], is_train: bool = False
) -> list[np.ndarray]:
    """The outputs for the inputs."""
    return [o.asnumpy() for o in bound(symbol, inputs).forward(is_train=is_train)]


def check(
    symbol: sb.Symbol,
    reference: Reference,
    inputs: Mapping[str, np.ndarray],
    wanted: Sequence[str],
    tolerance: float = 2e-5,
) -> None:
    """Outputs in training and the gradients of ``wanted`` agree with ``reference(**inputs)``.

    ``reference`` takes float64 arrays by name and gives one array or a list of them.
    """
    executor = bound(symbol, inputs, wanted)
    found = [o.asnumpy() for o in executor.forward(is_train=True)]
    exact = {n: a.astype(np.float64) for n, a in inputs.items()}
    expected = _listed(reference(**exact))
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected)):
        assert a.shape == b.shape, f"output {i}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"output {i}")
    heads = draw(99, *(a.shape for a in found))
    executor.backward(heads)

    def value(**changed: np.ndarray) -> float:
        outputs = _listed(reference(**{**exact, **changed}))
        return sum(float((o * h).sum()) for o, h in zip(outputs, heads))

    for name in wanted:
        numeric = differences(lambda x, name=name: value(**{name: x}), exact[name])
        assert np.abs(numeric).max() > 1e-3, f"{name}: nothing to compare"
        scale = max(1.0, float(np.abs(numeric).max()))
        np.testing.assert_allclose(
            executor.grad_dict[name].asnumpy() / scale,
            numeric / scale,
            rtol=0,
            atol=5 * tolerance,
            err_msg=f"gradient of {name}",
        )


def check_node(op_type: str, reference: Reference, x: np.ndarray, **attributes: Any) -> None:
    """The same for one ONNX node of one input, as a foreign model may bring it."""
    g = Builder(new_graph("node"))
    data = g.input("x", x.shape, ir.DataType.FLOAT)
    y = g.op(op_type, data, **attributes)
    head = g.input("head", shape_of(y), ir.DataType.FLOAT)
    dx = differentiate(g, [y], {y: head}, [data])[data]
    g.graph.outputs.extend([y, dx])
    proto = ir.serde.serialize_model(ir.Model(g.graph, ir_version=IR_VERSION))
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    heads = draw(99, shape_of(y))[0]
    found = session.run(None, {"x": x, "head": heads})
    exact = x.astype(np.float64)
    np.testing.assert_allclose(found[0], reference(exact), rtol=2e-5, atol=2e-5)
    numeric = differences(lambda at: float((reference(at) * heads).sum()), exact)
    np.testing.assert_allclose(found[1], numeric, rtol=1e-4, atol=1e-4)


def differences(value: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """The gradient of ``value`` by central differences, element by element."""
    step, found = 1e-6, np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        found[place] = (value(up) - value(down)) / (2 * step)
    return found


def _listed(outputs: Any) -> list[np.ndarray]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
