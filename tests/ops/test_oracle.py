"""Our gradients against those of onnxruntime-training's own GradientGraphBuilder.

It takes a forward model and appends gradient nodes (some of its own domain, with kernels in the
training runtime only). It needs no torch. Operators that it does not know are checked against
finite differences alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnxruntime.capi import _pybind_state
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from tests.ops.op_cases import BY_ID
from tests.ops.op_harness import Array, Runner, Step, apply

Builder = getattr(_pybind_state, "GradientGraphBuilder", None)
pytestmark = pytest.mark.skipif(
    Builder is None, reason="GradientGraphBuilder exists in onnxruntime-training only"
)

LIMITS = (
    "gradient builder has not been registered",
    "unreachable from the output node(s)",  # a gradient of zero
    "is not found in the graph",  # an input of which only the shape is read
    "Duplicate definition of name",  # it cannot differentiate f(x, x) by a graph input x
    "GradientBuilder is not implemented for CUDA Pow's input exponent",
)

# Where the builder is known to be wrong; finite differences decide these.
WRONG = {
    "_power_scalar(scalar=0.0)[2]": "0 times 0 to the power of -1 becomes NaN",
    "slice(begin=(None, 3),end=(1, None),step=(1, -2))[2x4]": "backward slices are not read",
    "flip(axis=(0, -1))[2x3x2]": "backward slices are not read",
    "moments(axes=(1,),keepdims=True)[2x3]": "it defines one gradient twice",
    **dict.fromkeys(
        (
            "UpSampling(scale=2,sample_type=bilinear,num_filter=2,num_args=2)[1x2x3x2,2x1x4x4]",
            "Deconvolution(kernel=(3,),num_filter=2,target_shape=(5,),adj=(4,),stride=(2,))"
            "[1x2x3,2x2x3]",
        ),
        "its own operator ConvTransposeGrad has no kernel on the CPU",
    ),
    **dict.fromkeys(
        (
            "ROIPooling(pooled_size=(2, 3),spatial_scale=1.0)[2x2x6x7,3x5]",
            "ROIPooling(pooled_size=(2, 3),spatial_scale=0.5)[2x2x6x7,3x5]",
        ),
        "the gradient of Where is not summed over the axes that it broadcasts",
    ),
    "gelu(approximate=tanh)[2x3]": "the gradient is that of the exact form",
    "softmax(dtype=float64)[2x3]": "its own operator SoftmaxGrad has no kernel for float64",
    "Deconvolution(kernel=(3,),num_filter=2,stride=(2,),pad=(1,),adj=(1,))[1x2x3,2x2x3]": (
        "its own operator ConvTransposeGrad has no kernel on the CPU"
    ),
}

COMPARED = set(
    """Abs Add AveragePool Cast Clip Concat Conv Cos Div Erf Exp Expand Gather
    GatherElements GatherND Gelu Gemm Identity LeakyRelu Log LogSoftmax MatMul Max MaxPool Min Mul
    Neg Pad Pow Reciprocal ReduceMean ReduceSum Relu Reshape ScatterND Sigmoid Sin Slice
    Softmax Split Sqrt Sub Tanh Tile Transpose Where""".split()
)


def oracle(model: bytes, outputs: Sequence[str], wanted: Sequence[str]) -> bytes:
    """The model extended by gradients, its head gradients ``OUTPUT_grad`` made inputs."""
    assert Builder is not None
    builder = Builder(model, set(outputs), set(wanted), "")
    builder.build()
    proto = onnx.load_from_string(builder.get_model())
    types = {v.name: v.type for v in proto.graph.output}
    for name in outputs:
        proto.graph.input.append(onnx.ValueInfoProto(name=f"{name}_grad", type=types[name]))
    return proto.SerializeToString()


def single(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def compare(name: str) -> set[str] | None:
    """Compare one case; gives the ONNX operators in it, or None where the builder gives up."""
    case = BY_ID[name]
    inputs = {n: single(a) for n, a in case.make(5).items()}
    step = Step(apply(case.op, case.attrs, list(inputs)), inputs, case.wanted, np.float32)
    forward = step.programs.forward
    if forward is None or any(node.op_type == "Scan" for node in forward.proto().graph.node):
        return None  # the builder aborts the process where there is a loop
    try:
        model = oracle(forward.model, step.names, case.wanted)
    except RuntimeError as error:
        if any(limit in str(error) for limit in LIMITS):
            return None
        raise
    rng = np.random.default_rng(6)
    heads = [rng.uniform(-1.0, 1.0, o.shape).astype(o.dtype) for o in step.outputs()]
    theirs = Runner(model).run({**inputs, **{f"{n}_grad": h for n, h in zip(step.names, heads)}})
    for argument, gradient in step.gradients(heads).items():
        np.testing.assert_allclose(
            gradient, theirs[f"{argument}_grad"], rtol=1e-4, atol=1e-5, err_msg=argument
        )
    return {node.op_type for node in forward.proto().graph.node}


def test_gradients_agree_wherever_the_builder_knows_the_operators() -> None:
    seen: set[str] = set()
    count, wrong = 0, []
    for name in BY_ID:
        try:
            found = compare(name)
        except (AssertionError, RuntimeError, Fail, RuntimeException, NoKernel) as error:
            wrong.append(f"{name}: {str(error)[:600]}")
            continue
        if found is not None:
            seen |= found
            count += 1
    unexpected = [text for text in wrong if not text.startswith(tuple(WRONG))]
    assert not unexpected, "\n\n".join(unexpected)
    assert len(wrong) == len(WRONG)
    assert seen >= COMPARED, f"no longer compared: {COMPARED - seen}"
    assert count >= 180
