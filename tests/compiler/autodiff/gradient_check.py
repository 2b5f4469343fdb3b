"""Check the gradient of one node against finite differences.

The node's gradient is computed by a session in float32. The differences are taken in float64 of
what onnx's reference evaluator computes, at points that float32 holds exactly, so they are right to
eight digits and more; the tolerance is that of float32 arithmetic in the session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from symbucket.compiler.autodiff.differentiate import differentiate
from symbucket.compiler.autodiff.flow import FLOATS
from symbucket.compiler.rewrite.expand_own_nodes import expand_own_nodes
from symbucket.ir import IR_VERSION, Builder, dtype_of, new_graph, shape_of
from symbucket.runtime.backend import ort

STEP = 1e-6
TOLERANCE = 2e-4  # of the largest difference, or absolute if all are below 1
MOST_ELEMENTS = 10  # of an input, one by one; all of them together are checked in one direction


@dataclass
class Case:
    """A node, the values of its inputs, and the inputs whose gradient is checked.

    Args:
        op_type: the operator.
        inputs: an array an input, None for one that is absent. Floats of ``wanted`` are inputs of
            the graph, all others constants.
        wanted: positions of the inputs to differentiate with respect to.
        attributes: the node's.
        outputs: how many the node has.
        domain: of the operator.
        ties: the point is a kink, so the gradient may lie anywhere between the differences to
            either side.
        exact: the function in numpy, if the evaluator does not have it; returns one array.
        then: appends nodes to the node's outputs and returns what they return.
    """

    op_type: str
    inputs: Sequence[np.ndarray | None]
    wanted: Sequence[int] = (0,)
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    domain: str = ""
    ties: bool = False
    exact: Callable[..., np.ndarray] | None = None
    then: Callable[[Builder, list[ir.Value | None], list[ir.Value]], list[ir.Value]] | None = None

    def emit(self, g: Builder, dtype: ir.DataType) -> tuple[list[ir.Value | None], list[ir.Value]]:
        """Append the node; return its inputs and its float outputs."""
        values: list[ir.Value | None] = []
        for i, array in enumerate(self.inputs):
            if array is None:
                values.append(None)
            elif i in self.wanted:
                values.append(g.input(f"x{i}", array.shape, dtype))
            elif array.dtype.kind == "f":
                values.append(g.const(array.astype(dtype.numpy())))
            else:
                values.append(g.const(array))
        outputs = g.ops(
            self.op_type, *values, outputs=self.outputs, domain=self.domain, **self.attributes
        )
        if self.then is not None:
            outputs = self.then(g, values, outputs)
        return values, [out for out in outputs if out.dtype in FLOATS]


def gradients_of(
    case: Case, heads: Sequence[np.ndarray] | None = None, seed: int = 0
) -> tuple[list[np.ndarray], dict[int, np.ndarray], list[np.ndarray]]:
    """Return outputs, gradients by input, and the heads (drawn unless they are handed in)."""
    g = Builder(new_graph("case"))
    values, outputs = case.emit(g, ir.DataType.FLOAT)
    if heads is None:
        generator = np.random.default_rng(seed)
        # At kinks all of one sign, so that the terms of a sum lie between the same ends.
        heads = [
            np.asarray(generator.normal(size=shape_of(v)), dtype_of(v).numpy()) for v in outputs
        ]
        if case.ties:
            heads = [np.asarray(np.abs(h)) for h in heads]
    inputs = [
        g.input(f"head{i}", h.shape, dtype_of(v)) for i, (v, h) in enumerate(zip(outputs, heads))
    ]
    variables = {i: values[i] for i in case.wanted}
    found = differentiate(g, outputs, dict(zip(outputs, inputs)), list(variables.values()))
    missing = [i for i, v in variables.items() if v not in found]
    assert not missing, f"no gradient for inputs {missing}"
    results = [*outputs, *(found[v] for v in variables.values())]
    named = [g.op("Identity", v) for v in results]  # one value may be several results
    g.graph.outputs.extend(named)
    feed = {f"x{i}": case.inputs[i].astype(np.float32) for i in case.wanted}
    feed |= {f"head{i}": h for i, h in enumerate(heads)}
    arrays = _session(g).run(None, feed)
    count = len(outputs)
    return arrays[:count], dict(zip(variables, arrays[count:])), list(heads)


def _proto(g: Builder) -> onnx.ModelProto:
    expand_own_nodes(g.graph)
    return ir.serde.serialize_model(ir.Model(g.graph, ir_version=IR_VERSION))


def _session(g: Builder) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(
        _proto(g).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _exact(case: Case) -> Callable[[dict[int, np.ndarray]], list[np.ndarray]]:
    """Return the function of the wanted inputs in float64."""
    if case.exact is not None:
        function = case.exact

        def run(values: dict[int, np.ndarray]) -> list[np.ndarray]:
            return [function(*(values.get(i, array) for i, array in enumerate(case.inputs)))]

        return run
    g = Builder(new_graph("exact"))
    _, outputs = case.emit(g, ir.DataType.DOUBLE)
    g.graph.outputs.extend(outputs)
    evaluator = ReferenceEvaluator(_proto(g))
    return lambda values: [
        np.asarray(a) for a in evaluator.run(None, {f"x{i}": v for i, v in values.items()})
    ]


def check(case: Case, seed: int) -> None:
    """Compare outputs and gradients; raise AssertionError that says where they differ."""
    function = _exact(case)
    point = {i: case.inputs[i].astype(np.float64) for i in case.wanted}
    arrays, gradients, heads = gradients_of(case, seed=seed)
    values = function(point)
    assert [a.shape for a in arrays] == [v.shape for v in values]
    for array, value in zip(arrays, values):
        np.testing.assert_allclose(array, value, rtol=1e-4, atol=1e-4, err_msg="forward")

    def loss(values: dict[int, np.ndarray]) -> float:
        return sum(float((v * h).sum()) for v, h in zip(function(values), heads) if h.size)

    generator = np.random.default_rng([seed, 1])
    middle = loss(point)
    for i, gradient in gradients.items():
        assert gradient.shape == point[i].shape
        size = gradient.size
        if not size:
            continue
        directions = [
            np.eye(1, size, k).reshape(gradient.shape)
            for k in generator.permutation(size)[:MOST_ELEMENTS]
        ]
        if size > MOST_ELEMENTS and not case.ties:
            directions.append(generator.normal(size=gradient.shape))
        scale = max(1.0, float(np.abs(gradient).max()))
        for direction in directions:
            right, left = (
                (loss({**point, i: point[i] + sign * STEP * direction}) - middle) / (sign * STEP)
                for sign in (1, -1)
            )
            got = float((np.where(direction == 0.0, 0.0, gradient) * direction).sum())
            low, high = (
                (min(left, right), max(left, right)) if case.ties else [(left + right) / 2] * 2
            )
            room = TOLERANCE * scale * max(1.0, float(np.abs(direction).sum()) ** 0.5)
            assert low - room <= got <= high + room, (
                f"gradient of input {i}: {got}, finite differences {left} to {right}, direction "
                f"{direction.tolist()}, input {point[i].tolist()}"
            )
