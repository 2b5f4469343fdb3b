"""Gradients against central differences of the forward pass, operator by operator.

The recorded gradients and these agree everywhere; where they did not, these would be the truth.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from symbucket import ops
from tests.ops.op_cases import BY_ID, CASES
from tests.ops.op_harness import apply, best_step, slopes

# Not checked here, and where they are.
LOSSES = {
    "BlockGrad",
    "IdentityAttachKLSparseReg",
    "LinearRegressionOutput",
    "LogisticRegressionOutput",
    "MAERegressionOutput",
    "MakeLoss",
    "SVMOutput",
    "SoftmaxOutput",
    "_contrib_round_ste",
    "_contrib_sign_ste",
}  # test_losses.py, test_straight_through.py: their gradient is not that of their output
WITHOUT_INPUT = {"_arange", "_eye", "_full", "_linspace", "_ones", "_zeros"}
RANDOM = {ops.find(n).op_name for n in ops.names() if ops.find(n).random} - {"LeakyReLU", "RNN"}
# test_random.py, test_samplers.py
SYMMETRIC = {"_linalg_potrf"}  # recorded; test_linalg.py
INTEGERS_ONLY = {"one_hot"}
IMPORTED = {"_onnx_graph"}  # tests/symbol/test_onnx_import.py
IN_PYTHON = {"Custom"}  # tests/engine/test_custom_operators.py
CONTROL_FLOW = {"_cond", "_foreach", "_while_loop"}  # tests/symbol/test_control_flow.py


@pytest.mark.parametrize("name", BY_ID)
def test_gradient_is_that_of_the_forward_pass(name: str) -> None:
    case = BY_ID[name]
    seed = zlib.crc32(name.encode())
    inputs = case.make(seed)
    step = best_step(apply(case.op, case.attrs, list(inputs)), inputs, case.wanted)
    rng = np.random.default_rng(seed + 1)
    heads = [rng.uniform(-1.0, 1.0, o.shape) for o in step.outputs()]
    gradients = step.gradients(heads)
    expected = slopes(step, case.wanted, heads)
    exact = step.dtype == np.float64
    for argument in case.wanted:
        np.testing.assert_allclose(
            gradients[argument],
            expected[argument],
            rtol=1e-5 if exact else 2e-2,
            atol=1e-6 if exact else 4e-3,
            err_msg=f"gradient of {argument}, seed {seed}, {step.dtype.__name__}",
        )


def test_every_operator_has_a_case() -> None:
    checked = {ops.find(case.op).op_name for case in CASES}
    every = {ops.find(name).op_name for name in ops.names()}
    elsewhere = (
        LOSSES
        | WITHOUT_INPUT
        | RANDOM
        | INTEGERS_ONLY
        | SYMMETRIC
        | IMPORTED
        | IN_PYTHON
        | CONTROL_FLOW
    )
    assert every - checked == elsewhere
